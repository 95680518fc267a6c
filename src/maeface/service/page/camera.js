// The camera: one picture after another goes to the service, and is shown with what was found in it.
import { barsOf, drawFaces, learnTrust } from "./faces.js";
import { $, ask, form, say, stop } from "./service.js";

const WIDTH = 640; // px of the pictures that are sent
const QUALITY = 0.85;
const RATE_OF = 10; // pictures
const BUSY_MS = 1000;
const REFUSALS = { // what browsers call it, each in other words
  NotAllowedError: "the browser does not allow it; allow the camera for this page, beside its address",
  NotFoundError: "no camera was found",
  OverconstrainedError: "no camera was found",
  NotReadableError: "the camera gives no picture; does another program use it?",
};

/** Show the camera until the signal says stop; at most one picture is on its way. */
export async function watch(signal) {
  await learnTrust(signal);
  if (!navigator.mediaDevices) throw new Error("browsers give the camera only to a page of https or of localhost");
  const wanted = { video: { width: { ideal: WIDTH }, facingMode: "user" } };
  const stream = await navigator.mediaDevices.getUserMedia(wanted).catch((error) => {
    throw new Error(REFUSALS[error.name] ?? error.message);
  });
  const end = () => {
    for (const track of stream.getTracks()) track.stop();
    $("camera").textContent = "Camera";
  };
  signal.addEventListener("abort", end, { once: true });
  if (signal.aborted) return end();
  $("camera").textContent = "Stop the camera";
  try {
    await send(stream, signal);
  } finally {
    end();
  }
}

async function send(stream, signal) {
  const [track] = stream.getVideoTracks();
  const gone = new Promise((_, reject) => { track.onended = () => reject(new Error("the camera is gone")); });
  const video = Object.assign(document.createElement("video"), { muted: true, playsInline: true, srcObject: stream });
  await video.play();
  if (signal.aborted) return;
  const picture = document.createElement("canvas"), times = [];
  picture.width = Math.min(WIDTH, video.videoWidth);
  picture.height = Math.round(video.videoHeight * (picture.width / video.videoWidth));
  const next = async () => {
    await new Promise(requestAnimationFrame); // waits while the page is hidden
    if (signal.aborted) return;
    picture.getContext("2d").drawImage(video, 0, 0, picture.width, picture.height);
    const faces = await facesOf(picture, signal);
    if (!faces || signal.aborted) return;
    drawFaces($("seen"), picture, faces, "Picture of the camera");
    $("values").replaceChildren(...(faces.length ? barsOf(faces) : ["No face was found."]));
    times.push(performance.now());
    if (times.length > RATE_OF) times.shift();
    const rate = ((times.length - 1) / (times.at(-1) - times[0])) * 1000;
    $("rate").textContent = times.length > 1 ? `${rate.toFixed(1)} pictures a second.` : "";
    $("live").hidden = false;
  };
  say("The camera is on.");
  while (!signal.aborted) await Promise.race([next(), gone]);
}

/** Return the faces of a picture; null if the service has too much to do now. */
async function facesOf(picture, signal) {
  const file = await new Promise((resolve) => { picture.toBlob(resolve, "image/jpeg", QUALITY); });
  try {
    return (await (await ask("v1/images", { ...form("files", file), signal })).json()).images[0].faces;
  } catch (error) {
    if (error.status !== 503) throw error;
    await new Promise((resolve) => { setTimeout(resolve, BUSY_MS); });
    return null;
  }
}

export function stopWatching() {
  stop();
  say("The camera is off.");
}
