"""Pipelines with an endless supply of input and an exact recount of everything that came out.

Each is a pipeline of two or three workers, its input drawn from a seed: out of order, doubled, bad and
late where the pipeline has an answer to that. `idle` is taken out of the files that ship: with it
results depend on the clock, and could not be recounted from the topics alone.
"""

from __future__ import annotations

import json
import random
from abc import ABC, abstractmethod
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any, Callable, Iterator, Mapping, Sequence

from conftest import ROOT
from harness.reader import Record, read_topics
from harness.recount import (Event, Out, Row, Within, as_sent, by_time, check_history, check_rows, deduplicate,
                             events_behind_rekey, events_of, join_streams, join_table, passed_on, sessions, table_of,
                             windows)
from harness.verify import Discrepancy
from pipeline_under_test import Pipeline

SECOND_MS, MINUTE_MS, HOUR_MS = 1000, 60_000, 3_600_000
START_MS = 1_700_000_000_000 // HOUR_MS * HOUR_MS

MakePipeline = Callable[[Mapping[str, Any], Mapping[str, int]], Pipeline]
Topics = dict[str, list[Record]]


def shipped(name: str) -> dict[str, Any]:
    """The file, without what makes its results depend on the clock."""
    file = json.loads((ROOT / "pipelines" / f"{name}.json").read_text())
    del file["$schema"]
    for source in file.get("sources", {"": file.get("source")}).values():
        del source["watermark"]["idle"]
    return file


class Recounted(ABC):
    """One pipeline; `feed` adds to its input, `check` says what is wrong with its output."""

    topics: Mapping[str, int]    # that it reads and writes, with their partitions

    def __init__(self, make: MakePipeline, file: Mapping[str, Any], seed: str) -> None:
        self.pipeline = make(file, self.topics)
        self.rng = random.Random(f"{seed} {self.pipeline.name}")
        self.now_ms = START_MS    # of the events
        self._wanted: tuple[int, Any] = (-1, None)

    @abstractmethod
    def feed(self, count: int) -> None:
        """About so many records more, in the order of each partition."""

    @abstractmethod
    def recount(self, topics: Topics) -> Any:
        """What the inputs must have come to."""

    @abstractmethod
    def compare(self, topics: Topics, wanted: Any) -> Iterator[Discrepancy]:
        """What differs."""

    inputs: Sequence[str]

    def check(self) -> list[Discrepancy]:
        topics = read_topics(self.pipeline.bootstrap, self.topics)
        size = sum(len(topics[name]) for name in self.inputs)
        if self._wanted[0] != size:    # a log only grows
            self._wanted = size, self.recount(topics)
        return list(self.compare(topics, self._wanted[1]))


# --- Sessions behind a dedup --------------------------------------------------------------------------

class Clicks(Recounted):
    """pipelines/click-sessions.json."""

    topics = {"clicks": 3, "click-sessions": 3, "clicks.late": 3, "clicks.dlq": 3}
    inputs = ("clicks",)
    visitors = [f"v{number}" for number in range(12)]

    def __init__(self, make: MakePipeline, seed: str) -> None:
        super().__init__(make, shipped("click-sessions"), seed)
        self._sent: list[Row] = []

    def feed(self, count: int) -> None:
        """Half of the visitors are about, so that visits end; some clicks come twice, out of order,
        too late, or are none."""
        active = self.rng.sample(self.visitors, len(self.visitors) // 2)
        rows = [self._click(active) for _ in range(count)]
        self._sent = [*self._sent, *rows][-100:]
        self.pipeline.produce("clicks", ((row["visitor"], row) for row in rows))

    def _click(self, active: Sequence[str]) -> Row:
        sort = self.rng.random()
        if sort < 0.05 and self._sent:
            return self.rng.choice(self._sent)
        self.now_ms += self.rng.randrange(5 * SECOND_MS, 40 * SECOND_MS)
        back_ms = self.rng.randrange(30 * SECOND_MS) if sort < 0.3 else 0
        back_ms += 3 * HOUR_MS if 0.10 < sort < 0.12 else 0
        at = datetime.fromtimestamp((self.now_ms - back_ms) / 1000, timezone.utc)
        return {"click_id": f"c{self.rng.getrandbits(60)}", "visitor": self.rng.choice(active),
                "page": "nowhere" if 0.12 < sort < 0.14 else f"/{self.rng.randrange(9)}",
                "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z")}

    @staticmethod
    def _visit(key: str, first_ms: int, last_ms: int, events: Sequence[Event]) -> Row:
        in_time = by_time(events)
        start, end = Decimal(first_ms) / 1000, Decimal(last_ms) / 1000
        return {"visitor": key, "from": start, "to": end, "clicks": len(events),
                "pages": {"count": len({event.row["page"] for event in events}), "truncated": False},
                "entry": in_time[0].row["page"], "exit": in_time[-1].row["page"],
                "seconds": end - start}

    def recount(self, topics: Topics) -> Any:
        good, bad = [], []
        for record in topics["clicks"]:
            (bad if '"nowhere"' in (record.value or "") else good).append(record)
        events = deduplicate(events_of(good, "time", 10 * SECOND_MS), "click_id", HOUR_MS)
        return sessions(events, "visitor", 30 * MINUTE_MS, self._visit, MINUTE_MS), events_of(bad, "time")

    def compare(self, topics: Topics, wanted: Any) -> Iterator[Discrepancy]:
        visits, bad = wanted
        yield from check_history("click-sessions", visits, topics["click-sessions"])
        yield from check_rows("clicks.late", as_sent(visits.late), topics["clicks.late"])
        yield from check_rows("clicks.dlq", as_sent(bad), topics["clicks.dlq"])


# --- An interval join -----------------------------------------------------------------------------------

class Payments(Recounted):
    """pipelines/order-payments.json. Both topics are in order, so that nothing is late."""

    topics = {"shop-orders": 3, "payments": 3, "paid-orders": 3, "unpaid-orders": 3, "order-payments.late": 3,
              "order-payments.dlq": 3}
    inputs = ("shop-orders", "payments")
    within = Within(MINUTE_MS, 15 * MINUTE_MS, 10 * SECOND_MS)
    # When an order is paid, in ms from its own time: the first and last moments that count, those
    # beside them, twice, never.
    payments: Sequence[tuple[int, ...]] = ((1000,), (90_000,), (-60_000,), (-60_001,), (900_000,), (900_001,),
                                           (5000, 70_000), ())

    def __init__(self, make: MakePipeline, seed: str) -> None:
        super().__init__(make, shipped("order-payments"), seed)
        self._number = 0
        self._due: list[tuple[int, str]] = []    # payments that are still to come

    def feed(self, count: int) -> None:
        """Orders, and what payments come in their time; an order can be paid before it is placed."""
        orders = []
        for _ in range(count):
            self.now_ms += self.rng.randrange(2 * SECOND_MS, 6 * SECOND_MS)
            self._number += 1
            at_ms, name = self.now_ms + 2 * MINUTE_MS, f"o{self._number}"
            orders.append({"order_id": name, "amount": self._number, "timestamp": at_ms})
            self._due += [(at_ms + after_ms, name) for after_ms in self.rng.choice(self.payments)]
        self._due.sort()
        ready = [due for due in self._due if due[0] <= self.now_ms]
        self._due = self._due[len(ready):]
        self.pipeline.produce("shop-orders", ((row["order_id"], row) for row in orders))
        self.pipeline.produce("payments", ((name, {"order_id": name, "paid": at_ms % 1000 + 1, "method": "card",
                                                   "timestamp": at_ms}) for at_ms, name in ready))

    def recount(self, topics: Topics) -> tuple[list[Out], list[Out]]:
        orders, payments = (events_of(topics[name], "timestamp") for name in self.inputs)
        return join_streams(orders, payments, "order_id", self.within,
                            lambda order, payment: order | {"paid": payment["paid"], "method": payment["method"]})

    def compare(self, topics: Topics, wanted: tuple[list[Out], list[Out]]) -> Iterator[Discrepancy]:
        for topic, outs in zip(("paid-orders", "unpaid-orders", "order-payments.late", "order-payments.dlq"),
                               (*wanted, [], [])):
            yield from check_rows(topic, outs, topics[topic])


# --- Several stages: dedup, table join, rekey, windows --------------------------------------------------

class Sales(Recounted):
    """Sales once each, with their user's region, counted by region."""

    topics = {"sales": 4, "users": 1, "valid-sales": 4, "by-region": 4, "sales.late": 4, "sales.dlq": 4}
    inputs = ("sales", "sales-regions-repartition")
    regions = {f"u{number}": f"r{number % 5}" for number in range(40)}
    file = {
        "name": "sales",
        "sources": {"sales": {"topic": "sales", "timestamp": {"field": "/t", "format": "epoch-ms"}}},
        "tables": {"users": {"topic": "users"}},
        "flows": {
            "valid": {"from": "sales", "steps": [
                {"dedup": {"by": "/id", "ttl": "30m", "store": {"name": "seen"}}},
                {"join": {"table": "users", "on": "/user", "set": {"region": "/region"}}}],
                "output": {"topic": "valid-sales"}},
            "regions": {"from": "valid", "steps": [
                {"rekey": {"key": "/region"}},
                {"aggregate": {"by": "/region", "window": {"tumbling": "10m", "grace": "5m"},
                               "store": {"name": "windows"}, "emit": ["update", "final"],
                               "result": {"region": "key", "start": {"window": "start"}, "count": "count",
                                          "sum": {"sum": "/n"}}}}],
                "output": {"topic": "by-region"}}},
        "dead_letter": {"topic": "sales.dlq"}, "late": {"topic": "sales.late"}}

    def __init__(self, make: MakePipeline, seed: str) -> None:
        super().__init__(make, self.file, seed)
        self.topics = {**self.topics, "sales-regions-repartition": 4}
        self._sent: list[Row] = []
        self.pipeline.produce("users", ((user, {"region": region}) for user, region in self.regions.items()))

    def feed(self, count: int) -> None:
        rows = [self._sale() for _ in range(count)]
        self._sent = [*self._sent, *rows][-100:]
        self.pipeline.produce("sales", ((row["id"], row) for row in rows))

    def _sale(self) -> Row:
        if self._sent and self.rng.random() < 0.05:
            return self.rng.choice(self._sent)
        self.now_ms += self.rng.randrange(2 * SECOND_MS)
        return {"id": f"s{self.rng.getrandbits(60)}", "user": self.rng.choice(list(self.regions)),
                "n": self.rng.randrange(1000), "t": self.now_ms}

    @staticmethod
    def _window(key: str, start_ms: int, _: int, events: Sequence[Event]) -> Row:
        return {"region": key, "start": start_ms, "count": len(events), "sum": sum(event.row["n"] for event in events)}

    def recount(self, topics: Topics) -> Any:
        """Each stage from what it reads: the order of the second one's input is the log's own."""
        once = deduplicate(events_of(topics["sales"], "t"), "id", 30 * MINUTE_MS)
        users = table_of(topics["users"])
        valid, sent = (join_table(once, users, "user", {"region": "region"}, key) for key in (None, "region"))
        by_region = events_behind_rekey(topics["sales-regions-repartition"], "t")
        return valid, sent, windows(by_region, "region", 10 * MINUTE_MS, self._window, 5 * MINUTE_MS)

    def compare(self, topics: Topics, wanted: Any) -> Iterator[Discrepancy]:
        valid, sent, history = wanted
        yield from check_rows("valid-sales", valid, topics["valid-sales"])
        yield from check_rows("sales-regions-repartition", sent, topics["sales-regions-repartition"])
        yield from check_history("by-region", history, topics["by-region"])
        yield from check_rows("sales.late", as_sent(history.late), topics["sales.late"])
        yield from check_rows("sales.dlq", [], topics["sales.dlq"])
