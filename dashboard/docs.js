// docs.js - renders this service's openapi.json. Text only: nothing in the file becomes markup.

const METHODS = ["get", "post", "put", "delete"];
const DEPTH_MAX = 6;

/** el("p", {className: "x"}, "text", child, …) */
function el(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((c) => c !== null && c !== undefined && c !== ""));
  return element;
}

const pretty = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));

/** A paragraph; `code` between backticks. */
const words = (text) => el("p", {}, ...(text ?? "").split("`").map((part, i) => (i % 2 ? el("code", {}, part) : part)));

class Spec {
  constructor(document) {
    this.document = document;
  }

  /** Follows a local $ref ("#/components/…"). */
  at(node) {
    if (!node?.$ref) return node;
    return node.$ref.slice(2).split("/").reduce((n, key) => n[key.replaceAll("~1", "/").replaceAll("~0", "~")], this.document);
  }

  /** [{ id, method, path, operation, parameters }] in the order of the file. */
  operations() {
    return Object.entries(this.document.paths).flatMap(([path, item]) =>
      METHODS.filter((m) => item[m]).map((method) => ({
        id: `${method}${path.replace(/[^a-z0-9]+/gi, "-")}`,
        method,
        path,
        operation: item[method],
        parameters: [...(item.parameters ?? []), ...(item[method].parameters ?? [])].map((p) => this.at(p)),
      })));
  }

  /** One line that says what a schema allows. */
  typeOf(schema) {
    const node = this.at(schema) ?? {};
    if (node.oneOf) return node.oneOf.map((s) => this.typeOf(s)).join(" or ");
    if (node.const !== undefined) return JSON.stringify(node.const);
    if (node.enum) return node.enum.map((v) => JSON.stringify(v)).join(" | ");
    if (node.type === "array") return `array of ${this.typeOf(node.items)}`;
    return [].concat(node.type ?? "any").join(" or ") + (node.format ? ` (${node.format})` : "");
  }
}

const row = (term, ...description) => el("div", {}, el("dt", {}, ...term), el("dd", {}, ...description));

function propertyRows(spec, schema, prefix = "", depth = 0) {
  const node = spec.at(schema) ?? {};
  if (depth > DEPTH_MAX) return [];
  if (node.oneOf) return node.oneOf.flatMap((s) => propertyRows(spec, s, prefix, depth + 1));
  if (node.type === "array") return propertyRows(spec, node.items, `${prefix}[].`, depth + 1);
  return Object.entries(node.properties ?? {}).flatMap(([name, property]) => {
    const isNeeded = node.required?.includes(name);
    const inner = spec.at(property);
    const own = row(
      [el("code", {}, prefix + name), el("small", {}, spec.typeOf(property) + (isNeeded ? "" : ", optional"))],
      words(inner.description),
    );
    const nested = inner.type === "array" ? propertyRows(spec, inner.items, `${prefix}${name}[].`, depth + 1)
      : propertyRows(spec, inner, `${prefix}${name}.`, depth + 1);
    return [own, ...nested];
  });
}

/** Examples open, the fields behind a fold. */
function content(spec, types) {
  return Object.entries(types ?? {}).flatMap(([type, media]) => {
    const examples = media.examples ? Object.values(media.examples).map((e) => spec.at(e)) : [];
    if (media.example !== undefined) examples.push({ value: media.example });
    const fields = propertyRows(spec, media.schema);
    return [
      el("details", {},
        el("summary", {}, type),
        ...examples.flatMap((e) => [el("p", {}, e.summary ?? ""), el("pre", { tabIndex: 0 }, pretty(e.value))]),
        fields.length ? el("dl", { className: "rows" }, ...fields) : ""),
    ];
  });
}

const statusClass = (status) => (status < "300" ? "ok" : status < "500" ? "refused" : "failed");

function responses(spec, operation) {
  return Object.entries(operation.responses).map(([status, reference]) => {
    const response = spec.at(reference);
    const headers = Object.keys(response.headers ?? {});
    return row(
      [el("span", { className: `status ${statusClass(status)}` }, status)],
      words(response.description),
      headers.length ? el("p", {}, el("small", {}, `headers: ${headers.join(", ")}`)) : "",
      ...content(spec, response.content),
    );
  });
}

function curlOf({ method, path, operation, parameters }) {
  const filled = parameters.filter((p) => p.in === "path")
    .reduce((p, { name, example }) => p.replace(`{${name}}`, encodeURIComponent(example ?? name)), path);
  const media = operation.requestBody?.content?.["application/json"];
  const body = media && (media.example ?? Object.values(media.examples ?? {})[0]?.value);
  const isStream = Object.values(operation.responses).some((r) => r.content?.["text/event-stream"]);
  const address = new URL(`.${filled}`, document.baseURI);
  return ["curl", isStream ? "-N" : "", method === "get" ? "" : `-X ${method.toUpperCase()}`, `'${address}'`,
    body ? `-H 'Content-Type: application/json' -d '${JSON.stringify(body).replaceAll("'", "'\\''")}'` : ""].filter(Boolean).join(" ");
}

function copyButton(text, pre) {
  const button = el("button", { type: "button", className: "button" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(pre); // no clipboard on plain HTTP
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  return button;
}

function section(title, rows) {
  return rows.length ? [el("h4", {}, title), el("dl", { className: "rows" }, ...rows)] : [];
}

function card(spec, entry) {
  const { id, method, path, operation, parameters } = entry;
  const curl = curlOf(entry);
  const pre = el("pre", { tabIndex: 0 }, curl);
  const body = spec.at(operation.requestBody);
  return el("article", { className: "card operation", id },
    el("h3", {}, el("span", { className: `method ${method}` }, method.toUpperCase()), el("code", {}, path)),
    words([operation.summary, operation.description].filter(Boolean).join("\n")),
    el("div", { className: "curl" }, pre, copyButton(curl, pre)),
    ...section("Parameters", parameters.map((p) => row(
      [el("code", {}, p.name), el("small", {}, `${p.in}, ${spec.typeOf(p.schema)}${p.required ? "" : ", optional"}`)],
      words(p.description)))),
    ...(body ? [el("h4", {}, "Body"), words(body.description), ...content(spec, body.content)] : []),
    ...section("Answers", responses(spec, operation)));
}

function contents(operations) {
  const byTag = Map.groupBy ? Map.groupBy(operations, (o) => o.operation.tags?.[0] ?? "") : new Map([["", operations]]);
  return [...byTag].flatMap(([tag, list]) => [
    tag ? el("h2", {}, tag) : "",
    ...list.map(({ id, method, path }) => el("a", { href: `#${id}` }, `${method.toUpperCase()} ${path}`)),
  ]);
}

async function show() {
  const about = document.getElementById("about");
  try {
    const response = await fetch("openapi.json");
    if (!response.ok) throw new Error(`the service answered ${response.status}`);
    const spec = new Spec(await response.json());
    const { title, version, description } = spec.document.info;
    const operations = spec.operations();
    document.title = title;
    document.getElementById("title").textContent = title;
    document.getElementById("version").textContent = `API version ${version}`;
    about.textContent = description ?? "";
    document.getElementById("contents").append(...contents(operations).filter(Boolean));
    document.getElementById("operations").append(...operations.map((o) => card(spec, o)));
    document.getElementById(location.hash.slice(1))?.scrollIntoView();
  } catch (error) {
    about.textContent = `openapi.json could not be shown: ${error.message}`;
  }
}

show();
