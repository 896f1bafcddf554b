"""The images: small, without a shell, not root, with a bill that names every file's owner."""

from __future__ import annotations

import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT, docker

SERVICES = ("ingest-api", "processor", "analytics", "query-api", "sink")
PROGRAMS = (*SERVICES, "event-generator", "topics", "access-key")
BYTES_MAX = 100_000_000
FOLDERS = ("etc/", "lib/", "lib64/", "usr/bin/", "usr/share/doc/", "usr/share/millrace/", "var/lib/millrace/")
DOCKERS_OWN = (".dockerenv", "dev/", "proc/", "sys/", "etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/mtab")


class Image:
    def __init__(self, program: str, tag: str, folder: Path) -> None:
        self.program = program
        self.name = f"millrace/{program}:{tag}"
        self.found: Any = json.loads(docker("image", "inspect", self.name))[0]
        self.config: Any = self.found["Config"]
        container = docker("create", self.name).strip()
        archive = folder / f"{program}.tar"
        docker("export", "--output", str(archive), container)
        docker("rm", container)
        with tarfile.open(archive) as tar:
            members = [m for m in tar.getmembers() if not m.name.startswith(DOCKERS_OWN)]
            self.files = {m.name: m for m in members if not m.isdir()}
            self.folders = {m.name: m for m in members if m.isdir()}
            self.texts = {name: tar.extractfile(m).read() for name, m in self.files.items()    # type: ignore[union-attr]
                          if m.isfile() and not name.startswith(("lib", "usr/bin"))}
        archive.unlink()


@pytest.fixture(scope="module", params=PROGRAMS)
def image(request: pytest.FixtureRequest, tag: str, tmp_path_factory: pytest.TempPathFactory) -> Image:
    return Image(request.param, tag, tmp_path_factory.mktemp("image"))


def version() -> str:
    found = re.search(r"^project\(millrace VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text(), re.MULTILINE)
    assert found
    return found[1]


def test_size(image: Image) -> None:
    assert image.found["Size"] <= BYTES_MAX


def test_config(image: Image) -> None:
    assert image.config["User"] == "65532:65532"
    assert image.config["Entrypoint"] == [f"/usr/bin/{image.program}"]
    labels = {name.rpartition(".")[2]: value for name, value in image.config["Labels"].items()}
    assert (labels["title"], labels["version"], labels["licenses"]) == (image.program, version(), "MIT")
    if image.program in SERVICES:
        assert image.config["Healthcheck"]["Test"] == ["CMD", f"/usr/bin/{image.program}", "--health"]


def test_files__the_program_and_what_it_needs(image: Image) -> None:
    assert [name for name in image.files if name.startswith("usr/bin/")] == [f"usr/bin/{image.program}"]
    assert [name for name in image.files if not name.startswith(FOLDERS)] == []
    assert [m.name for m in image.files.values() if m.mode & 0o6022] == [], "set-id, or writable for others"
    owned = [m.name for m in (*image.files.values(), *image.folders.values()) if m.uid == 65532]
    assert owned == ["var/lib/millrace"]


def test_certificates__are_debians_alone(image: Image) -> None:
    """What the build stage had to trust is not trusted by the service."""
    text = image.texts["etc/ssl/certs/ca-certificates.crt"].decode("ascii")
    assert text.count("BEGIN CERTIFICATE") > 100
    for extra in Path("/usr/local/share/ca-certificates").glob("*.crt"):
        body = "".join(extra.read_text("ascii").split("-----")[2].split())
        assert body not in "".join(text.split()), extra


def test_bill__names_the_owner_of_every_library(image: Image) -> None:
    bill = json.loads(image.texts[f"usr/share/millrace/{image.program}.cdx.json"])
    assert (bill["bomFormat"], bill["metadata"]["component"]["version"]) == ("CycloneDX", version())
    names = {part["name"] for part in bill["components"]}
    assert {"librdkafka", "ca-certificates", "libc6"} <= names
    for part in bill["components"]:
        licence = "millrace" if part["name"] == "uplot" else part["name"]
        assert f"usr/share/doc/{licence}/copyright" in image.files, part["name"]
    owned = sorted(row["value"] for part in bill["components"] for row in part.get("properties", []))
    libraries = sorted(f"/{name}" for name in image.files if ".so" in name)
    assert len(libraries) > 10 and owned == sorted([*libraries, "/etc/ssl/certs/ca-certificates.crt"])


def test_runs__with_nothing(image: Image) -> None:
    """No network, no capability, no writable place."""
    confined = ("run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL",
                "--security-opt", "no-new-privileges", image.name)
    assert docker(*confined, "--version") == f"{image.program} {version()}\n"
    docker(*confined, "--check")
