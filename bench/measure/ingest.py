"""Events over HTTP: ingest-api beside floors and a peer, one contest for each way to send them.

wrk, one Kafka broker and one server at a time share the machine. The servers take turns, round by
round, so that a slow minute of the machine meets all of them. Each is warmed up before it counts.

Where all share all cores, a rate is also what wrk and Kafka leave to the server, and a server that is faster leaves less
to itself. So a contest may be held once more with one core for the server alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any, Sequence

from measure import cores, usage
from measure.servers import TOPIC, Load, Server
from measure.session import BenchFailed, Session, say

OURS = "ingest-api"
WARM_UP_SECONDS = 1
BROKER_WARM_UP_SECONDS = 8
BULK_CONNECTIONS = 8


@dataclass(frozen=True)
class Contest:
    """One load, sent to several servers in turn."""

    name: str
    load: Load
    connections: Sequence[int]
    servers: Sequence[str]
    is_stored: bool = True    # a right answer means that Kafka has it
    own_core: int = 0         # with so many connections once more, each server on a core of its own
    bulk: Load | None = None  # for ours, answered when stored: it warms the broker where the load itself takes minutes to


SINGLE = Contest("ingest", Load(), (256, 64), (OURS, "floor", "floor-keyed", "fastapi"), own_core=256)
NDJSON = Contest("ndjson", Load(events=500), (16,), (OURS, "fastapi"))
HASTY = Contest("hasty", Load(status=202, query="?hasty"), (256,), (OURS, "floor-at-once", "fastapi"),
                is_stored=False, own_core=256,
                bulk=NDJSON.load)


def _summary(server: Server, load: str) -> dict[str, Any]:
    samples = server.samples[load]
    keys = ("requests_per_s", "events_per_s", "p50_ms", "p99_ms", "cpu_us_per_request", "events_per_cpu_s")
    return {**{key: median(sample[key] for sample in samples) for key in keys},
            "peak_rss_mib": usage.tree_peak_rss_mib(server.process.pid), "rounds": samples}


def _warm_up(session: Session, contest: Contest, servers: list[Server]) -> int:
    """The broker compiles its produce path while it is first used, whoever uses it: by records, so that many in a
    request make it warm the sooner."""
    seconds = 1 if session.plan.quick else BROKER_WARM_UP_SECONDS
    answered = 0
    if contest.bulk:
        ours = next(server for server in servers if server.name == OURS)
        answered += contest.bulk.run(session, ours, BULK_CONNECTIONS, 2 * seconds)["requests"] * contest.bulk.events
    return answered + sum(contest.load.run(session, server, max(contest.connections), seconds)["requests"]
                          for server in servers)


def _ratio(servers: dict[str, Server], other: str, load: str) -> float:
    """Round by round, then the median: what slows a whole round is in both figures."""
    ours, theirs = (servers[name].samples[load] for name in (OURS, other))
    return round(median(a["requests_per_s"] / b["requests_per_s"] for a, b in zip(ours, theirs)), 3)


def _rounds(session: Session, contest: Contest, servers: list[Server], connections: int, load: str) -> int:
    """All rounds at this number of connections; returns how many requests were answered."""
    answered = 0
    for number in range(session.plan.rounds):
        for server in servers if number % 2 == 0 else reversed(servers):    # none always comes first
            answered += contest.load.run(session, server, connections, WARM_UP_SECONDS)["requests"]
            sample = contest.load.run(session, server, connections, session.plan.seconds, is_each_looked_at=False)
            server.samples.setdefault(load, []).append(sample)
            answered += sample["requests"]
            say(f"{contest.name}, {load}, round {number + 1}: {server.name} "
                f"{sample['events_per_s']} events/s, p99 {sample['p99_ms']} ms")
    return answered


def _all_rounds(session: Session, contest: Contest, servers: list[Server]) -> int:
    """At all numbers of connections, and apart."""
    answered = sum(_rounds(session, contest, servers, connections, f"{connections} connections")
                   for connections in contest.connections)
    if contest.own_core and cores.OTHERS:
        with cores.apart(session.directory / "kafka", [server.process.pid for server in servers]):
            answered += _rounds(session, contest, servers, contest.own_core,
                                f"{contest.own_core} connections, a core of its own")
    return answered


def _require_stored(session: Session, events: int) -> int:
    """wrk hangs up at the end of a run: what was under way then is stored without an answer."""
    stored = int(session.tool("topics", "count", TOPIC))
    if stored < events:
        raise BenchFailed(f"{events} orders were answered with 201, {stored} are in Kafka")
    return stored


def run(session: Session, contest: Contest) -> dict[str, Any]:
    """All servers of the contest at all its numbers of connections."""
    session.create_topics(f"{TOPIC}:6")
    servers = {name: Server(session, name) for name in contest.servers}
    answered = _warm_up(session, contest, list(servers.values()))
    answered += _all_rounds(session, contest, list(servers.values()))
    events = answered * contest.load.events
    result: dict[str, Any] = {"answered": events, "loads": {}}
    if contest.is_stored:
        result["stored"] = _require_stored(session, events)
    for load in servers[OURS].samples:
        result["loads"][load] = {
            **{name: _summary(server, load) for name, server in servers.items()},
            "ratio_to": {name: _ratio(servers, name, load) for name in contest.servers if name != OURS}}
    for server in servers.values():
        session.stop(server.process)
    session.delete_topics(TOPIC)
    return result
