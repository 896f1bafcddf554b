"""The OpenAPI documents are true: schemathesis makes requests of them, right ones and wrong ones, and looks
at each answer. What is right is taken, what is wrong is refused, and every answer is one that is described."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from conftest import DEPS, ROOT, MakeSite
from harness.platform import Settings
from harness.reader import http_get
from harness.schema_registry import SchemaRegistry
from site_under_test import Site

TOOL = Path(os.environ.get("MILLRACE_SCHEMATHESIS") or DEPS / "venv-e2e" / "bin" / "schemathesis")
CONTRACT = ROOT / "tests" / "e2e" / "contract"
SEED = os.environ.get("MILLRACE_SEED", "20240607")
EXAMPLES = 40        # of each operation, beside those that follow from the document without chance
SECONDS_MAX = 200    # a quiet machine needs 30

# What is made of the ways to write events: each has to have been taken, and refused.
FORMATS = ("json", "lines", "cloudevent", "cloudevents", "rest-json", "rest-binary", "rest-text", "eventgate")


@pytest.fixture(scope="module")
def site(registry: SchemaRegistry, make_site: MakeSite, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """What contract/hooks.py speaks of: a topic without a schema of its own, a schema that lets all through, and
    a registry with one subject."""
    schemas = tmp_path_factory.mktemp("schemas")
    (schemas / "any.json").write_text(json.dumps({"$id": "urn:millrace:any"}))
    site = make_site(settings=Settings(services=("ingest-api", "query-api"), flags={
        "ingest-api": [f"--schemas.dir={schemas}"],
        "query-api": ["--query.topics=clicks", "--query.history.topics=clicks",
                      f"--schema.registry.url={registry.url}"]}))
    site.add_topic("clicks")
    registry.wait_ready().register("clicks-value", "string")
    return site


def run(port: int, folder: Path, *flags: str) -> None:
    """No answer may be other than the document has it. Every check is on."""
    assert TOOL.exists(), f"{TOOL} is not there: scripts/deps test installs it"
    done = subprocess.run(
        [str(TOOL), "--config-file", str(CONTRACT / "schemathesis.toml"), "run", f"--seed={SEED}",
         f"--max-examples={EXAMPLES}", "--checks=all", "--continue-on-failure", *flags,
         f"http://127.0.0.1:{port}/openapi.json"],
        env={**os.environ, "SCHEMATHESIS_HOOKS": str(CONTRACT / "hooks.py")}, cwd=folder,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS_MAX, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout


def counted(port: int, format: str, outcome: str) -> int:
    name = f'millrace_ingest_requests_total{{format="{format}",outcome="{outcome}"}} '
    lines = http_get(port, "/metrics").body.decode().splitlines()
    return int(next(line.removeprefix(name) for line in lines if line.startswith(name)))


def test_ingest_api__answers_as_its_document_says(site: Site, tmp_path: Path) -> None:
    port = site.port("ingest-api")
    run(port, tmp_path)
    for format in FORMATS:
        assert counted(port, format, "stored") + counted(port, format, "accepted"), f"nothing in {format} was taken"
        assert counted(port, format, "invalid"), f"nothing in {format} was refused"


def test_query_api__answers_as_its_document_says(site: Site, tmp_path: Path) -> None:
    # A stream has no end; test_streams.py reads them.
    run(site.port("query-api"), tmp_path, "--exclude-operation-id=getEvents", "--exclude-operation-id=getWebSocket")
