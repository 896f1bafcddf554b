// model.js - what the page knows: windows per product, rate, latency. Pure: no DOM, no clock, no
// network; every structure is bounded. `now` is always epoch milliseconds, given by the caller.

const PRODUCTS_MAX = 500;
const WINDOWS_MAX = 60; // per product
const LATENCIES_MAX = 4096;
const RATE_SECONDS = 90;
const MINUTE_MS = 60_000;

export class Model {
  products = new Map(); // product id -> { id, windows: Map(start -> row), latest, updatedAt }
  newestEventAt = 0; // the latest event time of any order seen
  latencySource = ""; // "ingest" | "event": what latency is measured from
  #firstOrderSecond = Infinity;
  #rate = new Map(); // epoch second -> orders received in it
  #latencies = []; // { at, ms }, oldest first

  /** An item of GET /latest/product-metrics; what the stream has told already wins. */
  applySnapshot(item, now) {
    const known = this.products.get(item?.value?.product_id)?.windows.get(item.value.window_start);
    if (known && !(item.partition === known.partition && item.offset > known.offset)) return;
    this.#put(item, Math.min(now, item.timestamp || now));
  }

  /** An enveloped record of product-metrics. */
  applyMetric(record, now) {
    this.#put(record, now);
  }

  /** An enveloped record of processed-orders: feeds rate, latency and freshness. */
  applyOrder(record, now) {
    const second = Math.floor(now / 1000);
    this.#firstOrderSecond = Math.min(this.#firstOrderSecond, second);
    this.#rate.set(second, (this.#rate.get(second) ?? 0) + 1);
    for (const old of this.#rate.keys()) {
      if (old > second - RATE_SECONDS) break; // a Map keeps insertion order: the rest is younger
      this.#rate.delete(old);
    }
    const eventAt = parseTime(record.value?.timestamp) ?? record.timestamp;
    if (Number.isFinite(eventAt)) this.newestEventAt = Math.max(this.newestEventAt, Math.min(eventAt, now));
    this.#addLatency(record, eventAt, now);
  }

  remove(productId) {
    this.products.delete(productId);
  }

  /** Rows for the table: the latest window of every product. */
  latest() {
    return [...this.products.values()].map((p) => ({ ...p.latest, id: p.id, updatedAt: p.updatedAt }));
  }

  /** Orders per second over the last complete `seconds`. */
  rate(now, seconds) {
    // A page that has just opened has heard less than that.
    const heard = Math.floor(now / 1000) - this.#firstOrderSecond - 1;
    const counts = this.rateSeries(now, Math.max(1, Math.min(seconds, heard)));
    return counts.reduce((sum, n) => sum + n, 0) / counts.length;
  }

  /** Orders in each of the last complete seconds, oldest first. */
  rateSeries(now, seconds) {
    const current = Math.floor(now / 1000);
    return Array.from({ length: seconds }, (_, i) => this.#rate.get(current - seconds + i) ?? 0);
  }

  /** { count, p50, p95 } in milliseconds over the last minute. */
  latency(now) {
    while (this.#latencies.length && this.#latencies[0].at < now - MINUTE_MS) this.#latencies.shift();
    const sorted = this.#latencies.map((l) => l.ms).sort((a, b) => a - b);
    const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
    return { count: sorted.length, p50: at(0.5), p95: at(0.95) };
  }

  /** Sums over all products for the newest window that any of them has. */
  currentWindow() {
    const rows = this.latest();
    const start = Math.max(...rows.map((r) => r.start));
    const current = rows.filter((r) => r.start === start);
    if (!current.length) return null;
    const sum = (field) => current.reduce((total, r) => total + r[field], 0);
    return { start, end: current[0].end, orders: sum("orders"), revenue: sum("revenue") };
  }

  /** Columns for the chart: [starts, …one array per id], null where a product has no such window. */
  columns(ids, field) {
    const starts = new Set();
    for (const id of ids) for (const start of this.products.get(id)?.windows.keys() ?? []) starts.add(start);
    const xs = [...starts].sort((a, b) => a - b).slice(-WINDOWS_MAX);
    return [xs, ...ids.map((id) => xs.map((x) => this.products.get(id)?.windows.get(x)?.[field] ?? null))];
  }

  /** For a tab that joins late; load() takes it. */
  dump() {
    return [...this.products.values()].map((p) => ({ ...p, windows: [...p.windows.values()] }));
  }

  load(dump) {
    for (const p of dump) {
      if (this.products.size >= PRODUCTS_MAX || this.products.get(p.id)?.windows.size >= p.windows.length) continue;
      this.products.set(p.id, { ...p, windows: new Map(p.windows.map((row) => [row.start, row])) });
    }
  }

  #put(record, updatedAt) {
    const row = readRow(record);
    if (!row) return;
    const id = record.value.product_id;
    const product = this.products.get(id) ?? { id, windows: new Map(), latest: row, updatedAt };
    product.windows.set(row.start, row);
    product.updatedAt = updatedAt;
    if (row.start >= product.latest.start) product.latest = row;
    if (product.windows.size > WINDOWS_MAX) product.windows.delete(Math.min(...product.windows.keys()));
    this.products.set(id, product);
    if (this.products.size > PRODUCTS_MAX) this.products.delete(this.products.keys().next().value);
  }

  #addLatency(record, eventAt, now) {
    // The gateway's own stamp measures the pipeline alone; without it only the order's timestamp is
    // left, which also counts how late the sender was.
    const ingestAt = parseTime(record.headers?.["millrace-ingest-time"]);
    const from = ingestAt ?? eventAt;
    if (!Number.isFinite(from)) return;
    this.latencySource = ingestAt ? "ingest" : "event";
    this.#latencies.push({ at: now, ms: now - from });
    if (this.#latencies.length > LATENCIES_MAX) this.#latencies.shift();
  }
}

function readRow({ value, headers, partition, offset }) {
  const row = {
    start: value?.window_start,
    end: value?.window_end,
    orders: value?.order_count,
    revenue: value?.total_revenue,
    average: value?.avg_order_value,
    isFinal: headers?.["millrace-result"] === "final",
  };
  const isSound = [row.start, row.end, row.orders, row.revenue, row.average].every(Number.isFinite);
  return isSound && typeof value.product_id === "string" ? { ...row, partition, offset } : null;
}

/** Epoch seconds, epoch milliseconds or ISO 8601 to epoch milliseconds; null when unreadable. */
export function parseTime(value) {
  if (value === undefined || value === null || value === "") return null;
  const number = Number(value);
  if (Number.isFinite(number)) return Math.abs(number) < 1e11 ? number * 1000 : number;
  const parsed = Date.parse(value);
  return Number.isNaN(parsed) ? null : parsed;
}
