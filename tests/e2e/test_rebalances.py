"""Members come, go and die under load, by each protocol of pipeline.rebalance: the results stay exact. And
what could not be exact is told: a changelog that is gone.

The same pipelines go on from one protocol to the next, with all members away in between, as an operator
changes it. MILLRACE_STORM_SECONDS is how long members come and go each second (tests/e2e/run-long).
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from pathlib import Path
from typing import Any, Iterator, Mapping

import pytest

from conftest import CLUSTER_SECONDS_MAX, ROOT
from harness.kafka import KafkaCluster, delete_topic
from harness.platform import Layout
from harness.verify import format_discrepancies
from harness.settle import settle_until
from pipeline_under_test import Pipeline
from recounted_pipelines import Payments, Recounted, Sales

SEED = os.environ.get("MILLRACE_SEED", "20240607")
BROKERS = int(os.environ.get("MILLRACE_BROKERS", "1"))
STORM_SECONDS = float(os.environ.get("MILLRACE_STORM_SECONDS", "3"))
EXACT_SECONDS = 180.0
# Brokers watch the sessions of their own protocol.
KAFKA = ["group.consumer.min.session.timeout.ms=1000", "group.consumer.session.timeout.ms=3000",
         "group.consumer.min.heartbeat.interval.ms=200", "group.consumer.heartbeat.interval.ms=500"]
SESSION = ["--kafka.session.timeout.ms=3000", "--kafka.heartbeat.interval.ms=500"]    # of the other two
KEPT = "--repartition.purge.interval=1h"    # repartition topics are recounted
PROTOCOLS = ("broker", "cooperative", "eager")
ALL = {"order-payments": 6, "sales": 8}    # source partitions


class Scene:
    """A pipeline whose topics meet, and one of several stages."""

    def __init__(self, cluster: KafkaCluster, layout: Layout, run_dir: Path) -> None:
        self.bin_dir = layout.bin_dir
        self.rng = random.Random(SEED)
        self.pipelines: list[Pipeline] = []

        def make(file: Mapping[str, Any], topics: Mapping[str, int]) -> Pipeline:
            self.pipelines.append(Pipeline(cluster, layout.bin_dir, run_dir, file, topics, workers=4))
            return self.pipelines[-1]

        self.all: list[Recounted] = [Payments(make, SEED), Sales(make, SEED)]

    def begin(self, protocol: str) -> None:
        """All members anew, none is started. What meets cannot be cooperative: it stays eager."""
        for pipeline in self.pipelines:
            own = "eager" if protocol == "cooperative" and pipeline.name == "order-payments" else protocol
            pipeline.flags = [f"--pipeline.rebalance={own}", KEPT, *(SESSION if own != "broker" else [])]
            for number in range(4):
                pipeline.remove(number)

    def feed(self, count: int) -> None:
        for recounted in self.all:
            recounted.feed(count)

    def start(self, *numbers: int) -> None:
        for pipeline in self.pipelines:
            for number in numbers:
                pipeline.workers[number].start()

    def await_members(self, *numbers: int) -> None:
        """Until these have all partitions between them; none may have ended."""
        for pipeline in self.pipelines:
            pipeline.await_assigned(ALL[pipeline.name], *numbers)
            pipeline.require_running()

    def require_exact(self, what: str) -> None:
        begin = time.monotonic()
        for recounted in self.all:
            found, _ = settle_until(recounted.check, EXACT_SECONDS)
            if found:
                pytest.fail(f"{what}: {recounted.pipeline.name}:\n{format_discrepancies(found)}")
        print(f"{what}: exact after {time.monotonic() - begin:.1f} s")


@pytest.fixture(scope="module")
def scene(layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    cluster = KafkaCluster(ROOT, tmp_path_factory.mktemp("kafka"), BROKERS, CLUSTER_SECONDS_MAX, KAFKA)
    found = None
    try:
        cluster.up()
        found = Scene(cluster, layout, tmp_path_factory.mktemp("pipelines"))
        yield found
    finally:
        for pipeline in found.pipelines if found else []:
            pipeline.kill_all()
        cluster.down()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_scaled_out_and_in_under_load__results_stay_exact(scene: Scene, protocol: str) -> None:
    scene.begin(protocol)
    scene.start(0)
    scene.await_members(0)
    for joiner in (1, 2):
        scene.feed(200)
        scene.start(joiner)
        scene.feed(200)
        scene.await_members(*range(joiner + 1))
    scene.require_exact(f"{protocol}, three members")
    scene.feed(200)
    for pipeline in scene.pipelines:
        pipeline.leave(0)
        pipeline.remove(1)
    scene.feed(200)
    scene.await_members(2)
    scene.require_exact(f"{protocol}, one left and one died")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_members_come_and_go__results_stay_exact(scene: Scene, protocol: str) -> None:
    scene.begin(protocol)
    scene.start(0)
    end = time.monotonic() + STORM_SECONDS
    while time.monotonic() < end:
        scene.feed(40)
        for pipeline in scene.pipelines:
            number = scene.rng.randint(1, 3)
            if not pipeline.workers[number].was_started:
                pipeline.workers[number].start()
            elif scene.rng.random() < 0.5 or not pipeline.is_listening(number):
                pipeline.remove(number)
            else:
                pipeline.leave(number)
    for pipeline in scene.pipelines:
        for number in (1, 2, 3):
            if not pipeline.workers[number].was_started:
                pipeline.workers[number].start()
    scene.await_members(0, 1, 2, 3)
    scene.feed(40)
    scene.require_exact(f"{protocol}, after the storm")


def test_cooperative_with_topics_that_meet__is_refused_by_check(scene: Scene) -> None:
    argv = [str(scene.bin_dir / "analytics"), "--check", "--pipeline.rebalance=cooperative",
            f"--pipeline.file={ROOT / 'pipelines' / 'order-payments.json'}"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "shop-orders and payments meet" in done.stderr


# --- A changelog that is gone -----------------------------------------------------------------------------

CHANGELOG = "sales-windows-changelog"
ENDS_SECONDS = 60.0


def require_told(pipeline: Pipeline, words: str) -> None:
    """The worker ends, and says why."""
    code = pipeline.workers[0].wait(ENDS_SECONDS)
    assert code == 1
    assert words in pipeline.log(), pipeline.workers[0].trouble("does not say why it ended")


def test_changelog_deleted_while_all_are_away__is_told(scene: Scene) -> None:
    scene.begin("eager")
    sales = scene.all[1].pipeline
    delete_topic(sales.bootstrap, CHANGELOG)
    sales.workers[0].start()
    require_told(sales, f"changelog {CHANGELOG} is not there, but work that filled it is committed")
    sales.workers[0].start()    # still so: it did not make the topic in passing
    require_told(sales, f"changelog {CHANGELOG} is not there, but work that filled it is committed")


def test_changelog_deleted_while_in_use__is_told(scene: Scene) -> None:
    """Started without its state, on purpose; then the same happens while it runs."""
    sales = scene.all[1].pipeline
    sales.flags += ["--pipeline.state.lost=empty", "--kafka.transaction.timeout.ms=4000",
                    "--kafka.message.timeout.ms=3000", "--kafka.socket.timeout.ms=3000"]
    sales.remove(0)
    sales.start(0)
    delete_topic(sales.bootstrap, CHANGELOG)
    scene.all[1].feed(100)
    require_told(sales, "a changelog was deleted while it was in use")
