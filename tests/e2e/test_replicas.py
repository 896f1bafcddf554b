"""Three brokers lose replicas and leaders while clients post: to a topic that wants two of its three
replicas in sync, to one that wants all three, through an ingest-api with a spool and through one without.

What a client is told stays true (keyed_load.py), and each comes back by itself when the replicas do.
MILLRACE_ROUNDS=N lets each broker fall in turn until N have.
"""

from __future__ import annotations

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import MakeSite
from harness.ledger import INFO, OK, SPOOLED
from harness.platform import Settings
from harness.reader import http_request, leaders, out_of_sync
from harness.verify import ORDERS
from harness.waiting import wait_for
from keyed_load import Load, Shape, await_drained, require_all_there
from site_under_test import Site

ROUNDS = int(os.environ.get("MILLRACE_ROUNDS", "1"))
STRICT = "strict-orders"    # takes nothing unless all three replicas are in sync
FLAGS = ["--http.request.timeout=3s", "--http.threads=2"]
# Leaders go back to where they were as soon as that broker is there: moves under load, without a tool.
KAFKA = ["leader.imbalance.check.interval.seconds=1", "leader.imbalance.per.broker.percentage=0"]
# Keys enough for all six partitions; every second client sends arrays, so that many of a key are under way.
ONE_BY_ONE = Shape(clients=6, pause_seconds=0.02)
IN_ARRAYS = Shape(clients=6, pause_seconds=0.05, batch=20)
NEW_TOPICS = 10
CLIENTS = 4


@dataclass
class Replicas:
    """An ingest-api without a spool and one with it, on the same brokers."""

    site: Site
    plain: int
    spooling: int

    def load(self, prefix: str, port: int, topic: str) -> list[Load]:
        """One order at a time, and in arrays."""
        return [Load(self.site, f"{prefix}-{kind}-", Shape(shape.clients, shape.pause_seconds, shape.batch,
                                                           topic=topic, port=port))
                for kind, shape in (("one", ONE_BY_ONE), ("all", IN_ARRAYS))]


@pytest.fixture(scope="module")
def site(make_site: MakeSite, tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = make_site(brokers=3, settings=Settings(services=("ingest-api",), flags={"ingest-api": FLAGS}), kafka=KAFKA)
    topics = tmp_path_factory.mktemp("topics") / "strict.json"
    topics.write_text(json.dumps([{"name": STRICT, "partitions": 6, "replication": 3,
                                   "config": {"min.insync.replicas": "3"}}]))
    site.platform.create_topics(topics)
    return site


@pytest.fixture(scope="module")
def replicas(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Replicas:
    spool: Path = tmp_path_factory.mktemp("spool")
    _, port = site.start_second("ingest-api", f"--spool.dir={spool}", "--spool.after=1s")
    return Replicas(site, site.port("ingest-api"), port)


@dataclass
class Asked:
    """Answers of one client, each with when it was asked for and when it was there."""

    answers: list[tuple[float, int, float]]

    @classmethod
    def until(cls, stopped: threading.Event, port: int, topic: str) -> Asked:
        answers = []
        while not stopped.is_set():
            begun = time.monotonic()
            status = http_request(port, "POST", f"/events/{topic}", b"{}").status
            answers.append((begun, status, time.monotonic()))
        return cls(answers)


def await_acknowledged(loads: list[Load], more: int) -> None:
    for load in loads:
        load.await_more(OK, more)


def end_and_judge(replicas: Replicas, loads: list[Load]) -> None:
    for load in loads:
        load.end()
    await_drained(replicas.spooling)
    require_all_there(replicas.site, *loads)


def fall_and_rise(replicas: Replicas, broker: int, usual: list[Load], strict: list[Load], kept: list[Load]) -> None:
    """A broker dies, its leaders move; it comes back, and so do they."""
    site = replicas.site
    before = leaders(site.cluster.bootstrap, ORDERS)
    assert broker in before.values(), before
    site.cluster.kill(broker)
    wait_for("its leaders have moved", 60.0,
             lambda: set(leaders(site.cluster.bootstrap, ORDERS).values()).isdisjoint({broker, -1}))
    await_acknowledged(usual, 50)    # two replicas are enough
    for load in strict:
        load.await_more(INFO, 5)     # 503: not acknowledged in time, which may change
        assert load.statuses(503) > 0
    for load in kept:
        load.await_more(SPOOLED, 100)
    site.cluster.restart(broker)
    wait_for("its leaders are back", 60.0, lambda: leaders(site.cluster.bootstrap, ORDERS) == before)
    wait_for("all replicas are in sync", 60.0, lambda: not out_of_sync(site.cluster.bootstrap))


def test_one_of_three_killed__leaders_move_and_come_back(replicas: Replicas) -> None:
    usual = replicas.load("usual", replicas.plain, ORDERS)
    strict = replicas.load("strict", replicas.plain, STRICT)
    kept = replicas.load("kept", replicas.spooling, STRICT)
    await_acknowledged(usual + strict + kept, 20)
    for turn in range(ROUNDS):
        fall_and_rise(replicas, 1 + turn % 3, usual, strict, kept)
        await_acknowledged(usual + strict + kept, 50)
    end_and_judge(replicas, usual + strict + kept)


def test_new_topic__once_a_worker_knows_it__all_do(replicas: Replicas, tmp_path: Path) -> None:
    """While brokers hear of it one after the other. Each request comes on a connection of its own, to any worker."""
    for turn in range(NEW_TOPICS):
        topic = f"new-{turn}"
        file = tmp_path / f"{topic}.json"
        file.write_text(json.dumps([{"name": topic, "partitions": 1, "replication": 3}]))
        stopped = threading.Event()
        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [pool.submit(Asked.until, stopped, replicas.plain, topic) for _ in range(CLIENTS)]
            try:
                replicas.site.platform.create_topics(file)
                for _ in range(CLIENTS):
                    wait_for(f"{topic} to be taken", 60.0,
                             lambda: http_request(replicas.plain, "POST", f"/events/{topic}", b"{}").status == 201)
            finally:
                stopped.set()
            answers = [answer for client in clients for answer in client.result().answers]
        first = min(there for _, status, there in answers if status == 201)
        assert [status for _, status, _ in answers if status == 404], "nobody asked before it was there"
        assert 404 not in {status for begun, status, _ in answers if begun > first}


def test_two_of_three_hang__nothing_is_acknowledged_by_one(replicas: Replicas) -> None:
    """No quorum is left, so no leader moves and no replica is dropped: what is sent can only wait."""
    site = replicas.site
    plain = replicas.load("plain", replicas.plain, ORDERS)
    kept = replicas.load("held", replicas.spooling, ORDERS)
    await_acknowledged(plain + kept, 20)
    for broker in (2, 3):
        site.cluster.pause(broker)
    for load in plain:
        load.await_status(503, 10)
    for load in kept:
        load.await_more(SPOOLED, 100)
    stored = sum(load.count(OK) for load in plain + kept)
    for load in plain:
        load.await_status(503, 10)
    assert sum(load.count(OK) for load in plain + kept) == stored, "one replica alone acknowledged"
    for broker in (2, 3):
        site.cluster.resume(broker)
    await_acknowledged(plain + kept, 50)
    end_and_judge(replicas, plain + kept)
