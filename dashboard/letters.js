// letters.js - dead letters: one filter for what is shown and for what is sent back. Nothing is asked again by
// itself: a list that one reads and chooses from stays as it is.
import { heed } from "./actions.js";
import { ask as fetchKnown } from "./sign-in.js";
import { count, fill, fillFacts, list, number, text } from "./tables.js";
import { clip, clock, put, whole } from "./words.js";

const PAGE = 50;
const FILTERS = ["text", "code", "class", "source", "pipeline"];

const byId = (id) => document.getElementById(id);
const view = { topic: "", filter: {}, items: [], cursor: null, letter: null, attempt: 0 };

const STATES = { live: "Read", connecting: "Reading", offline: "Not answered", forbidden: "No right to read this" };

function showState(state) {
  byId("connection").dataset.state = state;
  put(byId("connection"), STATES[state]);
}

/** The answer, or null; then the page says why. */
async function ask(path, init) {
  try {
    const response = await fetchKnown(path, init);
    const body = await response.json();
    if (response.ok) {
      showState("live");
      heed(response);
      return body;
    }
    showState(response.status === 403 ? "forbidden" : "offline");
    put(byId("outcome"), text(body.detail) || text(body.title));
  } catch {
    showState("offline");
    put(byId("outcome"), "The service does not answer.");
  }
  return null;
}

// --- Which -------------------------------------------------------------------------------------------

const chosenTopic = () => {
  try { return decodeURIComponent(location.hash.slice(1)); } catch { return ""; }
};

async function loadTopics() {
  const answer = await ask("dead-letters");
  const rows = list(answer?.items);
  const wanted = chosenTopic() || byId("topic").value;
  byId("topic").replaceChildren(...rows.map((row) => {
    const option = document.createElement("option");
    option.value = text(row.topic);
    option.textContent = `${clip(text(row.topic))} (${count(row.records)})`;
    return option;
  }));
  if (rows.some((row) => row.topic === wanted)) byId("topic").value = wanted;
  if (rows.length) await show();
  else byId("empty").hidden = !answer;
}

function readFilter() {
  view.topic = byId("topic").value;
  view.filter = {};
  for (const name of FILTERS) if (byId(name).value.trim()) view.filter[name] = byId(name).value.trim();
}

// --- The list ------------------------------------------------------------------------------------------

const place = (letter) => `${letter.partition} · ${letter.offset}`;
const bytes = (letter, name) => (letter[`${name}_encoding`] ? `base64 ${text(letter[name])}` : text(letter[name]));

function draw() {
  byId("empty").hidden = view.items.length > 0;
  byId("more").hidden = !view.cursor;
  byId("replay").hidden = view.items.length === 0;
  fill(byId("letters"), view.items.map((letter) => [
    { text: place(letter), isHead: true },
    { text: clip(bytes(letter, "code"), 30) },
    { text: clip(bytes(letter, "source"), 30), kind: "wide" },
    { text: Number.isFinite(number(letter.timestamp)) ? clock(letter.timestamp) : "–", kind: "wide" },
    { text: clip(bytes(letter, "message"), 120), kind: "wrap" },
  ]));
  const rows = byId("letters").tBodies[0].rows;
  view.items.forEach((letter, i) => makeButton(rows[i].cells[0], letter));
}

/** The place is what opens a letter. */
function makeButton(cell, letter) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = place(letter);
  button.setAttribute("aria-label", `Show the letter at partition ${letter.partition}, offset ${letter.offset}`);
  button.addEventListener("click", () => open(letter));
  cell.replaceChildren(button);
}

async function read(cursor) {
  const attempt = ++view.attempt;
  const query = new URLSearchParams({ ...view.filter, limit: PAGE, ...(byId("waiting").checked ? { waiting: "1" } : {}),
    ...(cursor ? { cursor } : {}) });
  showState("connecting");
  const page = await ask(`dead-letters/${encodeURIComponent(view.topic)}?${query}`);
  if (!page || attempt !== view.attempt) return;
  view.items.push(...list(page.items));
  view.cursor = page.next_cursor;
  put(byId("as-of"), `as of ${clock(Date.now())}; ${whole.format(view.items.length)} shown, ${count(page.scanned)} looked at`);
  draw();
}

async function show() {
  readFilter();
  history.replaceState(null, "", `#${encodeURIComponent(view.topic)}`);
  view.items = [];
  view.cursor = null;
  byId("letter").hidden = true;
  put(byId("outcome"), "");
  fill(byId("letters"), []);
  await read(null);
}

// --- One -------------------------------------------------------------------------------------------------

const path = (letter) => `dead-letters/${encodeURIComponent(view.topic)}/${letter.partition}/${letter.offset}`;

async function open(short) {
  const letter = await ask(path(short));
  if (!letter) return;
  view.letter = letter;
  byId("letter").hidden = false;
  put(byId("letter-title"), `Partition ${letter.partition}, offset ${letter.offset}`);
  fillFacts(byId("facts"), [
    ["Reason", bytes(letter, "message") || "–"], ["Code", bytes(letter, "code") || "–"], ["Class", bytes(letter, "class") || "–"],
    ["Was in", letter.source ? `${bytes(letter, "source")} [${count(letter.source_partition)}] @ ${letter.source_offset ?? "–"}` : "–"],
    ["Refused by", `${bytes(letter, "pipeline") || "–"} ${bytes(letter, "step")}`], ["Key", letter.key === null ? "none" : bytes(letter, "key")],
    ["Time", new Date(letter.timestamp).toISOString()], ["Sent back", `${count(letter.replays)} times`],
    ["Dealt with", letter.dealt_with === null ? "not known" : letter.dealt_with ? "yes" : "no"],
  ]);
  put(byId("value"), letter.value === null ? "(no value)" : bytes(letter, "value"));
  fill(byId("headers"), list(letter.headers).map((header) => [
    { text: text(header.name), isHead: true }, { text: header.value === null ? "" : bytes(header, "value"), kind: "wrap" }]));
  byId("letter-title").focus();
}

// --- Sending back --------------------------------------------------------------------------------------------

async function replay(wishes, what) {
  const topic = view.topic; // of what was shown when it was asked
  put(byId("sure-title"), `Send back ${what}?`);
  put(byId("sure-text"), `Each goes to the topic that it was in, once. What was dealt with in ${topic} is not sent again.`);
  byId("sure").returnValue = "no";
  byId("sure").showModal();
  await new Promise((resolve) => { byId("sure").addEventListener("close", resolve, { once: true }); });
  if (byId("sure").returnValue !== "yes") return;
  put(byId("outcome"), "Sending …");
  const told = await ask(`dead-letters/${encodeURIComponent(topic)}/replay`, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(wishes) });
  if (!told) return;
  const not = ["sent_before", "incomplete", "worn", "unplaced", "forbidden"].filter((name) => told[name] > 0);
  await show();
  put(byId("outcome"), `${count(told.sent)} sent back${not.map((name) => `, ${count(told[name])} ${name.replace("_", " ")}`).join("")}`
    + (told.done ? "." : "; time was over: send again to go on."));
}

byId("replay").addEventListener("click", () => replay({ ...view.filter }, "all letters that this filter takes"));
byId("replay-one").addEventListener("click", () =>
  replay({ partition: view.letter.partition, offset: view.letter.offset }, "this letter"));
byId("more").addEventListener("click", () => read(view.cursor));
byId("filters").addEventListener("submit", (event) => {
  event.preventDefault();
  show();
});
byId("topic").addEventListener("change", show);
loadTopics();
