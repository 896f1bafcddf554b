// sign-in.js - who reads. With access.mode=on the service wants to know: the first answer of 401 asks the
// reader for a key or token. It stays in this tab (sessionStorage), and leaves it in headers only: what has an
// address of its own, a stream, is opened by a ticket.

const NAME = "millrace-credential";
const SENDABLE = /^[\x21-\x7e]{1,8192}$/; // what a header can hold

let held = read();
let asking = null; // while the dialog is open

function read() {
  try { return sessionStorage.getItem(NAME) ?? ""; } catch { return ""; } // storage may be blocked
}

function keep(credential) {
  held = credential;
  try {
    if (credential) sessionStorage.setItem(NAME, credential);
    else sessionStorage.removeItem(NAME);
  } catch { /* it lasts as long as the page */ }
  showSignOut();
  dispatchEvent(new Event("credentialchange"));
}

/** Whether there is a credential; it need not be a good one. */
export const isSignedIn = () => held !== "";

/** fetch with the credential; the answer may be a 401. */
export function askQuietly(path, init = {}) {
  const headers = { accept: "application/json", ...init.headers };
  if (held) headers.authorization = `Bearer ${held}`;
  return fetch(path, { ...init, headers });
}

/** fetch with a credential that is known: asks the reader for one until it is. */
export async function ask(path, init) {
  for (;;) {
    const sent = held;
    const response = await askQuietly(path, init);
    if (response.status !== 401) return response;
    if (sent === held) await signIn(sent ? await reasonOf(response) : "");
  }
}

async function reasonOf(response) {
  try { return (await response.json()).detail ?? ""; } catch { return ""; }
}

// --- The dialog -------------------------------------------------------------------------------------

/** el("p", {id: "x"}, "text", child, …) */
function el(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

const input = el("input", { type: "password", id: "credential", autocomplete: "off", spellcheck: false, required: true });
const reason = el("p", { id: "sign-in-reason", className: "reason", hidden: true });
const form = el("form", {},
  el("h2", { id: "sign-in-title" }, "Who is reading?"),
  el("p", { className: "hint" }, "This service shows its data to whom it knows. The key or token stays in this tab."),
  reason,
  el("label", { htmlFor: "credential" }, "API key or token"),
  input,
  el("button", { className: "button", type: "submit" }, "Sign in"));
const dialog = el("dialog", { id: "sign-in" }, form);
dialog.setAttribute("aria-labelledby", "sign-in-title");
reason.setAttribute("role", "alert");
input.setAttribute("aria-describedby", "sign-in-reason");
// There is nothing behind it to go on with; a second Escape is not asked about.
dialog.addEventListener("cancel", (event) => event.preventDefault());
dialog.addEventListener("close", () => asking && !dialog.open && dialog.showModal());

function tell(text) {
  reason.hidden = !text;
  if (reason.textContent !== text) reason.textContent = text;
}

/** Resolves when the reader has given another credential; whether it is good the next answer says. */
function signIn(why) {
  asking ??= new Promise((resolve) => {
    document.body.append(dialog);
    form.onsubmit = (event) => {
      event.preventDefault();
      const given = input.value.trim();
      if (!SENDABLE.test(given)) {
        tell("That is no key and no token: they have no blanks.");
        return;
      }
      keep(given);
      input.value = "";
      asking = null;
      dialog.close();
      resolve();
    };
    dialog.showModal();
  });
  tell(why);
  return asking;
}

// --- Signing out ------------------------------------------------------------------------------------

function showSignOut() {
  const button = document.getElementById("sign-out");
  if (button) button.hidden = !held;
}

document.getElementById("sign-out")?.addEventListener("click", () => {
  keep("");
  location.reload(); // what is shown goes, too
});
showSignOut();
