// The dashboard and the docs page in real Chromium, against a platform that is already running:
//
//   MILLRACE_DASHBOARD_URL   query-api, e.g. http://127.0.0.1:8081 (needed)
//   MILLRACE_INGEST_URL      ingest-api, e.g. http://127.0.0.1:8080 (needed)
//   MILLRACE_RESTART         command that restarts query-api (its test is skipped without it)
//   MILLRACE_SCREENSHOTS     folder for pictures (optional)
//   MILLRACE_NPM, MILLRACE_CHROMIUM   see browser.mjs
//
// Run: node --test tests/e2e/browser/
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { launch, watch } from "./browser.mjs";

const base = process.env.MILLRACE_DASHBOARD_URL?.replace(/\/$/, "");
const ingest = process.env.MILLRACE_INGEST_URL?.replace(/\/$/, "");
const restart = process.env.MILLRACE_RESTART;
const pictures = process.env.MILLRACE_SCREENSHOTS;
assert.ok(base && ingest, "MILLRACE_DASHBOARD_URL and MILLRACE_INGEST_URL must be set");

const origin = new URL(base).origin;
const PATIENCE = { timeout: 60_000 };
const PRODUCT = "prod-3";
let browser;

before(async () => { browser = await launch(); });
after(async () => { await browser?.close(); });

async function open(path = "/", size = { width: 1280, height: 900 }) {
  const page = await browser.context.newPage();
  await page.setViewportSize(size);
  const watcher = watch(page, origin);
  await page.goto(base + path);
  return { page, ...watcher };
}

async function untilLive(page) {
  await page.waitForSelector('#connection[data-state="live"]', PATIENCE);
  await page.waitForSelector("#windows tbody tr", PATIENCE);
}

async function picture(page, name) {
  if (!pictures) return;
  mkdirSync(pictures, { recursive: true });
  await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
}

async function post(amount, productId = PRODUCT) {
  const now = Date.now();
  const order = { order_id: `o-browser-${now}-${amount}`, user_id: "u-browser", product_id: productId, amount, timestamp: now };
  const response = await fetch(`${ingest}/events/orders`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(order),
  });
  assert.equal(response.status, 201, await response.text());
}

/** What identifies the state of a product's row: its window and its count. */
const rowText = (page, id = PRODUCT) =>
  page.evaluate((product) => {
    const row = [...document.querySelectorAll("#windows tbody tr")].find((r) => r.dataset.product === product);
    return row && ["window", "orders"].map((c) => row.querySelector(`[data-cell="${c}"]`).textContent).join(" ");
  }, id);

async function untilRowChanges(page, from) {
  await page.waitForFunction(([product, old]) => {
    const row = [...document.querySelectorAll("#windows tbody tr")].find((r) => r.dataset.product === product);
    if (!row) return false;
    return ["window", "orders"].map((c) => row.querySelector(`[data-cell="${c}"]`).textContent).join(" ") !== old;
  }, [PRODUCT, from], PATIENCE);
}

const overflow = (page) =>
  page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

test("an order changes the table live, without a reload and without a complaint", async () => {
  await post(12.5);
  const { page, complaints } = await open();
  await untilLive(page);
  await page.waitForFunction((id) => document.querySelector(`[data-product="${id}"]`), PRODUCT, PATIENCE);
  await page.evaluate(() => { window.sameDocument = true; });
  const old = await rowText(page);
  await post(99.99);
  await untilRowChanges(page, old);
  assert.ok(await page.evaluate(() => window.sameDocument), "the page was reloaded");
  await page.waitForFunction(() => /\d/.test(document.getElementById("latency-p95").textContent), null, PATIENCE);
  await page.waitForFunction(() => document.querySelector("#chart canvas"), null, PATIENCE);
  assert.deepEqual(complaints, []);
  await page.close();
});

test("the README's page shows each product, and what comes", async () => {
  const readme = readFileSync(new URL("../../../README.md", import.meta.url), "utf8");
  const [, body] = /```html\n(<!doctype html>[^]*?)```/.exec(readme);
  assert.ok(body.split("\n").length <= 25, "it is to be short");
  const page = await browser.context.newPage();
  const { complaints } = watch(page, origin);
  await page.route(`${base}/page-of-the-readme`, (route) =>
    route.fulfill({ contentType: "text/html", body: body.replace("http://127.0.0.1:8081", base) }));
  await post(20);
  await page.goto(`${base}/page-of-the-readme`);
  const cells = () => page.evaluate((product) => {
    const row = [...document.querySelectorAll("#rows tr")].find((tr) => tr.cells[0].textContent === product);
    return row && [...row.cells].map((cell) => cell.textContent).join(" ");
  }, PRODUCT);
  await page.waitForFunction((product) =>
    [...document.querySelectorAll("#rows tr")].some((tr) => tr.cells[0].textContent === product), PRODUCT, PATIENCE);
  const old = await cells();
  await post(30);
  await page.waitForFunction(([product, was]) => {
    const row = [...document.querySelectorAll("#rows tr")].find((tr) => tr.cells[0].textContent === product);
    return [...row.cells].map((cell) => cell.textContent).join(" ") !== was;
  }, [PRODUCT, old], PATIENCE);
  assert.deepEqual(complaints, []);
  await page.close();
});

test("what comes from Kafka is text, never markup", async () => {
  const { page, complaints } = await open();
  await untilLive(page);
  const made = await page.evaluate(async () => {
    const { Model } = await import("./assets/model.js");
    const model = new Model();
    const value = { window_start: 60, window_end: 120, product_id: "<img src=x onerror=alert(1)>", order_count: 1, total_revenue: 2, avg_order_value: 2 };
    model.applyMetric({ topic: "product-metrics", partition: 0, offset: 0, value }, 1);
    model.applyMetric({ topic: "product-metrics", partition: 0, offset: 1, value: { ...value, order_count: "<b>" } }, 2);
    // As a leading tab would tell it.
    new BroadcastChannel("millrace-dashboard").postMessage({ kind: "frame", name: "record", body: { topic: "product-metrics", partition: 0, offset: 0, value } });
    return model.latest().map((row) => row.orders);
  });
  assert.deepEqual(made, [1], "a count that is no number must be refused");
  await page.waitForFunction(() => [...document.querySelectorAll("#windows tbody th")].some((th) => th.textContent.includes("<img")), null, PATIENCE);
  assert.equal(await page.locator("#windows img").count(), 0);
  assert.deepEqual(complaints, []);
  await page.close();
});

test("all tabs share one stream, and the next one takes over", async () => {
  const opened = [];
  const count = (request) => request.url().includes("/events/") && opened.push(request.url());
  browser.context.on("request", count);
  const first = await open();
  await untilLive(first.page);
  const second = await open();
  await untilLive(second.page);
  assert.equal(opened.length, 1, `streams: ${opened}`);
  await first.page.close();
  await untilLive(second.page);
  const old = await rowText(second.page);
  await post(31);
  await untilRowChanges(second.page, old);
  assert.equal(opened.length, 2, `streams: ${opened}`);
  assert.match(opened[1], /last_event_id=/, "the second tab resumes where the first was");
  browser.context.off("request", count);
  assert.deepEqual([...first.complaints, ...second.complaints], []);
  await second.page.close();
});

test("pause holds the picture, resume catches up", async () => {
  const { page } = await open();
  await untilLive(page);
  await page.waitForSelector(`[data-product="${PRODUCT}"]`, PATIENCE);
  await page.click("#pause");
  const held = await rowText(page);
  await post(44);
  await page.waitForFunction(() => /new/.test(document.getElementById("pause").textContent), null, PATIENCE);
  assert.equal(await rowText(page), held);
  await page.click("#pause");
  await untilRowChanges(page, held);
  await page.close();
});

test("the keyboard reaches every control, and each has a name", async () => {
  const { page } = await open();
  await untilLive(page);
  await page.waitForSelector("#legend button", PATIENCE);
  const wanted = await page.locator("button:visible, a:visible").count();
  const reached = new Set();
  for (let i = 0; i < wanted * 2; i++) {
    await page.keyboard.press("Tab");
    const name = await page.evaluate(() => {
      const e = document.activeElement;
      if (!["A", "BUTTON"].includes(e.tagName)) return "";
      return `${[...document.querySelectorAll("a, button")].indexOf(e)} ${e.getAttribute("aria-label") ?? e.textContent.trim()}`;
    });
    if (name) reached.add(name);
  }
  assert.ok(reached.size >= wanted, `reached ${reached.size} of ${wanted}`);
  for (const name of reached) assert.match(name, /^\d+ \S/, "a control without a name");
  await page.focus('th[data-sort="revenue"] button');
  await page.keyboard.press("Enter");
  assert.equal(await page.getAttribute('th[data-sort="revenue"]', "aria-sort"), "descending");
  await page.close();
});

test("it fits a phone, in light and in dark", async () => {
  const { page, complaints } = await open("/", { width: 360, height: 780 });
  await untilLive(page);
  await page.waitForSelector("#chart canvas", PATIENCE);
  assert.ok((await overflow(page)) <= 0, "the page scrolls sideways");
  await picture(page, "dashboard-phone");
  await page.click("#theme");
  assert.equal(await page.getAttribute("html", "data-theme"), "dark");
  await picture(page, "dashboard-phone-dark");
  await page.click("#theme");
  assert.deepEqual(complaints, []);
  await page.close();
});

test("the docs page shows every operation of the service", async () => {
  const { page, complaints } = await open("/docs");
  await page.waitForSelector(".operation", PATIENCE);
  const spec = await (await fetch(`${base}/openapi.json`)).json();
  const operations = Object.values(spec.paths).flatMap((p) => Object.keys(p).filter((m) => ["get", "post", "put", "delete"].includes(m)));
  assert.equal(await page.locator(".operation").count(), operations.length);
  await picture(page, "docs");
  const phone = await open("/docs", { width: 360, height: 780 });
  await phone.page.waitForSelector(".operation", PATIENCE);
  assert.ok((await overflow(phone.page)) <= 0, "the docs page scrolls sideways");
  await picture(phone.page, "docs-phone");
  assert.deepEqual([...complaints, ...phone.complaints], []);
  await phone.page.close();
  await page.close();
});

test("the page survives a restart of query-api", { skip: !restart && "MILLRACE_RESTART is not set" }, async () => {
  const { page, complaints, expectOutage } = await open();
  await untilLive(page);
  await page.waitForSelector(`[data-product="${PRODUCT}"]`, PATIENCE);
  expectOutage(true);
  const restarted = new Promise((resolve, reject) => {
    const child = spawn("/bin/sh", ["-c", restart], { stdio: "inherit" });
    child.on("exit", (code) => (code === 0 ? resolve() : reject(new Error(`MILLRACE_RESTART ended with ${code}`))));
  });
  await page.waitForSelector('#connection[data-state="offline"]', PATIENCE);
  await restarted;
  await untilLive(page);
  const old = await rowText(page);
  await post(61.2);
  await untilRowChanges(page, old);
  assert.deepEqual(complaints, []);
  await page.close();
});

test("pictures", { skip: !pictures && "MILLRACE_SCREENSHOTS is not set" }, async () => {
  const { page } = await open();
  await untilLive(page);
  // Enough windows for a chart that shows something.
  await page.waitForFunction(async () => (await fetch("latest/product-metrics")).ok, null, PATIENCE);
  await page.waitForTimeout(Number(process.env.MILLRACE_PICTURE_AFTER_MS ?? 1_000));
  await page.emulateMedia({ colorScheme: "light" });
  await picture(page, "dashboard-light");
  await page.emulateMedia({ colorScheme: "dark" });
  await page.evaluate(() => { delete document.documentElement.dataset.theme; dispatchEvent(new Event("themechange")); });
  await page.waitForTimeout(300);
  await picture(page, "dashboard-dark");
  await page.close();
});
