// jobs.js - the job view: all jobs, and the one that is looked at.
// Everything in the answers comes from Kafka: it reaches the document as textContent only.
import { drawGraph } from "./job-graph.js";
import { follow } from "./chosen.js";
import { ask, isSignedIn } from "./sign-in.js";
import { badge, count, figure, fill, fillFacts, fillList, list, number, rate, text, time, wide } from "./tables.js";
import { clip, clock, compact, duration, put, whole } from "./words.js";

const JOBS_MAX = 200;
const TASKS_MAX = 200;

const byId = (id) => document.getElementById(id);
const view = { drawn: "", pipeline: "" };

const percent = (value) => (Number.isFinite(number(value)) ? `${Math.round(value * 100)} %` : "–");
const bytes = (value) => (Number.isFinite(number(value)) ? `${compact.format(value)}B` : "–");

// --- All jobs ----------------------------------------------------------------------------------------

function drawJobs(answer) {
  const items = list(answer.items).slice(0, JOBS_MAX);
  byId("empty").hidden = items.length > 0;
  put(byId("as-of"), Number.isFinite(number(answer.as_of)) ? `as of ${clock(answer.as_of)}` : "");
  fill(byId("jobs"), items.map((job) => {
    const instances = job.instance_count ?? {};
    const dead = (instances.lost || 0) + (instances.failed || 0);
    return [
      { text: clip(text(job.pipeline), 40), isHead: true, href: `#${encodeURIComponent(text(job.pipeline))}` },
      badge(text(job.state)),
      figure(count(job.lag)),
      wide(time(job.lag_ms)),
      wide(time(job.watermark_delay_ms)),
      figure(rate(job.rates?.in)),
      wide(rate(job.rates?.out)),
      wide(percent(job.busy)),
      wide(`${count(instances.live)}${dead ? ` (${count(dead)} dead)` : ""}`),
    ];
  }));
  return items;
}

// --- One job -------------------------------------------------------------------------------------------

function drawFacts(job) {
  const restore = job.restore?.end > 0 ? `${count(job.restore.position)} of ${count(job.restore.end)}` : "";
  const facts = [
    ["Lag", count(job.lag)], ["Behind", time(job.lag_ms)], ["Watermark delay", time(job.watermark_delay_ms)],
    ["In", `${rate(job.rates?.in)}/s`], ["Out", `${rate(job.rates?.out)}/s`],
    ["Late", count(job.counts?.late)], ["Filtered", count(job.counts?.filtered)],
    ["Dead letters", count(job.counts?.dead_lettered)], ["Dropped", count(job.counts?.dropped)],
    ["Keys", count(job.keys)], ["State", bytes(job.state_bytes)], ...(restore ? [["Restored", restore]] : []),
  ];
  fillFacts(byId("facts"), facts);
}

const sum = (inputs, name) => inputs.reduce((total, input) => total + (number(input?.[name]) || 0), 0);

function drawTasks(job) {
  const all = list(job.tasks).map((task) => {
    const inputs = list(task.inputs);
    return { ...task, lag: sum(inputs, "lag"), lagMs: Math.max(0, ...inputs.map((i) => number(i?.lag_ms) || 0)) };
  });
  const isWell = (task) => task.state === "running";
  all.sort((a, b) => isWell(a) - isWell(b) || b.lagMs - a.lagMs || b.lag - a.lag || a.stage - b.stage || a.partition - b.partition);
  put(byId("tasks-count"), all.length > TASKS_MAX ? `${TASKS_MAX} of ${whole.format(all.length)} tasks` : "");
  fill(byId("tasks"), all.slice(0, TASKS_MAX).map((task) => [
    { text: `${count(task.stage)} · ${count(task.partition)}`, isHead: true },
    badge(text(task.state)),
    figure(count(task.lag)), figure(time(task.lagMs)), figure(time(task.watermark_delay_ms)),
    figure(count(task.records)), figure(count(task.keys)), figure(bytes(task.state_bytes)),
    figure(task.restore ? `${count(task.restore.position)} of ${count(task.restore.end)}` : "–"),
    { text: clip(`${text(task.instance)} · ${count(task.thread)}`, 40) },
  ]));
}

function drawInstances(job) {
  const threads = list(job.instances).flatMap((instance) =>
    list(instance.threads).map((thread) => ({ ...thread, of: instance })));
  fill(byId("instances"), threads.map((thread) => [
    { text: clip(`${text(thread.of.instance)} · ${count(thread.thread)}`, 40), isHead: true },
    badge(thread.of.state === "live" ? text(thread.state) : text(thread.of.state)),
    figure(percent(thread.busy)), figure(percent(thread.committing)),
    figure(time(thread.commits?.last_ms)), figure(time(thread.commits?.p95_ms)),
    figure(count(thread.commits?.aborts)),
    figure(`${duration(Math.max(0, number(job.as_of) - number(thread.of.heard_at)))} ago`),
  ]));
}

function drawStandbys(job) {
  const all = list(job.standbys).toSorted((a, b) => (number(b?.lag) || 0) - (number(a?.lag) || 0));
  byId("standing-by").hidden = all.length === 0;
  put(byId("standbys-count"), all.length > TASKS_MAX ? `${TASKS_MAX} of ${whole.format(all.length)} standbys` : "");
  fill(byId("standbys"), all.slice(0, TASKS_MAX).map((standby) => [
    { text: `${count(standby?.stage)} · ${count(standby?.partition)}`, isHead: true },
    badge(text(standby?.state)), figure(count(standby?.lag)), figure(bytes(standby?.state_bytes)),
    { text: clip(text(standby?.instance), 40) },
  ]));
}

function drawSavepoints(job) {
  const all = list(job.savepoints).toSorted((a, b) => (number(b?.asked_at) || 0) - (number(a?.asked_at) || 0));
  fill(byId("savepoints"), all.map((savepoint) => [
    { text: clip(text(savepoint?.name), 50), isHead: true },
    badge(text(savepoint?.state) === "running" ? text(savepoint.phase) || "running" : text(savepoint?.state)),
    figure(count(savepoint?.records)), figure(bytes(savepoint?.bytes)), figure(time(savepoint?.held_ms)),
    { text: clip(text(savepoint?.reason) || text(savepoint?.place), 120), kind: "wrap" },
  ]));
}

/** Who may is the service's to say (actions.js); who may no more is told its answer. */
async function save() {
  put(byId("outcome"), "Asking …");
  try {
    const response = await ask(`jobs/${encodeURIComponent(view.pipeline)}/savepoint`, {
      method: "POST", headers: { "content-type": "application/json" }, body: "{}" });
    const body = await response.json();
    const refusal = `${response.status === 403 ? "No right to do this: " : ""}${text(body.detail) || text(body.title)}`;
    put(byId("outcome"), response.ok ? `Asked for: ${text(body.savepoint)}` : refusal);
  } catch {
    put(byId("outcome"), "The service does not answer.");
  }
}

function drawErrors(job) {
  const errors = list(job.errors).toSorted((a, b) => number(b.at) - number(a.at));
  byId("no-errors").hidden = errors.length > 0;
  fill(byId("errors"), errors.map((error) => [
    { text: Number.isFinite(number(error.at)) ? clock(error.at) : "–", isHead: true },
    { text: clip(text(error.code)) }, figure(count(error.count)),
    { text: clip(text(error.during)) }, { text: clip(text(error.text), 240), kind: "wrap" },
  ]));
}

function drawJob(job) {
  byId("job").hidden = false;
  if (view.pipeline !== text(job.pipeline)) put(byId("outcome"), "");
  view.pipeline = text(job.pipeline);
  put(byId("job-title"), text(job.pipeline));
  byId("job-json").href = `jobs/${encodeURIComponent(text(job.pipeline))}`;
  byId("job-json").hidden = isSignedIn(); // a link sends no key
  fillList(byId("reasons"), list(job.reasons).map(text));
  drawFacts(job);
  const drawn = JSON.stringify([job.topology, job.flow]);
  if (drawn !== view.drawn) { // a graph that stays as it is keeps its tool tips
    view.drawn = drawn;
    const nodes = drawGraph(byId("graph"), job.topology, job.flow);
    byId("graph").setAttribute("aria-label", `${nodes} topics and segments; their steps and rates are in the JSON`);
  }
  drawTasks(job);
  drawInstances(job);
  drawStandbys(job);
  drawSavepoints(job);
  drawErrors(job);
}

byId("save").addEventListener("click", save);
follow({ list: "jobs", one: "job", key: "pipeline", drawAll: drawJobs, drawOne: drawJob });
