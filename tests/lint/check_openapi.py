#!/usr/bin/python3
"""Checks openapi/*.yaml: every $ref resolves, every example matches its schema, and the parts that all
services share are the same in each file. Needs python3-yaml; jsonschema for the examples."""
import copy
import pathlib
import sys

import jsonschema
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED_PATHS = ["/health/live", "/health/ready", "/health", "/metrics", "/version", "/openapi.json",
                "/docs", "/problems/{name}"]
SHARED_SCHEMAS = ["Problem", "ProblemType", "Live", "Health", "Version"]


def resolve(document, node):
    while isinstance(node, dict) and "$ref" in node:
        target = document
        for key in node["$ref"].removeprefix("#/").split("/"):
            target = target[key.replace("~1", "/").replace("~0", "~")]
        node = target
    return node


def walk(node, place=""):
    yield place, node
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from walk(value, f"{place}/{str(key).replace('/', '~1')}")


def examples(document, media):
    if "example" in media:
        yield media["example"]
    for example in media.get("examples", {}).values():
        yield resolve(document, example)["value"]


def media_problems(document, place, node):
    for media in node.values():
        # The schema's own $refs are looked up in the document that surrounds it.
        schema = {**media["schema"], "components": document.get("components", {})}
        for example in examples(document, media):
            for error in jsonschema.Draft202012Validator(schema).iter_errors(example):
                yield f"{place}: an example does not match: {error.json_path}: {error.message}"


def file_problems(document):
    for place, node in walk(document):
        if not isinstance(node, dict):
            continue
        if isinstance(node.get("$ref"), str):
            try:
                resolve(document, node)
            except KeyError:
                yield f"{place}: {node['$ref']} leads nowhere"
        if isinstance(node.get("content"), dict):
            yield from media_problems(document, place, node["content"])


def shared_part(service, document):
    part = {"paths": {p: document["paths"].get(p) for p in SHARED_PATHS},
            "schemas": {s: document["components"]["schemas"].get(s) for s in SHARED_SCHEMAS},
            "headers": document["components"]["headers"]}
    part = copy.deepcopy(part)
    for _, node in walk(part):  # an example names its own service
        if isinstance(node, dict) and node.get("service") == service:
            node["service"] = "…"
    return part


def main():
    documents = {p.stem: yaml.safe_load(p.read_text("utf-8")) for p in sorted((ROOT / "openapi").glob("*.yaml"))}
    problems = [f"openapi/{name}.yaml {text}" for name, d in documents.items() for text in file_problems(d)]
    first = next(iter(documents))
    for name, document in documents.items():
        for key, part in shared_part(name, document).items():
            for member, value in part.items():
                if value != shared_part(first, documents[first])[key].get(member):
                    problems.append(f"openapi/{name}.yaml: {key} {member} differs from openapi/{first}.yaml")
    print("\n".join(problems) or f"{len(documents)} files, no problem")
    return 1 if problems or not documents else 0


if __name__ == "__main__":
    sys.exit(main())
