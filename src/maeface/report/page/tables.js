// The list of events, the summary, and what is known about each AU.
const PAGE = 200;
const HEADS = { track: "person", au: "action unit", onset_s: "onset", apex_s: "apex", offset_s: "offset", duration_s: "duration (s)", peak_i: "peak", mean_L: "mean left", mean_R: "mean right", asymmetry: "left − right" };
const OF_PERSON = ["track", "frames", "valid_frames", "seconds", "valid_s", "valid_share"]; // columns that are the same in all rows of a person
const EVENT = ["track", "au", "onset_s", "apex_s", "offset_s", "duration_s", "peak_i"];

function visible(row, columns, everybody) {
  const track = columns.indexOf("track"), au = columns.indexOf("au");
  if (!everybody && track >= 0 && view.person && !isOf(row[track], view.person)) return false;
  return au < 0 || !D.aus[row[au]] || view.all || CHECKED.has(row[au]);
}

function jump(t, what) {
  const button = el("button", { type: "button", class: "jump", title: `go to the ${what}` }, clock(t, 3));
  button.addEventListener("click", () => player.seek(t));
  return button;
}

function cell(value, column, digits) {
  if (["onset_s", "apex_s", "offset_s"].includes(column) && value != null) return el("td", { class: "number" }, jump(value, HEADS[column]));
  if (digits != null) return el("td", { class: "number" }, number(value, digits));
  if (column === "au" && D.aus[value]) return el("td", { class: CHECKED.has(value) ? "" : "pale" }, el("b", {}, value), " ", el("span", { class: "au-title" }, D.aus[value].title));
  return el("td", {}, value == null ? "–" : value === true ? "yes" : value === false ? "no" : String(value));
}

// A table that can be sorted; rows are a function, so that it follows the switches. All rows have the same digits.
function makeTable(host, label, columns, whole, rows, note) {
  let sorted = null, down = false, limit = PAGE;
  const digits = columns.map((_, i) => { // of numbers; null for a column of text
    const values = whole.map((row) => row[i]).filter((value) => value != null);
    if (!values.length || !values.every((value) => typeof value === "number")) return null;
    if (/share|_[ps]$|seconds/.test(columns[i])) return 3;
    return values.every(Number.isInteger) ? 0 : 2;
  });
  function draw() {
    const all = rows();
    if (sorted != null) {
      const rank = (a, b) => (a == null) - (b == null) || (a < b ? -1 : a > b ? 1 : 0);
      all.sort((a, b) => rank(a[sorted], b[sorted]) * (down ? -1 : 1));
    }
    const head = el("tr", {}, ...columns.map((name, i) => el("th", { scope: "col", "aria-sort": sorted === i ? (down ? "descending" : "ascending") : "none" },
      el("button", { type: "button", onclick: () => {
        down = sorted === i && !down;
        sorted = i;
        draw();
      } }, HEADS[name] || name.replace(/_s$/, " (s)").replaceAll("_", " ")))));
    const body = all.slice(0, limit).map((row) => {
      const tr = el("tr", {}, ...row.map((value, i) => cell(value, columns[i], digits[i])));
      if (columns === EVENT) Object.assign(tr.dataset, { from: row[2], to: row[4] });
      return tr;
    });
    const more = all.length > limit ? el("button", { type: "button", onclick: () => {
      limit += PAGE;
      draw();
    } }, `Show more (${all.length - limit} left)`) : null;
    host.replaceChildren(
      all.length ? el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": label }, el("table", {}, el("thead", {}, head), el("tbody", {}, ...body))) : el("p", { class: "soft" }, note), more ?? "");
    markEvents();
  }
  draw();
  return draw;
}

function markEvents() {
  for (const row of document.querySelectorAll("tr[data-from]")) row.classList.toggle("now", row.dataset.from <= view.time && view.time <= row.dataset.to);
}

// What the summary says of a person, and not of an AU.
function describePerson(columns, row) {
  if (!row) return "";
  const of = (name) => row[columns.indexOf(name)];
  const counted = of("seconds") == null ? "rows" : "frames"; // without tracks each face counts
  const frames = of("valid_frames") == null ? "" : `, values in ${of("valid_frames")} of ${of("frames")} ${counted}`;
  const seconds = of("valid_s") == null ? "" : `, ${number(of("valid_s"), 2)} of ${number(of("seconds"), 2)} s`;
  const share = of("valid_share") == null ? "" : ` (${number(100 * of("valid_share"), 1)} %)`;
  return `${of("track") == null ? "All faces" : view.person.title}${frames}${seconds}${share}`;
}

function startTables() {
  if (D.events) {
    const draw = makeTable($("events"), "Events", EVENT, D.events, () => D.events.filter((row) => visible(row, EVENT, $("everybody").checked)
      && (!$("only-chosen").checked || shownAus().includes(row[1])) && (!$("only-range").checked || (row[4] >= view.min && row[2] <= view.max))), "There are no such events.");
    for (const id of ["everybody", "only-chosen", "only-range"]) $(id).addEventListener("change", draw);
    on("person aus", draw);
    on("range", () => $("only-range").checked && draw());
    on("time", markEvents);
  }
  if (D.summary) {
    const filled = D.summary.columns.map((name, i) => !OF_PERSON.includes(name) && D.summary.rows.some((row) => row[i] != null));
    const keep = (row) => row.filter((_, i) => filled[i]); // without columns that say nothing of this film, or the same of each AU
    const shown = () => D.summary.rows.filter((row) => visible(row, D.summary.columns, false));
    const draw = makeTable($("summary"), "Summary", keep(D.summary.columns), D.summary.rows.map(keep), () => shown().map(keep), "There are no rows for this person.");
    const tell = () => { $("of-person").textContent = describePerson(D.summary.columns, shown()[0]); };
    tell();
    on("person aus", tell);
    on("person aus", draw);
  }
  const known = AUS.filter((au) => D.aus[au].checked);
  if (!known.length) return;
  const where = { real: "photographs of real people", renders: "rendered faces only" };
  const interval = (a) => (a.auc == null ? "–" : number(a.auc, 2) + (a.low == null ? "" : ` (${number(a.low, 2)} to ${number(a.high, 2)})`));
  const checks = AUS.map((au) => {
    const a = D.aus[au];
    return [au, where[a.checked] || a.checked || "nothing", a.on ?? null, interval(a), a.n ?? null, a.present ?? null, a.advice ?? !!a.use];
  });
  makeTable($("trust"), "Checks of the action units", ["au", "checked on", "data", "AUC (95 % interval)", "faces", "with the AU", "use"], checks, () => [...checks], "");
}

// The next or previous event of this person and the chosen AUs, from its onset.
function nextEvent(direction) {
  const aus = shownAus();
  const onsets = (D.events || []).filter((row) => view.person && isOf(row[0], view.person) && aus.includes(row[1])).map((row) => T[frameAt(row[2])]);
  const others = onsets.filter((t) => (direction > 0 ? t > view.time + 1e-6 : t < view.time - 1e-6));
  if (others.length) player.seek(direction > 0 ? Math.min(...others) : Math.max(...others));
}
