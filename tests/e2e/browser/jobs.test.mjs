// The job view in real Chromium; see dashboard.test.mjs for what has to be set.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { launch, watch } from "./browser.mjs";

const base = process.env.MILLRACE_DASHBOARD_URL?.replace(/\/$/, "");
const pictures = process.env.MILLRACE_SCREENSHOTS;
assert.ok(base, "MILLRACE_DASHBOARD_URL must be set");

const origin = new URL(base).origin;
const PATIENCE = { timeout: 60_000 };
let browser;

before(async () => { browser = await launch(); });
after(async () => { await browser?.close(); });

async function open(path = "/jobs-view", size = { width: 1280, height: 900 }, prepare = async () => {}) {
  const page = await browser.context.newPage();
  await page.setViewportSize(size);
  const watcher = watch(page, origin);
  await prepare(page);
  await page.goto(base + path);
  return { page, ...watcher };
}

async function picture(page, name) {
  if (!pictures) return;
  mkdirSync(pictures, { recursive: true });
  await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
}

const untilShown = (page, title) =>
  page.waitForFunction((name) => document.getElementById("job-title").textContent === name, title, PATIENCE);

test("the jobs are there, and the keyboard chooses one", async () => {
  const { page, complaints } = await open();
  await page.waitForSelector('#connection[data-state="live"]', PATIENCE);
  await page.waitForSelector('#jobs a[href="#orders"]', PATIENCE);
  await page.focus('#jobs a[href="#orders"]');
  await page.keyboard.press("Enter");
  await untilShown(page, "orders");
  assert.equal(await page.getAttribute('#jobs tr:has(a[href="#orders"])', "aria-current"), "true");
  assert.match(await page.textContent("#graph"), /processed-orders/);
  assert.ok((await page.locator("#graph .segment").count()) >= 1);
  assert.ok((await page.locator("#graph .edge").count()) >= 2);
  assert.ok((await page.locator("#tasks tbody tr").count()) >= 1);
  assert.ok((await page.locator("#instances tbody tr").count()) >= 1);
  const answer = await (await fetch(`${base}/${await page.getAttribute("#job-json", "href")}`)).json();
  assert.equal(answer.pipeline, "orders");
  await picture(page, "jobs-light");
  assert.deepEqual(complaints, []);
  await page.close();
});

test("a savepoint is asked for, and seen until it is there", async () => {
  const { page, complaints } = await open("/jobs-view#product-metrics");
  await untilShown(page, "product-metrics");
  await page.click("#save");
  await page.waitForFunction(() => /^Asked for: \S+$/.test(document.getElementById("outcome").textContent), null, PATIENCE);
  const name = (await page.textContent("#outcome")).split(" ")[2];
  await page.waitForSelector('#savepoints .badge[data-state="done"]', PATIENCE);
  const row = await page.textContent("#savepoints tbody tr");
  assert.ok(row.includes(name), row);
  assert.deepEqual(complaints, []);
  await page.close();
});

test("pause holds the picture", async () => {
  const { page } = await open();
  await page.waitForSelector("#jobs tbody tr", PATIENCE);
  await page.click("#pause");
  assert.equal(await page.textContent("#pause"), "Resume");
  let asked = 0;
  page.on("request", (request) => { asked += new URL(request.url()).pathname.startsWith("/jobs"); });
  await page.click("#pause");
  await page.waitForRequest((request) => new URL(request.url()).pathname === "/jobs", PATIENCE);
  assert.ok(asked >= 1);
  await page.close();
});

const HOSTILE = "<img src=x onerror=alert(1)>";

test("what comes from Kafka is text, never markup, and may be anything", async () => {
  const row = { pipeline: HOSTILE, state: HOSTILE, reasons: [HOSTILE, 7], lag: "x", rates: [], instance_count: 7 };
  const job = {
    ...row, as_of: "never", restore: 7, flow: [7], instances: [7, { instance: HOSTILE, threads: [{ state: HOSTILE }] }],
    topology: {
      sources: [{ topic: HOSTILE, segment: 0 }, { topic: "t", segment: 99 }, 7],
      segments: [{ name: HOSTILE, steps: [{ kind: HOSTILE, text: HOSTILE }], next: [0, 1, "x"] }, { next: [0] }, null],
    },
    tasks: [{ state: HOSTILE, inputs: [7, null] }], standbys: [7, { state: HOSTILE, instance: HOSTILE }],
    savepoints: [null, { name: HOSTILE, state: "running", phase: HOSTILE }, { name: HOSTILE, state: HOSTILE, reason: HOSTILE, place: 7 }], errors: [{ code: HOSTILE, text: HOSTILE, at: 1 }],
  };
  const { page, complaints } = await open("/jobs-view", undefined, async (page) => {
    await page.route("**/jobs", (route) => route.fulfill({ json: { as_of: 1, items: [row] } }));
    await page.route("**/jobs/*", (route) => route.fulfill({ json: job }));
  });
  await untilShown(page, HOSTILE);
  await page.waitForFunction(() => document.querySelectorAll("#errors tbody tr").length === 1, null, PATIENCE);
  assert.equal(await page.locator("#jobs img, #job img").count(), 0);
  assert.match(await page.textContent("#graph"), /<img/);
  assert.equal(await page.locator("#standbys tbody tr").count(), 2);
  assert.match(await page.textContent("#savepoints"), /<img/);
  assert.deepEqual(complaints, []);
  await page.close();
});

const overflow = (page) =>
  page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

test("it fits a phone, in light and in dark", async () => {
  const { page, complaints } = await open("/jobs-view#orders", { width: 360, height: 780 });
  await page.waitForSelector("#graph .segment", PATIENCE);
  assert.ok((await overflow(page)) <= 0, "the page scrolls sideways");
  await picture(page, "jobs-phone");
  await page.click("#theme");
  assert.equal(await page.getAttribute("html", "data-theme"), "dark");
  await picture(page, "jobs-phone-dark");
  await page.click("#theme");
  assert.deepEqual(complaints, []);
  await page.close();
});
