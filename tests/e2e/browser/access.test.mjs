// The dashboard where access is on, in real Chromium. Beside what dashboard.test.mjs needs:
//
//   MILLRACE_KEY          may read what the pages show, until MILLRACE_REVOKE has run
//   MILLRACE_OTHER_KEY    may, too, all the time
//   MILLRACE_KEEPER_KEY   may, too, and look after all of it
//   MILLRACE_BLIND_KEY    is known, and may read nothing
//   MILLRACE_TOKEN_KEY    secret of 64 letters for HS512 tokens of issuer "e2e" for "millrace"
//   MILLRACE_REVOKE       command that takes MILLRACE_KEY away
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { after, afterEach, before, test } from "node:test";
import { launch, watch } from "./browser.mjs";

const { MILLRACE_KEY: key, MILLRACE_OTHER_KEY: otherKey, MILLRACE_KEEPER_KEY: keeperKey } = process.env;
const { MILLRACE_BLIND_KEY: blindKey, MILLRACE_TOKEN_KEY: secret } = process.env;
const base = process.env.MILLRACE_DASHBOARD_URL;
assert.ok(base && key && otherKey && keeperKey && blindKey && secret, "see above for what must be set");

const origin = new URL(base).origin;
const PATIENCE = { timeout: 60_000 };
let browser;
let addresses; // of all requests of a test

before(async () => {
  browser = await launch();
  browser.context.on("request", (request) => addresses.push(request.url()));
});
after(async () => { await browser?.close(); });
afterEach(async () => {
  for (const page of browser.context.pages()) await page.close(); // or it would lead the next test's
  for (const word of [key, otherKey, keeperKey, blindKey]) assert.ok(!addresses.some((url) => url.includes(word)), "a key in an address");
});

async function open(path = "/") {
  const page = await browser.context.newPage();
  const watcher = watch(page, origin);
  watcher.expectOutage(true); // a 401 is an error to the console
  addresses = [];
  await page.goto(base + path);
  return { page, ...watcher };
}

const untilAsked = (page) => page.waitForSelector("dialog#sign-in[open]", PATIENCE);
const untilLive = (page) => page.waitForSelector('#connection[data-state="live"]', PATIENCE);
const untilRows = (page) => page.waitForSelector("#windows tbody tr", PATIENCE);
const records = (page) => page.evaluate(() => document.querySelectorAll("#windows tbody tr").length);

async function signIn(page, credential) {
  await untilAsked(page);
  await page.fill("#credential", credential);
  await page.keyboard.press("Enter");
}

const untilTold = (page, words) =>
  page.waitForFunction((text) => {
    const reason = document.getElementById("sign-in-reason");
    return reason && !reason.hidden && reason.textContent.includes(text);
  }, words, PATIENCE);

/** The stream moves: the rate is counted from its records alone. */
const untilMoving = (page) =>
  page.waitForFunction(() => Number.parseFloat(document.getElementById("rate").textContent) > 0, null, PATIENCE);

function token(seconds) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const text = `${part({ alg: "HS512", typ: "JWT" })}.${part({
    iss: "e2e", aud: "millrace", sub: "browser", scope: "read:*", exp: Date.now() / 1000 + seconds,
  })}`;
  return `${text}.${createHmac("sha512", secret).update(text).digest("base64url")}`;
}

test("who is not known is asked, and then sees all of it live", async () => {
  const { page, complaints } = await open();
  await untilAsked(page);
  assert.equal(await page.evaluate(() => document.activeElement.id), "credential");
  assert.equal(await records(page), 0);
  for (let i = 0; i < 3; i++) { // there is nothing behind it to go on with
    await page.keyboard.press("Escape");
    await untilAsked(page);
  }
  await signIn(page, "two words");
  await untilTold(page, "no blanks");
  await signIn(page, `${key.slice(0, -1)}${key.endsWith("x") ? "y" : "x"}`);
  await untilTold(page, "not known");
  assert.equal(await records(page), 0);
  await signIn(page, key);
  await untilLive(page);
  await untilRows(page);
  await untilMoving(page);
  const streams = addresses.filter((url) => url.includes("/events/"));
  assert.equal(streams.length, 1, `${streams}`);
  assert.match(streams[0], /[?&]ticket=mt_/);
  assert.match(await page.textContent("#curls"), /\$MILLRACE_KEY/);
  assert.ok(!(await page.content()).includes(key), "the key is in the page");

  const second = await open(); // its own tab is asked by itself, and hears nothing of the first one
  await untilAsked(second.page);
  await page.waitForTimeout(500);
  assert.equal(await records(second.page), 0);
  await signIn(second.page, otherKey);
  await untilRows(second.page);
  await untilMoving(second.page);
  assert.equal(addresses.filter((url) => url.includes("/events/")).length, 0, "they share one stream");

  await page.reload(); // it is still known; the other one has the lead
  await untilRows(page);
  assert.equal(await page.locator("dialog[open]").count(), 0);
  await page.click("#sign-out");
  await untilAsked(page);
  assert.deepEqual([...complaints, ...second.complaints], []);
});

test("who is known and may not is told so", async () => {
  const { page } = await open();
  await signIn(page, blindKey);
  await page.waitForSelector('#connection[data-state="forbidden"]', PATIENCE);
  assert.equal(await records(page), 0);
});

test("the job view asks, too", async () => {
  const { page } = await open("/jobs-view");
  await signIn(page, otherKey);
  await page.waitForSelector('#jobs a[href="#orders"]', PATIENCE);
});

for (const [path, there] of [
  ["/groups-view#orders", '#groups a[href="#orders"]'],
  ["/letters-view#orders.dlq", '#connection[data-state="live"]'],
  ["/tail-view#orders", '#connection[data-state="live"]'],
]) {
  test(`${path} shows nothing to who may not, and all to who may`, async () => {
    const { page } = await open(path);
    await signIn(page, blindKey);
    await page.waitForSelector('#connection[data-state="forbidden"]', PATIENCE);
    assert.equal(await page.textContent("#connection"), "No right to read this");
    assert.equal(await page.locator("tbody tr").count(), 0);
    await page.click("#sign-out");
    await signIn(page, otherKey);
    await page.waitForSelector(there, PATIENCE);
  });
}

for (const [path, button, lacks] of [
  ["/jobs-view#orders", "#save", "query.control.topic"],
  ["/letters-view#orders.dlq", "#replay-one", "admin"],
]) {
  test(`${path} offers to a reader no more than he may do, and says why; to who may, all`, async () => {
    const { page } = await open(path);
    await signIn(page, otherKey);
    await page.waitForSelector("#refused:not([hidden])", { ...PATIENCE, state: "attached" });
    assert.match(await page.textContent("#refused"), new RegExp(`^Not for you to do: .*${lacks}`));
    assert.ok(await page.isDisabled(button));
    await page.click("#sign-out");
    await signIn(page, keeperKey);
    await page.waitForSelector(`${button}:enabled`, { ...PATIENCE, state: "attached" });
    await page.waitForSelector("#refused[hidden]", { ...PATIENCE, state: "attached" });
  });
}

test("a right that is gone since the page was told of it is told when it is tried", async () => {
  const { page } = await open("/jobs-view#orders");
  await signIn(page, otherKey);
  await page.waitForSelector("#save:disabled", PATIENCE);
  await page.evaluate(() => { // as if it had not been told yet
    document.getElementById("save").disabled = false;
    document.getElementById("save").click();
  });
  await page.waitForFunction(() => /^No right to do this: /.test(document.getElementById("outcome").textContent), null, PATIENCE);
});

test("a stream that a proxy cut is opened again by another ticket, where it was", async () => {
  const { page } = await open();
  let cuts = 0;
  await page.route("**/events/**", async (route) => {
    cuts += 1;
    if (cuts > 1) return route.continue();
    const response = await route.fetch({ timeout: 2_000 }).catch(() => null); // uses the ticket up
    return response ? route.fulfill({ response }) : route.abort("connectionreset");
  });
  await signIn(page, otherKey);
  await untilLive(page);
  await untilMoving(page);
  assert.ok(cuts > 1);
});

test("a token expires: the page asks, and goes on with the next one", async () => {
  const { page } = await open();
  await signIn(page, token(6));
  await untilLive(page);
  await page.evaluate(() => { window.sameDocument = true; });
  await untilTold(page, "expired");
  await signIn(page, token(600));
  await untilLive(page);
  await untilMoving(page);
  assert.ok(await page.evaluate(() => window.sameDocument), "the page was reloaded");
  assert.match(addresses.findLast((url) => url.includes("/events/")), /last_event_id=/, "it resumes where it was");
});

test("a key is taken away: the page asks", async () => {
  const { page } = await open();
  await signIn(page, key);
  await untilLive(page);
  await untilRows(page);
  await new Promise((resolve, reject) => {
    const child = spawn("/bin/sh", ["-c", process.env.MILLRACE_REVOKE], { stdio: "inherit" });
    child.on("exit", (code) => (code === 0 ? resolve() : reject(new Error(`MILLRACE_REVOKE ended with ${code}`))));
  });
  await untilTold(page, "not known");
  assert.match(await page.textContent("#notice"), /has changed/);
  await signIn(page, otherKey);
  await untilLive(page);
  await untilMoving(page);
});
