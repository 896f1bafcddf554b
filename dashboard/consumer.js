// consumer.js - what can be done about a named consumer: it is put elsewhere, or kept no more. Who may do so the
// service says (actions.js); who may no more is told its answer.
import { ask } from "./sign-in.js";
import { text } from "./tables.js";
import { put } from "./words.js";

const byId = (id) => document.getElementById(id);
const view = { name: "" };

/** Offers it for the one of this name; "": what is shown is none. */
export function offer(name) {
  if (name !== view.name) put(byId("outcome"), "");
  view.name = name;
  byId("consumer").hidden = !name;
}

/** Whether the reader wants it; `hasWhere`: and says where. */
async function isSure(title, words, hasWhere) {
  put(byId("sure-title"), title);
  put(byId("sure-text"), words);
  byId("where").hidden = !hasWhere;
  byId("sure").returnValue = "no";
  byId("sure").showModal();
  await new Promise((resolve) => { byId("sure").addEventListener("close", resolve, { once: true }); });
  return byId("sure").returnValue === "yes";
}

/** The answer's body; null: it was refused, and the page says why. */
async function tell(path, init) {
  put(byId("outcome"), "…");
  try {
    const response = await ask(path, init);
    const body = response.status === 204 ? {} : await response.json();
    if (response.ok) return body;
    put(byId("outcome"), `${response.status === 403 ? "No right to do this: " : ""}${text(body.detail) || text(body.title)}`);
  } catch {
    put(byId("outcome"), "The service does not answer.");
  }
  return null;
}

/** What the dialog says; null: a time that is none. */
function where() {
  if (byId("to").value !== "time") return byId("to").value;
  const time = new Date(byId("time").value);
  return Number.isNaN(time.getTime()) ? null : time.toISOString();
}

byId("to").addEventListener("change", () => { byId("when").hidden = byId("to").value !== "time"; });

byId("reset").addEventListener("click", async () => {
  const { name } = view;
  if (!await isSure(`Put ${name} elsewhere?`, "Streams that are open under the name end; the next one begins there.", true)) return;
  const to = where();
  if (!to) {
    put(byId("outcome"), "That is no time.");
    return;
  }
  const told = await tell(`consumers/${encodeURIComponent(name)}/reset`, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ to }) });
  if (told) put(byId("outcome"), `Now at ${text(told.cursor)}`);
});

byId("forget").addEventListener("click", async () => {
  const { name } = view;
  if (!await isSure(`Keep ${name} no more?`, "Its position is deleted, and streams that are open under the name end.", false)) return;
  if (await tell(`consumers/${encodeURIComponent(name)}`, { method: "DELETE" })) put(byId("outcome"), "It is kept no more.");
});
