// WebSocket in real Chromium: the example of docs/getting-started.md as it stands there, and a socket that is
// closed and resumed. Needs what dashboard.test.mjs does.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { launch, watch } from "./browser.mjs";

const base = process.env.MILLRACE_DASHBOARD_URL?.replace(/\/$/, "");
assert.ok(base, "MILLRACE_DASHBOARD_URL must be set");
const { origin, host } = new URL(base);
let browser;

before(async () => { browser = await launch(); });
after(async () => { await browser?.close(); });

async function open() {
  const page = await browser.context.newPage();
  const watcher = watch(page, origin);
  await page.goto(`${base}/docs`); // a page of ours that opens no streams of its own
  return { page, ...watcher };
}

/** The code block of the guide, for this server. */
function example() {
  const guide = readFileSync(new URL("../../../docs/getting-started.md", import.meta.url), "utf8");
  const block = guide.match(/^ {4}const positions[\s\S]*?^ {4}connect\(\);$/m);
  assert.ok(block, "the example is gone from the guide");
  return block[0].replace("127.0.0.1:8081", host);
}

test("the guide's example hears both of its subscriptions", async () => {
  const { page, complaints } = await open();
  const heard = new Set();
  page.on("console", (message) => heard.add(message.text().split(" ")[0]));
  await page.evaluate(example());
  for (let i = 0; i < 300 && !(heard.has("metrics") && heard.has("large")); i++) await page.waitForTimeout(100);
  assert.deepEqual([...heard].filter((name) => ["metrics", "large"].includes(name)).sort(), ["large", "metrics"]);
  assert.deepEqual(complaints, []);
  await page.close();
});

test("a socket that was closed is resumed without a record missing or twice", async () => {
  const { page, complaints } = await open();
  const seen = await page.evaluate(async () => {
    const take = (ask, count) => new Promise((resolve, reject) => {
      const socket = new WebSocket(`ws://${location.host}/ws`, "millrace.v1");
      const records = [];
      let id;
      socket.onopen = () => socket.send(JSON.stringify({ subscription: "s", topics: ["orders"], unacked_max: count, ...ask }));
      socket.onmessage = ({ data }) => {
        const message = JSON.parse(data);
        if (message.event === "error") reject(new Error(data));
        id = message.id ?? id;
        if (!message.event) records.push(`${message.partition}/${message.offset}`);
        if (records.length === count) socket.close(1000);
      };
      socket.onclose = ({ code, wasClean }) => resolve({ records, id, code, wasClean, protocol: socket.protocol });
    });
    const all = await take({ action: "subscribe", from: "earliest" }, 12);
    const first = await take({ action: "subscribe", from: "earliest" }, 5);
    const rest = await take({ action: "resume", last_event_id: first.id }, 7);
    return { all, first, rest };
  });
  for (const part of Object.values(seen))
    assert.deepEqual([part.code, part.wasClean, part.protocol], [1000, true, "millrace.v1"]);
  const both = [...seen.first.records, ...seen.rest.records];
  assert.equal(new Set(both).size, 12);
  for (const place of both) { // in each partition from its beginning, none left out
    const [partition, offset] = place.split("/").map(Number);
    assert.ok(offset === 0 || both.indexOf(`${partition}/${offset - 1}`) < both.indexOf(place), place);
    assert.ok(offset === 0 || both.includes(`${partition}/${offset - 1}`), place);
  }
  assert.deepEqual(complaints, []);
  await page.close();
});
