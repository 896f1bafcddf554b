// groups.js - consumer groups: all of them, and the one that is looked at.
import { follow } from "./chosen.js";
import { offer } from "./consumer.js";
import { isSignedIn } from "./sign-in.js";
import { badge, count, figure, fill, fillFacts, fillList, list, number, rate, text, wide } from "./tables.js";
import { clip, clock, duration, put, whole } from "./words.js";

const ROWS_MAX = 200;

const byId = (id) => document.getElementById(id);

// --- Drawing -----------------------------------------------------------------------------------------

function drawGroups(answer) {
  const items = list(answer.items).slice(0, ROWS_MAX);
  byId("empty").hidden = items.length > 0;
  put(byId("as-of"), Number.isFinite(number(answer.as_of)) ? `as of ${clock(answer.as_of)}` : "");
  fillList(byId("missing"), list(answer.reasons).map(text));
  fill(byId("groups"), items.map((group) => [
    { text: clip(text(group.group), 40), isHead: true, href: `#${encodeURIComponent(text(group.group))}` },
    badge(text(group.status)),
    figure(count(group.lag)),
    wide(rate(group.rates?.in)),
    wide(rate(group.rates?.out)),
    wide(count(group.member_count)),
    wide(count(group.partition_count)),
  ]));
  drawConsumers(items.filter((group) => text(group.consumer)));
  return items;
}

function drawConsumers(groups) {
  byId("named").hidden = groups.length === 0;
  fill(byId("consumers"), groups.map((group) => [
    { text: clip(text(group.consumer), 40), isHead: true, href: `#${encodeURIComponent(text(group.group))}` },
    badge(text(group.status)),
    figure(count(group.lag)),
    wide(rate(group.rates?.out)),
    { text: clip(list(group.topics).map(text).join(", "), 80) },
  ]));
}

function drawOffsets(group) {
  const all = list(group.offsets).toSorted((a, b) => (number(b.lag) || 0) - (number(a.lag) || 0));
  const clients = new Map(list(group.members).map((member) => [member.id, text(member.client_id)]));
  put(byId("offsets-count"), all.length > ROWS_MAX ? `${ROWS_MAX} of ${whole.format(all.length)} partitions` : "");
  fill(byId("offsets"), all.slice(0, ROWS_MAX).map((row) => [
    { text: `${clip(text(row.topic), 40)} · ${count(row.partition)}`, isHead: true },
    figure(count(row.lag)), figure(count(row.committed)), figure(count(row.next)), figure(rate(row.rates?.out)),
    figure(`${duration(Math.max(0, number(group.as_of) - number(row.moved_at)))} ago`),
    { text: row.member ? clip(clients.get(row.member) ?? text(row.member), 40) : "nobody" },
  ]));
}

function drawGroup(group) {
  byId("group").hidden = false;
  put(byId("group-title"), text(group.group));
  byId("group-json").href = `groups/${encodeURIComponent(text(group.group))}`;
  byId("group-json").hidden = isSignedIn(); // a link sends no key
  fillList(byId("reasons"), list(group.reasons).map(text));
  fillFacts(byId("facts"), [
    ["State", text(group.state)], ["Lag", count(group.lag)], ["Lost", count(group.lost)],
    ["In", `${rate(group.rates?.in)}/s`], ["Out", `${rate(group.rates?.out)}/s`],
    ["Assignor", text(group.assignor) || "–"], ["Coordinator", count(group.coordinator)],
  ]);
  offer(text(group.consumer));
  drawOffsets(group);
  byId("no-members").hidden = list(group.members).length > 0;
  fill(byId("members"), list(group.members).slice(0, ROWS_MAX).map((member) => [
    { text: clip(text(member.client_id), 40), isHead: true }, { text: clip(text(member.host), 40) },
    figure(count(member.assigned)), { text: clip(text(member.id)) },
  ]));
}

follow({ list: "groups", one: "group", key: "group", drawAll: drawGroups, drawOne: drawGroup });
