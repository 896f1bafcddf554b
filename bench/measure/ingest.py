"""Acknowledged single POSTs: ingest-api beside the bare floor (bench/floor.c).

wrk, one Kafka broker and one server at a time share the machine. The servers take turns, round by
round, so that a slow minute of the machine meets all of them. Each is warmed up before it counts.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from statistics import median
from typing import Any

from harness.platform import is_ready
from harness.process import Process
from measure import usage
from measure.session import BenchFailed, Session, say

CONNECTIONS = (256, 64)
WARM_UP_SECONDS = 1
BROKER_WARM_UP_SECONDS = 8
ORDER_ID_AT, ORDER_ID_BYTES = 13, 34    # in the bodies that post.lua makes
TOPIC = "orders"

# Three servers: what we built, the floor, and the floor with the one thing that ordering per order
# asks for: a key, which spreads each instant's records over all partitions' batches.
SERVERS = ("ingest-api", "floor", "floor-keyed")


class Server:
    """One server under load."""

    def __init__(self, session: Session, name: str) -> None:
        self.name = name
        self.port = session.free_port()
        self.process = self._start(session)
        self.samples: dict[int, list[dict[str, Any]]] = {}

    def _start(self, session: Session) -> Process:
        threads = session.plan.http_threads
        if self.name == "ingest-api":
            process = session.start_service(
                "ingest-api", self.port, f"--http.threads={threads}",
                f"--topics.file={session.root / 'pipelines' / 'topics.json'}",
                f"--schemas.dir={session.root / 'schemas'}")
            session.await_ready(process, lambda: is_ready(self.port))
            return process
        key = {"floor": 0, "floor-keyed": ORDER_ID_BYTES}[self.name]
        process = session.start(self.name, [
            session.bin_dir / "bench-floor", "--bootstrap", session.kafka.bootstrap, "--topic", TOPIC,
            "--port", self.port, "--threads", threads, "--key-at", ORDER_ID_AT, "--key-bytes", key])
        session.await_ready(process, lambda: '"ready"' in process.log.read_text())
        return process

    def measure(self, session: Session, connections: int, seconds: int) -> dict[str, Any]:
        cpu_before = usage.cpu_seconds(self.process.pid)
        report = run_wrk(session.root, f"http://127.0.0.1:{self.port}/events/{TOPIC}", connections, seconds)
        cpu = usage.cpu_seconds(self.process.pid) - cpu_before
        if report["not_created"] or report["socket_errors"] or not report["requests"]:
            raise BenchFailed(self.process.trouble(f"answered other than 201: {report}"))
        return {**report, "requests_per_s": round(report["requests"] / report["seconds"]),
                "cpu_us_per_request": round(cpu / report["requests"] * 1e6, 2)}


def run_wrk(root: Path, url: str, connections: int, seconds: int) -> dict[str, Any]:
    """One wrk thread: a second one would take the core that the server needs."""
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s",
            "-s", str(root / "bench" / "post.lua"), url]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=seconds + 60)
    if done.returncode != 0:
        raise BenchFailed(f"{' '.join(argv)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def _summary(server: Server, connections: int) -> dict[str, Any]:
    samples = server.samples[connections]
    keys = ("requests_per_s", "p50_ms", "p99_ms", "cpu_us_per_request")
    return {**{key: median(sample[key] for sample in samples) for key in keys},
            "peak_rss_mib": usage.peak_rss_mib(server.process.pid), "rounds": samples}


def _warm_up(session: Session, servers: list[Server]) -> int:
    """The broker compiles its produce path during the first seconds of load, whoever sends it."""
    seconds = 1 if session.plan.quick else BROKER_WARM_UP_SECONDS
    return sum(server.measure(session, max(CONNECTIONS), seconds)["requests"] for server in servers)


def _ratio(servers: dict[str, Server], other: str, connections: int) -> float:
    """Round by round, then the median: what slows a whole round is in both figures."""
    ours, theirs = (servers[name].samples[connections] for name in ("ingest-api", other))
    return round(median(a["requests_per_s"] / b["requests_per_s"] for a, b in zip(ours, theirs)), 3)


def _rounds(session: Session, servers: list[Server], connections: int) -> int:
    """All rounds at this number of connections; returns how many requests were answered."""
    answered = 0
    for number in range(session.plan.rounds):
        for server in servers if number % 2 == 0 else reversed(servers):    # none always comes first
            answered += server.measure(session, connections, WARM_UP_SECONDS)["requests"]
            sample = server.measure(session, connections, session.plan.seconds)
            server.samples.setdefault(connections, []).append(sample)
            answered += sample["requests"]
            say(f"ingest, {connections} connections, round {number + 1}: {server.name} "
                f"{sample['requests_per_s']} requests/s, p99 {sample['p99_ms']} ms")
    return answered


def run(session: Session) -> dict[str, Any]:
    """All servers at all numbers of connections."""
    session.create_topics(f"{TOPIC}:6")
    servers = {name: Server(session, name) for name in SERVERS}
    answered = _warm_up(session, list(servers.values()))
    answered += sum(_rounds(session, list(servers.values()), connections) for connections in CONNECTIONS)
    stored = int(session.tool("topics", "count", TOPIC))
    # wrk hangs up at the end of a run: what was under way then is stored without an answer.
    if stored < answered:
        raise BenchFailed(f"{answered} orders were answered with 201, {stored} are in Kafka")
    result: dict[str, Any] = {"answered": answered, "stored": stored, "connections": {}}
    for connections in CONNECTIONS:
        result["connections"][str(connections)] = {
            **{name: _summary(server, connections) for name, server in servers.items()},
            "ratio_to_floor": _ratio(servers, "floor", connections),
            "ratio_to_keyed_floor": _ratio(servers, "floor-keyed", connections)}
    for server in servers.values():
        session.stop(server.process)
    session.delete_topics(TOPIC)
    return result
