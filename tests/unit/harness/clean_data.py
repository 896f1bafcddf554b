"""A small world in which everything is right, for tests that then plant one fault.

Built from first principles rather than through the verifier's own helpers: counts and sums are
written down next to the orders that make them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from harness.ledger import FAIL, INFO, OK, Entry
from harness.reader import Record
from harness.verify import Observation

WINDOW_MS = 10_000
BASE_S = 1_700_000_000    # a multiple of 10
NAMES = {"prod-1": ("Lamp", "home"), "prod-2": ("Chair", "garden")}


def order_text(order_id: str, product: str, amount: str, timestamp: str) -> str:
    return (f'{{"order_id":"{order_id}","user_id":"u-1","product_id":"{product}",'
            f'"amount":{amount},"timestamp":{timestamp}}}')


def entry(text: str, offset: int, outcome: str = OK, good: bool = True) -> Entry:
    """An entry whose id is the text's order id; position only where acknowledged."""
    order_id = text.split('"')[3]
    acknowledged = outcome == OK
    status = {OK: 201, FAIL: 422, INFO: 0}[outcome]
    return Entry(offset + 1, order_id, "orders", outcome, status, 0 if acknowledged else -1,
                 offset if acknowledged else -1, good, BASE_S * 1000, text)


def record(topic: str, offset: int, key: str | None, value: str, **more: object) -> Record:
    return Record(topic, 0, offset, int(more.get("at_ms", 0)), key, value, dict(more.get("headers", {})))


def enriched(text: str, product: str) -> str:
    name, category = NAMES[product]
    return f'{text[:-1]},"product_name":"{name}","category":"{category}"}}'


def window(product: str, start_s: int, count: int, total: str, average: str) -> str:
    return (f'{{"window_start":{start_s},"window_end":{start_s + 10},"product_id":"{product}",'
            f'"order_count":{count},"total_revenue":{total},"avg_order_value":{average}}}')


@dataclass
class World:
    entries: list[Entry]
    seen: Observation


# id, product, amount, timestamp as written, event time in ms
GOOD = (
    ("o-1", "prod-1", "10.10", f"{BASE_S * 1000 + 1}", BASE_S * 1000 + 1),
    ("o-2", "prod-1", "20.20", f"{BASE_S + 9}", BASE_S * 1000 + 9000),
    ("o-3", "prod-1", "0.05", '"2023-11-14T22:13:30.500Z"', BASE_S * 1000 + 10_500),
    ("o-4", "prod-2", "499.99", f"{BASE_S * 1000 + 9999}", BASE_S * 1000 + 9999),
    ("o-5", "prod-2", "30.00", f"{BASE_S}.25", BASE_S * 1000 + 250),     # too late for its window
    ("o-6", "prod-2", "77.70", f"{BASE_S * 1000 + 5000}", BASE_S * 1000 + 5000),    # outcome unknown, arrived
)


def clean_world() -> World:
    """Six good orders, one bad but accepted, one refused, one unknown that never arrived."""
    texts = [order_text(*row[:4]) for row in GOOD]
    bad = order_text("o-7", "prod-99", "5.00", f"{BASE_S}")
    entries = [entry(text, n) for n, text in enumerate(texts[:5])]
    entries += [entry(texts[5], 5, INFO), entry(bad, 6, OK, good=False),
                entry(order_text("o-8", "prod-1", "-1", f"{BASE_S}"), 7, FAIL, good=False),
                entry(order_text("o-9", "prod-1", "9.00", f"{BASE_S}"), 8, INFO)]
    processed = [record("processed-orders", n, row[1], enriched(text, row[1]), at_ms=row[4])
                 for n, (row, text) in enumerate(zip(GOOD, texts))]
    values = [("prod-1", window("prod-1", BASE_S, 1, "10.10", "10.1")),
              ("prod-1", window("prod-1", BASE_S, 2, "30.30", "15.15")),
              ("prod-1", window("prod-1", BASE_S + 10, 1, "0.05", "0.05")),
              ("prod-2", window("prod-2", BASE_S, 2, "577.69", "288.845")),
              ("prod-1", window("prod-1", BASE_S, 2, "30.30", "15.15"))]    # final: the same value again
    source = {"__streams.errors.partition": "0", "__streams.errors.offset": "6"}
    products = [record("products", n, key, json.dumps({"product_id": key, "name": name, "category": category}))
                for n, (key, (name, category)) in enumerate(NAMES.items())]
    seen = Observation(
        orders=[record("orders", n, None, text) for n, text in enumerate([*texts, bad])],
        processed=processed,
        dead=[record("orders.dlq", 0, None, bad, headers=source)],
        late=[record("processed-orders.late", 0, "prod-2", processed[4].value or "")],
        metrics=[record("product-metrics", n, key, value) for n, (key, value) in enumerate(values)],
        products=products,
        metric_lines=[value for _, value in values])
    return World(entries, seen)
