"""From POST to SSE: how long until a reader of product-metrics sees an order counted.

The whole platform runs with a background load on products 1 to 5. Probes order a product of their
own, so that its count changes by them only: the n-th probe has come through when the latest counts
of that product's windows add up to n. Probes come one after the other, with random pauses: without
them each would be sent just after a commit, and all would see the same wait.
"""

from __future__ import annotations

import random
import time
from typing import Any, Sequence

from harness.orders import OrderMaker
from harness.platform import Layout, Platform, Settings
from harness.reader import SseStream, http_request
from measure.session import BenchFailed, Session, require_clean, say

PRODUCT = "prod-probe"    # bench-load --kind products knows it
BACKGROUND_PER_SECOND = 30
PAUSE_SECONDS_MAX = 0.15
PROBE_SECONDS = 30.0
WARM_UP_PROBES = 5
SERVICES = ("ingest-api", "processor", "analytics", "query-api")
PERCENTILES = (50, 95, 99)


class Counted:
    """How many probes the stream has shown so far; looks at each event once."""

    def __init__(self) -> None:
        self._windows: dict[int, int] = {}
        self._looked_at = 0

    def total(self, stream: SseStream) -> int:
        for event in stream.events[self._looked_at:]:
            self._looked_at += 1
            if not event.name and PRODUCT in event.data:
                metric = event.json()
                self._windows[metric["window_start"]] = metric["order_count"]
        return sum(self._windows.values())


def _probe(port: int, stream: SseStream, counted: Counted, body: bytes, number: int) -> float:
    """Milliseconds from sending the order to its being counted in the stream."""
    begin = time.monotonic()
    answer = http_request(port, "POST", "/events/orders", body, {"Content-Type": "application/json"})
    if answer.status != 201:
        raise BenchFailed(f"POST /events/orders: {answer.status} {answer.body[:300]!r}")
    stream.wait_until(f"probe {number} is counted", PROBE_SECONDS, lambda s: counted.total(s) >= number)
    return (time.monotonic() - begin) * 1000


def _probes(session: Session, platform: Platform, count: int) -> list[float]:
    maker, pause = OrderMaker("probe", seed=1), random.Random(1)
    counted, taken = Counted(), []
    with SseStream(platform.ports["query-api"], "/events/product-metrics") as stream:
        stream.wait_open()
        for number in range(1, WARM_UP_PROBES + count + 1):
            time.sleep(pause.uniform(0, PAUSE_SECONDS_MAX))
            body = maker.good(PRODUCT).text.encode()
            taken.append(_probe(platform.ports["ingest-api"], stream, counted, body, number))
        if counted.total(stream) != WARM_UP_PROBES + count:
            raise BenchFailed(f"{WARM_UP_PROBES + count} probes were sent, {counted.total(stream)} are counted")
    platform.require_running()
    return taken[WARM_UP_PROBES:]


def percentile(values: Sequence[float], percent: int) -> float:
    """Nearest rank: a value that was measured, not one between two."""
    ranked = sorted(values)
    return round(ranked[max(0, -(-len(ranked) * percent // 100) - 1)], 1)


def _measure(session: Session, guarantee: str) -> dict[str, float]:
    layout = Layout(session.root, session.bin_dir, session.directory / f"latency-{guarantee}")
    settings = Settings(window="1m", guarantee=guarantee, services=SERVICES)
    platform = Platform(layout, session.kafka.bootstrap, settings)
    try:
        platform.create_topics()
        session.tool("load", topic="products", kind="products", start_ms=session.start_ms)
        platform.start()
        platform.start_load(BACKGROUND_PER_SECOND)
        taken = _probes(session, platform, session.plan.probes)
        require_clean(platform.stop())
    finally:
        platform.kill_all()
    return {"probes": len(taken), **{f"p{p}_ms": percentile(taken, p) for p in PERCENTILES},
            "max_ms": round(max(taken), 1)}


def run(session: Session) -> dict[str, Any]:
    """Both guarantees, each with the default commit interval."""
    result: dict[str, Any] = {"background_per_second": BACKGROUND_PER_SECOND}
    for guarantee in ("exactly_once",) if session.plan.quick else ("exactly_once", "at_least_once"):
        if len(result) > 1:
            session.renew_kafka()    # or the second would go on with the first one's windows
        result[guarantee] = _measure(session, guarantee)
        say(f"latency, {guarantee}: {result[guarantee]}")
    return result
