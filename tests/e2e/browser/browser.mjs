// browser.mjs - Debian's Chromium by playwright-core (which downloads no browser of its own).
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";

const cache = process.env.MILLRACE_HOME ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "millrace");
const npm = process.env.MILLRACE_NPM ?? join(cache, "deps", "npm"); // the folder that holds node_modules
const { chromium } = createRequire(join(npm, "node_modules", "_"))("playwright-core");

const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];

/** A browser context with an empty profile; close() ends the browser and removes the profile. */
export async function launch(options = {}) {
  const profile = mkdtempSync(join(tmpdir(), "millrace-chromium-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.MILLRACE_CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: FLAGS,
    viewport: { width: 1280, height: 900 },
    ...options,
  });
  const close = async () => {
    await context.close();
    rmSync(profile, { recursive: true, force: true });
  };
  return { context, close };
}

/** Collects what a clean page has none of: console errors, CSP violations, foreign requests. */
export function watch(page, origin) {
  const complaints = [];
  let isExpectingOutage = false;
  page.on("console", (message) => {
    if (message.type() !== "error") return;
    const isOutage = /net::ERR_|Failed to load resource/.test(message.text());
    if (!(isExpectingOutage && isOutage)) complaints.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`exception: ${error.message}`));
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== origin) complaints.push(`foreign request: ${request.url()}`);
  });
  return { complaints, expectOutage: (expected) => { isExpectingOutage = expected; } };
}
