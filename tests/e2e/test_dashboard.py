"""The dashboard in real Chromium (tests/e2e/browser), against a platform under a little load."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from site_under_test import Site

BROWSER_SECONDS = 120.0
POLL_SECONDS = 0.1

# What a browser test runs to have query-api restarted: it asks by a file, and waits until it is gone.
ASK = 'touch "{0}"; while [ -e "{0}" ]; do sleep 0.1; done'


def test_dashboard__in_chromium(site: Site, tmp_path: Path) -> None:
    request = tmp_path / "restart-query-api"
    env = {**os.environ,
           "MILLRACE_DASHBOARD_URL": f"http://127.0.0.1:{site.port('query-api')}",
           "MILLRACE_INGEST_URL": f"http://127.0.0.1:{site.port('ingest-api')}",
           "MILLRACE_RESTART": ASK.format(request)}
    folder = Path(__file__).parent / "browser"
    site.start_load(20)
    site.await_acknowledged(20)
    with open(tmp_path / "browser.log", "wb") as log:
        node = subprocess.Popen(["node", "--test", "--test-concurrency=1", *sorted(folder.glob("*.test.mjs"))],
                                stdout=log, stderr=subprocess.STDOUT, env=env)
        try:
            code = serve_restarts(site, node, request)
        finally:
            node.kill()
            node.wait()
    assert code == 0, (tmp_path / "browser.log").read_text()
    site.stop_load()


def serve_restarts(site: Site, node: subprocess.Popen[bytes], request: Path) -> int:
    """Wait for the browser tests; restart query-api when they ask. Only this thread may start processes."""
    for _ in range(int(BROWSER_SECONDS / POLL_SECONDS)):
        try:
            return node.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if request.exists():
                site.terminate("query-api")
                site.restart("query-api")
                request.unlink()
    raise AssertionError(f"the browser tests did not end in {BROWSER_SECONDS:g} s")
