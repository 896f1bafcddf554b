"""One order's way: in by HTTP, out as a metric by SSE, exactly once, on real Kafka."""

from __future__ import annotations

import json
import os
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

from harness.ledger import OK, Entry
from harness.reader import SseStream, http_get, http_request, produce, read_topic
from harness.verify import DEAD, HEADER_OFFSET, METRICS, ORDERS, parse
from harness.waiting import wait_for
from site_under_test import Site

WINDOW_S = 10
IDLE_SECONDS = 1.5    # what is measured is the passing of time itself


def fresh_window_ms() -> int:
    """A moment in the middle of the current window: earlier than any watermark could have passed."""
    return int(time.time()) // WINDOW_S * WINDOW_S * 1000 + 5000


def test_post__answers_where_kafka_has_it(site: Site) -> None:
    entry = site.post_good()
    assert entry.status == 201 and entry.has_position
    stored = {record.position: record.value for record in read_topic(site.cluster.bootstrap, ORDERS)}
    assert stored[entry.position] == entry.value


def test_order__arrives_as_metric_by_sse(site: Site) -> None:
    site.require_exact()
    at_ms = fresh_window_ms()
    with SseStream(site.port("query-api"), f"/events/{METRICS}") as stream:
        stream.wait_open()
        amounts = ["10.01", "499.99", "33.33"]
        for amount in amounts:    # the three forms of event time, in turn
            assert site.post_good(product="prod-5", at_ms=at_ms, amount=amount).outcome == OK

        def counted(seen: SseStream) -> bool:
            rows = [parse(event.data) for event in seen.records()]
            return any(row and row["product_id"] == "prod-5" and row["order_count"] >= 3 for row in rows)

        stream.wait_until("a window of prod-5 that counts three orders", 60.0, counted)
        rows = [row for event in stream.records() if (row := parse(event.data)) and row["product_id"] == "prod-5"]
    assert rows[-1]["total_revenue"] == sum(map(Decimal, amounts))
    assert rows[-1]["window_start"] * 1000 == at_ms - at_ms % (WINDOW_S * 1000)
    site.require_exact()


def test_batch__every_event_has_its_result(site: Site) -> None:
    orders = [site.orders.good() for _ in range(3)]
    body = ("[" + ",".join(order.text for order in orders) + "]").encode()
    answer = http_request(site.port("ingest-api"), "POST", "/events/orders", body, {"Content-Type": "application/json"})
    assert answer.status == 201, answer
    shown = answer.json()
    assert (shown["stored"], shown["failed"], len(shown["results"])) == (3, 0, 3)
    for order, result in zip(orders, shown["results"]):
        assert result["status"] == "stored"
        site.add_entry(Entry(0, order.id, ORDERS, OK, 201, result["partition"], result["offset"], True, 0, order.text))
    site.require_exact()


def test_batch__partly_invalid__is_207_and_stores_the_rest(site: Site) -> None:
    good = site.orders.good()
    body = f'[{good.text},{{"order_id":"o-none"}}]'.encode()
    answer = http_request(site.port("ingest-api"), "POST", "/events/orders", body, {"Content-Type": "application/json"})
    assert answer.status == 207, answer
    first, second = answer.json()["results"]
    assert (first["status"], second["status"]) == ("stored", "invalid")
    assert second["error"]["errors"], "the reason names JSON pointers"
    site.add_entry(Entry(0, good.id, ORDERS, OK, 207, first["partition"], first["offset"], True, 0, good.text))
    site.require_exact()


DEAD_VALUES = {
    "malformed": b'{"order_id":"o-dead-1"',
    "no object": b'"just text"',
    "field missing": b'{"order_id":"o-dead-2","user_id":"u-1","product_id":"prod-1","timestamp":1700000000}',
    "amount zero": b'{"order_id":"o-dead-3","user_id":"u-1","product_id":"prod-1","amount":0,"timestamp":1700000000}',
    "unknown product":
        b'{"order_id":"o-dead-4","user_id":"u-1","product_id":"prod-77","amount":5,"timestamp":1700000000}',
    "time unreadable": b'{"order_id":"o-dead-5","user_id":"u-1","product_id":"prod-1","amount":5,"timestamp":"soon"}',
}


def test_bad_records_in_kafka__go_to_dead_letters_and_stop_nothing(site: Site) -> None:
    """Behind ingest-api's back: whatever another producer puts there must not stop the flow."""
    bootstrap = site.cluster.bootstrap
    produce(bootstrap, ORDERS, DEAD_VALUES.values())
    texts = {value.decode() for value in DEAD_VALUES.values()}
    for record in read_topic(bootstrap, ORDERS):
        if record.value in texts:
            site.add_entry(Entry(0, f"dead@{record.offset}", ORDERS, OK, 0, record.partition, record.offset,
                                 False, 0, record.value or ""))
    site.post_good()
    verdict = site.require_exact()
    letters = [record for record in verdict.seen.dead if record.value in texts]
    assert len(letters) == len(DEAD_VALUES)
    for letter in letters:
        headers = letter.headers
        assert headers["__streams.errors.topic"] == ORDERS and headers[HEADER_OFFSET].isdigit()
        assert headers["__streams.errors.message"] and headers["millrace-error-code"] and headers["millrace-step"]
        assert headers["millrace-pipeline"]


def test_non_utf8_record__goes_to_dead_letters_byte_for_byte(site: Site) -> None:
    before = len(read_topic(site.cluster.bootstrap, DEAD))
    value = b'{"order_id":"o-\xff\xfe","user_id":"u-1","product_id":"prod-1","amount":5,"timestamp":1700000000}'
    produce(site.cluster.bootstrap, ORDERS, [value])
    letters = wait_for("the dead letter", 60.0, lambda: read_topic(site.cluster.bootstrap, DEAD)[before:], 0.2)
    assert (letters[0].value or "").encode("utf-8", "surrogateescape") == value
    source = next(r for r in read_topic(site.cluster.bootstrap, ORDERS) if r.value == letters[0].value)
    site.add_entry(Entry(0, "non-utf8", ORDERS, OK, 0, source.partition, source.offset, False, 0, source.value or ""))


def test_latest__is_the_last_value_of_each_product(site: Site) -> None:
    metrics = site.require_exact().seen.metrics
    last = {record.key: record for record in metrics}
    port = site.port("query-api")

    def shown() -> bool:
        items = {item["key"]: item for item in http_get(port, f"/latest/{METRICS}").json()["items"]}
        return items.keys() == last.keys() and all(items[key]["offset"] == last[key].offset for key in last)

    wait_for("/latest shows the last records", 60.0, shown)
    one = http_get(port, f"/latest/{METRICS}/prod-5")
    assert one.status == 200 and "prod-5" in one.body.decode()
    assert http_get(port, f"/latest/{METRICS}/prod-none").status == 404


def test_history__is_the_last_value_of_each_window__and_adds_up(site: Site) -> None:
    last: dict[tuple[str | None, int], tuple[int, dict[str, Decimal]]] = {}
    for record in site.require_exact().seen.metrics:
        value = json.loads(record.value or "", parse_float=Decimal, parse_int=Decimal)
        last[record.key, int(value["window_start"]) * 1000] = (record.offset, value)
    revenue: dict[str | None, Decimal] = {}
    for (key, _), (_, value) in last.items():
        revenue[key] = revenue.get(key, Decimal(0)) + value["total_revenue"]
    port = site.port("query-api")

    def pages() -> list[dict[str, Any]]:
        items, cursor = [], ""
        while True:
            page = http_get(port, f"/history/{METRICS}?limit=3{cursor}").json()
            items += page["items"]
            if "next_cursor" not in page:
                return items
            cursor = f"&cursor={page['next_cursor']}"

    def shown() -> bool:
        items = pages()
        offsets = {(item["key"], item["window_start"]): item["offset"] for item in items}
        return len(items) == len(last) and offsets == {place: offset for place, (offset, _) in last.items()}

    wait_for("/history shows the last record of each window", 60.0, shown)
    answer = http_get(port, f"/aggregates/{METRICS}?aggregate=sum&field=total_revenue&by=key")
    sums = json.loads(answer.body, parse_float=Decimal, parse_int=Decimal)
    assert sums["complete"] and sums["skipped"] == 0
    assert {group["key"]: group["value"] for group in sums["items"]} == revenue
    top = http_get(port, f"/top/{METRICS}?by=total_revenue&aggregate=sum&n=1").json()["items"][0]
    assert revenue[top["key"]] == max(revenue.values())


def test_every_service__answers_for_operators(site: Site) -> None:
    for name, port in site.platform.ports.items():
        for path in ("/health/live", "/health/ready", "/health", "/version"):
            assert http_get(port, path).status == 200, (name, path)
        assert b"millrace_" in http_get(port, "/metrics").body, name
        assert "paths" in http_get(port, "/openapi.json").json(), name
        assert http_get(port, "/docs").headers["content-type"].startswith("text/html"), name
        missing = http_get(port, "/no/such/path")
        assert missing.status == 404 and missing.headers["content-type"] == "application/problem+json", name


def test_idle_service__costs_next_to_nothing(site: Site) -> None:
    """A loop that wakes for nothing shows here; idle services measure 1 to 3 % of a core."""
    site.require_exact()
    before = {name: cpu_seconds(site.platform.service(name).pid) for name in site.platform.ports}
    time.sleep(IDLE_SECONDS)
    for name, begin in before.items():
        share = (cpu_seconds(site.platform.service(name).pid) - begin) / IDLE_SECONDS
        assert share < 0.2, f"{name} uses {share:.0%} of a core with nothing to do"


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_stop__in_drain_order__each_ends_with_exit_code_0(site: Site) -> None:
    site.post_good()
    site.require_exact()
    site.stop_cleanly()
    lines = site.platform.layout.metrics_file.read_text().splitlines()
    assert sorted(lines) == sorted(record.value or "" for record in read_topic(site.cluster.bootstrap, METRICS))
    assert all(json.loads(line) for line in lines)
