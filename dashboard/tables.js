// tables.js - tables whose rows are reused, so that focus and selection stay; and how figures are put into
// them. Cells are text: what comes from Kafka reaches the document as textContent only.
import { compact, duration, put, whole } from "./words.js";

export const list = (value) => (Array.isArray(value) ? value : []);
export const text = (value) => (typeof value === "string" ? value : "");
export const number = (value) => (typeof value === "number" ? value : NaN);
export const count = (value) => (Number.isFinite(number(value)) ? (value < 1e5 ? whole : compact).format(value) : "–");
export const rate = (value) => (Number.isFinite(number(value)) ? (value >= 100 ? whole.format(value) : value.toFixed(1)) : "–");
export const time = (value) => duration(number(value));

export const figure = (words) => ({ text: words, kind: "number" });
export const wide = (words) => ({ text: words, kind: "number wide" });
export const badge = (state) => ({ text: state, state });

/** rows of cells: { text, isHead?, kind?, state?, href? }; a table's cells are of the same sort in each row. */
export function fill(table, rows) {
  const body = table.tBodies[0];
  while (body.rows.length > rows.length) body.rows[body.rows.length - 1].remove();
  rows.forEach((cells, i) => {
    const tr = body.rows[i] ?? body.insertRow();
    cells.forEach((cell, n) => fillCell(tr, n, cell));
  });
}

function fillCell(tr, index, cell) {
  let element = tr.cells[index];
  if (!element) {
    element = document.createElement(cell.isHead ? "th" : "td");
    if (cell.isHead) element.scope = "row";
    if (cell.kind) element.className = cell.kind;
    if (cell.href) element.append(document.createElement("a"));
    if (cell.state !== undefined) element.append(document.createElement("span"));
    tr.append(element);
  }
  const inner = element.firstElementChild ?? element;
  if (cell.href && inner.getAttribute("href") !== cell.href) inner.setAttribute("href", cell.href);
  if (cell.state !== undefined) {
    inner.className = "badge";
    inner.dataset.state = cell.state;
  }
  put(inner, cell.text);
}

/** A list of texts, hidden while it is empty. */
export function fillList(element, texts) {
  element.hidden = texts.length === 0;
  element.replaceChildren(...texts.map((words) => {
    const item = document.createElement("li");
    item.textContent = words;
    return item;
  }));
}

/** A description list of [name, value] pairs. */
export function fillFacts(element, facts) {
  element.replaceChildren(...facts.map(([name, value]) => {
    const pair = document.createElement("div");
    const term = document.createElement("dt");
    const what = document.createElement("dd");
    term.textContent = name;
    what.textContent = value;
    pair.append(term, what);
    return pair;
  }));
}
