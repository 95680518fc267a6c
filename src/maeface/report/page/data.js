// The data of the page, decoded, and how values and times are written.
const D = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);

function sequence(s) {
  if (!Array.isArray(s)) return Array.from({ length: s.count }, (_, i) => s.first + i * s.step);
  let sum = 0;
  return s.map((step) => (sum += step));
}

const T = sequence(D.ms).map((ms) => ms / 1000); // s, of each frame
const NUMBER = sequence(D.number);
const AUS = Object.keys(D.aus);
const CHECKED = new Set(AUS.filter((au) => !D.trust_known || D.aus[au].use));
const STEP = T.length > 1 ? (T[T.length - 1] - T[0]) / (T.length - 1) : 1;
// A film lasts as long as its last frame is shown.
const START = T[0], END = D.end_ms / 1000 > T[T.length - 1] ? D.end_ms / 1000 : T[T.length - 1] + 1;
// Without tracks the events are those of all faces, usually of one person.
const isOf = (track, person) => track == null || track === person.track;
const MEASURE = {
  i: { name: "Intensity", range: [0, 5.15], digits: 2, ticks: [0, 1, 2, 3, 4, 5] },
  p: { name: "Probability", range: [0, 1.03], digits: 2, ticks: [0, 0.5, 1] },
  d: { name: "Change from neutral", range: [-5.15, 5.15], digits: 2, ticks: [-4, -2, 0, 2, 4] },
};
const QUALITY = {
  score: { name: "Score of the face detector", range: [0, 1.03], digits: 2, ticks: [0, 0.5, 1] },
  yaw: { name: "Yaw (degrees; above 0: turned to her or his own left)", range: [-95, 95], digits: 0, ticks: [-90, -45, 0, 45, 90] },
  sharpness: { name: "Sharpness", range: [0, 1.03], digits: 2, ticks: [0, 0.5, 1] },
  unlike: { name: "Unlike the faces the weights know (above 1: far from them)", range: null, digits: 2, ticks: null },
};
const STATUS = ["", "low quality", "not found", "no face found", "damaged"]; // by code

// A curve is {k: frames, v: values, gap: whether a gap lies before a point}.
function decode(steps, values, factor) {
  const k = new Array(steps.length), gap = new Array(steps.length);
  let at = 0;
  steps.forEach((step, i) => {
    gap[i] = step < 0;
    at += Math.abs(step);
    k[i] = at;
  });
  return { k, gap, v: values.map((v) => v / factor) };
}

const curves = new Map();
function curve(person, column) {
  const key = person.track + " " + column;
  if (!curves.has(key)) {
    const s = person.series[column];
    curves.set(key, s ? decode(s.k || person.k, s.v, D.factors[column]) : { k: [], gap: [], v: [] });
  }
  return curves.get(key);
}

// For uPlot: the same curve with a null in each gap.
function plotted(c) {
  const x = [], y = [];
  c.k.forEach((k, i) => {
    if (c.gap[i]) {
      x.push((T[c.k[i - 1]] + T[k]) / 2);
      y.push(null);
    }
    x.push(T[k]);
    y.push(c.v[i]);
  });
  return [x, y];
}

function runs(list) { // [[first frame, frame after the last, code], ...]
  const out = [];
  for (let i = 0, at = 0; i < list.length; i += 2) {
    out.push([at, at + list[i], list[i + 1]]);
    at += list[i];
  }
  return out;
}

const timeOf = (k) => (k < T.length ? T[k] : END);

function lastAtMost(sorted, value) { // index of the last element <= value, -1 without one
  let low = 0, high = sorted.length;
  while (low < high) {
    const mid = (low + high) >> 1;
    if (sorted[mid] <= value) low = mid + 1;
    else high = mid;
  }
  return low - 1;
}

const frameAt = (t) => Math.max(0, lastAtMost(T, t + 1e-6));

function valueAt(c, t) { // null in a gap; between the points of a thinned curve, on the line
  const frame = frameAt(t), i = lastAtMost(c.k, frame);
  if (i < 0) return null;
  if (c.k[i] === frame) return c.v[i];
  if (i + 1 >= c.k.length || c.gap[i + 1]) return null;
  return c.v[i] + ((c.v[i + 1] - c.v[i]) * (frame - c.k[i])) / (c.k[i + 1] - c.k[i]);
}

function clock(t, digits = 2) { // 83.456 -> "1:23.46"
  const scale = 10 ** digits, all = Math.round(Math.abs(t) * scale);
  const seconds = Math.floor(all / scale), part = digits ? "." + String(all % scale).padStart(digits, "0") : "";
  const h = Math.floor(seconds / 3600), m = Math.floor(seconds / 60) % 60, s = seconds % 60;
  const two = (n) => String(n).padStart(2, "0");
  return (t < 0 ? "−" : "") + (h ? h + ":" + two(m) : m) + ":" + two(s) + part;
}

const number = (v, digits) => (v == null ? "–" : v.toFixed(digits).replace("-", "−"));

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (typeof value === "boolean") node.toggleAttribute(key, value);
    else node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}
