// The panels of curves, drawn with uPlot, above each other on one axis of time.
const GUTTER = 54, RIGHT = 18, AXIS = 30;
const INCREMENTS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
let panels = [];
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

const width = () => Math.max(240, $("stack").clientWidth);
const xOf = (t) => GUTTER + ((t - view.min) / (view.max - view.min)) * (width() - GUTTER - RIGHT);
const tOf = (x) => view.min + ((x - GUTTER) / (width() - GUTTER - RIGHT)) * (view.max - view.min);

function timeLabels(u, splits, axis, space, increment) {
  const digits = increment >= 1 ? 0 : increment >= 0.1 ? 1 : 2;
  return splits.map((t) => clock(t, digits));
}

function drawBands(u) { // the status of the person behind the curves
  const { ctx, bbox } = u;
  for (const [from, to, code] of runs(view.person.status)) {
    const left = Math.max(timeOf(from), view.min), right = Math.min(timeOf(to), view.max);
    if (!code || right <= left) continue;
    const x = u.valToPos(left, "x", true);
    ctx.fillStyle = colour("status" + code);
    ctx.fillRect(x, bbox.top, Math.max(1, u.valToPos(right, "x", true) - x), bbox.height);
  }
}

// Points without neighbours, which a line does not show.
function isolated(u, series) {
  const y = u.data[series], out = [];
  for (let i = 0; i < y.length; i++) {
    if (y[i] != null && y[i - 1] == null && y[i + 1] == null) out.push(i);
  }
  return out;
}

// uPlot remembers the styles of its canvas, so they must be as before after other drawing.
function aside(draw) {
  return (u) => {
    u.ctx.save();
    draw(u);
    u.ctx.restore();
  };
}

function addPanel(o) {
  const node = el("div", { class: "panel" + (o.pale ? " pale" : "") });
  const head = el("div", { class: "lane-head" }, el("span", { class: "lane-name" }, o.name), (o.readout = el("span", { class: "lane-value" })));
  const canvas = el("div", { class: "plot", role: "img", "aria-label": o.name + " over time" });
  node.append(head, canvas);
  o.host.append(node);
  const axisHeight = o.axis ? AXIS : 0;
  const stroke = colour("soft"), font = "11px system-ui, sans-serif";
  o.height += axisHeight;
  o.plot = new uPlot({
    width: width(), height: o.height,
    padding: [4, RIGHT, o.axis ? 0 : 4, 0],
    legend: { show: false },
    cursor: { x: false, y: false, points: { show: false }, drag: { x: true, y: false, dist: 5, setScale: false },
      bind: { dblclick: () => () => setRange(START, END) } },
    scales: { x: { time: false, range: () => [view.min, view.max] }, y: { range: o.range || ((u, low, high) => [Math.min(0, low || 0), Math.max(high || 0, 1) * 1.08]) } },
    axes: [
      { show: !!o.axis, size: AXIS, stroke, font, incrs: INCREMENTS, space: 64, values: timeLabels, grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, gap: 4 },
      { size: GUTTER, stroke, font, gap: 6, ticks: { show: false }, grid: { show: !o.rows, stroke: colour("line"), width: 1 },
        splits: o.ticks ? () => o.ticks : undefined, values: o.tickLabels, space: 18 },
    ],
    series: [{}, { stroke: o.stroke, width: 1.5, fill: o.fill, spanGaps: false, points: { show: true, size: 5, fill: o.stroke, filter: isolated }, ...o.series }],
    hooks: {
      drawClear: [drawBands, o.under].filter(Boolean).map(aside),
      draw: [o.over].filter(Boolean).map(aside),
      setSelect: [(u) => {
        if (u.select.width < 5) return;
        const from = u.posToVal(u.select.left, "x"), to = u.posToVal(u.select.left + u.select.width, "x");
        u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        setRange(from, to);
      }],
    },
  }, o.data, canvas);
  o.lines = ["playhead", "hoverline"].map((name) => o.plot.over.appendChild(el("div", { class: name })));
  watchPointer(o);
  panels.push(o);
  return o;
}

function watchPointer(o) {
  const over = o.plot.over;
  let down = null;
  const at = (event) => tOf(event.clientX - $("stack").getBoundingClientRect().left);
  over.addEventListener("pointerdown", (event) => {
    down = { x: event.clientX, last: event.clientX, moved: false, touch: event.pointerType === "touch" };
  });
  over.addEventListener("pointermove", (event) => {
    if (down && Math.abs(event.clientX - down.x) > 4) down.moved = true;
    if (down && down.touch) { // a finger moves the range
      pan((down.last - event.clientX) / (width() - GUTTER - RIGHT));
      down.last = event.clientX;
      return;
    }
    setHover(Math.min(Math.max(at(event), view.min), view.max));
    showTip(o, event);
  });
  over.addEventListener("pointerup", (event) => {
    if (down && !down.moved && event.button === 0) player.seek(at(event));
    down = null;
  });
  over.addEventListener("pointercancel", () => (down = null));
  over.addEventListener("pointerleave", () => {
    setHover(null);
    $("tip").hidden = true;
  });
  over.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.25 : 0.8, at(event));
  }, { passive: false });
}

function showTip(o, event) {
  const tip = $("tip"), box = $("stack").getBoundingClientRect();
  const frame = frameAt(view.hover);
  const status = STATUS[runs(view.person.status).find(([from, to]) => from <= frame && frame < to)[2]];
  tip.replaceChildren(
    el("b", {}, clock(view.hover)), ` · frame ${NUMBER[frame]}${status && " · " + status}`, el("br"),
    o.tip ? o.tip(event) : `${o.short}: ${number(valueAt(o.curve, view.hover), o.digits)}`,
  );
  tip.hidden = false;
  const x = event.clientX - box.left, left = x > box.width - 190 ? x - tip.offsetWidth - 12 : x + 12;
  tip.style.transform = `translate(${Math.max(0, left)}px, ${event.clientY - box.top + 14}px)`;
}

function placeLines() {
  [view.time, view.hover].forEach((t, i) => {
    const inside = t != null && t >= view.min && t <= view.max;
    const move = inside ? `translateX(${xOf(t) - GUTTER}px)` : "";
    for (const o of panels) {
      o.lines[i].hidden = !inside;
      o.lines[i].style.transform = move;
    }
  });
}

function writeValues() {
  const t = view.hover ?? view.time;
  for (const o of panels) if (o.curve) o.readout.textContent = number(valueAt(o.curve, t), o.digits);
  $("now").textContent = clock(view.time);
  $("now-frame").textContent = NUMBER[frameAt(view.time)];
}

function resizePanels() {
  for (const o of panels) o.plot.setSize({ width: width(), height: o.height });
  placeLines();
}

on("range", () => {
  for (const o of panels) o.plot.setScale("x", { min: view.min, max: view.max });
  $("range").textContent = `${clock(view.min, 1)} – ${clock(view.max, 1)}`;
  $("whole").disabled = view.max - view.min >= END - START - 1e-9;
  placeLines();
});
on("time hover", () => {
  placeLines();
  writeValues();
});
