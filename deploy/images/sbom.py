"""sbom.py PROGRAM : a CycloneDX bill of what an image holds, on stdout.

On stdin a line a file: the Debian package that owns it and its path. Versions are dpkg's; what is linked in statically from the pins that the build itself
goes by. No time and no random number, so that the same image has the same bill.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def match(path: str, pattern: str) -> str:
    found = re.search(pattern, (ROOT / path).read_text("utf-8"), re.MULTILINE)
    if not found:
        sys.exit(f"sbom: no {pattern} in {path}")
    return found[1]


def component(name: str, version: str, purl: str, licence: str | None = None) -> dict[str, Any]:
    row: dict[str, Any] = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    if licence:
        row["licenses"] = [{"license": {"id": licence}}]
    return row


def debian(package: str, paths: list[str], release: str) -> dict[str, Any]:
    out = subprocess.run(["dpkg-query", "-W", "-f", "${Version} ${Architecture}", package],
                         capture_output=True, text=True, check=True).stdout
    version, architecture = out.split()
    row = component(package, version, f"pkg:deb/debian/{package}@{version.replace('+', '%2B').replace(':', '%3A')}"
                                      f"?arch={architecture}&distro=debian-{release}")
    row["properties"] = [{"name": "millrace:file", "value": path} for path in sorted(paths)]
    return row


def linked_in(program: str) -> list[dict[str, Any]]:
    """librdkafka everywhere, uPlot in the dashboard."""
    version = match("scripts/deps", r"^readonly librdkafka_version=(\S+)")
    rows = [component("librdkafka", version, f"pkg:github/confluentinc/librdkafka@v{version}", "BSD-2-Clause")]
    if program == "query-api":
        lock = json.loads((ROOT / "package-lock.json").read_text("utf-8"))
        version = lock["packages"]["node_modules/uplot"]["version"]
        rows.append(component("uplot", version, f"pkg:npm/uplot@{version}", "MIT"))
    return rows


def main() -> None:
    program, = sys.argv[1:]
    owned: dict[str, list[str]] = {}
    for line in sys.stdin:
        package, path = line.split()
        owned.setdefault(package, []).append(path)
    version = match("CMakeLists.txt", r"^project\(millrace VERSION (\S+)")
    release = Path("/etc/debian_version").read_text("ascii").strip()
    self = {"type": "application", "bom-ref": program, "name": program, "version": version,
            "licenses": [{"license": {"id": "MIT"}}]}
    parts = [*linked_in(program), *(debian(package, owned[package], release) for package in sorted(owned))]
    json.dump({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {"component": self},
        "components": parts,
        "dependencies": [{"ref": program, "dependsOn": [part["bom-ref"] for part in parts]}],
    }, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
