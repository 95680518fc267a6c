// What is shown: person, measure, AUs, range of time, and the moment of the film. Others listen to changes.
const view = {
  person: D.people.reduce((most, person) => (most && most.rows >= person.rows ? most : person), null),
  measure: D.measures[0],
  all: false, // also the AUs that are not checked on real people
  shown: new Set(),
  min: START,
  max: END,
  time: START,
  hover: null,
};

const listeners = {};
function on(names, act) {
  for (const name of names.split(" ")) (listeners[name] ||= []).push(act);
}
function tell(name) {
  for (const act of listeners[name] || []) act();
}

const shownAus = () => AUS.filter((au) => view.shown.has(au) && (view.all || CHECKED.has(au)));
const heatAus = () => AUS.filter((au) => view.all || CHECKED.has(au));

function setRange(min, max) {
  const least = Math.min(END - START, Math.max(4 * STEP, 0.05));
  const width = Math.min(END - START, Math.max(least, max - min));
  const middle = (min + max) / 2;
  view.min = Math.min(Math.max(START, middle - width / 2), END - width);
  view.max = view.min + width;
  tell("range");
}

function zoom(factor, around = null) {
  const width = view.max - view.min;
  if (around == null) around = view.time >= view.min && view.time <= view.max ? view.time : view.min + width / 2;
  const left = ((around - view.min) / width) * width * factor;
  setRange(around - left, around - left + width * factor);
}

function pan(fraction) {
  const by = (view.max - view.min) * fraction;
  setRange(view.min + by, view.max + by);
}

function setTime(t, follow = true) {
  view.time = Math.min(Math.max(t, START), END);
  const width = view.max - view.min;
  if (follow && (view.time < view.min || view.time > view.max) && width < END - START) {
    setRange(view.time - 0.1 * width, view.time + 0.9 * width);
  }
  tell("time");
}

function setHover(t) {
  view.hover = t;
  tell("hover");
}

function choosePerson(person) {
  view.person = person;
  tell("person");
}

// The AUs that are shown first: the checked ones; of others, the six that are most often present.
function firstAus() {
  const often = (au) => D.people.reduce((sum, person) => {
    const list = person.present[au] || [];
    for (let i = 0; i < list.length; i += 2) sum += list[i] * list[i + 1];
    return sum;
  }, 0);
  const candidates = AUS.filter((au) => CHECKED.has(au));
  if (D.trust_known) return candidates;
  return [...candidates].sort((a, b) => often(b) - often(a)).slice(0, 6);
}
view.shown = new Set(firstAus());
if (!CHECKED.size) {
  view.all = true;
  view.shown = new Set(AUS.slice(0, 6));
}
