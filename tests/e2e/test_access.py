"""Access in query-api on real Kafka: the dashboard in real Chromium, who signs in, and tickets at replicas."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from harness.browser import run_browser_tests
from harness.platform import Settings
from harness.reader import http_request
from harness.waiting import wait_for
from conftest import MakeSite
from site_under_test import Site

SECRET = "0123456789abcdef" * 4

# By the letters of its id; what each may read.
RIGHTS: dict[str, list[str]] = {
    "wallDisplay1": ["product-metrics", "processed-orders"],
    "otherReader2": ["*"],
    "blindReader3": [],
    "nightKeeper4": ["*"],
}
KEEPER = {"write": ["*"], "admin": ["*"]}    # what nightKeeper4 may besides


def key_of(name: str) -> str:
    return f"mr_{name}_{name[0] * 43}"


def write_keys(file: Path, rights: dict[str, list[str]]) -> None:
    """Whole or not at all: SIGHUP may come at any time."""
    entries = [{"id": name, "sha256": hashlib.sha256(key_of(name).encode()).hexdigest(), "read": topics,
                **(KEEPER if name == "nightKeeper4" else {})}
               for name, topics in rights.items()]
    draft = file.with_suffix(".new")
    draft.write_text(json.dumps({"keys": entries}))
    draft.rename(file)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("access")
    write_keys(folder / "keys.json", RIGHTS)
    secret = base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("=")
    (folder / "jwks.json").write_text(json.dumps({"keys": [{"kty": "oct", "alg": "HS512", "k": secret}]}))
    (folder / "tickets").write_text("a secret that all of the replicas have\n")
    return folder / "keys.json"


@pytest.fixture(scope="module")
def site(make_site: MakeSite, keys: Path) -> Site:
    flags = ["--query.control=on", "--access.mode=on", f"--access.keys.file={keys}", f"--access.jwks.file={keys.parent / 'jwks.json'}",
             "--access.jwt.issuer=e2e", "--access.jwt.audience=millrace", "--access.jwt.leeway=0",
             f"--access.ticket.secret.file={keys.parent / 'tickets'}"]
    return make_site(settings=Settings(flags={"query-api": flags}))


def ticket(port: int, name: str, topics: list[str]) -> str:
    answer = http_request(port, "POST", "/tickets", json.dumps({"topics": topics}).encode(),
                          {"Content-Type": "application/json", "X-Api-Key": key_of(name)})
    assert answer.status == 201, answer
    got: dict[str, Any] = json.loads(answer.body)
    return str(got["ticket"])


def status(port: int, path: str) -> int:
    """Of an answer whose body may not end."""
    done = subprocess.run(["curl", "-s", "-o", os.devnull, "-w", "%{http_code}", "--max-time", "1",
                           f"http://127.0.0.1:{port}{path}"], stdout=subprocess.PIPE, check=False, text=True)
    return int(done.stdout)


def test_tickets__are_good_at_every_replica__once_at_each(site: Site) -> None:
    first = site.port("query-api")
    _, second = site.start_second("query-api")
    path = f"/events/product-metrics?ticket={ticket(first, 'wallDisplay1', ['product-metrics'])}"
    assert [status(port, path) for port in (second, first, second, first)] == [200, 200, 401, 401]


def revoke(site: Site, keys: Path) -> None:
    write_keys(keys, {name: topics for name, topics in RIGHTS.items() if name != "wallDisplay1"})
    site.platform.service("query-api").send_signal(signal.SIGHUP)
    wait_for("the key to be gone", 60.0, lambda: http_request(
        site.port("query-api"), "GET", "/latest/product-metrics", None,
        {"X-Api-Key": key_of("wallDisplay1")}).status == 401)


def test_dashboard__in_chromium(site: Site, keys: Path, tmp_path: Path) -> None:
    env = {"MILLRACE_DASHBOARD_URL": f"http://127.0.0.1:{site.port('query-api')}",
           "MILLRACE_KEY": key_of("wallDisplay1"), "MILLRACE_OTHER_KEY": key_of("otherReader2"),
           "MILLRACE_KEEPER_KEY": key_of("nightKeeper4"),
           "MILLRACE_BLIND_KEY": key_of("blindReader3"), "MILLRACE_TOKEN_KEY": SECRET}
    site.start_load(20)
    site.await_acknowledged(20)
    run_browser_tests([Path(__file__).parent / "browser/access.test.mjs"], env,
                      {"MILLRACE_REVOKE": lambda: revoke(site, keys)}, tmp_path)
    site.stop_load()
