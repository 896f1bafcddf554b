#!/usr/bin/env python3
"""Keeps what is derived in these files true to its source; everything else in them is written by hand.

    generate.py            writes
    generate.py --check    says what is stale, exits 1 if anything is

- 11-topics.yaml, 12-schemas.yaml, 13-pipelines.yaml: ConfigMaps that hold the repository's own files.
- checksum/config on each pod template: a hash of what its pods read of ConfigMaps. It changes with
  that, and so a changed configuration rolls the pods that read it, and no others.
- topics-<hash>: the Job's name, a hash of the Job itself and its ConfigMaps; see 25-topics.yaml.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any, Iterator

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

# File here: ConfigMap, and the files in it by pattern.
MAPS = {
    "11-topics.yaml": ("topics", "pipelines/topics.json"),
    "12-schemas.yaml": ("schemas", "schemas/*.json"),
    "13-pipelines.yaml": ("pipelines", "pipelines/*.json"),
}


def config_map(name: str, pattern: str) -> str:
    """A ConfigMap as text: each file as a literal block, so that a difference can be read."""
    lines = ["# Written by generate.py: what is changed here is changed in " + pattern + ".", "---",
             "apiVersion: v1", "kind: ConfigMap", "metadata:", f"  name: {name}", "  namespace: millrace",
             "  labels: {app.kubernetes.io/part-of: millrace}", "data:"]
    texts = {path.name: path.read_text() for path in sorted(ROOT.glob(pattern))}
    for file, text in texts.items():
        ending = "-" if not text.endswith("\n") else "+" if text.endswith("\n\n") else ""
        lines += [f"  {file}: |{ending}",
                  *("    " + line if line else "" for line in text.removesuffix("\n").split("\n"))]
    written = "\n".join(lines) + "\n"
    if yaml.safe_load(written)["data"] != texts:
        raise SystemExit(f"{pattern}: something in it does not survive as a YAML block")
    return written


def documents(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Each YAML document as text and as data. Comments before the first separator are the file's."""
    return [(part, yaml.safe_load(part)) for part in re.split(r"(?m)^---\n", text)]


def references(node: Any) -> Iterator[dict[str, Any]]:
    """Everything in a pod's spec that refers to a ConfigMap."""
    for key, child in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        if key in ("configMap", "configMapRef"):
            yield child
        else:
            yield from references(child)


def config_of(pod: dict[str, Any], maps: dict[str, dict[str, str]]) -> list[Any]:
    """What a pod reads of its ConfigMaps: of a volume with items, those alone."""
    read = []
    for reference in references(pod):
        if reference.get("optional"):
            continue    # a site's own, which is not in this folder
        data = maps[reference["name"]]
        keys = [item["key"] for item in reference["items"]] if "items" in reference else sorted(data)
        read.append({key: data[key] for key in keys})
    return read


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def stamped(part: str, data: dict[str, Any], maps: dict[str, Any]) -> str:
    """A document with its hashes as they have to be."""
    template = data["spec"]["template"]
    config = digest(config_of(template["spec"], maps))
    part = re.sub(r'checksum/config: ".*"', f'checksum/config: "{config}"', part)
    if data["kind"] == "Job":
        base = data["metadata"]["name"].rpartition("-")[0]
        fresh = yaml.safe_load(part)
        del fresh["metadata"]["name"]
        part = re.sub(rf"(?m)^  name: {base}-\w+$", f"  name: {base}-{digest(fresh)[:8]}", part)
    return part


def wanted() -> dict[str, str]:
    """All files that are derived, or hold something derived, by name."""
    texts = {path.name: path.read_text() for path in sorted(HERE.glob("*.yaml"))}
    texts.update({file: config_map(name, pattern) for file, (name, pattern) in MAPS.items()})
    parsed = {file: documents(text) for file, text in texts.items()}
    maps = {data["metadata"]["name"]: data["data"] for parts in parsed.values() for _, data in parts
            if data and data["kind"] == "ConfigMap"}
    return {file: "---\n".join(stamped(part, data, maps) if data and "template" in data.get("spec", {}) else part
                               for part, data in parts)
            for file, parts in parsed.items()}


def main() -> int:
    stale = [file for file, text in wanted().items()
             if not (HERE / file).exists() or (HERE / file).read_text() != text]
    if "--check" in sys.argv:
        print("\n".join(f"deploy/k8s/{file} is stale: run deploy/k8s/generate.py" for file in stale)
              or "deploy/k8s is true to its sources")
        return bool(stale)
    for file, text in wanted().items():
        (HERE / file).write_text(text)
    print(f"{len(stale)} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
