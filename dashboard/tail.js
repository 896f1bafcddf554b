// tail.js - the records of one topic as they come, the newest on top. Paused, the stream goes on and is
// counted; what it brings meanwhile is kept up to a bound and shown when it goes on.
import { ask, isSignedIn } from "./sign-in.js";
import { count, fill, list, number, text } from "./tables.js";
import { clip, clock, put } from "./words.js";

const ROWS_MAX = 200;
const VALUE_MAX = 400; // characters of a value that are shown
const FRAME_MS = 120;
const RETRY_MS = 2_000;

const byId = (id) => document.getElementById(id);
const view = { records: [], isPaused: false, waiting: 0, isScheduled: false, source: null, attempt: 0, cursor: "", wanted: null };

const STATES = { connecting: "Connecting", live: "Live", offline: "Offline, trying again", forbidden: "No right to read this" };

function showState(state) {
  byId("connection").dataset.state = state;
  put(byId("connection"), STATES[state]);
}

function tell(words) {
  byId("notice").hidden = !words;
  put(byId("notice"), words);
}

// --- Drawing: once per animation frame at most, and not while paused or hidden -------------------------

function schedule() {
  if (view.isScheduled || view.isPaused || document.hidden) return;
  view.isScheduled = true;
  setTimeout(() => requestAnimationFrame(draw), FRAME_MS);
}

const shown = (value) => clip(typeof value === "string" ? value : JSON.stringify(value) ?? "", VALUE_MAX);

function draw() {
  view.isScheduled = false;
  if (view.isPaused) return;
  byId("empty").hidden = view.records.length > 0;
  const newest = view.records[0];
  put(byId("as-of"), newest ? `newest of ${clock(newest.timestamp)}` : "");
  fill(byId("records"), view.records.map((record) => [
    { text: `${record.partition} · ${record.offset}`, isHead: true },
    { text: Number.isFinite(number(record.timestamp)) ? clock(record.timestamp) : "–", kind: "wide" },
    { text: clip(text(record.key), 40) },
    { text: record.value === undefined ? "(deleted)" : shown(record.value), kind: "wrap" },
  ]));
}

function take(event) {
  if (event.lastEventId) view.cursor = event.lastEventId;
  let record;
  try { record = JSON.parse(event.data); } catch { return; }
  view.records.unshift(record);
  view.records.length = Math.min(view.records.length, ROWS_MAX);
  if (view.isPaused) put(byId("pause"), `Resume (${count(++view.waiting)} new)`);
  schedule();
}

// --- The stream --------------------------------------------------------------------------------------

function query() {
  const { key, filter } = view.wanted;
  return { ...(key ? { key } : {}), ...(filter ? { filter } : {}) };
}

async function ticket() {
  const response = await ask("tickets", {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ topics: [view.wanted.topic] }) });
  const body = await response.json();
  if (response.ok) return body.ticket;
  showState(response.status === 403 ? "forbidden" : "offline");
  tell(text(body.detail) || text(body.title));
  return null;
}

async function listen() {
  const attempt = ++view.attempt;
  view.source?.close();
  let given = null;
  try { given = await ticket(); } catch { showState("offline"); }
  if (attempt !== view.attempt) return;
  if (!given) {
    again(attempt);
    return;
  }
  tell("");
  const asked = new URLSearchParams({ envelope: "1", ticket: given, ...query(), ...(view.cursor ? { last_event_id: view.cursor } : {}) });
  const source = new EventSource(`events/${view.wanted.topic}?${asked}`);
  view.source = source;
  source.onopen = () => showState("live");
  source.onmessage = take;
  source.addEventListener("delete", take);
  for (const name of ["gap", "lagged"]) source.addEventListener(name, () => tell("Some records between are not shown."));
  source.addEventListener("error", (event) => {
    if (source !== view.source || event.data !== undefined) return;
    showState("offline");
    if (source.readyState === EventSource.CLOSED) again(attempt); // its ticket has been used, or the filter is wrong
  });
}

function again(attempt) {
  setTimeout(() => attempt === view.attempt && listen(), RETRY_MS);
}

function follow() {
  view.wanted = { topic: byId("topic").value, key: byId("key").value.trim(), filter: byId("filter").value.trim() };
  view.records = [];
  view.cursor = "";
  history.replaceState(null, "", `#${encodeURIComponent(view.wanted.topic)}`);
  const asked = new URLSearchParams(query()).toString();
  const curl = isSignedIn() ? 'curl -N -H "Authorization: Bearer $MILLRACE_KEY"' : "curl -N";
  put(byId("curl"), `${curl} '${location.origin}/events/${view.wanted.topic}${asked && `?${asked}`}'`);
  showState("connecting");
  tell("");
  schedule();
  listen();
}

// --- Controls ------------------------------------------------------------------------------------------

byId("pause").addEventListener("click", () => {
  view.isPaused = !view.isPaused;
  view.waiting = 0;
  byId("pause").setAttribute("aria-pressed", String(view.isPaused));
  put(byId("pause"), view.isPaused ? "Resume" : "Pause");
  schedule();
});
byId("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(byId("curl").textContent);
    put(byId("copy"), "Copied");
  } catch {
    getSelection().selectAllChildren(byId("curl")); // no clipboard on plain HTTP: at least selected
    put(byId("copy"), "Selected: press Ctrl-C");
  }
});
byId("filters").addEventListener("submit", (event) => {
  event.preventDefault();
  follow();
});
byId("topic").addEventListener("change", follow);
document.addEventListener("visibilitychange", schedule);

async function start() {
  try {
    const response = await ask("topics");
    if (response.status === 403) {
      showState("forbidden");
      return;
    }
    if (!response.ok) throw new Error(`topics: ${response.status}`);
    const answer = await response.json();
    const names = list(answer.items).filter((row) => !row.internal).map((row) => text(row.topic));
    byId("topic").replaceChildren(...names.map((name) => Object.assign(document.createElement("option"), { value: name, textContent: clip(name) })));
    let wanted = "";
    try { wanted = decodeURIComponent(location.hash.slice(1)); } catch { /* an address that is none */ }
    const first = names.includes(wanted) ? wanted : names.find((name) => name === "processed-orders") ?? names[0];
    if (!first) {
      showState("live");
      return;
    }
    byId("topic").value = first;
    follow();
  } catch {
    showState("offline");
    setTimeout(start, RETRY_MS);
  }
}
start();
