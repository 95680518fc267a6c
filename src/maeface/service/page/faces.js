// Faces of a picture: boxes on it, and tables of their action units.
import { ask } from "./service.js";

let trust = null; // what each action unit is, and whether to rely on it

export async function learnTrust(signal) {
  trust ??= await (await ask("v1/aus", { signal })).json();
}

const OTHERS = "Show all, also action units that are not checked on real people or not reliable";
const uses = (name) => trust[name]?.use ?? true;
const titleOf = (name) => trust[name]?.title ?? name;
const number = (value, digits) => (value === null ? "" : value.toFixed(digits));

function element(tag, content = [], more = {}) {
  const made = Object.assign(document.createElement(tag), more);
  made.append(...[content].flat());
  return made;
}

/** Draw a picture (an image, or another canvas) with a box around each face, numbered from 0 as in the tables. */
export function drawFaces(canvas, picture, faces, what) {
  const scale = Math.min(1, 960 / picture.width), pen = canvas.getContext("2d");
  canvas.width = picture.width * scale;
  canvas.height = picture.height * scale;
  pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
  const unit = Math.max(1, canvas.width / (innerWidth - 32)); // a phone shows the canvas smaller
  const size = 14 * unit;
  pen.font = `bold ${size}px sans-serif`;
  faces.forEach((face, k) => {
    const [left, top, right, bottom] = face.box.map((value) => value * scale);
    for (const [color, width] of [["#000", 5 * unit], ["#ffd24d", 2 * unit]]) {
      Object.assign(pen, { strokeStyle: color, lineWidth: width, fillStyle: "#ffd24d" });
      pen.strokeRect(left, top, right - left, bottom - top);
    }
    pen.strokeStyle = "#000";
    pen.lineWidth = 4 * unit;
    pen.strokeText(k, left + size / 4, top + size);
    pen.fillText(k, left + size / 4, top + size);
  });
  canvas.setAttribute("aria-label", `${what}; marked faces: ${faces.length}`);
}

const headOf = (...texts) => element("thead", element("tr", texts.map((text) => element("th", text, { scope: "col" }))));
const rowOf = (title, cells) => element("tr", [element("th", title, { scope: "row" }), ...cells]);

function nameOf(face, k) {
  return `Face ${k}${face.status === "ok" ? "" : ` (${face.status.replace("_", " ")})`}`;
}

// The columns of a table of one face: title, and the text of an action unit. Those without any text are left out.
const COLUMNS = [
  ["Present", (au) => (au.present ? "yes" : "no")],
  ["Probability", (au) => number(au.probability, 2)],
  ["Present from", (au, name) => number(trust[name]?.threshold ?? null, 2)],
  ["Intensity, 0 to 5", (au) => number(au.intensity, 1)],
  ["Left", (au) => number(au.left, 1)],
  ["Right", (au) => number(au.right, 1)],
];

/** Return a table of some action units of a face, a row each. */
function tableOf(face, names, caption) {
  const columns = COLUMNS.map(([title, text]) => [title, names.map((name) => text(face.aus[name], name))])
    .filter(([, texts]) => texts.some((text) => text));
  const rows = names.map((name, k) => Object.assign(
    rowOf(titleOf(name), columns.map(([, texts]) => element("td", texts[k]))),
    { className: face.aus[name].present ? "" : "absent" },
  ));
  const table = element("table", [headOf("Action unit", ...columns.map(([title]) => title)), element("tbody", rows)]);
  if (caption) table.createCaption().textContent = caption;
  return table;
}

/** Return what is known of an action unit, as the lines of the command say it: "yes 0.97 (3.7, left 3.9, right 3.5)". */
function textOf(au) {
  const strengths = [["", au.intensity], ["left ", au.left], ["right ", au.right]]
    .filter(([, value]) => value !== null).map(([side, value]) => side + number(value, 1)).join(", ");
  const values = au.probability === null ? strengths : number(au.probability, 2) + (strengths && ` (${strengths})`);
  return `${au.present ? "yes" : "no"} ${values}`;
}

/** Return a table with a row for each face, and in it whether each action unit is present. */
function overviewOf(faces, names) {
  const rows = faces.map((face, k) => rowOf(nameOf(face, k), names.map((name) => {
    const au = face.aus[name];
    return element("td", textOf(au), { className: au.present ? "" : "absent" });
  })));
  const table = element("table", [headOf("Face", ...names.map(titleOf)), element("tbody", rows)], { className: "overview" });
  const has = (what) => faces.some((face) => names.some((name) => face.aus[name][what] !== null));
  const parts = ["Present", has("probability") && "probability from 0 to 1", has("intensity") && "intensity from 0 to 5"];
  table.createCaption().textContent = parts.filter(Boolean).join(", ");
  return table;
}

/** Return a box in which a wide table can be moved, also with the keyboard. */
function scrolled(table, label) {
  const box = element("div", table, { className: "wide", tabIndex: 0 });
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", label);
  return box;
}

const folded = (summary, content) => element("details", [element("summary", summary), content]);

/** Return the tables of a photo: of one face its action units, of several an overview, and each face folded. */
export function tablesOf(faces) {
  if (!faces.length) return [];
  const all = Object.keys(faces[0].aus), first = all.filter(uses), others = all.filter((name) => !uses(name));
  if (faces.length === 1) {
    const caption = nameOf(faces[0], 0);
    const tables = [scrolled(tableOf(faces[0], first, caption), caption)];
    if (others.length) tables.push(folded(OTHERS, scrolled(tableOf(faces[0], others), `${caption}, others`)));
    return tables;
  }
  const each = faces.map((face, k) => {
    const name = nameOf(face, k);
    return folded(`${name}: all action units`, scrolled(tableOf(face, [...first, ...others]), name));
  });
  return [scrolled(overviewOf(faces, first), "Overview"), element("div", each, { className: "each" })];
}

const MOST_BARS = 3;

/** Return bars of the action units to rely on, of the first faces. */
export function barsOf(faces) {
  const groups = faces.slice(0, MOST_BARS).map((face, k) => {
    const rows = Object.entries(face.aus).filter(([name]) => uses(name)).map(([name, au]) => {
      const [value, most, digits] = au.intensity === null ? [au.probability, 1, 2] : [au.intensity, 5, 1];
      const bar = element("meter", [], { min: 0, max: most, value: value ?? 0 });
      bar.setAttribute("aria-label", titleOf(name));
      const cells = [element("td", bar), element("td", `${number(value, digits)} ${au.present ? "yes" : "no"}`)];
      return rowOf(titleOf(name), cells);
    });
    const table = element("table", element("tbody", rows));
    table.createCaption().textContent = `${nameOf(face, k)}: strength, and whether present`;
    return table;
  });
  const more = faces.length - groups.length;
  return more > 0 ? [...groups, element("p", `${more} more faces have no bars here.`)] : groups;
}
