"""Sessions, an interval join and a pipeline of several stages, killed at each point of their commits.

Three pipelines run side by side, each with two workers. At each point worker 0 of each ends itself
as SIGKILL would (worker_crash.h), under load; it is started again, and everything that each pipeline
ever put out is recounted from its inputs. Then a member that joins while all are loaded, one that
goes for good, one that slept through its session with a transaction open, and one whose transaction is given up, or
ended late.

`run-long kills` goes to each point as often as it is told to, on three brokers, kills a broker with the
workers in all rounds but the first, and says how long it took from there until all worked again, and until
every partition could do without the broker: before that nobody can write.
"""

from __future__ import annotations

import math
import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Iterator, Mapping

import pytest

from conftest import CLUSTER_SECONDS_MAX, ROOT
from harness.kafka import KafkaCluster
from harness.platform import Layout
from harness.reader import out_of_sync, waiting_for
from harness.settle import settle_until
from harness.verify import Discrepancy, format_discrepancies
from harness.waiting import wait_for
from pipeline_under_test import Pipeline
from recounted_pipelines import Clicks, Payments, Recounted, Sales

SEED = os.environ.get("MILLRACE_SEED", "20240607")
ROUNDS = int(os.environ.get("MILLRACE_ROUNDS", "1"))
BROKERS = int(os.environ.get("MILLRACE_BROKERS", "1"))
SETTINGS = os.environ.get("MILLRACE_BROKER_SETTINGS", "").split()    # KEY=VALUE, of brokers
EXACT_SECONDS = 180.0    # the claim is that it gets there: a starved machine takes long
# Points that load brings a worker to, with the highest pass at which it may die: each record passes the first.
OFTEN = {"between-outputs": 60, "after-process": 3, "between-changelogs": 6, "before-flush": 3, "before-offsets": 3,
         "after-send-offsets": 3, "after-commit": 3, "in-apply": 6, "after-apply": 3}
# Points of a start. The others have tests of their own: it takes more than load to get there.
ONCE_A_START = ("after-init", "before-assign", "after-assign", "in-restore", "after-restore")
GIVING_UP = ("in-revoke", "after-revoke")
# A member that is gone is noticed soon, unless brokers fall too: then as by default, which is longer than a
# coordinator is away. Repartition topics are kept: they are recounted.
SHORT_SESSION = ("--kafka.session.timeout.ms=3000", "--kafka.heartbeat.interval.ms=500")
# Of every other pipeline: a copy of its state on local disk, of each worker its own. Of the first two: what the other
# worker has is followed.
KEPT = ("--state.dir=state-NUMBER",)
FOLLOWED = ("--state.standby=on",)
FLAGS = (*(SHORT_SESSION if BROKERS == 1 else ()), "--repartition.purge.interval=1h")
# Nothing but the session ends while such a worker sleeps, however long the others take: it is awake to abort.
ASLEEP = ("--kafka.transaction.timeout.ms=120000", "--kafka.message.timeout.ms=110000", "--kafka.socket.timeout.ms=110000")
IN_DOUBT = ("--kafka.transaction.timeout.ms=2000", "--kafka.message.timeout.ms=1500", "--kafka.socket.timeout.ms=1500",
            "--commit.interval=1s", "--kafka.session.timeout.ms=30000")


# Of each pipeline: how many source partitions a worker has that is alone, and a topic it writes.
ALONE = {"click-sessions": (3, "click-sessions"), "order-payments": (6, "paid-orders"), "sales": (8, "valid-sales")}


class Scene:
    """The cluster and the pipelines on it."""

    def __init__(self, cluster: KafkaCluster, layout: Layout, run_dir: Path) -> None:
        self.cluster = cluster
        self.rng = random.Random(SEED)
        self.pipelines: list[Pipeline] = []

        def make(file: Mapping[str, Any], topics: Mapping[str, int]) -> Pipeline:
            number = len(self.pipelines)
            flags = (*FLAGS, *(KEPT if number % 2 == 0 else ()), *(FOLLOWED if number < 2 else ()))
            self.pipelines.append(Pipeline(cluster, layout.bin_dir, run_dir, file, topics, flags, workers=3))
            return self.pipelines[-1]

        self.sales = Sales(make, SEED)
        self.all: list[Recounted] = [Clicks(make, SEED), Payments(make, SEED), self.sales]

    def start(self, number: int) -> None:
        """One worker of each pipeline; returns when they are ready."""
        for pipeline in self.pipelines:
            pipeline.workers[number].start()
        for pipeline in self.pipelines:
            pipeline.await_ready(number)

    def feed(self, count: int) -> None:
        for recounted in self.all:
            recounted.feed(count)

    def await_recovered(self, what: str, since: float) -> None:
        """Until both workers of each pipeline have committed after all was stored that it was fed first after the crash;
        says when. Each is fed all the time, so that there is always something to commit, and by a thread of its own:
        kcat waits for brokers that are gone, and what it waits for is none of the other pipelines' recovery."""
        waiting = list(self.all)
        fed_at: dict[str, float] = {}

        def feed_on(recounted: Recounted) -> None:
            name = recounted.pipeline.name
            recounted.feed(40)
            fed_at[name] = time.time()
            print(f"{what}: {name} fed after {time.monotonic() - since:.1f} s")
            while recounted in waiting:
                recounted.feed(6)

        def look() -> bool:
            for feeder in feeders:
                if feeder.done():
                    feeder.result()    # it may have failed
            for recounted in list(waiting):
                pipeline = recounted.pipeline
                if all(pipeline.committed_at(number) > fed_at.get(pipeline.name, math.inf) for number in (0, 1)):
                    waiting.remove(recounted)
                    print(f"{what}: {pipeline.name} recovered after {time.monotonic() - since:.1f} s")
            return not waiting

        with ThreadPoolExecutor(len(waiting)) as pool:
            feeders = [pool.submit(feed_on, recounted) for recounted in self.all]
            try:
                wait_for(f"{what}: all work again", EXACT_SECONDS, look)
            finally:
                waiting.clear()

    def require_exact(self, what: str, running: bool = True) -> None:
        """Until all results are exact."""
        waiting = list(self.all)

        def look() -> list[Discrepancy]:
            found: list[Discrepancy] = []
            for recounted in list(waiting):
                if running:
                    recounted.pipeline.require_running()
                differences = recounted.check()
                found += differences
                if not differences:
                    waiting.remove(recounted)
            return found

        found, _ = settle_until(look, EXACT_SECONDS)
        if found:
            names = ", ".join(recounted.pipeline.name for recounted in waiting)
            pytest.fail(f"{what}: {names} after {EXACT_SECONDS:.0f} s:\n{format_discrepancies(found)}")


@pytest.fixture(scope="module")
def scene(layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    cluster = KafkaCluster(ROOT, tmp_path_factory.mktemp("kafka"), BROKERS, CLUSTER_SECONDS_MAX, SETTINGS)
    found = None
    try:
        cluster.up()
        print(f"brokers: broker.session.timeout.ms={cluster.property('broker.session.timeout.ms')}")
        found = Scene(cluster, layout, tmp_path_factory.mktemp("pipelines"))
        for number in (0, 1):
            found.start(number)
        found.feed(200)
        found.require_exact("at the start")
        yield found
    finally:
        for pipeline in found.pipelines if found else []:
            pipeline.kill_all()
        cluster.down()


class Failover:
    """From when a broker is killed: how long until every partition can do without it."""

    def __init__(self, cluster: KafkaCluster, broker: int) -> None:
        self._cluster, self._broker = cluster, broker
        self.since = time.monotonic()
        self._after = 0.0
        cluster.kill(broker)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        wait_for("every partition can do without the broker", EXACT_SECONDS,
                 lambda: not waiting_for(self._cluster.bootstrap, self._broker), 0.2)
        self._after = time.monotonic() - self.since

    def tell(self, what: str) -> None:
        self._thread.join()
        print(f"{what}: failed over after {self._after:.1f} s")


def crash_each(scene: Scene) -> float:
    """Load until worker 0 of each pipeline is at its end, then start them again; when the first ended."""
    since = 0.0
    for recounted in scene.all:
        recounted.pipeline.await_crash(0, lambda: recounted.feed(40))
        since = since or time.monotonic()
        recounted.pipeline.workers[0].start()
    return since


@pytest.mark.parametrize("number", range(ROUNDS))
@pytest.mark.parametrize("point", (*OFTEN, *ONCE_A_START))
def test_killed_at__results_stay_exact(scene: Scene, point: str, number: int) -> None:
    passes = scene.rng.randint(1, OFTEN.get(point, 1))
    broker = scene.rng.randint(1, BROKERS) if BROKERS > 1 and number > 0 else None
    for pipeline in scene.pipelines:
        pipeline.kill(0)
        pipeline.start_armed(0, f"{point}:{passes}")
    what = f"{point} {number}{f', broker {broker} killed' if broker else ''}"
    since = crash_each(scene)
    failover = Failover(scene.cluster, broker) if broker else None
    try:
        scene.await_recovered(what, failover.since if failover else since)
        if failover:
            failover.tell(what)
        scene.require_exact(what)
    finally:    # a round that failed is no reason for the next ones to
        if broker:
            scene.cluster.restart(broker)
            wait_for("the broker caught up", 60.0, lambda: not out_of_sync(scene.cluster.bootstrap))


@pytest.mark.parametrize("number", range(ROUNDS))
def test_member_joins_under_load__another_dies_giving_up_its_partitions(scene: Scene, number: int) -> None:
    points = dict(zip(ALONE, (*GIVING_UP, scene.rng.choice(GIVING_UP))))
    for pipeline in scene.pipelines:
        pipeline.remove(2)
        pipeline.kill(0)
        pipeline.start_armed(0, points[pipeline.name])
    for pipeline in scene.pipelines:
        pipeline.await_assigned(ALONE[pipeline.name][0], 0, 1)
    scene.feed(100)
    for pipeline in scene.pipelines:
        pipeline.workers[2].start()
    crash_each(scene)
    for member in (0, 2):
        for pipeline in scene.pipelines:
            pipeline.await_ready(member)
    scene.require_exact(f"{', '.join(points.values())} {number}")


def test_member_goes_for_good__the_others_take_over(scene: Scene) -> None:
    scene.feed(100)
    for pipeline in scene.pipelines:
        pipeline.remove(2)
    scene.feed(100)
    scene.require_exact("gone for good")


def stop_each(scene: Scene, stop_at: str, crash_at: Mapping[str, str], *flags: str) -> None:
    """Load until worker 0 of each pipeline has stopped itself in a transaction."""
    for pipeline in scene.pipelines:
        pipeline.kill(0)
        pipeline.start_armed(0, crash_at.get(pipeline.name, ""), *flags, stop_at=stop_at)
    for recounted in scene.all:
        recounted.pipeline.await_stop(0, lambda: recounted.feed(40))


def wake_each(scene: Scene) -> None:
    for pipeline in scene.pipelines:
        pipeline.workers[0].send_signal(signal.SIGCONT)


def restart_crashed(scene: Scene) -> None:
    for pipeline in scene.pipelines:
        pipeline.await_crash(0)
        pipeline.workers[0].start()
    for pipeline in scene.pipelines:
        pipeline.await_ready(0)


def test_zombie_with_an_open_transaction__its_work_does_not_count(scene: Scene) -> None:
    """Worker 0 sleeps in the middle of a transaction; the other one has taken its partitions when it
    wakes up. It has to give up what it did, and dies in doing so."""
    stop_each(scene, "before-offsets:2", {name: "after-abort" if name == "sales" else "in-abort" for name in ALONE},
              *ASLEEP)
    for pipeline in scene.pipelines:
        pipeline.await_assigned(ALONE[pipeline.name][0], 1)
    wake_each(scene)
    restart_crashed(scene)
    scene.require_exact("zombie")


def test_transaction_timed_out__is_done_again(scene: Scene) -> None:
    """The broker has given up the transaction of a worker that is still a member: it needs another producer,
    goes back, and dies when it has."""
    stop_each(scene, "before-offsets:2", dict.fromkeys(ALONE, "after-rewind"), *IN_DOUBT)
    for pipeline in scene.pipelines:
        wait_for(f"{pipeline.name}: its transaction is over", 20.0,
                 lambda: not pipeline.has_open_transaction(ALONE[pipeline.name][1]))
    wake_each(scene)
    restart_crashed(scene)
    scene.require_exact("timed out")


def test_late_end_of_a_transaction__does_not_count(scene: Scene) -> None:
    """What is asked for when the broker has given it up, and another has done the work."""
    stop_each(scene, "after-send-offsets:2", {}, *IN_DOUBT[:-1])
    for pipeline in scene.pipelines:
        pipeline.await_assigned(ALONE[pipeline.name][0], 1)
    wake_each(scene)
    scene.feed(100)
    scene.require_exact("late end")


def test_afterwards__all_drain_and_nothing_is_left_over(scene: Scene) -> None:
    """What a late transaction would still add shows after the drain."""
    scene.feed(100)
    scene.require_exact("before the drain")
    for pipeline in scene.pipelines:
        pipeline.stop()
    scene.require_exact("after the drain", running=False)
