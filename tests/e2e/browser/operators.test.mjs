// Consumer groups and dead letters in real Chromium; see dashboard.test.mjs for what has to be set.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { launch, watch } from "./browser.mjs";

const base = process.env.MILLRACE_DASHBOARD_URL?.replace(/\/$/, "");
const ingest = process.env.MILLRACE_INGEST_URL?.replace(/\/$/, "");
const pictures = process.env.MILLRACE_SCREENSHOTS;
assert.ok(base && ingest, "MILLRACE_DASHBOARD_URL and MILLRACE_INGEST_URL must be set");

const origin = new URL(base).origin;
const PATIENCE = { timeout: 60_000 };
const PHONE = { width: 360, height: 740 };
const HOSTILE = "<img src=x onerror=alert(1)>";
let browser;

before(async () => { browser = await launch(); });
after(async () => { await browser?.close(); });

async function open(path, size = { width: 1280, height: 900 }, prepare = async () => {}) {
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

const overflow = (page) => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);

test("groups are there with their lag, and the keyboard chooses one", async () => {
  const { page, complaints } = await open("/groups-view");
  await page.waitForSelector('#connection[data-state="live"]', PATIENCE);
  await page.waitForSelector('#groups a[href="#orders"]', PATIENCE);
  await page.focus('#groups a[href="#orders"]');
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.getElementById("group-title").textContent === "orders", null, PATIENCE);
  assert.equal(await page.getAttribute('#groups tr:has(a[href="#orders"])', "aria-current"), "true");
  assert.ok((await page.locator("#offsets tbody tr").count()) >= 1);
  assert.ok((await page.locator("#members tbody tr").count()) >= 1);
  assert.match(await page.textContent("#as-of"), /as of/);
  await picture(page, "groups-light");
  assert.deepEqual(complaints, []);
  await page.close();
});

test("the worst group comes first, and what it is called is text", async () => {
  const row = { group: HOSTILE, status: "stalled", reasons: [HOSTILE], state: "Stable", member_count: 1, partition_count: 1,
    lag: 7, lost: 0, topics: ["orders", HOSTILE], rates: { in: 1, out: 0 }, consumer: HOSTILE };
  const { page, complaints } = await open("/groups-view", PHONE, async (made) => {
    await made.route("**/groups", (route) => route.fulfill({ json: { as_of: 1, complete: false, reasons: [HOSTILE], items: [row] } }));
    await made.route("**/groups/*", (route) => route.fulfill({ json: { as_of: 1, complete: true, ...row, assignor: "range", coordinator: 1, members: [], offsets: [] } }));
  });
  await page.waitForSelector('.badge[data-state="stalled"]', PATIENCE);
  assert.equal(await page.locator("main img").count(), 0);
  assert.match(await page.textContent("#missing"), /<img/);
  assert.ok(await overflow(page) <= 0);
  assert.deepEqual(complaints, []);
  await page.close();
});

test("a named consumer is put elsewhere, and kept no more", async () => {
  const name = `page-${Date.now()}`;
  const stream = new AbortController();
  const opened = await fetch(`${base}/events/orders?consumer=${name}`, { signal: stream.signal });
  await opened.body.getReader().read(); // it has begun, and so there is a position
  const { page, complaints, expectOutage } = await open("/groups-view");
  await page.click(`#consumers a[href="#millrace.consumer.${name}"]`, PATIENCE);
  await page.waitForFunction((group) => document.getElementById("group-title").textContent === group, `millrace.consumer.${name}`, PATIENCE);
  await page.click("#reset");
  await page.selectOption("#to", "earliest");
  await picture(page, "consumers-light");
  await page.click('#sure button[value="yes"]');
  await page.waitForFunction(() => /^Now at orders~/.test(document.getElementById("outcome").textContent), null, PATIENCE);
  const kept = await (await fetch(`${base}/consumers/${name}`)).json();
  assert.ok(kept.topics.every((topic) => topic.reset && topic.lag > 0), JSON.stringify(kept));
  expectOutage(true); // until the list is asked for again, what was chosen is a 404
  await page.click("#forget");
  await page.click('#sure button[value="yes"]');
  await page.waitForFunction(() => document.getElementById("outcome").textContent === "It is kept no more.", null, PATIENCE);
  await page.waitForSelector("#named", { state: "hidden", ...PATIENCE });
  assert.equal((await fetch(`${base}/consumers/${name}`)).status, 404);
  stream.abort();
  assert.deepEqual(complaints, []);
  await page.close();
});

test("a dead letter is found, read, and sent back once", async () => {
  const id = `lost-${Date.now()}`;
  const order = { order_id: id, user_id: "u-1", product_id: "prod-99", amount: 12.5, timestamp: new Date().toISOString() };
  const posted = await fetch(`${ingest}/events/orders`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(order) });
  assert.equal(posted.status, 201, await posted.text());
  const { page, complaints } = await open("/letters-view#orders.dlq");
  await page.waitForSelector('#connection[data-state="live"]', PATIENCE);
  await page.fill("#text", id);
  await page.waitForFunction(async () => { // until the worker has refused it
    document.getElementById("filters").requestSubmit();
    await new Promise((resolve) => { setTimeout(resolve, 300); });
    return document.querySelectorAll("#letters tbody button").length === 1;
  }, null, PATIENCE);
  await page.focus("#letters tbody button");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#letter:not([hidden])", PATIENCE);
  assert.match(await page.textContent("#value"), new RegExp(id));
  assert.match(await page.textContent("#facts"), /reference-missing/);
  await picture(page, "letters-light");
  await page.click("#replay-one");
  await page.click('#sure button[value="yes"]');
  await page.waitForFunction(() => /^1 sent back/.test(document.getElementById("outcome").textContent), null, PATIENCE);
  assert.deepEqual(complaints, []);
  await page.close();
});

test("the tail shows what comes, holds still when it is told to, and says how to ask for it", async () => {
  const { page, complaints } = await open("/tail-view#orders");
  await page.waitForSelector('#connection[data-state="live"]', PATIENCE);
  const id = `tail-${Date.now()}`;
  await page.fill("#key", id);
  await page.click('#filters button[type="submit"]');
  await page.waitForSelector('#connection[data-state="live"]', PATIENCE);
  const order = { order_id: id, user_id: "u-1", product_id: "prod-1", amount: 12.5, timestamp: new Date().toISOString() };
  const post = async () => {
    const posted = await fetch(`${ingest}/events/orders`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(order) });
    assert.equal(posted.status, 201, await posted.text());
  };
  await post();
  await page.waitForFunction(() => document.querySelectorAll("#records tbody tr").length === 1, null, PATIENCE);
  assert.match(await page.textContent("#records"), new RegExp(id));
  await page.click("#pause");
  await post();
  await page.waitForFunction(() => document.getElementById("pause").textContent === "Resume (1 new)", null, PATIENCE);
  assert.equal(await page.locator("#records tbody tr").count(), 1);
  await page.click("#pause");
  await page.waitForFunction(() => document.querySelectorAll("#records tbody tr").length === 2, null, PATIENCE);
  assert.match(await page.textContent("#curl"), new RegExp(`^curl -N '${origin}/events/orders\\?key=${id}'$`));
  await picture(page, "tail-light");
  await page.setViewportSize(PHONE);
  assert.ok(await overflow(page) <= 0);
  assert.deepEqual(complaints, []);
  await page.close();
});

test("letters fit a phone, and what is in them is text", async () => {
  const letter = { partition: 0, offset: 7, timestamp: 1, key: HOSTILE, value: HOSTILE, value_bytes: 9, value_cut: false, source: HOSTILE,
    source_partition: 0, source_offset: 1, class: "process", code: HOSTILE, message: HOSTILE.repeat(9), pipeline: HOSTILE, step: "", replays: 0,
    dealt_with: false, headers: [{ name: HOSTILE, value: HOSTILE }] };
  const { page, complaints } = await open("/letters-view#orders.dlq", PHONE, async (made) => {
    await made.route("**/dead-letters/*/0/7", (route) => route.fulfill({ json: letter }));
    await made.route(/dead-letters\/[^/]+\?/, (route) => route.fulfill({ json: { scanned: 1, next_cursor: null, items: [letter] } }));
  });
  await page.click("#letters tbody button", PATIENCE);
  await page.waitForSelector("#letter:not([hidden])", PATIENCE);
  assert.equal(await page.locator("main img").count(), 0);
  assert.ok(await overflow(page) <= 0);
  assert.deepEqual(complaints, []);
  await page.close();
});
