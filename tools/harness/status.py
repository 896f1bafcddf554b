"""The demo's live line: events in, windows, end-to-end latency, all seen from outside through SSE.

End to end is from an order's Kafka timestamp (set when ingest-api produced it) to the arrival of the
first window value that counts it. Orders of a window are matched to its counts in their order of
arrival: a window that shows c orders counts the first c of them. Where an order was too late for its
window that window's later matches are off by one; windows last seconds, so it does not add up.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict, deque
from decimal import Decimal
from typing import Any

from harness.reader import SseEvent, SseStream
from harness.verify import METRICS, ORDERS, WindowKey, duration_ms, parse, window_of

LATENCIES_KEPT = 500
WINDOWS_KEPT = 200
QUIET_SECONDS = 10.0    # between two lines where there is no terminal to redraw on


class Latency:
    """Matches orders to the window counts that include them."""

    def __init__(self, window_ms: int) -> None:
        self._window_ms = window_ms
        self._waiting: dict[WindowKey, deque[int]] = defaultdict(deque)
        self._counted: dict[WindowKey, int] = defaultdict(int)
        self.recent_ms: deque[int] = deque(maxlen=LATENCIES_KEPT)
        self.windows = 0

    def on_order(self, order: Any, produced_ms: int) -> None:
        """Remember an order that its window will count; bad ones never will be."""
        try:
            if Decimal(order["amount"]) > 0:
                self._waiting[window_of(order, self._window_ms)].append(produced_ms)
        except (KeyError, TypeError, ValueError, ArithmeticError):
            pass    # a bad order: goes to the dead letters
        while len(self._waiting) > WINDOWS_KEPT:
            self._waiting.pop(next(iter(self._waiting)))

    def on_window(self, row: dict[str, Any], now_ms: int) -> None:
        key = row["product_id"], int(row["window_start"] * 1000)
        if key not in self._counted:
            self.windows += 1
        newly, waiting = int(row["order_count"]) - self._counted[key], self._waiting[key]
        self._counted[key] = int(row["order_count"])
        for _ in range(min(newly, len(waiting))):
            self.recent_ms.append(now_ms - waiting.popleft())
        while len(self._counted) > WINDOWS_KEPT:
            self._counted.pop(next(iter(self._counted)))

    def percentile(self, share: float) -> int | None:
        ordered = sorted(self.recent_ms)
        return ordered[int(share * (len(ordered) - 1))] if ordered else None


class StatusLine:
    """Follows query-api while the demo runs; show() draws the line."""

    def __init__(self, query_port: int, window: str = "10s") -> None:
        self._latency = Latency(duration_ms(window))
        self._orders = 0
        self._begin = self._shown = time.monotonic()
        self._is_terminal = sys.stdout.isatty()
        self._stream = SseStream(query_port, f"/events/{ORDERS},{METRICS}?envelope=1", on_event=self._on_event)

    def _on_event(self, event: SseEvent) -> None:
        """Runs on the stream's thread, the only writer; show() reads numbers that may be a moment old."""
        envelope = parse(event.data)
        if event.name or envelope is None:
            return
        if envelope["topic"] == ORDERS:
            self._orders += 1
            self._latency.on_order(envelope["value"], int(envelope["timestamp"]))
        elif isinstance(envelope["value"], dict):
            self._latency.on_window(envelope["value"], int(time.time() * 1000))

    def show(self) -> None:
        """Redraw on a terminal; elsewhere a line now and then."""
        now = time.monotonic()
        if not self._is_terminal and now - self._shown < QUIET_SECONDS:
            return
        self._shown = now
        seconds = now - self._begin
        median, high = self._latency.percentile(0.5), self._latency.percentile(0.95)
        delay = f"end to end p50 {median} ms, p95 {high} ms" if median is not None else "end to end: nothing yet"
        text = f"{seconds:5.0f} s   {self._orders} events in   {self._latency.windows} windows   {delay}"
        print(f"\r\x1b[K{text}" if self._is_terminal else text, end="" if self._is_terminal else "\n", flush=True)

    def __enter__(self) -> StatusLine:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_terminal:
            print()
        self._stream.close()
