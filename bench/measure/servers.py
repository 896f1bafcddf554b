"""The servers that take POSTs: ours, the floors (bench/floor.c) and a peer, started the same way."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from harness.platform import is_ready
from harness.process import Process
from measure import usage
from measure.machine import millrace_home
from measure.session import BenchFailed, Session, say

ORDER_ID_AT, ORDER_ID_BYTES = 13, 34    # in the bodies that post.lua makes
TOPIC = "orders"
FASTAPI_WORKERS = 2
START_SECONDS = 30


class Server:
    """One running server and what was measured on it, by load."""

    def __init__(self, session: Session, name: str) -> None:
        self.name = name
        self.port = session.free_port()
        self.process = STARTERS[name](session, self.port)
        self.samples: dict[str, list[dict[str, Any]]] = {}


@dataclass(frozen=True)
class Load:
    """What wrk sends, and the one answer that is right."""

    status: int = 201
    events: int = 1
    query: str = ""
    topic: str = TOPIC
    body_bytes: int = 0    # of one event; 0: as long as an order is
    pause_ms: int = 0      # from an answer to the connection's next request

    @property
    def target(self) -> str:
        return f"/events/{self.topic}{self.query}"

    def run(self, session: Session, server: Server, connections: int, seconds: int,
            is_each_looked_at: bool = True) -> dict[str, Any]:
        """Not looked at, an answer of 400 and above fails the run all the same, and wrk takes a fifth less time."""
        before = usage.tree_cpu_seconds(server.process.pid)
        url = f"http://127.0.0.1:{server.port}{self.target}"
        report = _run_wrk(session.root, url, connections, seconds, self, self.status if is_each_looked_at else 0)
        cpu = usage.tree_cpu_seconds(server.process.pid) - before
        if report["other_answers"] or report["socket_errors"] or not report["requests"]:
            raise BenchFailed(server.process.trouble(f"answered other than {self.status}: {report}"))
        return {**report, "requests_per_s": round(report["requests"] / report["seconds"]),
                "events_per_s": round(report["requests"] * self.events / report["seconds"]),
                "cpu_us_per_request": round(cpu / report["requests"] * 1e6, 2),
                "events_per_cpu_s": round(report["requests"] * self.events / cpu)}


def _run_wrk(root: Path, url: str, connections: int, seconds: int, load: Load, status: int) -> dict[str, Any]:
    """One wrk thread: a second one would take the core that the server needs."""
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s",
            "-s", str(root / "bench" / "post.lua"), url, "--",
            *map(str, (status, load.events, load.body_bytes, load.pause_ms))]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=seconds + 60)
    if done.returncode != 0:
        raise BenchFailed(f"{' '.join(argv)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


# --- How each starts -----------------------------------------------------------------------------


def _start_ours(session: Session, port: int) -> Process:
    process = session.start_service(
        "ingest-api", port, f"--http.threads={session.plan.http_threads}",
        f"--topics.file={session.root / 'pipelines' / 'topics.json'}",
        f"--schemas.dir={session.root / 'schemas'}")
    session.await_ready(process, lambda: is_ready(port))
    return process


def _start_floor(session: Session, port: int, name: str, **options: int) -> Process:
    flags = [word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", value)]
    process = session.start(name, [
        session.bin_dir / "bench-floor", "--bootstrap", session.kafka.bootstrap, "--topic", TOPIC,
        "--port", port, "--threads", session.plan.http_threads, *flags])
    session.await_ready(process, lambda: '"ready"' in process.log.read_text())
    return process


def _fastapi_home(root: Path) -> Path:
    """The peer's packages, installed once per list of them."""
    source = root / "bench" / "peers" / "fastapi" / "requirements.txt"
    target = millrace_home() / "bench" / f"fastapi-{hashlib.sha256(source.read_bytes()).hexdigest()[:12]}"
    if (target / "ready").exists():
        return target
    say("installing the FastAPI peer's packages")
    shutil.rmtree(target, ignore_errors=True)
    for argv in (["/usr/bin/python3", "-m", "venv", str(target)],
                 [str(target / "bin" / "pip"), "install", "--quiet", "--no-deps", "-r", str(source)]):
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BenchFailed(f"{' '.join(argv)}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    (target / "ready").touch()
    return target


def _start_fastapi(session: Session, port: int) -> Process:
    os.environ["BENCH_BOOTSTRAP"] = session.kafka.bootstrap
    os.environ["BENCH_SCHEMA"] = str(session.root / "schemas" / f"{TOPIC}.json")
    process = session.start("fastapi", [
        _fastapi_home(session.root) / "bin" / "uvicorn", "--app-dir", session.root / "bench" / "peers" / "fastapi",
        "--host", "127.0.0.1", "--port", str(port), "--workers", str(FASTAPI_WORKERS), "--loop", "uvloop",
        "--http", "httptools", "--no-access-log", "--log-level", "warning", "app:app"])
    session.await_ready(process, lambda: is_ready(port), START_SECONDS)
    return process


STARTERS: dict[str, Callable[[Session, int], Process]] = {
    "ingest-api": _start_ours,
    "floor": lambda session, port: _start_floor(session, port, "floor"),
    # With the one thing that ordering per order asks for: a key, which spreads each instant's
    # records over all partitions' batches.
    "floor-keyed": lambda session, port: _start_floor(
        session, port, "floor-keyed", key_at=ORDER_ID_AT, key_bytes=ORDER_ID_BYTES),
    "floor-at-once": lambda session, port: _start_floor(session, port, "floor-at-once", at_once=1),
    "fastapi": _start_fastapi,
}
