"""The recount: what the ledger says was accepted, against what readers of Kafka see.

Method: from the ledger alone follows what the topics must contain. Every acknowledged good order
is in exactly one processed-orders record, every acknowledged bad one in exactly one dead letter,
and every good one counts exactly once in its window or lies in the late topic:

    count(product, window) = count(last product-metrics value) + count(late records)     and so for sums

Sums are Python Decimals, recomputed from the ledger's text; nothing here uses what a service said
except where that is the thing compared. An order whose outcome nobody knows ("info") may be in
`orders` once or not at all; where it is, all of the above applies to it too. Each difference is
one Discrepancy; an empty list is the proof.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any, Iterable, Iterator, Sequence

from harness.ledger import FAIL, INFO, OK, SPOOLED, Entry, read_ledgers
from harness.reader import Record, read_topics
from harness.table import format_table

ORDERS, PROCESSED, DEAD = "orders", "processed-orders", "orders.dlq"
LATE, METRICS, PRODUCTS = "processed-orders.late", "product-metrics", "products"
TOPICS = (ORDERS, PROCESSED, DEAD, LATE, METRICS, PRODUCTS)

# A number below this is epoch seconds (the year 5138), above it milliseconds (after March 1973).
SECONDS_BELOW = Decimal(100_000_000_000)
AVERAGE_DIGITS = Decimal("0.000000001")
HEADER_SPOOL = "millrace-spool-id"    # of a record that was spooled: the same on each of its copies
HEADER_PARTITION, HEADER_OFFSET = "__streams.errors.partition", "__streams.errors.offset"

WindowKey = tuple[str, int]    # product id, window start in ms


@dataclass(frozen=True)
class Discrepancy:
    """One difference between what has to be and what is."""

    kind: str
    where: str
    expected: str
    seen: str


@dataclass
class Observation:
    """Everything that readers see. metric_lines is None where no sink ran."""

    orders: list[Record] = field(default_factory=list)
    processed: list[Record] = field(default_factory=list)
    dead: list[Record] = field(default_factory=list)
    late: list[Record] = field(default_factory=list)
    metrics: list[Record] = field(default_factory=list)
    products: list[Record] = field(default_factory=list)
    metric_lines: list[str] | None = None


@dataclass
class Total:
    """Orders counted and their exact sum."""

    count: int = 0
    revenue: Decimal = Decimal(0)

    def add(self, amount: Decimal) -> None:
        self.count += 1
        self.revenue += amount

    def __str__(self) -> str:
        return f"{self.count} orders, {self.revenue}"


# --- Reading values ------------------------------------------------------------------------------

def parse(text: str | None) -> dict[str, Any] | None:
    """A JSON object with exact numbers, or None for anything else."""
    try:
        value = json.loads(text or "", parse_float=Decimal, parse_int=Decimal)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def event_time_ms(timestamp: Any) -> int:
    """Event time in any of the three forms an order may carry. Fractions are cut downwards."""
    if isinstance(timestamp, str):
        return _iso_ms(timestamp)
    number = Decimal(timestamp)
    milliseconds = number * 1000 if number < SECONDS_BELOW else number
    return int(milliseconds // 1)


def _iso_ms(text: str) -> int:
    """ISO 8601. Without an offset it is UTC. Integers only: datetime.timestamp() is a float."""
    match = re.fullmatch(r"(.+?)(?:\.(\d+))?(Z|[+-]\d\d:?\d\d)?", text)
    if not match:
        raise ValueError(f"not ISO 8601: {text!r}")
    moment = datetime.fromisoformat(match[1] + (match[3] or "Z").replace("Z", "+00:00"))
    seconds = (moment - datetime(1970, 1, 1, tzinfo=timezone.utc)).total_seconds()
    return int(seconds) * 1000 + int((match[2] or "0")[:3].ljust(3, "0"))


def duration_ms(text: str) -> int:
    """A duration as the services' configuration writes it: 100ms, 10s, 1m, 2h."""
    match = re.fullmatch(r"(\d+)(ms|s|m|h)", text)
    if not match:
        raise ValueError(f"{text!r} is no duration like 100ms, 10s or 1m")
    return int(match[1]) * {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}[match[2]]


def _order_id(record: Record) -> str:
    row = parse(record.value)
    return str(row.get("order_id", "")) if row else ""


def window_of(order: dict[str, Any], window_ms: int) -> WindowKey:
    at = event_time_ms(order["timestamp"])
    return order["product_id"], at - at % window_ms


# --- What was accepted ---------------------------------------------------------------------------

@dataclass
class Accepted:
    """Entries that are in Kafka: acknowledged, or unknown and found; with their positions."""

    good: dict[str, Entry]
    bad: dict[tuple[int, int], Entry]     # by position in `orders`: a bad order may lack its id
    positions: dict[str, tuple[int, int]]  # of all of them, by id


def accepted_entries(entries: Iterable[Entry], orders: Sequence[Record]) -> Accepted:
    """Split the ledger by what must have come through."""
    by_value = {record.value: record.position for record in orders}
    accepted = Accepted({}, {}, {})
    for entry in entries:
        found = entry.position if entry.has_position else by_value.get(entry.value)
        if entry.outcome == FAIL or (entry.outcome == INFO and found is None):
            continue
        if found is not None:
            accepted.positions[entry.id] = found
        if entry.good:
            accepted.good[entry.id] = entry
        elif found is not None:
            accepted.bad[found] = entry
    return accepted


def recount(accepted: Accepted, window_ms: int) -> dict[WindowKey, Total]:
    """The windows as they have to be, from the ledger's own text."""
    return count_windows((entry.value for entry in accepted.good.values()), window_ms)


def count_windows(values: Iterable[str | None], window_ms: int) -> dict[WindowKey, Total]:
    windows: dict[WindowKey, Total] = defaultdict(Total)
    for value in values:
        order = parse(value)
        if order is None:
            raise ValueError(f"a good order that is no JSON object: {value!r}")
        windows[window_of(order, window_ms)].add(Decimal(order["amount"]))
    return dict(windows)


# --- Checks: each yields what it finds -----------------------------------------------------------

def distinct(orders: Iterable[Record]) -> list[Record]:
    """Without the repeats that a spool may make: all copies of one record bear its spool id."""
    ids: set[str] = set()
    kept = []
    for record in orders:
        spool_id = record.headers.get(HEADER_SPOOL)
        if spool_id is None or spool_id not in ids:
            kept.append(record)
        if spool_id is not None:
            ids.add(spool_id)
    return kept


def check_order(entries: Sequence[Entry], orders: Sequence[Record]) -> Iterator[Discrepancy]:
    """What one connection sent with one key, one after the other, came in that order: by the first
    copy of each, those that were acknowledged."""
    first: dict[str | None, Record] = {}
    for record in sorted(orders, key=lambda record: record.position):
        first.setdefault(record.value, record)
    last: Record | None = None
    for entry in entries:
        record = first.get(entry.value)
        if entry.outcome not in (OK, SPOOLED) or record is None:
            continue
        if last is not None and record.position < last.position:
            yield Discrepancy("out_of_order", record.where, f"after {last.where}", entry.id)
        last = record


def check_orders(entries: Sequence[Entry], all_orders: Sequence[Record]) -> Iterator[Discrepancy]:
    """Acknowledged once and where the answer said; refused never; unknown at most once."""
    orders = distinct(all_orders)
    seen = Counter(record.value for record in orders)
    at = {record.position: record.value for record in orders}
    allowed = {OK: (1, 1), SPOOLED: (1, 1), FAIL: (0, 0), INFO: (0, 1)}
    kinds = {OK: "acknowledged_lost", SPOOLED: "spooled_lost", FAIL: "refused_visible", INFO: "unknown_doubled"}
    for entry in entries:
        count = seen[entry.value]
        least, most = allowed[entry.outcome]
        if not least <= count <= most:
            doubled = {OK: "acknowledged_doubled", SPOOLED: "spooled_doubled"}.get(entry.outcome)
            kind = doubled if doubled and count > 1 else kinds[entry.outcome]
            yield Discrepancy(kind, f"{ORDERS} {entry.id}", f"{least}..{most} times", f"{count} times")
        elif entry.outcome == OK and entry.has_position and at.get(entry.position) != entry.value:
            yield Discrepancy("wrong_position", f"{ORDERS}[{entry.partition}]@{entry.offset}",
                              entry.value, str(at.get(entry.position)))
    known = {entry.value for entry in entries}
    for record in orders:
        if record.value not in known:
            yield Discrepancy("not_in_ledger", record.where, "nothing", str(record.value))


def check_processed(accepted: Accepted, processed: Sequence[Record],
                    products: dict[str, dict[str, Any]]) -> Iterator[Discrepancy]:
    """Each accepted good order exactly once, its own bytes plus the product's two fields."""
    seen: dict[str, list[Record]] = defaultdict(list)
    for record in processed:
        seen[_order_id(record)].append(record)
    for order_id, entry in accepted.good.items():
        records = seen.pop(order_id, [])
        if len(records) != 1:
            kind = "order_doubled" if records else "order_lost"
            places = ", ".join(record.where for record in records) or "nowhere"
            yield Discrepancy(kind, f"{PROCESSED} {order_id}", "once", f"{len(records)} times: {places}")
        for record in records[:1]:
            yield from _check_enriched(entry, record, products)
    for order_id, records in seen.items():
        for record in records:
            yield Discrepancy("order_unexpected", record.where, "no such order", str(record.value))


def _check_enriched(entry: Entry, record: Record, products: dict[str, dict[str, Any]]) -> Iterator[Discrepancy]:
    order, row = parse(entry.value), parse(record.value)
    assert order is not None and row is not None    # it was found by its order id
    prefix = entry.value.rstrip().removesuffix("}").rstrip()
    if not (record.value or "").startswith(prefix):
        yield Discrepancy("order_changed", record.where, prefix, str(record.value))
    product = products.get(order["product_id"], {})
    for name, source in (("product_name", "name"), ("category", "category")):
        if name not in row or (product and row[name] != product.get(source)):
            yield Discrepancy("join_wrong", f"{record.where} {name}", str(product.get(source)), str(row.get(name)))
    if record.key != order["product_id"]:
        yield Discrepancy("key_wrong", record.where, order["product_id"], str(record.key))
    event_ms = event_time_ms(order["timestamp"])
    if record.timestamp_ms != event_ms:
        yield Discrepancy("event_time_wrong", record.where, str(event_ms), str(record.timestamp_ms))


def check_dead(accepted: Accepted, dead: Sequence[Record]) -> Iterator[Discrepancy]:
    """Each accepted bad order in exactly one dead letter that names its source and carries its bytes."""
    seen: dict[tuple[int, int], list[Record]] = defaultdict(list)
    for record in dead:
        source = record.headers.get(HEADER_PARTITION, "-1"), record.headers.get(HEADER_OFFSET, "-1")
        seen[int(source[0]), int(source[1])].append(record)
    for position, entry in accepted.bad.items():
        records = seen.pop(position, [])
        if len(records) != 1:
            kind = "dead_letter_doubled" if records else "dead_letter_lost"
            yield Discrepancy(kind, f"{DEAD} {entry.id}", "once", f"{len(records)} times")
        elif records[0].value != entry.value:
            yield Discrepancy("dead_letter_changed", records[0].where, entry.value, str(records[0].value))
    for position, records in seen.items():
        for record in records:
            reason = record.headers.get("__streams.errors.message", "no reason")
            yield Discrepancy("dead_letter_unexpected", record.where,
                              f"nothing from {ORDERS}[{position[0]}]@{position[1]}", f"{reason}: {record.value}")


def last_windows(metrics: Iterable[Record]) -> dict[WindowKey, Record]:
    """The last value of each window; a key stays in one partition, so offsets are the order."""
    last: dict[WindowKey, Record] = {}
    for record in metrics:
        row = parse(record.value)
        if row is not None:
            last[row["product_id"], int(row["window_start"] * 1000)] = record
    return last


def check_windows(accepted: Accepted, seen: Observation, window_ms: int) -> Iterator[Discrepancy]:
    """Last value plus late records equals the recount, for every window that either side knows."""
    expected = recount(accepted, window_ms)
    last = last_windows(seen.metrics)
    late = count_windows((record.value for record in seen.late), window_ms)
    for key in sorted({*expected, *last, *late}):
        total = Total()
        if key in last:
            row = parse(last[key].value)
            assert row is not None
            total = Total(int(row["order_count"]), Decimal(row["total_revenue"]))
        delayed = late.get(key, Total())
        total = Total(total.count + delayed.count, total.revenue + delayed.revenue)
        wanted = expected.get(key, Total())
        if total != wanted:
            yield Discrepancy("window_wrong", f"{METRICS} {key[0]} {key[1] // 1000}", str(wanted),
                              f"{total} (of them late: {delayed.count})")


def check_window_values(metrics: Iterable[Record], window_ms: int) -> Iterator[Discrepancy]:
    """Every single value: bounds, key, average, and counts that never go back."""
    counts: dict[WindowKey, int] = {}
    for record in metrics:
        row = parse(record.value)
        if row is None:
            yield Discrepancy("window_malformed", record.where, "a JSON object", str(record.value))
            continue
        key, count = (row["product_id"], int(row["window_start"] * 1000)), int(row["order_count"])
        if key[1] % window_ms or row["window_end"] * 1000 != key[1] + window_ms:
            yield Discrepancy("window_bounds", record.where, f"{window_ms} ms, aligned", str(record.value))
        if record.key != key[0]:
            yield Discrepancy("key_wrong", record.where, key[0], str(record.key))
        average = average_of(Decimal(row["total_revenue"]), count)
        if Decimal(row["avg_order_value"]) != average:
            yield Discrepancy("average_wrong", record.where, str(average), str(row["avg_order_value"]))
        if count < counts.get(key, 0):
            yield Discrepancy("window_went_back", record.where, f"at least {counts[key]}", str(count))
        counts[key] = count


def average_of(total: Decimal, count: int) -> Decimal:
    """total / count, half-even to 9 fractional digits."""
    return (total / count).quantize(AVERAGE_DIGITS, ROUND_HALF_EVEN) if count else Decimal(0)


def check_metric_lines(metrics: Iterable[Record], lines: Iterable[str]) -> Iterator[Discrepancy]:
    """The sink's file holds each record's value as a line, as often as the topic has it."""
    wanted, seen = Counter(record.value or "" for record in metrics), Counter(lines)
    for value in sorted({*wanted, *seen}):
        if wanted[value] != seen[value]:
            kind = "line_lost" if seen[value] < wanted[value] else "line_doubled"
            yield Discrepancy(kind if wanted[value] else "line_unexpected", "metrics.json",
                              f"{wanted[value]} times", f"{seen[value]} times: {value}")


def check_whole(records: Iterable[Record]) -> Iterator[Discrepancy]:
    """A topic whose start was deleted cannot be recounted; dev-broker's log is bounded."""
    first: dict[tuple[str, int], Record] = {}
    for record in records:
        first.setdefault((record.topic, record.partition), record)
    for record in first.values():
        if record.offset != 0 and record.topic == ORDERS:
            yield Discrepancy("log_cut", record.where, "records from offset 0", f"first is {record.offset}")


def verify(entries: Sequence[Entry], seen: Observation, window_ms: int) -> list[Discrepancy]:
    """All differences between the ledger and what readers see."""
    orders = [entry for entry in entries if entry.topic == ORDERS]
    accepted = accepted_entries(orders, seen.orders)
    products = {record.key or "": row for record in seen.products if (row := parse(record.value))}
    found = [
        *check_whole(seen.orders),
        *check_orders(orders, seen.orders),
        *check_processed(accepted, seen.processed, products),
        *check_dead(accepted, seen.dead),
        *check_windows(accepted, seen, window_ms),
        *check_window_values(seen.metrics, window_ms),
    ]
    if seen.metric_lines is not None:
        found += check_metric_lines(seen.metrics, seen.metric_lines)
    return found


# --- Collecting what readers see -----------------------------------------------------------------

def read_lines(path: Path) -> list[str]:
    """The sink's lines; one without its newline is still being written and is not there yet."""
    text = path.read_bytes().decode("utf-8", errors="surrogateescape") if path.exists() else ""
    return text.split("\n")[:-1]


def observe(bootstrap: str, metrics_file: Path | None = None) -> Observation:
    """Read all topics, then the sink's file: it can only be ahead of what was read before."""
    topics = read_topics(bootstrap, TOPICS)
    lines = None if metrics_file is None else read_lines(metrics_file)
    return Observation(topics[ORDERS], topics[PROCESSED], topics[DEAD], topics[LATE],
                       topics[METRICS], topics[PRODUCTS], lines)


def format_discrepancies(found: Sequence[Discrepancy], most: int = 20) -> str:
    """A table of the first ones, with the number of all by kind."""
    if not found:
        return "no discrepancy"
    cut = [(d.kind, d.where, _short(d.expected), _short(d.seen)) for d in found[:most]]
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(d.kind for d in found).most_common())
    return f"{format_table(('kind', 'where', 'expected', 'seen'), cut)}\n{len(found)} discrepancies: {kinds}"


def _short(text: str, most: int = 110) -> str:
    shown = text.encode("utf-8", "backslashreplace").decode()
    return shown if len(shown) <= most else shown[:most - 1] + "…"


def main() -> int:
    """Recount a running or stopped installation from the command line."""
    parser = argparse.ArgumentParser(prog="harness.verify", description=main.__doc__)
    parser.add_argument("--ledger", type=Path, action="append", required=True)
    parser.add_argument("--bootstrap", default="127.0.0.1:9092")
    parser.add_argument("--window", type=duration_ms, default=duration_ms("1m"), help="window size, e.g. 10s")
    parser.add_argument("--metrics-file", type=Path)
    given = parser.parse_args()
    found = verify(read_ledgers(given.ledger), observe(given.bootstrap, given.metrics_file), given.window)
    print(format_discrepancies(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
