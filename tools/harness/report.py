"""The recount as tables: what was accepted, and what each reader of the results shows."""

from __future__ import annotations

from collections import Counter, defaultdict
from decimal import Decimal
from typing import Any, Iterable, Sequence

from harness.ledger import Entry
from harness.reader import Answer, ReadError, Record, SseEvent
from harness.table import format_table
from harness.verify import (METRICS, ORDERS, Discrepancy, Observation, Total, WindowKey, accepted_entries,
                            count_windows, parse, recount)


def totals_by_product(windows: dict[WindowKey, Total]) -> dict[str, Total]:
    """All windows of a product together."""
    totals: dict[str, Total] = defaultdict(Total)
    for (product, _), window in windows.items():
        total = totals[product]
        total.count += window.count
        total.revenue += window.revenue
    return totals


def last_totals(rows: Iterable[dict[str, Any] | None]) -> dict[WindowKey, Total]:
    """The last value of each window, from metric values in their order."""
    last: dict[WindowKey, Total] = {}
    for row in rows:
        if row is not None:
            key = row["product_id"], int(row["window_start"] * 1000)
            last[key] = Total(int(row["order_count"]), Decimal(row["total_revenue"]))
    return last


def add_late(windows: dict[WindowKey, Total], late: dict[WindowKey, Total]) -> dict[WindowKey, Total]:
    """Windows plus the orders that came too late for them."""
    both = {key: Total(total.count, total.revenue) for key, total in windows.items()}
    for key, delayed in late.items():
        total = both.setdefault(key, Total())
        total.count += delayed.count
        total.revenue += delayed.revenue
    return both


def outcome_table(entries: Sequence[Entry], seen: Observation) -> str:
    """How many events were sent, with which answer, and where they are now."""
    orders = [entry for entry in entries if entry.topic == ORDERS]
    accepted = accepted_entries(orders, seen.orders)
    answers = Counter((entry.outcome, entry.status) for entry in orders)
    rows: list[tuple[object, ...]] = [(f"answered {status or 'not at all'} ({outcome})", count)
                                      for (outcome, status), count in sorted(answers.items())]
    rows += [("accepted good orders", len(accepted.good)), ("in processed-orders", len(seen.processed)),
             ("accepted bad orders", len(accepted.bad)), ("in orders.dlq", len(seen.dead)),
             ("of the good ones too late for their window", len(seen.late))]
    return format_table(("events", "number"), rows)


def comparison_table(entries: Sequence[Entry], seen: Observation, events: Sequence[SseEvent], window_ms: int) -> str:
    """Orders and revenue by product: the recount beside query-api's stream and the sink's file."""
    orders = [entry for entry in entries if entry.topic == ORDERS]
    windows = recount(accepted_entries(orders, seen.orders), window_ms)
    late = count_windows((record.value for record in seen.late), window_ms)
    streamed = last_totals(_envelope(event)["value"] for event in events)
    filed = last_totals(map(parse, seen.metric_lines or []))
    sources = [windows, add_late(streamed, late), add_late(filed, late)]
    totals = [totals_by_product(source) for source in sources]
    rows = [_comparison_row(product, windows, [total[product] for total in totals])
            for product in sorted({*totals[0], *totals[1], *totals[2]})]
    head = ("product", "windows", "orders", "query-api", "metrics.json", "revenue", "query-api", "metrics.json", "")
    return format_table(head, rows)


def _comparison_row(product: str, windows: dict[WindowKey, Total], totals: Sequence[Total]) -> tuple[object, ...]:
    number = sum(1 for key in windows if key[0] == product)
    same = all(total == totals[0] for total in totals)
    return (product, number, *(total.count for total in totals), *(total.revenue for total in totals),
            "same" if same else "DIFFERENT")


def check_stream(metrics: Sequence[Record], events: Sequence[SseEvent]) -> list[Discrepancy]:
    """Enveloped SSE from the earliest record on shows every record once, by position and value."""
    wanted = {record.position: record.value for record in metrics}
    seen: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        envelope = _envelope(event)
        seen[envelope["partition"], envelope["offset"]].append(envelope)
    found = []
    for position in sorted({*wanted, *seen}):
        shown = seen.get(position, [])
        where = f"SSE {METRICS}[{position[0]}]@{position[1]}"
        if len(shown) != (1 if position in wanted else 0):
            found.append(Discrepancy("stream_count", where, str(int(position in wanted)), str(len(shown))))
        elif shown and shown[0]["value"] != parse(wanted[position]):
            found.append(Discrepancy("stream_value", where, str(wanted[position]), str(shown[0]["value"])))
    return found


def _envelope(event: SseEvent) -> dict[str, Any]:
    envelope = parse(event.data)
    if envelope is None:
        raise ReadError(f"SSE: no envelope: {event.data[:200]!r}")
    return envelope


def check_latest(metrics: Sequence[Record], answer: Answer) -> list[Discrepancy]:
    """GET /latest/product-metrics shows the last value of each key."""
    if answer.status != 200:
        return [Discrepancy("latest_status", f"GET /latest/{METRICS}", "200", str(answer.status))]
    wanted = {record.key: record for record in metrics}
    items = {item["key"]: item for item in (parse(answer.body.decode()) or {})["items"]}
    found = []
    for key in sorted({*wanted, *items}, key=str):
        expected = (wanted[key].partition, wanted[key].offset, parse(wanted[key].value)) if key in wanted else None
        item = items.get(key)
        shown = (item["partition"], item["offset"], item["value"]) if item else None
        if expected != shown:
            found.append(Discrepancy("latest_wrong", f"/latest/{METRICS} {key}", str(expected), str(shown)))
    return found
