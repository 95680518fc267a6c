// A film: a job of the service, and its report when it is done.
import { $, ask, form, say, saveButton, showProgress, stemOf } from "./service.js";

const POLL_MS = 500;
const TABLES = [ // label, name in the service, ending of the file
  ["Faces (CSV)", "result?format=csv", "csv"],
  ["Faces (Parquet)", "result?format=parquet", "parquet"],
  ["Events", "events", "events.csv"],
  ["Summary", "summary", "summary.csv"],
  ["Pairs of action units", "pairs", "pairs.csv"],
];
const SAID = {
  starting: "Loading the networks ...",
  predicting: "Predicting the film ...",
  "writing results": "Writing the tables and the report ...",
};
const MOVES = new Set(["starting", "writing results"]); // phases that count no frames
const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/** Predict a film and show it. If it is stopped, its job is deleted: nobody else knows of it. */
export async function takeFilm(file, signal) {
  const sent = (part) => showProgress(part, `${Math.floor(100 * part)} %`);
  const { id } = await (await ask("v1/videos", { ...form("file", file), signal, sent })).json();
  const drop = () => ask(`v1/jobs/${id}`, { method: "DELETE", keepalive: true }).catch((error) => say(`Not stopped: ${error.message}`, true));
  signal.addEventListener("abort", drop, { once: true });
  if (signal.aborted) return drop();
  const job = await follow(id, signal);
  say("Loading the result ...");
  const report = await ask(`v1/jobs/${id}/report`, { signal }).then((answer) => answer.text(), (error) => {
    if (error.status !== 409) throw error;
    return null; // there is nothing to show, but there are tables
  });
  signal.removeEventListener("abort", drop); // from now on the results are kept as long as is said
  $("work").hidden = true;
  show(file, job, report);
}

async function follow(id, signal) {
  for (;;) {
    const job = await (await ask(`v1/jobs/${id}`, { signal })).json();
    showProgress(MOVES.has(job.phase) ? null : job.progress, job.state === "queued" ? "" : `Frames: ${job.frames} of ${job.frames_total}`);
    if (job.state === "failed") throw new Error(job.error);
    if (job.state === "done") return job;
    say(job.phase === "waiting" ? `Waiting; films before this one: ${job.waiting}` : SAID[job.phase]);
    await pause(POLL_MS);
  }
}

function show(file, job, report) {
  const stem = stemOf(file), path = `v1/jobs/${job.id}`;
  const buttons = TABLES.map(([label, from, ending]) => saveButton(label, `${stem}.aus.${ending}`, () => ask(`${path}/${from}`)));
  if (report !== null) {
    const html = name(report, file.name);
    buttons.push(saveButton("Report", `${stem}.aus.report.html`, () => new Response(html)));
    const frame = $("timeline");
    frame.onload = () => {
      frame.onload = null; // the frame is loaded again when it has become the report
      frame.contentWindow.postMessage({ html, film: file }, "*"); // its origin has no name
    };
    frame.src = "frame.html";
  }
  $("timeline").hidden = report === null;
  $("film-tables").replaceChildren("Download: ", ...buttons);
  const when = new Date(job.expires).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  $("expires").textContent = `The server has deleted the film, and deletes these results at ${when}.`;
  $("delete").onclick = async () => {
    await ask(path, { method: "DELETE" }).then(() => {
      $("film").hidden = true;
      $("timeline").src = "about:blank";
      say("Deleted.");
    }, (error) => say(`Not deleted: ${error.message}`, true));
  };
  $("film").hidden = false;
  say(`Done. Frames: ${job.frames}`);
}

/** Return a report that has the name of the film, and plays it if both are in one folder; it was made of a file `film`. */
function name(report, film) {
  const text = film.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
  return report.replace('<video id="film" src="film"', () => `<video id="film" src="${encodeURIComponent(film)}"`)
    .replaceAll(/(<title>|<h1>|class="film-name">)film</g, (_, before) => `${before}${text}<`);
}
