"""The report: a difference between readers is found and shown."""

from __future__ import annotations

import json
from dataclasses import replace

from clean_data import WINDOW_MS, clean_world
from harness.reader import Answer, Record, SseEvent
from harness.report import check_latest, check_stream, comparison_table, outcome_table
from harness.status import Latency
from harness.verify import parse
from harness.table import format_table


def stream_of(metrics: list[Record]) -> list[SseEvent]:
    return [SseEvent("", "", f'{{"topic":"product-metrics","partition":{r.partition},"offset":{r.offset},'
                             f'"timestamp":0,"key":"{r.key}","headers":{{}},"value":{r.value}}}') for r in metrics]


def latest_of(metrics: list[Record]) -> Answer:
    last = {r.key: r for r in metrics}
    items = [{"key": key, "value": json.loads(r.value or ""), "partition": r.partition, "offset": r.offset}
             for key, r in last.items()]
    return Answer(200, {}, json.dumps({"as_of": 0, "lag": 0, "items": items}).encode())


def test_check_stream__same__finds_nothing() -> None:
    metrics = clean_world().seen.metrics
    assert check_stream(metrics, stream_of(metrics)) == []


def test_check_stream__lost_doubled_changed__are_found() -> None:
    metrics = clean_world().seen.metrics
    events = stream_of(metrics)
    changed = [*events[:4], replace(events[4], data=events[4].data.replace("30.30", "30.31"))]
    assert [d.kind for d in check_stream(metrics, events[1:])] == ["stream_count"]
    assert [d.kind for d in check_stream(metrics, [*events, events[0]])] == ["stream_count"]
    assert [d.kind for d in check_stream(metrics, changed)] == ["stream_value"]


def test_check_latest__same_and_stale() -> None:
    metrics = clean_world().seen.metrics
    assert check_latest(metrics, latest_of(metrics)) == []
    assert [d.kind for d in check_latest(metrics, latest_of(metrics[:4]))] == ["latest_wrong"]
    assert [d.kind for d in check_latest(metrics, Answer(503, {}, b""))] == ["latest_status"]


def test_comparison_table__late_orders_are_added_in() -> None:
    world = clean_world()
    text = comparison_table(world.entries, world.seen, stream_of(world.seen.metrics), WINDOW_MS)
    assert text.count("same") == 2 and "DIFFERENT" not in text and "607.69" in text


def test_comparison_table__a_lost_window_differs() -> None:
    world = clean_world()
    events = stream_of([world.seen.metrics[0], *world.seen.metrics[3:4]])
    assert comparison_table(world.entries, world.seen, events, WINDOW_MS).count("DIFFERENT") == 1


def test_outcome_table__counts() -> None:
    world = clean_world()
    lines = {line[:40].strip(): line.split()[-1] for line in outcome_table(world.entries, world.seen).splitlines()[2:]}
    assert lines["accepted good orders"] == "6" and lines["in orders.dlq"] == "1"


def test_latency__order_to_the_count_that_has_it() -> None:
    latency = Latency(WINDOW_MS)
    world = clean_world()
    for entry in world.entries[:2]:
        latency.on_order(parse(entry.value), produced_ms=1000)
    latency.on_order({"amount": "x"}, produced_ms=1)
    row = parse(world.seen.metrics[1].value)
    assert row is not None
    latency.on_window(row, now_ms=1040)
    assert list(latency.recent_ms) == [40, 40] and latency.windows == 1 and latency.percentile(0.95) == 40


def test_format_table__aligns_numbers_right() -> None:
    assert format_table(("a", "n"), [("x", 1), ("yy", 10)]).splitlines() == ["a    n", "--  --", "x    1", "yy  10"]
