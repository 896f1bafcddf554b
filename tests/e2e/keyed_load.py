"""Clients that each post orders of one key over one connection, and the verdict on what they were told.

Where ingest-api runs alone the verdict is on the topic they post to: what was acknowledged is there once,
where the answer said, in the order of each key; what was refused is not; what nobody knows is there once
at most.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass

import pytest

from harness.ledger import Entry, LedgerWriter
from harness.orders import OrderMaker, OrderPoster
from harness.reader import http_get, read_topic
from harness.verify import ORDERS, Discrepancy, check_order, check_orders, format_discrepancies
from harness.waiting import wait_for
from site_under_test import Site


@dataclass(frozen=True)
class Shape:
    """What a load is like."""

    clients: int = 4
    pause_seconds: float = 0.002    # between a client's requests: so many that a small machine keeps up
    batch: int = 1                  # orders in a request; more than one: an array
    fill: int = 0                   # characters that each order is made longer by
    topic: str = ORDERS
    port: int = 0                   # 0: the site's ingest-api


class Client(threading.Thread):
    """One connection that posts orders of one key, one request after the other, until it is told to stop."""

    def __init__(self, name: str, port: int, ledger: LedgerWriter, shape: Shape) -> None:
        super().__init__(daemon=True)
        self.name = name
        self._orders = OrderMaker(name)
        self._ledger = ledger
        self._poster = OrderPoster(port, ledger, topic=shape.topic, query=f"key={name}")
        self._shape = shape
        self._ended = threading.Event()

    @property
    def entries(self) -> list[Entry]:
        return self._ledger.entries

    @property
    def untold(self) -> list[str]:
        """Answers that say to come again, but not when."""
        return self._poster.untold

    def run(self) -> None:
        while not self._ended.wait(self._shape.pause_seconds):
            orders = [self._orders.good().padded(self._shape.fill) for _ in range(self._shape.batch)]
            if self._shape.batch == 1:
                self._poster.post(orders[0])
            else:
                self._poster.post_all(orders)
        self._poster.close()

    def end(self) -> None:
        self._ended.set()
        self.join(60.0)
        assert not self.is_alive(), f"{self.name} got no answer"
        self._ledger.close()


class Load:
    """All clients, and what they were told."""

    def __init__(self, site: Site, prefix: str, shape: Shape = Shape()) -> None:
        folder = site.platform.layout.run_dir / "ledger"
        self.topic = shape.topic
        self.clients = [Client(f"{prefix}{n}", shape.port or site.port("ingest-api"),
                               LedgerWriter(folder / f"{prefix}{n}.ndjson"), shape) for n in range(shape.clients)]
        for client in self.clients:
            client.start()

    def entries(self) -> list[Entry]:
        return [entry for client in self.clients for entry in list(client.entries)]

    def count(self, *outcomes: str) -> int:
        return sum(entry.outcome in outcomes for entry in self.entries())

    def statuses(self, status: int) -> int:
        return sum(entry.status == status for entry in self.entries())

    def await_more(self, outcome: str, more: int, seconds: float = 60.0) -> None:
        wanted = self.count(outcome) + more
        wait_for(f"{more} more {outcome}", seconds, lambda: self.count(outcome) >= wanted)

    def await_status(self, status: int, more: int, seconds: float = 60.0) -> None:
        wanted = self.statuses(status) + more
        wait_for(f"{more} more answers of status {status}", seconds, lambda: self.statuses(status) >= wanted)

    def end(self) -> None:
        for client in self.clients:
            client.end()


def metric(port: int, name: str) -> float:
    text = http_get(port, "/metrics").body.decode()
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.M)
    assert found, f"{name} is not among the metrics"
    return float(found[1])


def await_drained(port: int, seconds: float = 90.0) -> None:
    """All that was spooled is in Kafka, and its files are gone."""
    wait_for("the spool is empty", seconds, lambda: metric(port, "millrace_spool_records") == 0
             and metric(port, "millrace_spool_bytes") == 0)


def discrepancies(bootstrap: str, load: Load) -> list[Discrepancy]:
    names = {client.name for client in load.clients}
    records = [record for record in read_topic(bootstrap, load.topic) if record.key in names]
    found: list[Discrepancy] = []
    for client in load.clients:
        found += check_order(client.entries, records)
    return found + list(check_orders(load.entries(), records))


def require_all_there(site: Site, *loads: Load) -> None:
    """Nothing acknowledged lost, nothing twice without saying so, nothing refused there, each key's order
    kept; and nobody told to come again without being told when."""
    for load in loads:
        found = discrepancies(site.cluster.bootstrap, load)
        if found:
            pytest.fail(format_discrepancies(found))
        untold = [answer for client in load.clients for answer in client.untold]
        assert not untold, f"{len(untold)} answers without Retry-After: {untold[:3]}"
