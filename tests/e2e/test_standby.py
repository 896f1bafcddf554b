"""State that another worker follows (state.standby), on real Kafka and exactly once: a worker that has half of 200,000 keys
is killed under load, and the other one goes on from what it has. All results are recounted from the inputs, and what
is asserted is how much of the changelog was read after the partitions had come, not how long it took; that is printed."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from pathlib import Path
from typing import Any, Iterator

import pytest

from conftest import CLUSTER_SECONDS_MAX, ROOT
from harness.kafka import KafkaCluster
from harness.platform import Layout
from harness.reader import http_get
from harness.settle import settle_until
from harness.waiting import wait_for
from pipeline_under_test import Pipeline

KEYS = 200_000
PARTITIONS = 4
START_MS = 1_700_000_000_000 // 86_400_000 * 86_400_000
SETTLED_SECONDS = 120.0
FLAGS = ("--state.standby=on",)


class Clicks:
    """How often each key was seen: the last result of each says what was counted of it in all."""

    FILE: dict[str, Any] = {
        "name": "seen",
        "sources": {"clicks": {"topic": "clicks", "timestamp": {"field": "/t", "format": "epoch-ms"}}},
        "flows": {"seen": {"from": "clicks", "output": {"topic": "seen"}, "steps": [
            {"aggregate": {"by": "/key", "window": {"tumbling": "1d", "grace": "1d"}, "emit": ["update"],
                           "result": {"key": "key", "count": "count"}}}]}},
        "dead_letter": {"topic": "dlq"}, "late": {"topic": "late"}}

    def __init__(self, cluster: KafkaCluster, layout: Layout, run_dir: Path) -> None:
        self.pipeline = Pipeline(cluster, layout.bin_dir, run_dir, self.FILE,
                                 {"clicks": PARTITIONS, "seen": PARTITIONS, "dlq": 1, "late": 1}, FLAGS, workers=2)
        self.counts: Counter[str] = Counter()

    def feed(self, first: int, count: int) -> None:
        keys = [f"k{number}" for number in range(first, first + count)]
        self.counts.update(keys)
        self.pipeline.produce("clicks", [(key, {"key": key, "t": START_MS}) for key in keys])

    def differs(self) -> list[str]:
        last: dict[str, int] = {}
        for record in sorted(self.pipeline.read("seen"), key=lambda record: record.position):
            row = json.loads(record.value)
            last[row["key"]] = row["count"]
        return [f"{key}: {last.get(key)}, not {count}" for key, count in self.counts.items() if last.get(key) != count]

    def require_exact(self, what: str) -> None:
        found, _ = settle_until(self.differs, SETTLED_SECONDS)
        assert not found, f"{what}: {len(found)}, as {found[:10]}"

    def metric(self, number: int, name: str) -> float:
        """Summed over its series."""
        page = http_get(self.pipeline.port(number), "/metrics").body.decode()
        return sum(float(value) for value in
                   re.findall(rf"^millrace_pipeline_{name}\{{[^}}]*\}} (\S+)$", page, re.MULTILINE))

    def await_followed(self, number: int) -> None:
        """Until it has followed at least a record of each key that the other one has."""
        def followed() -> bool:
            theirs = len(self.counts) - self.metric(number, "state_keys")
            return (self.metric(number, "standby_records_total") >= theirs
                    and self.metric(number, "standby_lag_records") == 0)

        wait_for(f"worker {number} has followed what the other one has", 60.0, followed)


@pytest.fixture
def clicks(layout: Layout, tmp_path: Path) -> Iterator[Clicks]:
    cluster = KafkaCluster(ROOT, tmp_path / "kafka", 1, CLUSTER_SECONDS_MAX)
    found = None
    try:
        cluster.up()
        found = Clicks(cluster, layout, tmp_path)
        yield found
    finally:
        if found:
            found.pipeline.kill_all()
        cluster.down()


def takeover_seconds(log: str) -> float:
    """From the last rebalance until the last of the tasks was back."""
    at = {}
    for line in log.splitlines():
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("event") in ("partitions_assigned", "task_restored"):
            hour, minute, second = event["ts"].split("T")[1].rstrip("Z").split(":")
            at[event["event"]] = int(hour) * 3600 + int(minute) * 60 + float(second)
    return at["task_restored"] - at["partitions_assigned"]


def test_standby__worker_killed__the_other_goes_on_from_what_it_followed(clicks: Clicks) -> None:
    pipeline = clicks.pipeline
    pipeline.start(0, 1)
    pipeline.await_assigned(PARTITIONS, 0, 1)
    clicks.feed(0, KEYS)
    wait_for("all keys are counted", 60.0,
             lambda: clicks.metric(0, "state_keys") + clicks.metric(1, "state_keys") == KEYS)
    clicks.await_followed(1)
    before, theirs = clicks.metric(1, "restored_records_total"), clicks.metric(0, "state_keys")
    assert theirs > KEYS / 4
    load = threading.Thread(target=clicks.feed, args=(0, 50_000))
    load.start()
    wait_for("it works on the load", 60.0, lambda: clicks.metric(0, "records_in_total") > theirs + 1000)
    pipeline.remove(0)
    load.join(60.0)
    pipeline.await_assigned(PARTITIONS, 1)
    clicks.require_exact("after the kill")
    read = clicks.metric(1, "restored_records_total") - before
    assert clicks.metric(1, "standby_taken_total") == PARTITIONS / 2
    assert read < theirs / 4, f"{read:.0f} changelog records were read for {theirs:.0f} keys"
    print(f"{theirs:.0f} keys taken over: {read:.0f} changelog records read, "
          f"{takeover_seconds(pipeline.log(1)):.3f} s from the assignment until all tasks were back")

    # And back: the one that starts gets half of them from the changelog, and follows the rest; then the other one ends.
    pipeline.start(0)
    pipeline.await_assigned(PARTITIONS, 0, 1)
    clicks.await_followed(0)
    clicks.feed(2500, 5000)
    taken = clicks.metric(0, "standby_taken_total")
    pipeline.leave(1)
    pipeline.await_assigned(PARTITIONS, 0)
    clicks.feed(5000, 5000)
    clicks.require_exact("after the other one has left")
    assert clicks.metric(0, "standby_taken_total") == taken + PARTITIONS / 2
