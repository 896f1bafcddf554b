"""Made orders: the good ones are good by every rule, the bad ones have the fault they name."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Iterator

import pytest

from harness.ledger import FAIL, INFO, OK, SPOOLED, LedgerWriter
from harness.orders import FAULTS, OrderMaker, OrderPoster, outcome_of
from harness.verify import event_time_ms, parse

AT_MS = 1_700_000_000_123


def test_good__three_forms_of_one_moment() -> None:
    maker = OrderMaker("t")
    rows = [parse(maker.good(at_ms=AT_MS).text) for _ in range(3)]
    times = sorted(event_time_ms(row["timestamp"]) for row in rows if row)
    assert times == [AT_MS - 123, AT_MS, AT_MS]
    assert {type(row["timestamp"]).__name__ for row in rows if row} == {"Decimal", "str"}


def test_good__ids_are_unique_and_amounts_in_range() -> None:
    maker = OrderMaker("t")
    rows = [json.loads(maker.good().text) for _ in range(200)]
    assert len({row["order_id"] for row in rows}) == 200
    assert all(10 <= row["amount"] <= 500 for row in rows)


def test_bad__each_fault_is_there() -> None:
    maker = OrderMaker("t")
    by_fault = {order.id.split("-", 3)[3]: order for order in (maker.bad() for _ in range(2 * len(FAULTS)))}
    assert set(by_fault) == {fault for fault, _ in FAULTS}
    with pytest.raises(ValueError):
        json.loads(by_fault["malformed"].text)
    assert "user_id" not in json.loads(by_fault["missing-field"].text)
    assert json.loads(by_fault["negative-amount"].text)["amount"] < 0
    assert json.loads(by_fault["unknown-product"].text)["product_id"].startswith("prod-99")
    assert all(order.id in order.text and not order.good for order in by_fault.values())


@pytest.mark.parametrize("status,outcome", [
    (201, OK), (400, FAIL), (422, FAIL), (429, FAIL), (500, INFO), (503, INFO), (202, INFO)])
def test_outcome_of(status: int, outcome: str) -> None:
    assert outcome_of(status) == outcome


def test_outcome_of__refused_unless_it_says_that_kafka_may_have_it() -> None:
    assert outcome_of(503, 503, "Local: Broker transport failure") == FAIL
    assert outcome_of(503, 503, "Local: Message timed out; Kafka may have stored it all the same") == INFO


def test_outcome_of__spooled_is_a_promise_and_accepted_is_none() -> None:
    assert outcome_of(202, "spooled") == SPOOLED
    assert outcome_of(202, "accepted") == INFO


RESULTS = b'''{"stored":1,"failed":2,"spooled":1,"results":[
 {"status":"stored","partition":2,"offset":7,"timestamp":1},
 {"status":"invalid","retryable":false,"error":{"status":422,"detail":"/amount: missing"}},
 {"status":"failed","retryable":true,"error":{"status":503,"detail":"timed out; Kafka may have stored it"}},
 {"status":"spooled","durable":"spool"}]}'''


@pytest.fixture
def answering() -> Iterator[tuple[int, list[tuple[int, bytes]]]]:
    """A server that gives the answers it is told to; and its port."""
    answers: list[tuple[int, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, body = answers.pop(0)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Silence."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port, answers
    server.shutdown()
    server.server_close()


def test_post_all__each_order_has_its_own_outcome(answering: tuple[int, list[tuple[int, bytes]]],
                                                  tmp_path: Path) -> None:
    port, answers = answering
    answers += [(207, RESULTS), (503, b'{"status":503,"detail":"none was acknowledged"}'), (422, b"{}")]
    maker = OrderMaker("t")
    with LedgerWriter(tmp_path / "ledger") as ledger:
        poster = OrderPoster(port, ledger)
        mixed = poster.post_all([maker.good() for _ in range(4)])
        assert [entry.outcome for entry in mixed] == [OK, FAIL, INFO, SPOOLED]
        assert mixed[0].position == (2, 7) and [entry.status for entry in mixed] == [201, 422, 503, 202]
        assert poster.untold == []
        # A whole array refused by 5xx says why for its first only: of the others nobody knows.
        assert [entry.outcome for entry in poster.post_all([maker.good(), maker.good()])] == [INFO, INFO]
        assert len(poster.untold) == 1
        assert [entry.outcome for entry in poster.post_all([maker.bad(), maker.bad()])] == [FAIL, FAIL]
        poster.close()
