// The switches, the keys, and the start.
function makePeople() {
  const host = $("people");
  D.people.forEach((person, i) => {
    const input = el("input", { type: "radio", name: "person", value: String(i), checked: person === view.person, onchange: () => choosePerson(person) });
    const picture = D.pictures[person.track];
    const k = decode(person.k, person.k, 1).k;
    host.append(el("label", { class: "person" }, input, picture ? el("img", { src: picture, alt: "", width: "44", height: "44" }) : null,
      el("span", {}, el("b", {}, person.title), el("small", {}, `seen ${person.seen} of the film, ${clock(T[k[0]], 0)} to ${clock(T[k[k.length - 1]], 0)}`))));
  });
}

function makeMeasures() {
  for (const name of D.measures) {
    const input = el("input", { type: "radio", name: "measure", value: name, checked: name === view.measure, onchange: () => {
      view.measure = name;
      tell("measure");
    } });
    $("measures").append(el("label", { class: "chip" }, input, el("span", {}, MEASURE[name].name)));
  }
}

function makeAus() {
  const chip = (au) => {
    const input = el("input", { type: "checkbox", value: au, checked: view.shown.has(au), onchange: () => {
      if (input.checked) view.shown.add(au);
      else view.shown.delete(au);
      tell("aus");
    } });
    return el("label", { class: "chip" + (CHECKED.has(au) ? "" : " pale"), title: D.aus[au].title }, input, el("span", {}, au));
  };
  $("aus").append(...AUS.filter((au) => CHECKED.has(au)).map(chip));
  const others = AUS.filter((au) => !CHECKED.has(au));
  $("others").append(...others.map(chip));
  $("unchecked").hidden = !others.length;
  $("all").checked = view.all;
  const update = () => ($("others").hidden = !view.all);
  $("all").addEventListener("change", () => {
    view.all = $("all").checked;
    for (const au of others) { // the switch shows them all; then each can be switched off
      if (view.all) view.shown.add(au);
      else view.shown.delete(au);
    }
    for (const input of $("others").querySelectorAll("input")) input.checked = view.all;
    update();
    tell("aus");
  });
  update();
}

const KEYS = {
  " ": () => player.toggle(),
  ArrowLeft: (event) => (event.shiftKey ? player.seek(Math.max(START, view.time - 1)) : player.step(-1)),
  ArrowRight: (event) => (event.shiftKey ? player.seek(Math.min(END, view.time + 1)) : player.step(1)),
  "+": () => zoom(0.5),
  "=": () => zoom(0.5),
  "-": () => zoom(2),
  0: () => setRange(START, END),
  ",": () => pan(-0.5),
  ".": () => pan(0.5),
  n: () => nextEvent(1),
  p: () => nextEvent(-1),
  Home: () => player.seek(START),
  End: () => player.seek(T[T.length - 1]),
};

function startKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
    const focus = document.activeElement, tag = focus && focus.tagName;
    if (tag === "VIDEO" || tag === "SUMMARY" && event.key === " ") return;
    if ((tag === "INPUT" || tag === "BUTTON") && (event.key === " " || (focus.type === "radio" && event.key.startsWith("Arrow")))) return;
    if (event.key.startsWith("Arrow") && focus && focus.closest(".wide")) return;
    event.preventDefault();
    KEYS[event.key](event);
  });
}

function start() {
  makePeople();
  makeMeasures();
  makeAus();
  for (const [id, act] of [["zoom-in", () => zoom(0.5)], ["zoom-out", () => zoom(2)], ["whole", () => setRange(START, END)],
    ["left", () => pan(-0.5)], ["right", () => pan(0.5)], ["previous", () => nextEvent(-1)], ["next", () => nextEvent(1)]]) {
    $(id).addEventListener("click", act);
  }
  if (!D.events) $("previous").hidden = $("next").hidden = true;
  startTables();
  startPlayer();
  if (!view.person) {
    document.querySelector(".curves").hidden = true;
    return;
  }
  buildPanels();
  on("person measure aus", buildPanels);
  setRange(START, END);
  new ResizeObserver(resizePanels).observe($("stack"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", buildPanels);
  startKeys();
}
start();
