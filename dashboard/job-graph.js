// job-graph.js - a pipeline's graph as SVG: topics and segments from left to right, each in the column
// behind the last of what leads to it.
//
// What the graph says comes from Kafka: it reaches the document as textContent only, and whatever it
// leads to that is not there is left out.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 216; // of a node
const GAP_X = 56;
const GAP_Y = 18;
const HEAD = 40;
const LINE = 18;
const MARGIN = 10;
const TEXT_MAX = 29; // characters of a line
const NODES_MAX = 400;
const STEP_COUNTERS = 3; // filtered, rejected, late

const list = (value) => (Array.isArray(value) ? value : []);
const text = (value) => (typeof value === "string" ? value : "");

/** Nodes and edges; flow: [count, rate] a counter, in the order of segments and their steps. */
export function graphOf(topology, flow) {
  const nodes = new Map();
  const edges = [];
  const topic = (name) => {
    const id = `topic ${name}`;
    if (!nodes.has(id)) nodes.set(id, { id, kind: "topic", title: name, lines: [] });
    return id;
  };
  const link = (from, to) => edges.push({ from, to });
  let at = 0;
  list(topology?.segments).slice(0, NODES_MAX).forEach((segment, index) => {
    const id = `segment ${index}`;
    const node = { id, kind: "segment", title: text(segment?.name), rate: rateAt(flow, at++), lines: [] };
    for (const step of list(segment?.steps)) {
      node.lines.push(lineOf(step, [0, 1, 2].map((i) => rateAt(flow, at + i))));
      at += STEP_COUNTERS;
    }
    nodes.set(id, node);
    for (const next of [...list(segment?.results), ...list(segment?.next), ...list(segment?.branches)]) {
      link(id, `segment ${next}`);
    }
    if (text(segment?.output)) link(id, topic(segment.output));
  });
  for (const source of list(topology?.sources)) {
    if (!source?.retry) link(topic(text(source?.topic)), `segment ${source?.segment}`);
  }
  return { nodes, edges: edges.filter(({ from, to }) => nodes.has(from) && nodes.has(to)) };
}

const rateAt = (flow, index) => Number(list(list(flow)[index])[1]) || 0;

function lineOf(step, [filtered, rejected, late]) {
  const ended = filtered + rejected + late;
  const why = [["filtered", filtered], ["rejected", rejected], ["late", late]].filter(([, rate]) => rate > 0);
  return {
    text: text(step?.kind) + (step?.store ? ` · ${text(step.store)}` : ""),
    more: `${text(step?.place)} ${text(step?.text)}${why.map(([name, rate]) => `\n${name}: ${rate.toFixed(1)}/s`).join("")}`,
    ended,
    isBad: rejected > 0 || late > 0,
  };
}

/** The column of each node: one behind the furthest that leads to it. A ring is cut where it closes. */
function layersOf({ nodes, edges }) {
  const before = new Map([...nodes.keys()].map((id) => [id, []]));
  for (const { from, to } of edges) before.get(to).push(from);
  const layers = new Map();
  const visit = (id, path) => {
    if (layers.has(id)) return layers.get(id);
    if (path.has(id)) return -1;
    path.add(id);
    const layer = Math.max(-1, ...before.get(id).map((from) => visit(from, path))) + 1;
    path.delete(id);
    layers.set(id, layer);
    return layer;
  };
  for (const id of nodes.keys()) visit(id, new Set());
  return { layers, before };
}

/** Gives each node x, y and height; nodes of a column stand in the order of what leads to them. */
function place(graph) {
  const { layers, before } = layersOf(graph);
  const columns = [];
  for (const node of graph.nodes.values()) {
    node.height = node.kind === "topic" ? HEAD : HEAD + node.lines.length * LINE + (node.lines.length ? 8 : 0);
    (columns[layers.get(node.id)] ??= []).push(node);
  }
  const middle = (node) => node.y + node.height / 2;
  const pull = (node) => {
    const from = before.get(node.id).map((id) => graph.nodes.get(id)).filter((n) => n.y !== undefined);
    return from.length ? from.reduce((sum, n) => sum + middle(n), 0) / from.length : 0;
  };
  let bottom = 0;
  columns.forEach((column, x) => {
    column.sort((a, b) => pull(a) - pull(b));
    let y = MARGIN;
    for (const node of column) {
      node.x = MARGIN + x * (WIDTH + GAP_X);
      node.y = Math.max(y, pull(node) - node.height / 2);
      y = node.y + node.height + GAP_Y;
    }
    bottom = Math.max(bottom, y);
  });
  return { width: 2 * MARGIN + columns.length * (WIDTH + GAP_X) - GAP_X, height: bottom - GAP_Y + MARGIN };
}

function make(parent, name, attributes = {}, content = "") {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (content) element.textContent = content;
  parent.append(element);
  return element;
}

const clip = (words, max) => (words.length > max ? `${words.slice(0, max - 1)}…` : words);
const perSecond = (rate) => (rate >= 100 ? `${Math.round(rate)}/s` : rate > 0 ? `${rate.toFixed(1)}/s` : "");

function drawNode(svg, node) {
  const group = make(svg, "g", { class: `node ${node.kind}`, transform: `translate(${node.x} ${node.y})` });
  make(group, "title", {}, node.title);
  make(group, "rect", { width: WIDTH, height: node.height, rx: node.kind === "topic" ? HEAD / 2 : 8 });
  const rate = node.rate ? perSecond(node.rate) : "";
  make(group, "text", { class: "name", x: 14, y: 25 }, clip(node.title, TEXT_MAX - rate.length));
  if (rate) make(group, "text", { class: "rate", x: WIDTH - 12, y: 25 }, rate);
  node.lines.forEach((line, i) => {
    const row = make(group, "g", { class: line.isBad ? "step bad" : "step" });
    const y = HEAD + i * LINE + 10;
    make(row, "title", {}, line.more);
    const ended = line.ended > 0 ? `−${perSecond(line.ended)}` : "";
    make(row, "text", { x: 14, y }, clip(line.text, TEXT_MAX - ended.length));
    if (ended) make(row, "text", { class: "rate", x: WIDTH - 12, y }, ended);
  });
}

function drawEdge(svg, from, to) {
  const [x1, y1] = [from.x + WIDTH, from.y + from.height / 2];
  const [x2, y2] = [to.x, to.y + to.height / 2];
  const bend = Math.max(30, Math.abs(x2 - x1) / 2);
  make(svg, "path", { class: "edge", d: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}` });
}

/** Draws into the SVG element, in place of what was there. */
export function drawGraph(svg, topology, flow) {
  const graph = graphOf(topology, flow);
  const { width, height } = place(graph);
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("width", width);
  svg.setAttribute("height", height);
  for (const { from, to } of graph.edges) drawEdge(svg, graph.nodes.get(from), graph.nodes.get(to));
  for (const node of graph.nodes.values()) drawNode(svg, node);
  return graph.nodes.size;
}
