"""State several times larger than the memory it may have (state.memory): counts of all keys, so far and by window,
are exact, through kills in the middle of it and the restores that follow, and the memory stays bounded."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any, Iterator

import pytest

from conftest import CLUSTER_SECONDS_MAX, ROOT
from harness.kafka import KafkaCluster
from harness.platform import Layout
from harness.verify import Discrepancy
from harness.waiting import wait_for
from pipeline_under_test import Pipeline

SEED = "20261126"
KEYS = 40_000
MEMORY = 4 << 20          # half of it for cells: of a sixth of the keys
HELD_MAX = 12 << 20       # with a cycle's, and with what hash tables have in advance
MINUTE_MS = 60_000
START_MS = 1_700_000_000_000 // MINUTE_MS * MINUTE_MS
TOPICS = {"seen": 2, "totals": 2, "minutes": 2, "seen.late": 2, "seen.dlq": 2}
FLAGS = (f"--state.memory={MEMORY}", "--state.dir=state-NUMBER", "--commit.records=5000")
PIPELINE: dict[str, Any] = {
    "name": "totals",
    "sources": {"seen": {"topic": "seen", "timestamp": {"field": "/t", "format": "epoch-ms"}}},
    "flows": {
        "totals": {"from": "seen", "output": {"topic": "totals"}, "steps": [
            {"aggregate": {"by": "/k", "store": {"name": "totals"}, "result": {"k": "key", "n": "count"}}}]},
        "minutes": {"from": "seen", "output": {"topic": "minutes"}, "steps": [
            {"aggregate": {"by": "/k", "store": {"name": "minutes"}, "emit": ["final"],
                           "window": {"tumbling": "1m"},
                           "result": {"k": "key", "start": {"window": "start"}, "n": "count"}}}]}}}


class Counted:
    """The pipeline, and what was fed to it."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.rng = random.Random(SEED)
        self.totals: Counter[str] = Counter()
        self.minutes: Counter[tuple[str, int]] = Counter()
        self.now = 0    # minutes

    def feed(self, keys: int) -> None:
        """A minute more: a record of so many keys, drawn, and a few of some."""
        drawn = [f"k{number}" for number in self.rng.sample(range(KEYS), keys)]
        drawn += self.rng.choices(drawn, k=keys // 10)
        at = START_MS + self.now * MINUTE_MS
        self.pipeline.produce("seen", ((key, {"k": key, "t": at}) for key in drawn))
        self.totals.update(drawn)
        self.minutes.update((key, at) for key in drawn)
        self.now += 1

    def check(self) -> Iterator[Discrepancy]:
        last = {row["k"]: row["n"] for row in self._read("totals")}
        wrong = [key for key, count in self.totals.items() if last.get(key) != count]
        if wrong or len(last) != len(self.totals):
            yield Discrepancy("total", f"{len(wrong)} keys, {wrong[:3]}", str([self.totals[key] for key in wrong[:3]]),
                              f"{[last.get(key) for key in wrong[:3]]}, {len(last)} keys")
        closed = {place: count for place, count in self.minutes.items()
                  if place[1] < START_MS + (self.now - 1) * MINUTE_MS}
        finals = self._read("minutes")
        got = {(final["k"], final["start"]): final["n"] for final in finals}
        if len(got) != len(finals) or got != closed:
            right = sum(got.get(place) == count for place, count in closed.items())
            yield Discrepancy("final", "minutes", f"{len(closed)} windows, each once",
                              f"{len(finals)} finals of {len(got)} windows, {right} of them right")

    def _read(self, topic: str) -> list[dict[str, Any]]:
        return [json.loads(record.value or "") for record in self.pipeline.read(topic)]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[KafkaCluster]:
    found = KafkaCluster(ROOT, tmp_path / "kafka", 1, CLUSTER_SECONDS_MAX)
    try:
        found.up()
        yield found
    finally:
        found.down()


def test_state_larger_than_memory__killed__is_exact_and_bounded(cluster: KafkaCluster, layout: Layout,
                                                                 tmp_path: Path) -> None:
    pipeline = Pipeline(cluster, layout.bin_dir, tmp_path, PIPELINE, TOPICS, FLAGS)
    counted = Counted(pipeline)

    def held() -> float:
        return pipeline.metric(0, "state_bytes")

    def feed_and_kill(keys: int) -> None:
        before = pipeline.metric(0, "records_in_total")
        counted.feed(keys)
        wait_for("the worker is in the middle of it, or through", 60.0,
                 lambda: pipeline.metric(0, "records_in_total") > before)
        pipeline.remove(0)
        pipeline.start(0)

    try:
        pipeline.start(0)
        counted.feed(KEYS)
        pipeline.require_none(counted.check)
        wait_for("the gauges are as of now", 60.0, lambda: pipeline.metric(0, "windows_open") >= 2 * KEYS)
        assert pipeline.metric(0, "state_spilled") > 1.5 * KEYS
        assert held() < HELD_MAX
        for _ in range(2):
            feed_and_kill(KEYS // 2)
        pipeline.require_none(counted.check)
        assert pipeline.metric(0, "spilled_read_total") > 0
        assert held() < HELD_MAX
        counted.feed(100)
        pipeline.require_none(counted.check)
        pipeline.stop()
    finally:
        pipeline.kill_all()
