"""Kafka goes away while ingest-api has a spool: what was answered 201 or 202 is in Kafka in the end,
once but for repeats that say so, and in the order of each connection, whatever is killed meanwhile.

Only ingest-api runs: the verdict is on the topic `orders`.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import threading
from pathlib import Path
from typing import Iterator

import pytest

from conftest import MakeSite
from harness.ledger import OK, SPOOLED, Entry, LedgerWriter
from harness.orders import OrderMaker, OrderPoster
from harness.platform import Settings
from harness.reader import http_get, read_topic
from harness.verify import ORDERS, Discrepancy, check_order, check_orders, format_discrepancies
from harness.waiting import wait_for
from site_under_test import Site

CLIENTS = 4
PAUSE_SECONDS = 0.002    # between a client's orders: so many that a small machine keeps up
SEED = int(os.environ.get("MILLRACE_SEED", "20240607"))


class Client(threading.Thread):
    """One connection that posts orders of one key, one after the other, until it is told to stop."""

    def __init__(self, name: str, port: int, ledger: LedgerWriter, fill: int = 0) -> None:
        super().__init__(daemon=True)
        self.name = name
        self._orders = OrderMaker(name)
        self._ledger = ledger
        self._poster = OrderPoster(port, ledger, query=f"key={name}")
        self._fill = fill
        self._ended = threading.Event()

    @property
    def entries(self) -> list[Entry]:
        return self._ledger.entries

    def run(self) -> None:
        while not self._ended.wait(PAUSE_SECONDS):
            order = self._orders.good()
            if self._fill:
                order = order.padded(self._fill)
            self._poster.post(order)
        self._poster.close()

    def end(self) -> None:
        self._ended.set()
        self.join(60.0)
        assert not self.is_alive(), f"{self.name} got no answer"
        self._ledger.close()


class Load:
    """All clients, and what they were told."""

    def __init__(self, site: Site, prefix: str, fill: int = 0) -> None:
        folder = site.platform.layout.run_dir / "ledger"
        self.clients = [Client(f"{prefix}{n}", site.port("ingest-api"), LedgerWriter(folder / f"{prefix}{n}.ndjson"), fill)
                        for n in range(CLIENTS)]
        for client in self.clients:
            client.start()

    def count(self, *outcomes: str) -> int:
        return sum(entry.outcome in outcomes for client in self.clients for entry in list(client.entries))

    def statuses(self, status: int) -> int:
        return sum(entry.status == status for client in self.clients for entry in list(client.entries))

    def await_more(self, outcome: str, more: int, seconds: float = 60.0) -> None:
        wanted = self.count(outcome) + more
        wait_for(f"{more} more {outcome}", seconds, lambda: self.count(outcome) >= wanted)

    def end(self) -> None:
        for client in self.clients:
            client.end()


def metric(site: Site, name: str) -> float:
    text = http_get(site.port("ingest-api"), "/metrics").body.decode()
    found = re.search(rf"^{name} (\S+)$", text, re.M)
    assert found, f"{name} is not among the metrics"
    return float(found[1])


def await_drained(site: Site) -> None:
    """All that was spooled is in Kafka, and its files are gone."""
    wait_for("the spool is empty", 90.0, lambda: metric(site, "millrace_spool_records") == 0
             and metric(site, "millrace_spool_bytes") == 0)


def require_all_there(site: Site, load: Load) -> None:
    """Nothing acknowledged lost, nothing twice without saying so, each connection's order kept."""
    records = [record for record in read_topic(site.cluster.bootstrap, ORDERS)
               if record.key in {client.name for client in load.clients}]
    found: list[Discrepancy] = []
    for client in load.clients:
        found += check_order(client.entries, records)
    found += check_orders([entry for client in load.clients for entry in client.entries], records)
    if found:
        pytest.fail(format_discrepancies(found))


def flags(folder: Path, *more: str) -> Settings:
    return Settings(services=("ingest-api",), flags={"ingest-api": [
        f"--spool.dir={folder}", "--spool.after=1s", "--http.threads=2", *more]})


@pytest.fixture(scope="module")
def spool_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spool")


@pytest.fixture(scope="module")
def site(make_site: MakeSite, spool_folder: Path) -> Site:
    # Slow replay: there is time to kill the service in the middle of it.
    return make_site(settings=flags(spool_folder, "--spool.replay.rate=1000", "--spool.segment.bytes=64KiB"))


def test_broker_killed_under_load__all_comes_in_order(site: Site) -> None:
    load = Load(site, "away")
    load.await_more(OK, 200)
    for _ in range(2):
        site.cluster.kill(1)
        load.await_more(SPOOLED, 1000)
        site.cluster.restart(1)
        load.await_more(OK, 200)    # by itself, without a restart
    load.end()
    await_drained(site)
    require_all_there(site, load)


def test_broker_hangs_under_load__all_comes_in_order(site: Site) -> None:
    """Its connections stay: what was sent may be stored, and is refused rather than copied."""
    load = Load(site, "hang")
    load.await_more(OK, 200)
    site.cluster.pause(1)
    load.await_more(SPOOLED, 500)
    site.cluster.resume(1)
    load.await_more(OK, 200)
    load.end()
    await_drained(site)
    require_all_there(site, load)


def test_service_killed__while_it_spools_and_while_it_replays(site: Site) -> None:
    rng = random.Random(SEED)
    load = Load(site, "kill")
    load.await_more(OK, 100)
    site.cluster.kill(1)
    for _ in range(3):
        load.await_more(SPOOLED, rng.randint(1, 600))
        site.platform.kill("ingest-api")
        site.restart("ingest-api")    # ready without Kafka: it has a spool
    load.await_more(SPOOLED, 500)
    site.cluster.restart(1)
    for _ in range(3):
        replayed = metric(site, "millrace_spool_replayed_total")
        wait_for("some more are replayed", 30.0,
                 lambda: metric(site, "millrace_spool_replayed_total") > replayed + rng.randint(1, 300)
                 or metric(site, "millrace_spool_records") == 0)
        site.platform.kill("ingest-api")
        site.restart("ingest-api")
    load.await_more(OK, 100)
    load.end()
    await_drained(site)
    require_all_there(site, load)


def test_stopped_while_kafka_is_away__the_next_start_replays(site: Site) -> None:
    load = Load(site, "stop")
    load.await_more(OK, 50)
    site.cluster.kill(1)
    load.await_more(SPOOLED, 200)
    site.terminate("ingest-api")    # exit code 0, in time
    load.end()
    site.cluster.restart(1)
    site.restart("ingest-api")
    await_drained(site)
    require_all_there(site, load)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB, where we may make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=False,
                          capture_output=True, text=True)
    if made.returncode != 0:
        pytest.skip(f"cannot mount a small disk: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_disk_full__503_and_nothing_lost(make_site: MakeSite, site: Site, small_disk: Path) -> None:
    """The bound is the disk's, not spool.bytes.max: writes fail with ENOSPC."""
    site.close()
    full = make_site(settings=flags(small_disk / "spool"))
    load = Load(full, "full", fill=2000)
    load.await_more(OK, 50)
    full.cluster.kill(1)
    load.await_more(SPOOLED, 100)
    wait_for("the disk is full", 60.0, lambda: metric(full, "millrace_spool_failures_total") > 0)
    refused = load.statuses(503)
    wait_for("orders are refused", 60.0, lambda: load.statuses(503) > refused + 20)
    full.platform.kill("ingest-api")    # and started on a full disk
    full.restart("ingest-api")
    full.cluster.restart(1)
    load.await_more(OK, 50)
    load.end()
    await_drained(full)
    require_all_there(full, load)
    full.close()
