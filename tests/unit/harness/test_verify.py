"""The verifier finds each planted fault, by its kind, and nothing in a clean world."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Callable

import pytest

from clean_data import BASE_S, WINDOW_MS, World, clean_world, order_text, record, window
from harness.ledger import INFO, OK, SPOOLED
from harness.verify import (average_of, check_order, check_orders, duration_ms, event_time_ms,
                            format_discrepancies, verify)


def kinds(world: World) -> set[str]:
    return {found.kind for found in verify(world.entries, world.seen, WINDOW_MS)}


def test_verify__clean_world__finds_nothing() -> None:
    world = clean_world()
    assert verify(world.entries, world.seen, WINDOW_MS) == []


def lose_processed(world: World) -> None:
    del world.seen.processed[1]


def double_processed(world: World) -> None:
    world.seen.processed.append(replace(world.seen.processed[0], offset=99))


def swap_amount(world: World) -> None:
    first = world.seen.processed[0]
    world.seen.processed[0] = replace(first, value=(first.value or "").replace("10.10", "10.01"))


def show_aborted(world: World) -> None:
    """An output of an aborted transaction that a reader sees: an order nobody sent."""
    aborted = (world.seen.processed[0].value or "").replace("o-1", "o-aborted")
    world.seen.processed.append(replace(world.seen.processed[0], offset=99, value=aborted))


def process_bad(world: World) -> None:
    world.seen.processed.append(record("processed-orders", 99, "prod-99", world.seen.dead[0].value or ""))


def show_refused(world: World) -> None:
    refused = next(entry for entry in world.entries if entry.outcome == "fail")
    world.seen.orders.append(record("orders", 7, None, refused.value))


def lose_acknowledged(world: World) -> None:
    del world.seen.orders[2]


def double_acknowledged(world: World) -> None:
    world.seen.orders.append(replace(world.seen.orders[0], offset=99))


def double_unknown(world: World) -> None:
    unknown = next(entry for entry in world.entries if entry.outcome == INFO)
    world.seen.orders.append(record("orders", 99, None, unknown.value))


def spool_acknowledged(world: World) -> None:
    """The first order was answered 202 and came as a replayed record: that is right so far."""
    first = world.entries[0]
    world.entries[0] = replace(first, outcome=SPOOLED, status=202, partition=-1, offset=-1)
    world.seen.orders[0] = replace(world.seen.orders[0], headers={"millrace-spool-id": "a-1"})


def lose_spooled(world: World) -> None:
    spool_acknowledged(world)
    del world.seen.orders[0]


def double_spooled(world: World) -> None:
    spool_acknowledged(world)
    world.seen.orders.append(replace(world.seen.orders[0], offset=99, headers={"millrace-spool-id": "a-2"}))


def answer_wrong_offset(world: World) -> None:
    world.entries[0] = replace(world.entries[0], offset=1)


def add_stranger(world: World) -> None:
    world.seen.orders.append(record("orders", 99, None, order_text("o-x", "prod-1", "1.00", f"{BASE_S}")))


def cut_log(world: World) -> None:
    del world.seen.orders[0]


def lose_unknown_downstream(world: World) -> None:
    """An order with an unknown outcome that is in `orders` has to come through like any other."""
    world.seen.processed = [r for r in world.seen.processed if '"o-6"' not in (r.value or "")]


def lose_join(world: World) -> None:
    first = world.seen.processed[0]
    world.seen.processed[0] = replace(first, value=(first.value or "").replace("Lamp", "Chair"))


def wrong_key(world: World) -> None:
    world.seen.processed[0] = replace(world.seen.processed[0], key="prod-2")


def wrong_event_time(world: World) -> None:
    world.seen.processed[0] = replace(world.seen.processed[0], timestamp_ms=BASE_S * 1000)


def lose_dead(world: World) -> None:
    world.seen.dead.clear()


def double_dead(world: World) -> None:
    world.seen.dead.append(replace(world.seen.dead[0], offset=1))


def change_dead(world: World) -> None:
    world.seen.dead[0] = replace(world.seen.dead[0], value="{}")


def bury_good(world: World) -> None:
    source = {"__streams.errors.partition": "0", "__streams.errors.offset": "0"}
    world.seen.dead.append(replace(world.seen.dead[0], offset=1, headers=source))


def shift_window(world: World) -> None:
    """One order counted in the neighbouring window."""
    world.seen.metrics[4] = replace(world.seen.metrics[4], value=window("prod-1", BASE_S, 3, "30.35", "10.116666667"))


def count_off_by_one(world: World) -> None:
    world.seen.metrics[3] = replace(world.seen.metrics[3], value=window("prod-2", BASE_S, 3, "577.69", "192.563333333"))


def sum_as_float(world: World) -> None:
    world.seen.metrics[3] = replace(
        world.seen.metrics[3], value=window("prod-2", BASE_S, 2, "577.6900000000001", "288.845"))


def lose_window(world: World) -> None:
    del world.seen.metrics[2]


def lose_late(world: World) -> None:
    world.seen.late.clear()


def double_late(world: World) -> None:
    world.seen.late.append(replace(world.seen.late[0], offset=1))


def misalign_window(world: World) -> None:
    value = (world.seen.metrics[2].value or "").replace(str(BASE_S + 20), str(BASE_S + 21))
    world.seen.metrics[2] = replace(world.seen.metrics[2], value=value)


def wrong_average(world: World) -> None:
    world.seen.metrics[3] = replace(world.seen.metrics[3], value=window("prod-2", BASE_S, 2, "577.69", "288.84"))


def go_back(world: World) -> None:
    world.seen.metrics[0], world.seen.metrics[1] = world.seen.metrics[1], world.seen.metrics[0]


def malform_window(world: World) -> None:
    world.seen.metrics.append(record("product-metrics", 99, "prod-1", "{"))


def double_line(world: World) -> None:
    assert world.seen.metric_lines
    world.seen.metric_lines.append(world.seen.metric_lines[0])


def lose_line(world: World) -> None:
    assert world.seen.metric_lines
    world.seen.metric_lines.pop()


def strange_line(world: World) -> None:
    assert world.seen.metric_lines
    world.seen.metric_lines.append("{}")


FAULTS: list[tuple[Callable[[World], None], str]] = [
    (lose_processed, "order_lost"), (double_processed, "order_doubled"), (swap_amount, "order_changed"),
    (show_aborted, "order_unexpected"), (process_bad, "order_unexpected"), (show_refused, "refused_visible"),
    (lose_acknowledged, "acknowledged_lost"), (double_acknowledged, "acknowledged_doubled"),
    (double_unknown, "unknown_doubled"), (lose_spooled, "spooled_lost"), (double_spooled, "spooled_doubled"), (answer_wrong_offset, "wrong_position"), (add_stranger, "not_in_ledger"),
    (cut_log, "log_cut"), (lose_unknown_downstream, "order_lost"), (lose_join, "join_wrong"),
    (wrong_key, "key_wrong"), (wrong_event_time, "event_time_wrong"), (lose_dead, "dead_letter_lost"),
    (double_dead, "dead_letter_doubled"), (change_dead, "dead_letter_changed"),
    (bury_good, "dead_letter_unexpected"), (shift_window, "window_wrong"), (count_off_by_one, "window_wrong"),
    (sum_as_float, "window_wrong"), (lose_window, "window_wrong"), (lose_late, "window_wrong"),
    (double_late, "window_wrong"), (misalign_window, "window_bounds"), (wrong_average, "average_wrong"),
    (go_back, "window_went_back"), (malform_window, "window_malformed"), (double_line, "line_doubled"),
    (lose_line, "line_lost"), (strange_line, "line_unexpected"),
]


@pytest.mark.parametrize("plant,kind", FAULTS, ids=[plant.__name__ for plant, _ in FAULTS])
def test_verify__planted_fault__is_found(plant: Callable[[World], None], kind: str) -> None:
    world = clean_world()
    plant(world)
    assert kind in kinds(world)


def test_verify__faults_of_one_place__are_not_blamed_on_others() -> None:
    world = clean_world()
    double_line(world)
    assert kinds(world) == {"line_doubled"}


def test_check_orders__copies_with_one_spool_id__are_one() -> None:
    world = clean_world()
    spool_acknowledged(world)
    world.seen.orders.append(replace(world.seen.orders[0], offset=99))
    assert not list(check_orders(world.entries, world.seen.orders))


def test_check_order__tells_what_came_before_its_time() -> None:
    world = clean_world()
    entries = [entry for entry in world.entries if entry.outcome == OK]
    assert not list(check_order(entries, world.seen.orders))
    repeat = replace(world.seen.orders[0], offset=99)    # a later copy changes nothing
    assert not list(check_order(entries, [*world.seen.orders, repeat]))
    found = list(check_order(list(reversed(entries)), world.seen.orders))
    assert {one.kind for one in found} == {"out_of_order"} and len(found) == len(entries) - 1


def test_verify__unknown_outcome__either_way_is_right() -> None:
    world = clean_world()
    unknown = [entry for entry in world.entries if entry.outcome == INFO]
    in_orders = {r.value for r in world.seen.orders}
    assert {entry.value in in_orders for entry in unknown} == {True, False}


@pytest.mark.parametrize("timestamp,expected", [
    (Decimal(1_700_000_000), 1_700_000_000_000), (Decimal("1700000000.9999"), 1_700_000_000_999),
    (Decimal(1_700_000_000_123), 1_700_000_000_123), ("2023-11-14T22:13:20Z", 1_700_000_000_000),
    ("2023-11-14T22:13:20.5Z", 1_700_000_000_500), ("2023-11-14T23:13:20.123456+01:00", 1_700_000_000_123),
    ("2023-11-14T22:13:20", 1_700_000_000_000), ("1969-12-31T23:59:59.750Z", -250),
])
def test_event_time_ms__each_form(timestamp: object, expected: int) -> None:
    assert event_time_ms(timestamp) == expected


@pytest.mark.parametrize("total,count,expected", [
    ("30.30", 2, "15.15"), ("10", 3, "3.333333333"), ("20", 3, "6.666666667"),
    ("0.000000001", 2, "0"), ("0.000000003", 2, "0.000000002"), ("0", 0, "0"),
])
def test_average_of__rounds_half_even_to_nine_digits(total: str, count: int, expected: str) -> None:
    assert average_of(Decimal(total), count) == Decimal(expected)


def test_duration_ms__forms() -> None:
    assert [duration_ms(text) for text in ("100ms", "10s", "1m", "2h")] == [100, 10_000, 60_000, 7_200_000]
    with pytest.raises(ValueError, match="no duration"):
        duration_ms("10 s")


def test_format_discrepancies__names_kind_place_and_both_sides() -> None:
    world = clean_world()
    lose_processed(world)
    text = format_discrepancies(verify(world.entries, world.seen, WINDOW_MS))
    assert "order_lost" in text and "processed-orders o-2" in text and "1 order_lost" in text
