"""Pipelines of several topics, stages and outputs, on real Kafka: order, repartitioning, kills."""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path
from typing import Any, Callable, Iterator, Sequence

import pytest

from conftest import CLUSTER_SECONDS_MAX, ROOT
from harness.kafka import KafkaCluster
from harness.platform import Layout
from harness.reader import Record
from harness.recount import Event, Row, check_latest, events_of, rekeyed, windows
from harness.waiting import wait_for
from pipeline_under_test import Pipeline

SEED = int(os.environ.get("MILLRACE_SEED", "20240607"))
HOUR_MS = 3_600_000
START_MS = 1_700_000_000_000 // HOUR_MS * HOUR_MS

MakePipeline = Callable[..., Pipeline]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    found = KafkaCluster(ROOT, tmp_path_factory.mktemp("kafka"), 1, CLUSTER_SECONDS_MAX)
    found.up()
    yield found
    found.down()


@pytest.fixture
def make_pipeline(cluster: KafkaCluster, layout: Layout, tmp_path: Path) -> Iterator[MakePipeline]:
    """Makes pipelines whose workers end with the test."""
    made: list[Pipeline] = []

    def make(file: dict[str, Any], topics: dict[str, int], *flags: str, workers: int = 1,
             configs: dict[str, dict[str, str]] | None = None) -> Pipeline:
        made.append(Pipeline(cluster, layout.bin_dir, tmp_path, file, topics, flags, workers, configs))
        return made[-1]

    yield make
    for pipeline in made:
        pipeline.kill_all()


def source(topic: str) -> dict[str, Any]:
    return {"topic": topic, "timestamp": {"field": "/t", "format": "epoch-ms", "future_max": "3650d"}}


def count_by(field: str) -> dict[str, Any]:
    """A step that counts and adds up in hours, and tells each change."""
    return {"aggregate": {"by": field, "window": {"tumbling": "1h", "grace": "1h"}, "emit": ["update"],
                          "store": {"name": "hours"},
                          "result": {"key": "key", "start": {"window": "start"}, "count": "count",
                                     "sum": {"sum": "/n"}}}}


def hour_row(key: str, start_ms: int, _: int, events: Sequence[Event]) -> Row:
    return {"key": key, "start": start_ms, "count": len(events), "sum": sum(event.row["n"] for event in events)}


def read_events(pipeline: Pipeline, inputs: Sequence[str], count: int) -> list[Event]:
    """What the topics have, and that it is what was produced."""
    events = [event for topic in inputs for event in events_of(pipeline.read(topic), "t")]
    assert len(events) == count
    return events


def await_results(pipeline: Pipeline, topic: str, inputs: Sequence[str], count: int) -> None:
    """Until the last result of each user and hour is right."""
    events = rekeyed(read_events(pipeline, inputs, count))
    wanted = windows(events, "user", HOUR_MS, hour_row).last()
    pipeline.require_none(lambda: check_latest(topic, wanted, pipeline.read(topic), ("key", "start")))


def await_at_least(pipeline: Pipeline, topic: str, inputs: Sequence[str], count: int) -> None:
    """Until no count of a user and hour is lower than it should be."""
    events = rekeyed(read_events(pipeline, inputs, count))
    last = windows(events, "user", HOUR_MS, hour_row).last()
    wanted = {(out.key, out.row["start"]): out.row["count"] for out in last}

    def all_there() -> bool:
        pipeline.require_running()
        rows = [json.loads(record.value or "") for record in pipeline.read(topic)]
        found = {(row["key"], row["start"]): row["count"] for row in rows}
        return found.keys() == wanted.keys() and all(found[place] >= wanted[place] for place in wanted)

    wait_for("nothing is missing", 90.0, all_there, poll_seconds=0.5)


# --- Order -----------------------------------------------------------------------------------------

def merge_file(name: str) -> dict[str, Any]:
    """Two topics whose records meet in a store; `copy` shows in which order they were taken."""
    return {"name": name, "sources": {"left": source(f"{name}-left"), "right": source(f"{name}-right")},
            "flows": {"copy": {"from": ["left", "right"], "output": {"topic": f"{name}-copy"}},
                      "counts": {"from": ["left", "right"], "steps": [count_by("/user")],
                                 "output": {"topic": f"{name}-counts"}}}}


def merge_topics(name: str, left: int = 3, right: int = 3) -> dict[str, int]:
    topics = {f"{name}-{topic}": 3 for topic in ("copy", "counts", "left.dlq", "right.dlq", "left.late", "right.late")}
    return {f"{name}-left": left, f"{name}-right": right, **topics}


def rows_of(first: int, count: int, step: int = 2, users: int = 7) -> list[dict[str, Any]]:
    return [{"user": f"u{i % users}", "t": START_MS + first + step * i, "n": i} for i in range(count)]


def require_order(copied: list[Record], count: int) -> None:
    """Each record once, and in each partition in the order of event time."""
    assert len(copied) == count
    for partition in range(3):
        times = [json.loads(record.value or "")["t"] for record in copied if record.partition == partition]
        assert times == sorted(times)


def test_merged_topics__are_taken_lowest_time_first(make_pipeline: MakePipeline) -> None:
    """Everything lies ready, one topic after the other: what order there is, the worker makes."""
    pipeline = make_pipeline(merge_file("ordered"), merge_topics("ordered"))
    left, right = rows_of(0, 5000), rows_of(1, 5000)
    pipeline.produce("ordered-left", ((row["user"], row) for row in left))
    pipeline.produce("ordered-right", ((row["user"], row) for row in right))
    pipeline.start()
    await_results(pipeline, "ordered-counts", ("ordered-left", "ordered-right"), len(left + right))
    require_order(pipeline.read("ordered-copy"), len(left) + len(right))
    pipeline.stop()


def test_merged_topics__killed_while_catching_up__order_stays(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline(merge_file("hasty"), merge_topics("hasty"), "--commit.records=500")
    rng = random.Random(SEED + 2)
    left, right = rows_of(0, 40000), rows_of(1, 40000)
    pipeline.produce("hasty-left", ((row["user"], row) for row in left))
    pipeline.produce("hasty-right", ((row["user"], row) for row in right))
    for kill in range(1, 5):
        pipeline.start()
        wait_for("some more records", 60.0,
                 lambda: len(pipeline.read("hasty-copy")) >= kill * rng.randrange(1000, 9000))
        pipeline.kill(0)
    pipeline.start()
    await_results(pipeline, "hasty-counts", ("hasty-left", "hasty-right"), len(left + right))
    require_order(pipeline.read("hasty-copy"), len(left) + len(right))
    pipeline.stop()


def test_merged_topics__one_is_silent__holds_up_nobody(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline(merge_file("silent"), merge_topics("silent"))
    pipeline.start()
    rows: list[dict[str, Any]] = []
    for first in range(0, 5000, 1000):
        more = rows_of(first, 50)
        pipeline.produce("silent-left", ((row["user"], row) for row in more))
        rows += more
        await_results(pipeline, "silent-counts", ("silent-left",), len(rows))
    pipeline.stop()


def test_partition_counts_differ__is_said_at_start(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline(merge_file("crooked"), merge_topics("crooked", left=3, right=4))
    pipeline.workers[0].start()
    assert pipeline.workers[0].wait(60.0) == 2
    assert "topic crooked-left has 3 partitions, topic crooked-right has 4" in pipeline.log()


# --- Another key -------------------------------------------------------------------------------------

def rekey_file(name: str) -> dict[str, Any]:
    """Keyed by order, counted by user: through a topic of the pipeline's own. The orders go out, too."""
    return {"name": name, "sources": {"orders": source(f"{name}-orders")},
            "flows": {"valid": {"from": "orders", "steps": [{"filter": {"field": "/n", ">=": 0}}],
                                "output": {"topic": f"{name}-valid"}},
                      "users": {"from": "valid", "steps": [{"rekey": {"key": "/user"}}, count_by("/user")],
                                "output": {"topic": f"{name}-users"}}}}


def rekey_topics(name: str) -> dict[str, int]:
    return {f"{name}-{topic}": 4 for topic in ("orders", "valid", "users", "orders.dlq", "orders.late")}


def test_rekey__counts_by_the_new_key__and_clears_up(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline(rekey_file("rekeyed"), rekey_topics("rekeyed"), "--repartition.purge.interval=1s")
    pipeline.start()
    rows = rows_of(0, 2000, users=11)
    pipeline.produce("rekeyed-orders", ((f"order-{row['n']}", row) for row in rows))
    await_results(pipeline, "rekeyed-users", ("rekeyed-orders",), len(rows))
    assert len(pipeline.read("rekeyed-valid")) == len(rows)
    own = "rekeyed-users-repartition"
    assert pipeline.partitions(own) == 4
    wait_for("what was read is deleted", 60.0, lambda: not pipeline.read(own))
    assert sum(pipeline.first_offset(own, partition) for partition in range(4)) >= len(rows)
    pipeline.stop()


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_rekey__workers_are_killed__counts_stay_exact(make_pipeline: MakePipeline, guarantee: str) -> None:
    """At least once, a record that was sent on twice is two records behind the rekey: only exactly
    once promises counts there."""
    name = f"killed-{guarantee.replace('_', '-')}"
    pipeline = make_pipeline(rekey_file(name), rekey_topics(name), f"--pipeline.guarantee={guarantee}",
                             "--repartition.purge.interval=1s", workers=2)
    rng = random.Random(SEED)
    pipeline.start()
    rows: list[dict[str, Any]] = []
    for _ in range(6):
        more = rows_of(2 * len(rows), 500, users=11)
        pipeline.produce(f"{name}-orders", ((f"order-{row['t']}", row) for row in more))
        rows += more
        victim = rng.randrange(2)
        pipeline.kill(victim)
        more = rows_of(2 * len(rows), rng.randrange(1, 300), users=11)
        pipeline.produce(f"{name}-orders", ((f"order-{row['t']}", row) for row in more))
        rows += more
        pipeline.start(victim)
    if guarantee == "exactly_once":
        await_results(pipeline, f"{name}-users", (f"{name}-orders",), len(rows))
        assert len(pipeline.read(f"{name}-valid")) == len(rows)
    else:
        await_at_least(pipeline, f"{name}-users", (f"{name}-orders",), len(rows))
    pipeline.stop()


def test_merge__workers_are_killed__counts_stay_exact(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline(merge_file("torn"), merge_topics("torn"), workers=2)
    rng = random.Random(SEED + 1)
    pipeline.start()
    rows: list[dict[str, Any]] = []
    for _ in range(6):
        for topic in ("torn-left", "torn-right"):
            more = rows_of(2 * len(rows), rng.randrange(1, 600))
            pipeline.produce(topic, ((row["user"], row) for row in more))
            rows += more
        victim = rng.randrange(2)
        pipeline.kill(victim)
        pipeline.start(victim)
    await_results(pipeline, "torn-counts", ("torn-left", "torn-right"), len(rows))
    assert len(pipeline.read("torn-copy")) == len(rows)
    pipeline.stop()


# --- Tables joined by a field ------------------------------------------------------------------------

def named_file(name: str) -> dict[str, Any]:
    """Orders with the customers that they name; these have another number of partitions."""
    def rows_by_id(**members: str) -> dict[str, Any]:
        return {"aggregate": {"by": "/id", "result": {of: {"last": field} for of, field in members.items()}}}

    return {"name": name, "sources": {"orders": source(f"{name}-orders"), "customers": source(f"{name}-customers")},
            "flows": {"order": {"from": "orders", "steps": [
                          rows_by_id(customer="/customer", n="/n"),
                          {"join_tables": {"with": "customer", "on": "/customer",
                                           "as": {"left": "order", "right": "customer"}}}],
                          "output": {"topic": f"{name}-named"}},
                      "customer": {"from": "customers", "steps": [rows_by_id(city="/city")]}}}


def last_rows(records: Sequence[Record]) -> dict[str, Any]:
    """What is there of each key."""
    rows = {record.key: json.loads(record.value) if record.value else None for record in records}
    return {key: row for key, row in rows.items() if row is not None}


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_tables_joined_by_a_field__workers_are_killed__rows_are_right(make_pipeline: MakePipeline,
                                                                      guarantee: str) -> None:
    name = f"named-{guarantee.replace('_', '-')}"
    topics = {"orders": 4, "customers": 3, "named": 2,
              **{f"{of}.{side}": 1 for of in ("orders", "customers") for side in ("dlq", "late")}}
    pipeline = make_pipeline(named_file(name), {f"{name}-{topic}": count for topic, count in topics.items()},
                             f"--pipeline.guarantee={guarantee}", workers=2)
    rng = random.Random(SEED + 4)
    orders: dict[str, dict[str, Any]] = {}
    customers: dict[str, dict[str, Any]] = {}
    time_ms = START_MS

    def change(count: int) -> None:
        nonlocal time_ms
        changed: dict[str, list[tuple[str, dict[str, Any]]]] = {"orders": [], "customers": []}
        for _ in range(count):
            time_ms += 1
            if rng.randrange(3):
                key, kind, rows = f"o{rng.randrange(200)}", "orders", orders
                rows[key] = {"customer": rng.choice((None, *(f"c{n}" for n in range(25)))), "n": time_ms}
            else:
                key, kind, rows = f"c{rng.randrange(20)}", "customers", customers
                rows[key] = {"city": f"city-{rng.randrange(5)}"}
            changed[kind].append((key, {"id": key, "t": time_ms, **rows[key]}))
        for kind, lines in changed.items():
            pipeline.produce(f"{name}-{kind}", lines)

    def is_right() -> bool:
        pipeline.require_running()
        wanted = {key: {"order": order, "customer": customers[order["customer"]]}
                  for key, order in orders.items() if order["customer"] in customers}
        return last_rows(pipeline.read(f"{name}-named")) == wanted

    pipeline.start()
    for _ in range(5):
        change(400)
        victim = rng.randrange(2)
        pipeline.kill(victim)
        change(400)
        pipeline.start(victim)
    wait_for("each order has its customer", 90.0, is_right, poll_seconds=0.5)
    assert [pipeline.partitions(f"{name}-order-repartition{which}") for which in ("", "-2")] == [3, 4]
    pipeline.stop()


# --- Tried again -------------------------------------------------------------------------------------

def retry_file(name: str) -> dict[str, Any]:
    """Orders with their product's name; of products that nobody knows yet they wait. Users are counted
    by what has its name, so that what waited finds the store that it belongs to."""
    return {"name": name, "sources": {"orders": source(f"{name}-orders")},
            "tables": {"products": {"topic": f"{name}-products"}},
            "flows": {"named": {"from": "orders", "steps": [
                          {"join": {"table": "products", "on": "/product", "set": {"name": "/name"}}}],
                          "output": {"topic": f"{name}-named"}},
                      "users": {"from": "named", "steps": [count_by("/user")],
                                "output": {"topic": f"{name}-users"}}},
            "retry": {"delays": ["500ms", "1s", "40s"]}}    # the last one is longer than workers come and go


def test_retry__workers_are_killed__each_record_comes_out_once(make_pipeline: MakePipeline) -> None:
    topics = {f"torture-{topic}": 4 for topic in ("orders", "products", "named", "users", "orders.dlq", "orders.late")}
    pipeline = make_pipeline(retry_file("torture"), topics, workers=2)
    rng = random.Random(SEED + 3)
    pipeline.produce("torture-products", [("early", {"name": "Early"})])
    pipeline.start()
    rows: list[dict[str, Any]] = []
    for _ in range(4):
        more = [{**row, "product": rng.choice(("early", "late", "never"))} for row in rows_of(2 * len(rows), 300)]
        pipeline.produce("torture-orders", ((row["user"], row) for row in more))
        rows += more
        victim = rng.randrange(2)
        pipeline.kill(victim)
        pipeline.start(victim)
    pipeline.produce("torture-products", [("late", {"name": "Late"})])
    known = sorted(row["t"] for row in rows if row["product"] != "never")
    unknown = sorted(row["t"] for row in rows if row["product"] == "never")

    def times(topic: str) -> list[int]:
        pipeline.require_running()
        return sorted(json.loads(record.value or "")["t"] for record in pipeline.read(topic))

    wait_for("what has no product is a dead letter", 120.0, lambda: times("torture-orders.dlq") == unknown)
    wait_for("the others have their names", 60.0, lambda: times("torture-named") == known)
    await_results(pipeline, "torture-users", ("torture-named",), len(known))
    assert times("torture-named") == known
    assert all(pipeline.partitions(f"torture-orders.retry.{n}") == 4 for n in (1, 2, 3))
    pipeline.stop()


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_retry_in_place__a_worker_is_killed__order_of_each_key_is_kept(make_pipeline: MakePipeline,
                                                                       guarantee: str) -> None:
    """Each product becomes known only when its first order has waited; what is behind that waits, too."""
    name = f"patient-{guarantee.replace('_', '-')}"
    file = {**retry_file(name), "retry": {"in_place": ["100ms", "200ms"] + ["300ms"] * 5 + ["1m"]}}
    topics = {f"{name}-{topic}": 4 for topic in ("orders", "products", "named", "users", "orders.dlq", "orders.late")}
    pipeline = make_pipeline(file, topics, f"--pipeline.guarantee={guarantee}")
    rows = [{**row, "product": f"p{i // 100}"} for i, row in enumerate(rows_of(0, 300))]
    pipeline.produce(f"{name}-orders", ((row["user"], row) for row in rows))
    pipeline.start()
    for product in range(3):
        wait_for("an order waits", 60.0, lambda: "record_waits" in pipeline.log())
        pipeline.produce(f"{name}-products", [(f"p{product}", {"name": f"Product {product}"})])
        if product == 1:
            pipeline.kill(0)
            pipeline.start(0)

    def first_times(partition: int) -> list[int]:
        found = [json.loads(record.value or "")["t"] for record in pipeline.read(f"{name}-named")
                 if record.partition == partition]
        return list(dict.fromkeys(found)) if guarantee == "at_least_once" else found

    def named() -> list[list[int]]:
        pipeline.require_running()
        return [first_times(partition) for partition in range(4)]

    wait_for("all have their names", 60.0, lambda: sum(map(len, named())) == len(rows))
    assert all(times == sorted(times) for times in named())
    assert not pipeline.read(f"{name}-orders.dlq")
    pipeline.stop()


# --- Refused by a topic --------------------------------------------------------------------------------

NARROW_BYTES = 200_000


def noise(rng: random.Random, count: int) -> str:
    """Text that compression makes no smaller than half."""
    return "".join(rng.choices("0123456789abcdef", k=count))


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_topic_takes_less_than_a_batch__only_what_is_too_large_is_a_dead_letter(make_pipeline: MakePipeline,
                                                                                guarantee: str) -> None:
    """Records that fit lie in batches that do not, and some do not fit themselves."""
    name = f"narrow-{guarantee.replace('_', '-')}"
    file = {"name": name, "source": source(f"{name}-in"), "output": {"topic": f"{name}-out"}}
    pipeline = make_pipeline(file, {f"{name}-in": 2, f"{name}-out": 2, f"{name}-in.dlq": 1},
                             f"--pipeline.guarantee={guarantee}",
                             configs={f"{name}-out": {"max.message.bytes": str(NARROW_BYTES)}})
    rng = random.Random(SEED + 5)
    sizes = [3 * NARROW_BYTES if i % 50 == 25 else NARROW_BYTES // 10 for i in range(100)]
    pipeline.produce(f"{name}-in", ((f"k{i % 7}", {"t": START_MS + i, "n": i, "text": noise(rng, size)})
                                    for i, size in enumerate(sizes)))
    pipeline.start()
    large = [i for i, size in enumerate(sizes) if size > NARROW_BYTES]

    def numbers(topic: str) -> set[int]:
        pipeline.require_running()
        return {json.loads(record.value or "")["n"] for record in pipeline.read(topic)}

    wait_for("what is too large is a dead letter", 60.0, lambda: numbers(f"{name}-in.dlq") == set(large))
    wait_for("all else comes out", 60.0, lambda: len(numbers(f"{name}-out")) == len(sizes) - len(large))
    letters = pipeline.read(f"{name}-in.dlq")
    assert {letter.headers["millrace-error-code"] for letter in letters} == {"record-too-large"}
    if guarantee == "exactly_once":
        assert len(letters) == len(large)
        assert len(pipeline.read(f"{name}-out")) == len(sizes) - len(large)
    pipeline.stop()


# --- Sent back ---------------------------------------------------------------------------------------------

def replay(pipeline: Pipeline, topic: str, *flags: str) -> list[dict[str, Any]]:
    """A run of the tool to its end: what it printed, its summary last."""
    done = subprocess.run([str(pipeline.bin_dir / "replay"), f"--kafka.bootstrap.servers={pipeline.bootstrap}",
                           f"--topic={topic}", *flags], capture_output=True, text=True, timeout=60.0)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_replay__runs_are_cut_off_and_filtered__each_letter_goes_back_once(make_pipeline: MakePipeline) -> None:
    file = {**retry_file("again"), "retry": {"delays": ["1ms"]}}
    file["flows"]["named"]["steps"].insert(0, {"require": {"field": "/n", ">=": 0}})
    topics = {f"again-{topic}": 4 for topic in ("orders", "products", "named", "users", "orders.late")}
    pipeline = make_pipeline(file, {**topics, "again-orders.dlq": 2})
    rows = [{**row, "n": -1 if i % 10 == 9 else i, "product": "late"} for i, row in enumerate(rows_of(0, 300))]
    good = sorted(row["t"] for row in rows if row["n"] >= 0)
    pipeline.produce("again-orders", ((row["user"], row) for row in rows))
    pipeline.start()

    def times(topic: str) -> list[int]:
        pipeline.require_running()
        return sorted(json.loads(record.value or "")["t"] for record in pipeline.read(topic))

    wait_for("all are dead letters", 60.0, lambda: len(times("again-orders.dlq")) == len(rows))
    pipeline.produce("again-products", [("late", {"name": "Late"})])

    shown = replay(pipeline, "again-orders.dlq", "--dry-run", "--class=validate")
    assert shown[-1]["sent"] == len(shown) - 1 == len(rows) - len(good)
    assert all(line["target"] == "again-orders" and line["code"] == "condition" for line in shown[:-1])
    assert replay(pipeline, "again-orders.dlq", "--code=reference-missing", "--count=11")[-1]["sent"] == 11
    slow = subprocess.Popen([str(pipeline.bin_dir / "replay"), f"--kafka.bootstrap.servers={pipeline.bootstrap}",
                             "--topic=again-orders.dlq", "--class=process", "--rate=20"],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for("some more go back", 60.0, lambda: len(times("again-named")) > 11)
    slow.kill()
    slow.wait()
    rest = replay(pipeline, "again-orders.dlq", "--code=reference-missing")[-1]
    assert 0 < rest["sent"] < len(good) - 11
    assert rest["sent"] + rest["sent_before"] == len(good)
    wait_for("all have their names", 60.0, lambda: times("again-named") == good)
    assert {record.headers["millrace-replay"] for record in pipeline.read("again-named")} == {"1"}
    assert not any(name.startswith("__streams.errors") or name.startswith("millrace-error")
                   for record in pipeline.read("again-named") for name in record.headers)

    # What is not valid comes back as a dead letter as often as it may, and no more.
    bad = len(rows) - len(good)
    for round_number in (1, 2):
        assert replay(pipeline, "again-orders.dlq", "--replays.max=2")[-1]["sent"] == bad
        wait_for("they come back", 60.0,
                 lambda: len(times("again-orders.dlq")) == len(rows) + round_number * bad)
    end = replay(pipeline, "again-orders.dlq", "--replays.max=2")[-1]
    assert (end["sent"], end["worn"]) == (0, bad)
    assert replay(pipeline, "again-orders.dlq", "--discard")[-1]["discarded"] == bad
    assert times("again-named") == good
    pipeline.stop()
