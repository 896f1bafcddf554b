"""The copy of a worker's state on a disk that fills up: results stay exact, through kills, and once there is room
the copy is of use again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator, Mapping

import pytest

from conftest import CLUSTER_SECONDS_MAX, ROOT, MakeDisk
from harness.kafka import KafkaCluster
from harness.platform import Layout
from harness.waiting import wait_for
from pipeline_under_test import Pipeline
from recounted_pipelines import Sales

SEED = "20261126"
DISK = "320m"    # a copy wants 256 MiB free (worker_rocksdb.h)
BLOCK = bytes(1 << 20)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[KafkaCluster]:
    found = KafkaCluster(ROOT, tmp_path / "kafka", 1, CLUSTER_SECONDS_MAX)
    try:
        found.up()
        yield found
    finally:
        found.down()


def fill(disk: Path) -> Path:
    """A file that takes all there is."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(BLOCK)
        except OSError:
            return filler


def test_disk_full__results_stay_exact(cluster: KafkaCluster, layout: Layout, tmp_path: Path,
                                       make_disk: MakeDisk) -> None:
    disk = make_disk(DISK)

    def make(file: Mapping[str, Any], topics: Mapping[str, int]) -> Pipeline:
        return Pipeline(cluster, layout.bin_dir, tmp_path, file, topics, (f"--state.dir={disk}/state",))

    sales = Sales(make, SEED)
    pipeline = sales.pipeline

    def feed_and_recount() -> None:
        sales.feed(300)
        pipeline.require_none(sales.check)

    def kill_and_start() -> None:
        pipeline.remove(0)
        pipeline.start(0)
        feed_and_recount()

    try:
        pipeline.start(0)
        feed_and_recount()
        filler = fill(disk)
        wait_for("the worker finds the disk full", 60.0,
                 lambda: sales.feed(30) or pipeline.metric(0, "local_state_errors_total") > 0)
        feed_and_recount()
        kill_and_start()
        filler.unlink()
        kill_and_start()
        pipeline.leave(0)
        pipeline.start(0)
        assert pipeline.metric(0, "local_state_rows_total") > 0
        feed_and_recount()
        pipeline.stop()
    finally:
        pipeline.kill_all()
