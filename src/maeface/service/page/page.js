// The page of the service: a photo with its values at once, a film when its job is done.

const $ = (id) => document.getElementById(id);
const POLL_MS = 500;
let job = null;
let trust = {}; // what each action unit is, and whether to rely on it
let shown = null; // {frames, people} of the film that is shown

const say = (text) => { $("say").textContent = text; };

async function ask(path, options = {}) {
  const headers = $("token").value ? { Authorization: `Bearer ${$("token").value}` } : {};
  const answer = await fetch(path, { ...options, headers });
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    throw new Error(told.detail ?? `the service answered ${answer.status}`);
  }
  return answer;
}

function form(name, file) {
  const data = new FormData();
  data.append(name, file, "file"); // the service does not need its name
  return { method: "POST", body: data };
}

async function take(file) {
  if (!file) return;
  for (const id of ["photo", "film", "work"]) $(id).hidden = true;
  say("Sending ...");
  try {
    if (!Object.keys(trust).length) trust = await (await ask("v1/aus")).json();
    const photo = file.type.startsWith("image/") || /\.hei[cf]$/i.test(file.name); // some browsers do not know HEIC
    await (photo ? takePhoto(file) : takeFilm(file));
  } catch (error) {
    $("work").hidden = true;
    say(`Not done: ${error.message}`);
  }
}

async function takePhoto(file) {
  const { images: [photo] } = await (await ask("v1/images", form("files", file))).json();
  const picture = await createImageBitmap(file).catch(() => null); // the service reads more kinds than a browser
  if (picture) drawPhoto(picture, photo);
  $("picture").hidden = !picture;
  const count = photo.faces.length;
  $("faces").replaceChildren(...photo.faces.map(tableOf));
  $("photo").hidden = false;
  say((count ? `Faces: ${count}.` : "No face was found.") + (picture ? "" : " The browser cannot show this photo."));
}

function drawPhoto(picture, photo) {
  const canvas = $("picture"), scale = Math.min(1, 960 / picture.width), pen = canvas.getContext("2d");
  canvas.width = picture.width * scale;
  canvas.height = picture.height * scale;
  pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
  pen.font = "bold 16px sans-serif";
  photo.faces.forEach((face, k) => {
    const [left, top, right, bottom] = face.box.map((value) => value * scale);
    for (const [color, width] of [["#000", 5], ["#ffd24d", 2]]) {
      Object.assign(pen, { strokeStyle: color, lineWidth: width, fillStyle: "#ffd24d" });
      pen.strokeRect(left, top, right - left, bottom - top);
    }
    pen.strokeText(k + 1, left + 4, top + 18);
    pen.fillText(k + 1, left + 4, top + 18);
  });
  canvas.setAttribute("aria-label", `The photo with ${photo.faces.length} marked faces`);
}

const OTHERS = "Show all, also action units that are not checked on real people or not reliable";
const uses = (name) => trust[name]?.use ?? true;
const titleOf = (name) => trust[name]?.title ?? name;
const number = (value, digits) => (value === null ? "" : value.toFixed(digits));

function tableOf(face, k) {
  const table = document.createElement("table");
  table.createCaption().textContent = `Face ${k + 1}${face.status === "ok" ? "" : ` (${face.status.replace("_", " ")})`}`;
  const row = (cells, head) => {
    const line = document.createElement("tr");
    cells.forEach((text, column) => {
      const cell = document.createElement(head || !column ? "th" : "td");
      cell.textContent = text;
      if (head || !column) cell.scope = head ? "col" : "row";
      line.append(cell);
    });
    return line;
  };
  table.append(row(["Action unit", "Present", "Probability", "Intensity, 0 to 5"], true));
  const linesOf = (use) => Object.entries(face.aus).filter(([name]) => uses(name) === use).map(([name, au]) => {
    const cells = [titleOf(name), au.present ? "yes" : "no", number(au.probability, 2), number(au.intensity, 1)];
    const line = row(cells, false);
    line.classList.toggle("absent", !au.present);
    return line;
  });
  table.append(...linesOf(true));
  const others = linesOf(false);
  if (!others.length) return table;
  const rest = document.createElement("tbody"), all = document.createElement("details");
  all.append(Object.assign(document.createElement("summary"), { textContent: OTHERS }));
  rest.append(...others);
  all.append(document.createElement("table"));
  all.lastChild.append(rest);
  const both = document.createElement("div");
  both.append(table, all);
  return both;
}

async function takeFilm(file) {
  job = (await (await ask("v1/videos", form("file", file))).json()).id;
  $("work").hidden = false;
  const mine = job;
  for (;;) {
    const now = await (await ask(`v1/jobs/${mine}`)).json();
    if (job !== mine) return;
    $("progress").value = now.progress;
    if (now.state === "failed") throw new Error(now.error);
    if (now.state === "done") break;
    const reading = now.frames < now.frames_total ? `Frames: ${now.frames} of ${now.frames_total}` : "Writing the tables ...";
    say(now.state === "queued" ? `Waiting; films before this one: ${now.waiting}` : reading);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  say("Loading the result ...");
  const { frames } = await (await ask(`v1/jobs/${mine}/result`)).json();
  $("work").hidden = true;
  showFilm(file, frames, mine);
}

/** List the action units of a film, those to rely on first and the others in a group of their own. */
function optionsOf(names) {
  const group = Object.assign(document.createElement("optgroup"), { label: "Not checked on real people, or not reliable" });
  const option = (name) => new Option(titleOf(name), name);
  group.append(...names.filter((name) => !uses(name)).map(option));
  $("au").replaceChildren(...names.filter(uses).map(option), ...(group.children.length ? [group] : []));
}

function options(select, names) {
  select.replaceChildren(...names.map((name) => new Option(name)));
}

function showFilm(file, frames, id) {
  const faces = frames.flatMap((frame) => frame.faces);
  shown = { frames, end: Math.max(frames.at(-1)?.time_s ?? 0, 0.001) };
  optionsOf(faces.length ? Object.keys(faces[0].aus) : []);
  if (faces[0]?.aus.AU12) $("au").value = "AU12";
  options($("person"), [...new Set(faces.map((face) => face.track))].sort((a, b) => a - b));
  URL.revokeObjectURL($("video").src);
  $("video").src = URL.createObjectURL(file);
  const links = [["result?format=csv", "faces.csv"], ["result?format=parquet", "faces.parquet"],
    ...["events", "summary", "pairs"].map((name) => [name, `${name}.csv`])];
  $("tables").replaceChildren("Tables: ", ...links.map(([path, name]) => {
    const button = document.createElement("button");
    button.textContent = name;
    button.onclick = () => save(`v1/jobs/${id}/${path}`, name);
    return button;
  }));
  $("film").hidden = false;
  say(`Frames: ${frames.length}, faces: ${faces.length}`);
  draw();
}

async function save(path, name) {
  try {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await (await ask(path)).blob());
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  } catch (error) {
    say(`Not done: ${error.message}`);
  }
}

/** Return [time, value from 0 to 1] of the person and action unit that are chosen; null where there is none. */
function curve() {
  return shown.frames.map(({ time_s, faces }) => {
    const au = faces.find((face) => String(face.track) === $("person").value)?.aus[$("au").value];
    const value = au ? (au.probability ?? (au.intensity === null ? null : au.intensity / 5)) : null;
    return [time_s, value];
  });
}

function draw() {
  if (!shown) return;
  const canvas = $("line"), pen = canvas.getContext("2d");
  canvas.width = canvas.clientWidth * devicePixelRatio;
  canvas.height = canvas.clientHeight * devicePixelRatio;
  const x = (time) => (time / shown.end) * canvas.width;
  const y = (value) => canvas.height * (0.95 - 0.9 * value);
  pen.strokeStyle = getComputedStyle(canvas).color;
  pen.lineWidth = 2 * devicePixelRatio;
  pen.beginPath();
  let down = false, now = null;
  const time = $("video").currentTime;
  for (const [at, value] of curve()) {
    if (at <= time) now = value;
    if (value !== null) pen[down ? "lineTo" : "moveTo"](x(at), y(value));
    down = value !== null;
  }
  pen.stroke();
  pen.fillStyle = getComputedStyle(document.body).color;
  pen.fillRect(x(time), 0, devicePixelRatio, canvas.height);
  const text = `${time.toFixed(2)} s: ${now === null ? "no value" : now.toFixed(2)}`;
  $("value").textContent = text;
  canvas.setAttribute("aria-valuemax", shown.end.toFixed(2));
  canvas.setAttribute("aria-valuenow", time.toFixed(2));
  canvas.setAttribute("aria-valuetext", text);
}

function seek(time) {
  $("video").currentTime = Math.min(Math.max(time, 0), shown.end);
}

$("file").onchange = (event) => take(event.target.files[0]);
$("drop").ondragover = (event) => { event.preventDefault(); $("drop").classList.add("over"); };
$("drop").ondragleave = () => $("drop").classList.remove("over");
$("drop").ondrop = (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  take(event.dataTransfer.files[0]);
};
$("stop").onclick = async () => {
  const mine = job;
  job = null;
  $("work").hidden = true;
  say("Stopped.");
  await ask(`v1/jobs/${mine}`, { method: "DELETE" }).catch((error) => say(`Not stopped: ${error.message}`));
};
$("au").onchange = $("person").onchange = draw;
$("video").ontimeupdate = $("video").onseeked = draw;
$("line").onclick = (event) => seek((event.offsetX / $("line").clientWidth) * shown.end);
$("line").onkeydown = (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10 }[event.key];
  if (step) seek($("video").currentTime + step);
  else if (event.key === "Home") seek(0);
  else if (event.key === "End") seek(shown.end);
  else return;
  event.preventDefault();
};
addEventListener("resize", draw);
