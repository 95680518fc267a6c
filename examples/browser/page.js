// The page: the camera or a photo, the box of the face, and a table of its action units.

import { findFace, load, readFace, readPixels } from "./maeface.js";

const $ = (id) => document.getElementById(id);
const say = (text) => { $("say").textContent = text; };
const CAMERA = { video: { width: 640, height: 480, facingMode: "user" } };
const REFUSALS = { // what browsers call it, each in other words
  NotAllowedError: "the browser does not allow it; allow the camera for this page, beside its address",
  NotFoundError: "no camera was found",
  OverconstrainedError: "no camera was found",
  NotReadableError: "the camera gives no picture; does another program use it?",
};
const SEARCH_EVERY = 15; // frames, since a larger face may have come
let networks, stream = null, turns = 0; // turns: how often the camera or a photo was asked for; only the last counts

async function start() {
  try {
    networks = await load("exported", Number(new URLSearchParams(location.search).get("threads")));
    for (const id of ["camera", "file"]) $(id).disabled = false;
    const anyTrusted = networks.facts.au.aus.some((au) => au.trust?.use);
    $("trusted").hidden = !anyTrusted;
    document.querySelector("details").open = !anyTrusted;
    say("Ready.");
  } catch (error) {
    say(`Not loaded: ${error.message}. README.md says how to get the networks and onnxruntime-web.`);
  }
}

function stopCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  $("camera").textContent = "Start the camera";
}

async function startCamera(isLast) {
  stopCamera();
  say("Waiting for the camera ...");
  if (!navigator.mediaDevices) throw new Error("browsers give the camera to https:// and localhost only");
  const mine = await navigator.mediaDevices.getUserMedia(CAMERA).catch((error) => {
    throw new Error(REFUSALS[error.name] ?? error.message);
  });
  if (!isLast()) return mine.getTracks().forEach((track) => track.stop());
  stream = mine;
  const video = document.createElement("video");
  video.srcObject = stream;
  video.muted = video.playsInline = true;
  await video.play();
  if (!isLast()) return;
  $("camera").textContent = "Stop the camera";
  say("The camera is on.");
  let face = null, pace = 0;
  for (let k = 0; stream === mine; k++) {
    await new Promise((next) => video.requestVideoFrameCallback(next));
    if (stream !== mine) break;
    const begin = performance.now(), { videoWidth: width, videoHeight: height } = video;
    face = await show(video, width, height, k % SEARCH_EVERY ? face : null, networks.facts.crop.film_px);
    const took = performance.now() - begin;
    pace = pace ? 0.9 * pace + 0.1 * took : took;
    $("speed").textContent = `${face ? "" : "No face is seen. "}${Math.round(pace)} ms per frame`;
  }
}

async function takePhoto(isLast, file) {
  stopCamera();
  say("Looking ...");
  // the numbers in the file: no colours changed for this screen
  const photo = await createImageBitmap(file, { colorSpaceConversion: "none" }).catch(() => {
    throw new Error(`${file.name} is no photo that this browser can read (JPEG, PNG, WebP)`);
  });
  if (!isLast()) return;
  $("speed").textContent = "";
  const face = await show(photo, photo.width, photo.height);
  if (isLast()) say(face ? "Found a face." : "No face was found.");
}

/** Show a picture with its largest face, and return the face. */
async function show(source, width, height, before, px) {
  const still = new OffscreenCanvas(width, height); // so that the box belongs to the frame that is shown
  still.getContext("2d", { willReadFrequently: true }).drawImage(source, 0, 0);
  const image = readPixels(still), face = await findFace(networks, image, before);
  const values = face ? await readFace(networks, image, face, px) : [];
  const canvas = $("picture"), pen = canvas.getContext("2d");
  Object.assign(canvas, { width, height });
  pen.drawImage(still, 0, 0);
  if (face) {
    const [left, top, right, bottom] = face.box;
    for (const [colour, line] of [["#000", 5], ["#ffd24d", 2.5]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = line * Math.max(1, width / 640);
      pen.strokeRect(left, top, right - left, bottom - top);
    }
  }
  for (const value of values) fillRow(value);
  $("values").hidden = !face;
  $("result").hidden = false;
  return face;
}

function fillRow({ name, title, probability, present, trusted, advice }) {
  if (!$(name)) {
    const { firstElementChild: row } = $("row").content.cloneNode(true);
    row.id = name;
    row.querySelector("span").textContent = title;
    row.querySelector("small").textContent = advice === "with care" ? `${name}, with care` : name;
    $(trusted ? "trusted" : "others").tBodies[0].append(row);
  }
  const row = $(name), [, , number, answer] = row.cells;
  row.classList.toggle("present", present);
  row.querySelector("meter").value = probability;
  number.textContent = probability.toFixed(2);
  answer.textContent = present ? "yes" : "no";
}

function attempt(action, ...more) {
  const turn = ++turns, isLast = () => turn === turns;
  action(isLast, ...more).catch((error) => {
    if (!isLast()) return;
    stopCamera();
    say(`Not done: ${error.message}`);
  });
}
$("camera").onclick = () => {
  if (!stream) return attempt(startCamera);
  turns++; // also if it has not shown a picture yet
  stopCamera();
  say("The camera is off.");
};
$("file").onchange = ({ target }) => { if (target.files[0]) attempt(takePhoto, target.files[0]); };
addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("over"); });
addEventListener("dragleave", () => document.body.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file && networks) attempt(takePhoto, file);
});
start();
