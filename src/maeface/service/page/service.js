// What the parts of the page share: the elements, the line that says what happens, and requests to the service.

export const $ = (id) => document.getElementById(id);
/** Say what happens; screen readers read it aloud, so not each step of it. */
export function say(text, bad = false) {
  if ($("say").textContent !== text) $("say").textContent = text;
  $("say").classList.toggle("bad", bad);
}

/** Show how far something is, from 0 to 1; null: that is not known. */
export function showProgress(part, text) {
  if (part === null) $("progress").removeAttribute("value");
  else $("progress").value = part;
  $("count").textContent = text;
  $("work").hidden = false;
}

const GONE = "the service does not answer. Is `maeface serve` still running?";

/** Send a request; throw its refusal, with the `status` of the answer. `sent` is told which part of the body has gone. */
export async function ask(path, { sent, ...options } = {}) {
  const headers = $("token").value ? { Authorization: `Bearer ${$("token").value}` } : {};
  const answer = await (sent ? post(path, { ...options, headers }, sent) : get(path, { ...options, headers }));
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  throw Object.assign(new Error(told.detail ?? `the service answered ${answer.status}`), { status: answer.status });
}

function get(path, options) {
  return fetch(path, options).catch((error) => {
    throw options.signal?.aborted ? error : new Error(GONE); // browsers say no more than "Failed to fetch"
  });
}

/**
 * Do what `fetch` does, which does not say how much of a body has gone. Once all has gone, the answer is awaited also
 * if the signal says stop: the service may have made a job of it.
 */
function post(path, { body, headers, signal }, sent) {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const request = new XMLHttpRequest();
    request.open("POST", path);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.responseType = "blob";
    request.upload.onprogress = ({ loaded, total }) => sent(loaded / total);
    request.onload = () => resolve(new Response(request.response, { status: request.status }));
    request.onerror = () => reject(new Error(GONE));
    request.onabort = () => reject(signal.reason);
    const abort = () => request.abort();
    signal.addEventListener("abort", abort, { once: true });
    request.upload.onload = () => signal.removeEventListener("abort", abort);
    request.send(body);
  });
}

export function form(name, file) {
  const data = new FormData();
  data.append(name, file, "file"); // the service does not need its name
  return { method: "POST", body: data };
}

let work = new AbortController(); // of what the page does now
let refused = null; // what was refused for want of a token

export const stop = () => work.abort();

/** Do one thing, in the place of what was done before; `action` gets a signal that says when it is stopped itself. */
export async function attempt(action) {
  stop();
  const { signal } = (work = new AbortController());
  refused = null;
  try {
    await action(signal);
  } catch (error) {
    if (signal.aborted) return;
    if (error.status === 401) refused = action;
    sayError(error);
  }
}

function sayError(error) {
  $("work").hidden = true;
  say(`Not done: ${error.message}`, true);
  $("token").toggleAttribute("aria-invalid", error.status === 401);
  if (error.status !== 401) return;
  $("access").open = true;
  $("token").focus();
}

$("token").onchange = () => { if (refused) attempt(refused); };

/** Return a button that downloads, as a file of this name, what `get` is answered. */
export function saveButton(label, name, get) {
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: label, title: name });
  button.onclick = async () => {
    try {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(await (await get()).blob());
      link.download = name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    } catch (error) {
      sayError(error);
    }
  };
  return button;
}

/** Return the name of a file without its ending. */
export const stemOf = (file) => file.name.replace(/\.[^.]*$/, "") || "file";
