"""Made orders: the good ones are good by every rule, the bad ones have the fault they name."""

from __future__ import annotations

import json

import pytest

from harness.ledger import FAIL, INFO, OK, SPOOLED
from harness.orders import FAULTS, OrderMaker, outcome_of
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


def test_outcome_of__spooled_is_a_promise_and_accepted_is_none() -> None:
    assert outcome_of(202, "spooled") == SPOOLED
    assert outcome_of(202, "accepted") == INFO
