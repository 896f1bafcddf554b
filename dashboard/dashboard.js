// dashboard.js - the page: wires model, feed and chart to the document.
// Everything from Kafka is untrusted: it reaches the document as textContent only.
import { Feed } from "./feed.js";
import { Model } from "./model.js";
import { WindowChart, drawSparkline } from "./chart.js";
import { ask, isSignedIn } from "./sign-in.js";
import { clip, clock, compact, duration, put, whole } from "./words.js";

const METRICS = "product-metrics";
const ORDERS = "processed-orders";
const ROWS_MAX = 50;
const CHART_PRODUCTS_MAX = 8;
const FRAME_MS = 120; // at most this often, however fast records come
const TICK_MS = 500; // ages and rates move without records, too
const RATE_SECONDS = 10;
const SPARK_SECONDS = 60;
const NOTICE_MS = 12_000;

const byId = (id) => document.getElementById(id);
const model = new Model();
const chart = new WindowChart(byId("chart"));
const colours = new Map(); // product id -> colour index, in order of appearance
const hidden = new Set(); // products switched off in the legend
const rows = new Map(); // product id -> <tr>
const view = { field: "revenue", sort: "id", isAscending: true, isPaused: false, waiting: 0, lag: null };

// --- Words and figures ---------------------------------------------------------------------------

const cents = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const FORMATS = {
  revenue: function revenue(n) { return compact.format(n); },
  orders: function orders(n) { return compact.format(n); },
  average: function average(n) { return compact.format(n); },
};

function colourOf(id) {
  if (!colours.has(id)) colours.set(id, colours.size % CHART_PRODUCTS_MAX);
  return colours.get(id);
}

// --- Drawing: once per animation frame at most ------------------------------------------------------

let isScheduled = false;
let drawnAt = 0;

function schedule() {
  if (isScheduled || view.isPaused || document.hidden) return;
  isScheduled = true;
  const wait = Math.max(0, FRAME_MS - (performance.now() - drawnAt));
  setTimeout(() => requestAnimationFrame(draw), wait);
}

function draw() {
  isScheduled = false;
  if (view.isPaused) return;
  drawnAt = performance.now();
  const now = Date.now();
  drawTiles(now);
  drawTable(now);
  drawChart();
}

function drawTiles(now) {
  const rate = model.rate(now, RATE_SECONDS);
  put(byId("rate"), rate >= 100 ? whole.format(rate) : rate.toFixed(1));
  drawSparkline(byId("rate-line"), model.rateSeries(now, SPARK_SECONDS));

  const { count, p50, p95 } = model.latency(now);
  put(byId("latency-p50"), duration(p50));
  put(byId("latency-p95"), duration(p95));
  const from = model.latencySource === "ingest" ? "HTTP arrival to this page" : "order’s own timestamp to this page";
  put(byId("latency-hint"), count ? `${from}, last minute` : "no orders in the last minute");

  const behind = model.newestEventAt ? now - model.newestEventAt : NaN;
  put(byId("behind"), duration(behind));
  put(byId("as-of"), model.newestEventAt ? clock(model.newestEventAt) : "–");
  put(byId("lag"), view.lag > 0 ? `${whole.format(view.lag)} records unread when opened` : "event time of the newest order");
  drawWindowTile(now);
}

function drawWindowTile(now) {
  const current = model.currentWindow();
  if (!current) return;
  put(byId("window-revenue"), current.revenue < 1e6 ? whole.format(current.revenue) : compact.format(current.revenue));
  put(byId("window-orders"), whole.format(current.orders));
  put(byId("window-bounds"), windowLabel(current));
  const share = (now / 1000 - current.start) / (current.end - current.start);
  byId("window-meter").style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
}

const windowLabel = (row) => `${clock(row.start * 1000)} – ${clock(row.end * 1000)}`;

function stateOf(row, now) {
  if (row.isFinal) return "final";
  return row.end * 1000 > now ? "counting" : "ended";
}

function compareRows(a, b) {
  const order = view.sort === "id" ? a.id.localeCompare(b.id, "en", { numeric: true }) : a[view.sort] - b[view.sort];
  return view.isAscending ? order : -order;
}

function drawTable(now) {
  const all = model.latest().sort(compareRows);
  const shown = all.slice(0, ROWS_MAX);
  const top = Math.max(...shown.map((r) => r.revenue), 1);
  const body = byId("windows").tBodies[0];
  shown.forEach((row, i) => {
    const tr = rows.get(row.id) ?? makeRow(row.id);
    if (body.rows[i] !== tr) body.insertBefore(tr, body.rows[i] ?? null);
    fillRow(tr, row, now, top);
  });
  const ids = new Set(shown.map((r) => r.id));
  for (const [id, tr] of rows) {
    if (ids.has(id)) continue;
    tr.remove();
    rows.delete(id);
  }
  byId("empty").hidden = all.length > 0;
  put(byId("table-count"), all.length > ROWS_MAX ? `${ROWS_MAX} of ${whole.format(all.length)} products` : "");
}

function makeRow(id) {
  const tr = byId("row").content.firstElementChild.cloneNode(true);
  tr.dataset.product = id;
  tr.querySelector(".swatch").classList.add(`colour-${colourOf(id)}`);
  rows.set(id, tr);
  return tr;
}

function fillRow(tr, row, now, topRevenue) {
  const cell = (name) => tr.querySelector(`[data-cell="${name}"]`);
  const orders = whole.format(row.orders);
  if (cell("orders").textContent !== orders) refresh(cell("orders"));
  put(cell("id"), clip(row.id));
  put(cell("orders"), orders);
  put(cell("revenue"), cents.format(row.revenue));
  put(cell("average"), cents.format(row.average));
  put(cell("window"), windowLabel(row));
  put(cell("updated"), `${duration(Math.max(0, now - row.updatedAt))} ago`);
  put(cell("state"), stateOf(row, now));
  cell("state").dataset.state = stateOf(row, now);
  tr.querySelector(".bar").style.width = `${Math.max(0, (row.revenue / topRevenue) * 60)}px`;
}

function refresh(element) {
  element.classList.remove("fresh");
  void element.offsetWidth; // restarts the animation
  element.classList.add("fresh");
}

function drawChart() {
  const ids = [...model.products.keys()]
    .sort((a, b) => a.localeCompare(b, "en", { numeric: true }))
    .slice(0, CHART_PRODUCTS_MAX);
  if (!ids.length || !window.uPlot) return;
  drawLegend(ids);
  const series = ids.map((id) => ({ id, colourIndex: colourOf(id), isShown: !hidden.has(id) }));
  const columns = model.columns(ids, view.field);
  const current = model.currentWindow();
  const isOpen = current.end * 1000 > Date.now();
  chart.draw(columns, series, {
    format: FORMATS[view.field],
    openFrom: isOpen ? current.start - (current.end - current.start) / 2 : null,
  });
}

function drawLegend(ids) {
  const legend = byId("legend");
  const wanted = ids.join("\n");
  if (legend.dataset.ids === wanted) return;
  legend.dataset.ids = wanted;
  legend.replaceChildren(...ids.map(legendButton));
}

function legendButton(id) {
  const button = document.createElement("button");
  const swatch = document.createElement("i");
  button.type = "button";
  swatch.className = `swatch colour-${colourOf(id)}`;
  button.append(swatch, clip(id));
  button.setAttribute("aria-pressed", String(!hidden.has(id)));
  button.addEventListener("click", () => {
    if (!hidden.delete(id)) hidden.add(id);
    button.setAttribute("aria-pressed", String(!hidden.has(id)));
    drawChart();
  });
  return button;
}

// --- Controls -----------------------------------------------------------------------------------------

function setPaused(isPaused) {
  view.isPaused = isPaused;
  view.waiting = 0;
  const button = byId("pause");
  button.setAttribute("aria-pressed", String(isPaused));
  put(button, isPaused ? "Resume" : "Pause");
  schedule();
}

function countWaiting() {
  view.waiting += 1;
  if (view.waiting % 10 === 1) put(byId("pause"), `Resume (${compact.format(view.waiting)} new)`);
}

function sortBy(header) {
  const isSame = view.sort === header.dataset.sort;
  view.isAscending = isSame ? !view.isAscending : header.dataset.sort === "id";
  view.sort = header.dataset.sort;
  for (const other of document.querySelectorAll("th[data-sort]")) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", view.isAscending ? "ascending" : "descending");
  drawTable(Date.now());
}

function showField(button) {
  view.field = button.dataset.field;
  for (const other of document.querySelectorAll("[data-field]")) {
    other.setAttribute("aria-pressed", String(other === button));
  }
  drawChart();
}

function addCurl(what, command) {
  const item = byId("curl").content.firstElementChild.cloneNode(true);
  const code = item.querySelector("code");
  const button = item.querySelector("button");
  item.querySelector("[data-cell]").textContent = what;
  code.textContent = command;
  button.setAttribute("aria-label", `Copy as curl: ${what}`);
  button.addEventListener("click", () => copy(code, button));
  byId("curls").append(item);
}

function showCurls() {
  const curl = isSignedIn() ? 'curl -H "Authorization: Bearer $MILLRACE_KEY"' : "curl";
  byId("curls").replaceChildren();
  addCurl("Latest window of every product", `${curl} ${location.origin}/latest/${METRICS}`);
  addCurl("Live windows, as they change", `${curl} -N ${location.origin}/events/${METRICS}`);
  addCurl("Processed orders with partition, offset and headers", `${curl} -N '${location.origin}/events/${ORDERS}?envelope=1'`);
}

async function copy(code, button) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    put(button, "Copied");
    setTimeout(() => put(button, "Copy as curl"), 1500);
  } catch {
    getSelection().selectAllChildren(code); // no clipboard on plain HTTP: at least selected
    put(button, "Selected: press Ctrl-C");
  }
}

// --- Data ---------------------------------------------------------------------------------------------

async function loadSnapshot() {
  try {
    const response = await ask(`latest/${METRICS}`);
    if (!response.ok) return; // the stream fills the table all the same, or says why not
    const { lag, items } = await response.json();
    const now = Date.now();
    view.lag = lag;
    for (const item of items) model.applySnapshot(item, now);
    schedule();
  } catch {
    // The service is down; the connection pill says so, and a reconnect asks again.
  }
}

function takeRecord(record) {
  const now = Date.now();
  if (record.topic === METRICS) model.applyMetric(record, now);
  else if (record.topic === ORDERS) model.applyOrder(record, now);
  if (view.isPaused) countWaiting();
  schedule();
}

const STATES = { connecting: "Connecting", live: "Live", offline: "Offline, reconnecting", forbidden: "No right to read this" };
let noticeTimer = 0;

function showState(state) {
  const pill = byId("connection");
  const wasOffline = pill.dataset.state === "offline" || pill.dataset.state === "forbidden";
  pill.dataset.state = state;
  put(pill, STATES[state]);
  if (state === "live" && wasOffline) loadSnapshot();
}

const NOTICES = {
  gap: "Some records between are no longer in Kafka. The table was loaded anew.",
  lagged: "This page was too slow for the stream, so records were skipped. The table was loaded anew.",
  shutdown: "The service is restarting. The page reconnects by itself.",
  error: "The service reported an error on the stream. The page reconnects by itself.",
  expired: "The key or token has expired.",
  revoked: "What the key or token may read has changed.",
};

function showNotice(name, detail) {
  const notice = byId("notice");
  const reason = typeof detail?.detail === "string" ? ` (${clip(detail.detail)})` : "";
  notice.hidden = false;
  put(notice, NOTICES[name] + reason);
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => { notice.hidden = true; }, NOTICE_MS);
  if (name === "gap" || name === "lagged") loadSnapshot();
}

// --- Start ----------------------------------------------------------------------------------------------

byId("pause").addEventListener("click", () => setPaused(!view.isPaused));
for (const button of document.querySelectorAll("[data-field]")) button.addEventListener("click", () => showField(button));
for (const header of document.querySelectorAll("th[data-sort]")) {
  header.querySelector("button").addEventListener("click", () => sortBy(header));
}
addEventListener("themechange", () => {
  drawChart();
  schedule();
});
document.addEventListener("visibilitychange", schedule);
setInterval(schedule, TICK_MS);
addEventListener("credentialchange", showCurls);
showCurls();

loadSnapshot();
new Feed([METRICS, ORDERS], {
  onRecord: takeRecord,
  onDelete: (record) => {
    if (record.topic === METRICS) model.remove(record.key);
    schedule();
  },
  onNotice: showNotice,
  onState: showState,
  getHistory: () => model.dump(),
  onHistory: (history) => {
    model.load(history);
    schedule();
  },
}).start();
