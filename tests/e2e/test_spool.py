"""Kafka goes away while ingest-api has a spool: what was answered 201 or 202 is in Kafka in the end,
once but for repeats that say so, and in the order of each connection, whatever is killed meanwhile.

Only ingest-api runs: the verdict is on the topic `orders`.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from conftest import MakeDisk, MakeSite
from harness.ledger import OK, SPOOLED
from harness.platform import Settings
from harness.waiting import wait_for
from keyed_load import Load, Shape, await_drained, metric, require_all_there
from site_under_test import Site

SEED = int(os.environ.get("MILLRACE_SEED", "20240607"))

# Slower than the replay below even when one worker has all connections: what is spooled meanwhile would
# otherwise come faster than it is replayed, and no order would go straight to Kafka again.
SLOW = Shape(pause_seconds=0.008)


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
    load = Load(site, "away", SLOW)
    load.await_more(OK, 200)
    for _ in range(2):
        site.cluster.kill(1)
        load.await_more(SPOOLED, 1000)
        site.cluster.restart(1)
        load.await_more(OK, 200)    # by itself, without a restart
    load.end()
    await_drained(site.port("ingest-api"))
    require_all_there(site, load)


def test_broker_hangs_under_load__all_comes_in_order(site: Site) -> None:
    """Its connections stay: what was sent may be stored, and is refused rather than copied."""
    load = Load(site, "hang", SLOW)
    load.await_more(OK, 200)
    site.cluster.pause(1)
    load.await_more(SPOOLED, 500)
    site.cluster.resume(1)
    load.await_more(OK, 200)
    load.end()
    await_drained(site.port("ingest-api"))
    require_all_there(site, load)


def test_service_killed__while_it_spools_and_while_it_replays(site: Site) -> None:
    rng = random.Random(SEED)
    port = site.port("ingest-api")
    load = Load(site, "kill", SLOW)
    load.await_more(OK, 100)
    site.cluster.kill(1)
    for _ in range(3):
        load.await_more(SPOOLED, rng.randint(1, 600))
        site.platform.kill("ingest-api")
        site.restart("ingest-api")    # ready without Kafka: it has a spool
    load.await_more(SPOOLED, 500)
    site.cluster.restart(1)
    for _ in range(3):
        replayed = metric(port, "millrace_spool_replayed_total")
        wait_for("some more are replayed", 60.0,
                 lambda: metric(port, "millrace_spool_replayed_total") > replayed + rng.randint(1, 300)
                 or metric(port, "millrace_spool_records") == 0)
        site.platform.kill("ingest-api")
        site.restart("ingest-api")
    load.await_more(OK, 100)
    load.end()
    await_drained(site.port("ingest-api"))
    require_all_there(site, load)


def test_stopped_while_kafka_is_away__the_next_start_replays(site: Site) -> None:
    load = Load(site, "stop", SLOW)
    load.await_more(OK, 50)
    site.cluster.kill(1)
    load.await_more(SPOOLED, 200)
    site.terminate("ingest-api")    # exit code 0, in time
    load.end()
    site.cluster.restart(1)
    site.restart("ingest-api")
    await_drained(site.port("ingest-api"))
    require_all_there(site, load)


def test_disk_full__503_and_nothing_lost(make_site: MakeSite, site: Site, make_disk: MakeDisk) -> None:
    """The bound is the disk's, not spool.bytes.max: writes fail with ENOSPC."""
    site.close()
    full = make_site(settings=flags(make_disk("1m") / "spool"))
    load = Load(full, "full", Shape(fill=2000))
    load.await_more(OK, 50)
    full.cluster.kill(1)
    load.await_more(SPOOLED, 100)
    wait_for("the disk is full", 60.0, lambda: metric(full.port("ingest-api"), "millrace_spool_failures_total") > 0)
    load.await_status(503, 20)
    full.platform.kill("ingest-api")    # and started on a full disk
    full.restart("ingest-api")
    full.cluster.restart(1)
    load.await_more(OK, 50)
    load.end()
    await_drained(full.port("ingest-api"))
    require_all_there(full, load)
    full.close()
