// What the parts of the page share: the elements, the line that says what happens, and requests to the service.

export const $ = (id) => document.getElementById(id);
export function say(text, bad = false) {
  $("say").textContent = text;
  $("say").classList.toggle("bad", bad);
}

/** Send a request; throw its refusal, with the `status` of the answer. */
export async function ask(path, options = {}) {
  const headers = $("token").value ? { Authorization: `Bearer ${$("token").value}` } : {};
  const answer = await fetch(path, { ...options, headers });
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  throw Object.assign(new Error(told.detail ?? `the service answered ${answer.status}`), { status: answer.status });
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
