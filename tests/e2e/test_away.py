"""The only broker is away for long, or hangs while queues are short: an ingest-api with a spool goes on
taking orders, one without refuses them; both stay ready and small, and both come back by themselves.

MILLRACE_AWAY_SECONDS=600 is the time that the spool is promised for. Longer than a minute matters:
records time out (message.timeout.ms) and librdkafka forgets what it knew of the topics.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import MakeSite
from harness.ledger import FAIL, OK, SPOOLED
from harness.platform import Settings, is_ready
from harness.process import Process
from keyed_load import Load, Shape, await_drained, metric, require_all_there
from site_under_test import Site

AWAY_SECONDS = float(os.environ.get("MILLRACE_AWAY_SECONDS", "20"))
FLAGS = ["--http.request.timeout=3s", "--http.threads=2"]
SLOW = Shape(clients=4, pause_seconds=0.1)
SLOW_ARRAYS = Shape(clients=2, pause_seconds=0.5, batch=20)
LOOK_SECONDS = 0.5
GROWTH_BYTES_MAX = 48 << 20    # what may be on its way to Kafka: events.inflight.bytes.max


@pytest.fixture(scope="module")
def site(make_site: MakeSite, tmp_path_factory: pytest.TempPathFactory) -> Site:
    spool = tmp_path_factory.mktemp("spool")
    return make_site(settings=Settings(services=("ingest-api",), flags={"ingest-api": [
        *FLAGS, f"--spool.dir={spool}", "--spool.after=1s"]}))


def resident_bytes(process: Process) -> int:
    """proc(5): VmRSS."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    raise AssertionError(f"{process.name} has no VmRSS")


@dataclass
class Watched:
    """A service, and how large it was before and at its largest."""

    process: Process
    port: int
    before: int = 0
    largest: int = 0

    def begin(self) -> None:
        self.before = resident_bytes(self.process)

    def look(self) -> None:
        self.process.require_running()
        assert is_ready(self.port), f"{self.process.name} is not ready without Kafka"
        self.largest = max(self.largest, resident_bytes(self.process))

    def require_small(self) -> None:
        grown = self.largest - self.before
        assert grown < GROWTH_BYTES_MAX, f"{self.process.name} grew by {grown >> 20} MiB"


def test_broker_away__for_long(site: Site) -> None:
    plain_process, plain_port = site.start_second("ingest-api", "--spool.dir=")
    spooling = Watched(site.platform.service("ingest-api"), site.port("ingest-api"))
    plain = Watched(plain_process, plain_port)
    kept = [Load(site, "kept", SLOW), Load(site, "keptall", SLOW_ARRAYS)]
    refused = Load(site, "refused", Shape(clients=4, pause_seconds=0.1, port=plain_port))
    for load in (*kept, refused):
        load.await_more(OK, 50)
    for watched in (spooling, plain):
        watched.begin()
    site.cluster.kill(1)
    back = time.monotonic() + AWAY_SECONDS
    while time.monotonic() < back:    # what is tested is that time passes
        for watched in (spooling, plain):
            watched.look()
        time.sleep(LOOK_SECONDS)
    waiting, oldest = (metric(spooling.port, f"millrace_spool_{name}") for name in ("records", "oldest_seconds"))
    spooled = [load.count(SPOOLED) for load in kept]
    refusals = refused.statuses(503)
    site.cluster.restart(1)
    began = time.monotonic()
    for load in (*kept, refused):
        load.await_more(OK, 50)
    taken = time.monotonic() - began
    for load in (*kept, refused):
        load.end()
    await_drained(spooling.port)
    drained = time.monotonic() - began
    print(f"away {AWAY_SECONDS:.0f} s: {sum(spooled)} spooled, {waiting:.0f} waiting, the oldest for {oldest:.0f} s; "
          f"{refusals} refused where there is no spool; taken again after {taken:.1f} s, drained after {drained:.1f} s; "
          + "; ".join(f"{watched.process.name} {watched.before >> 10} KiB before, {watched.largest >> 10} KiB at most"
                      for watched in (spooling, plain)))
    require_all_there(site, *kept, refused)
    assert all(count > 0 for count in spooled) and refusals > 0
    assert oldest > AWAY_SECONDS / 2, "the first to be spooled has waited all the time"
    for watched in (spooling, plain):
        watched.require_small()


def test_queue_full__refused_or_spooled_and_nothing_lost(site: Site, tmp_path: Path) -> None:
    """The producer's queue is bounded to a few records, and the broker hangs. Arrays fill the queue; whoever
    comes after them is refused at once, in words that promise that nothing is there, or spooled."""
    short = "--kafka.queue.buffering.max.messages=20"
    plain = Watched(*site.start_second("ingest-api", "--spool.dir=", short))
    spooling = Watched(*site.start_second("ingest-api", f"--spool.dir={tmp_path / 'spool'}", short))
    loads = {watched.port: [Load(site, f"{name}-{kind}", Shape(clients=4, pause_seconds=0.05, batch=batch,
                                                               port=watched.port))
                            for kind, batch in (("one", 1), ("all", 10))]
             for name, watched in (("full", plain), ("spill", spooling))}
    every = [load for pair in loads.values() for load in pair]
    for load in every:
        load.await_more(OK, 20)
    for watched in (plain, spooling):
        watched.begin()
    site.cluster.pause(1)
    loads[plain.port][0].await_more(FAIL, 100)    # queue-full: 503, and surely not stored
    for load in loads[spooling.port]:
        load.await_more(SPOOLED, 100)
    for watched in (plain, spooling):
        watched.look()
        watched.require_small()
    site.cluster.resume(1)
    for load in every:
        load.await_more(OK, 20)
    for load in every:
        load.end()
    await_drained(spooling.port)
    require_all_there(site, *every)
