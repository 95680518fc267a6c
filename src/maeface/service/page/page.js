// The page of the service: a photo or the camera with its values at once, a film when its job is done.
import { stopWatching, watch } from "./camera.js";
import { drawFaces, learnTrust, tablesOf } from "./faces.js";
import { takeFilm } from "./film.js";
import { $, ask, attempt, form, say, saveButton, stemOf, stop } from "./service.js";

const KINDS = "a photo (JPEG, PNG, WebP, BMP, GIF, AVIF, HEIC) or a film (MP4, MOV, Matroska, WebM, AVI, MPEG)";
// The first bytes of the photos that the service reads. All else goes to it as a film, whatever it is called.
const PHOTO = /^(\xff\xd8\xff|\x89PNG|GIF8|BM|RIFF[^]{4}WEBP|[^]{4}ftyp(he[iv]|avi[fs]|m[is]f1))/;

function clear() {
  for (const id of ["photo", "film", "live", "work"]) $(id).hidden = true;
  $("timeline").src = "about:blank"; // a film that cannot be seen is not heard, either
}

function take(file) {
  if (!file) return;
  attempt(async (signal) => {
    clear();
    say("Sending ...");
    await learnTrust(signal);
    const photo = PHOTO.test(await headOf(file));
    await (photo ? takePhoto : takeFilm)(file, signal).catch((error) => { throw nameKinds(error); });
  });
}

async function headOf(file) {
  const bytes = await file.slice(0, 16).arrayBuffer().catch(() => {
    throw new Error(`${file.name} cannot be read; expected ${KINDS}`); // a folder, or a file that is gone
  });
  return String.fromCharCode(...new Uint8Array(bytes));
}

/** Return a refusal with the kinds of photos and of films; the service says only those of the place that was asked. */
function nameKinds(error) {
  const [found] = /this is [^;]*(?=; expected a )/.exec(error.message) ?? [];
  return found && error.status === 422 ? new Error(`${found}; expected ${KINDS}`) : error;
}

async function takePhoto(file, signal) {
  const { images: [{ faces }] } = await (await ask("v1/images", { ...form("files", file), signal })).json();
  const picture = await createImageBitmap(file).catch(() => null); // the service reads more kinds than a browser
  if (signal.aborted) return;
  if (picture) drawFaces($("picture"), picture, faces, "The photo");
  $("picture").hidden = !picture;
  const table = saveButton("Faces (CSV)", `${stemOf(file)}.aus.csv`, () => ask("v1/images?format=csv", form("files", file)));
  $("photo-tables").replaceChildren("Download: ", table);
  $("faces").replaceChildren(...tablesOf(faces));
  $("photo").hidden = false;
  const count = faces.length ? `Faces: ${faces.length}.` : "No face was found.";
  say(count + (picture ? "" : " The browser cannot show this photo."));
}

$("file").onchange = (event) => {
  take(event.target.files[0]);
  event.target.value = ""; // the same file can be chosen again
};
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault()); // else a file beside the field replaces the page
addEventListener("pagehide", stop);
$("drop").ondragover = (event) => { event.preventDefault(); $("drop").classList.add("over"); };
$("drop").ondragleave = () => $("drop").classList.remove("over");
$("drop").ondrop = (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  take(event.dataTransfer.files[0]);
};
$("stop").onclick = () => {
  $("work").hidden = true;
  say("Stopped.");
  stop();
};
$("camera").onclick = () => {
  if ($("camera").textContent !== "Camera") return stopWatching();
  attempt(async (signal) => {
    clear();
    say("Waiting for the camera ...");
    await watch(signal);
  });
};
