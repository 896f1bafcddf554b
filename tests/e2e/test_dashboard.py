"""The dashboard in real Chromium (tests/e2e/browser), against a platform under a little load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.browser import run_browser_tests
from harness.platform import Settings
from harness.reader import http_get
from harness.waiting import wait_for
from conftest import MakeSite
from site_under_test import Site


@pytest.fixture(scope="module")
def site(make_site: MakeSite, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The usual site, whose workers tell how they are five times a second: one that died is soon missed; and
    whose streams are compressed, since a browser alone can show that it reads each event as it comes."""
    often = ["--status.interval=200ms"]
    saving = [*often, f"--savepoint.dir={tmp_path_factory.mktemp('savepoints')}"]
    return make_site(settings=Settings(flags={
        "processor": often, "analytics": saving,
        "query-api": ["--sse.compression=on", "--query.control=on", "--query.consumers=on"]}))


def test_dashboard__in_chromium(site: Site, tmp_path: Path) -> None:
    def restart() -> None:
        site.terminate("query-api")
        site.restart("query-api")

    env = {"MILLRACE_DASHBOARD_URL": f"http://127.0.0.1:{site.port('query-api')}",
           "MILLRACE_INGEST_URL": f"http://127.0.0.1:{site.port('ingest-api')}"}
    folder = Path(__file__).parent / "browser"
    # Who is asked who they are is test_access.py's.
    files = sorted(path for path in folder.glob("*.test.mjs") if path.name != "access.test.mjs")
    site.start_load(20)
    site.await_acknowledged(20)
    run_browser_tests(files, env, {"MILLRACE_RESTART": restart}, tmp_path)
    site.stop_load()


def job(site: Site, pipeline: str) -> dict[str, Any]:
    """What GET /jobs says of it; {}: nothing."""
    answer = http_get(site.port("query-api"), "/jobs")
    assert answer.status == 200, answer
    return next((row for row in json.loads(answer.body)["items"] if row["pipeline"] == pipeline), {})


def await_job(site: Site, pipeline: str, state: str | None) -> None:
    """None: it is not there any more."""
    wait_for(f"{pipeline} is {state}", 60.0, lambda: job(site, pipeline).get("state") == state)


def test_jobs__a_killed_worker_is_missed__one_that_ends_is_not_there(site: Site) -> None:
    for pipeline in ("orders", "product-metrics"):
        await_job(site, pipeline, "ok")
    site.platform.kill("analytics")
    await_job(site, "product-metrics", "down")
    assert job(site, "product-metrics")["instance_count"] == {"live": 0, "lost": 1, "failed": 0}
    site.restart("analytics")
    await_job(site, "product-metrics", "ok")
    assert job(site, "product-metrics")["instance_count"] == {"live": 1, "lost": 0, "failed": 0}
    site.terminate("processor")
    await_job(site, "orders", None)
    assert http_get(site.port("query-api"), "/jobs/orders").status == 404
    site.restart("processor")
    await_job(site, "orders", "ok")
