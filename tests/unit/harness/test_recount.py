"""The recount of pipelines: right on what is right, and each planted fault is found by its kind.

What has to come out is written down by hand, not computed by the functions that are tested.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Callable, Sequence

import pytest

from harness.reader import Record
from harness.recount import (Event, Out, Row, Within, as_sent, by_time, check_history, check_latest, check_rows,
                             deduplicate, events_behind_rekey, events_of, join_streams, join_table, join_table_as_of,
                             passed_on, rekeyed, sessions, table_of, windows)

T = 1_700_000_000_000
FINAL = {"millrace-result": "final"}


def log(topic: str, *rows: tuple[str, int, dict[str, Any]], partition: int = 0) -> list[Record]:
    """Key, seconds past T, other members; in order of arrival."""
    return [Record(topic, partition, offset, T + 1000 * at, key, json.dumps({"k": key, "t": T + 1000 * at, **row}), {})
            for offset, (key, at, row) in enumerate(rows)]


def out(offset: int, key: str, at: int, row: dict[str, Any], final: bool = False) -> Record:
    return Record("out", 0, offset, T + 1000 * at, key, json.dumps(row), FINAL if final else {})


def kinds(found: Any) -> list[str]:
    return sorted(difference.kind for difference in found)


def total(key: str, start_ms: int, end_ms: int, events: Sequence[Event]) -> Row:
    return {"k": key, "from": start_ms, "to": end_ms, "sum": sum(event.row["n"] for event in events)}


def shown(key: str, first: int, last: int, amount: Any) -> dict[str, Any]:
    return {"k": key, "from": T + 1000 * first, "to": T + 1000 * last, "sum": amount}


# --- Rules ---------------------------------------------------------------------------------------------

def test_events_behind_rekey__lowest_sender_that_is_not_too_far_behind() -> None:
    said = [("1", 10), ("2", 4), ("2", 9), ("1", 70), ("2", 9), ("2", 40), ("1", 60)]
    records = [Record("in", 0, offset, T, "a", json.dumps({"t": T}), {"millrace-sender": f"{name} {T + 1000 * at}"})
               for offset, (name, at) in enumerate(said)]
    events = events_behind_rekey(records, "t")
    assert [(event.watermark_ms - T) // 1000 for event in events] == [10, 10, 10, 70, 70, 70, 70]
    assert [(event.watermark_ms - T) // 1000 for event in events_behind_rekey(records, "t", 61_000)] == [
        10, 10, 10, 10, 10, 40, 40]


def test_deduplicate__less_than_ttl_apart__first_counts() -> None:
    log_of = log("in", ("a", 0, {}), ("a", 9, {}), ("a", 10, {}), ("b", 10, {}), ("a", 19, {}))
    judged = deduplicate(events_of(log_of, "t"), "k", 10_000)
    assert [event.counts for event in judged] == [True, False, True, True, False]


def test_deduplicate__what_was_forgotten__passes_again() -> None:
    log_of = log("in", ("a", 0, {}), ("b", 10, {}), ("a", 1, {}))
    assert all(event.counts for event in deduplicate(events_of(log_of, "t"), "k", 10_000))
    assert not all(event.counts for event in deduplicate(events_of(log_of, "t", delay_ms=5000), "k", 10_000))


def test_windows__grace_is_over__late_and_final() -> None:
    log_of = log("in", ("a", 1, {"n": 1}), ("a", 11, {"n": 2}), ("a", 2, {"n": 4}), ("b", 12, {"n": 8}),
                 ("a", 3, {"n": 16}))
    history = windows(events_of(log_of, "t"), "k", 10_000, total, grace_ms=2000)
    assert [final.row for final in history.finals] == [shown("a", 0, 10, 5)]
    assert sorted(str(last.row["sum"]) for last in history.last()) == ["2", "8"]
    assert [event.time_ms for event in history.late] == [T + 3000]


def test_windows__hopping__each_that_holds_it() -> None:
    history = windows(events_of(log("in", ("a", 7, {"n": 1})), "t"), "k", 10_000, total, advance_ms=5000)
    assert sorted(last.row["from"] for last in history.last()) == [T, T + 5000]


def test_sessions__the_gap_itself_belongs_to_it__more_does_not() -> None:
    log_of = log("in", ("a", 0, {"n": 1}), ("a", 10, {"n": 2}), ("a", 21, {"n": 4}))
    history = sessions(events_of(log_of, "t"), "k", 10_000, total, grace_ms=60_000)
    assert sorted(str(last.row["sum"]) for last in history.last()) == ["3", "4"]


def test_sessions__event_between_two__makes_them_one() -> None:
    log_of = log("in", ("a", 0, {"n": 1}), ("a", 15, {"n": 2}), ("a", 8, {"n": 4}))
    history = sessions(events_of(log_of, "t"), "k", 10_000, total, grace_ms=60_000)
    assert [last.row for last in history.last()] == [shown("a", 0, 15, 7)]


def test_sessions__a_filtered_event__moves_time_alone() -> None:
    events = events_of(log("in", ("a", 0, {"n": 1}), ("a", 5, {"n": 2}), ("b", 11, {"n": 4})), "t")
    history = sessions([events[0], *(replace(event, counts=False) for event in events[1:])], "k", 10_000, total)
    assert [final.row for final in history.finals] == [shown("a", 0, 0, 1)]
    assert not history.last()


def test_rekeyed__partitions_come_together__what_is_filtered_does_not() -> None:
    records = [*log("in", ("a", 1, {"n": 1}), ("a", 99, {"n": 2})), *log("in", ("a", 2, {"n": 4}), partition=1)]
    events = events_of(records, "t")
    events[1] = replace(events[1], counts=False)
    history = windows(rekeyed(events), "k", 10_000, total)
    assert [last.row for last in history.last()] == [shown("a", 0, 10, 5)]


def test_by_time__first_and_last() -> None:
    events = events_of(log("in", ("a", 5, {}), ("b", 1, {}), ("c", 5, {})), "t")
    assert [event.row["k"] for event in by_time(events)] == ["b", "a", "c"]


# --- Faults in windows and sessions ---------------------------------------------------------------------

def clicks() -> list[Event]:
    """Of `a` one visit that ends and one that does not; of `b` one."""
    return events_of(log("in", ("a", 0, {"n": 1}), ("a", 5, {"n": 2}), ("b", 6, {"n": 1}), ("a", 12, {"n": 4}),
                         ("a", 40, {"n": 8}), ("b", 41, {"n": 16})), "t")


def right_visits() -> list[Record]:
    return [out(0, "a", 0, shown("a", 0, 0, 1)), out(1, "a", 12, shown("a", 0, 12, 7)),
            out(2, "a", 12, shown("a", 0, 12, 7), final=True), out(3, "b", 6, shown("b", 6, 6, 1), final=True),
            out(4, "a", 40, shown("a", 40, 40, 8)), out(5, "b", 41, shown("b", 41, 41, 16))]


def judge_visits(records: list[Record]) -> list[str]:
    return kinds(check_history("out", sessions(clicks(), "k", 10_000, total), records))


def test_check_history__all_right__finds_nothing() -> None:
    assert judge_visits(right_visits()) == []


Plant = Callable[[list[Record]], Any]
VISIT_FAULTS: dict[str, tuple[Plant, list[str]]] = {
    "a final is lost": (lambda r: r.pop(2), ["row_lost"]),
    "a final is doubled": (lambda r: r.append(replace(r[2], offset=9)), ["row_doubled"]),
    "a sum is wrong": (lambda r: r.__setitem__(2, out(2, "a", 12, shown("a", 0, 12, 9), final=True)),
                       ["row_lost", "row_unexpected"]),
    "a visit is cut in two": (lambda r: r.__setitem__(slice(2, 3), [
        out(2, "a", 5, shown("a", 0, 5, 3), final=True), out(9, "a", 12, shown("a", 12, 12, 4), final=True)]),
        ["row_lost", "row_unexpected", "row_unexpected"]),
    "an open one is closed": (lambda r: r.append(replace(r[4], offset=9, headers=FINAL)), ["row_unexpected"]),
    "an open one was not shown": (lambda r: r.pop(4), ["update_lost"]),
    "an open one is behind": (lambda r: r.__setitem__(5, out(5, "b", 41, shown("b", 41, 41, 8))),
                              ["update_lost", "update_unexpected"]),
    "an event counts twice for a while": (lambda r: r.__setitem__(0, out(0, "a", 0, shown("a", 0, 0, 2))),
                                          ["update_unexpected"]),
    "an update is doubled": (lambda r: r.insert(2, replace(r[1], offset=9)), ["update_went_back"]),
    "an update goes back": (lambda r: r.insert(2, replace(r[0], offset=9)), ["update_went_back"]),
    "it has another key": (lambda r: r.__setitem__(3, replace(r[3], key="c")), ["row_lost", "row_unexpected"]),
    "it has another time": (lambda r: r.__setitem__(3, replace(r[3], timestamp_ms=T)), ["row_lost", "row_unexpected"]),
}


@pytest.mark.parametrize("fault", VISIT_FAULTS)
def test_check_history__planted_fault__is_found(fault: str) -> None:
    records = right_visits()
    plant, found = VISIT_FAULTS[fault]
    plant(records)
    assert judge_visits(records) == found


def test_check_history__merged_session__goes_on_in_the_older_place() -> None:
    log_of = log("in", ("a", 0, {"n": 1}), ("a", 15, {"n": 2}), ("a", 8, {"n": 4}))
    history = sessions(events_of(log_of, "t"), "k", 10_000, total, grace_ms=60_000)
    records = [out(0, "a", 0, shown("a", 0, 0, 1)), out(1, "a", 15, shown("a", 15, 15, 2)),
               out(2, "a", 15, shown("a", 0, 15, 7))]
    assert kinds(check_history("out", history, records)) == []
    assert kinds(check_history("out", history, records[:2])) == ["update_lost"]


@pytest.mark.parametrize("records, found", [
    ([out(0, "a", 1, shown("a", 0, 10, 1)), out(1, "a", 2, shown("a", 0, 10, 3)), out(2, "b", 1, shown("b", 0, 10, 4))],
     []),
    ([out(0, "a", 1, shown("a", 0, 10, 1)), out(2, "b", 1, shown("b", 0, 10, 4))], ["row_wrong"]),
    ([out(0, "a", 2, shown("a", 0, 10, 3))], ["row_lost"]),
    ([out(0, "a", 2, shown("a", 0, 10, 3)), out(1, "b", 1, shown("b", 0, 10, 4)), out(2, "c", 1, shown("c", 0, 10, 4))],
     ["row_unexpected"]),
], ids=["right", "a wrong sum", "a lost window", "a strange window"])
def test_check_latest(records: list[Record], found: list[str]) -> None:
    wanted = [Out("a", T + 2000, shown("a", 0, 10, 3)), Out("b", T + 1000, shown("b", 0, 10, 4))]
    assert kinds(check_latest("out", wanted, records, ("k", "from"))) == found


# --- Joins ----------------------------------------------------------------------------------------------

WITHIN = Within(before_ms=1000, after_ms=10_000, grace_ms=2000)


def paid(left: Row, right: Row) -> Row:
    return {**left, "paid": right["n"]}


def orders_and_payments() -> tuple[list[Event], list[Event]]:
    """o1 is paid at the last moment, o2 a moment too early, o3 not yet; o4 twice."""
    orders = log("orders", ("o1", 0, {}), ("o2", 5, {}), ("o4", 6, {}), ("o3", 20, {}), ("end", 30, {}))
    payments = log("payments", ("o2", 3, {"n": 1}), ("o4", 7, {"n": 2}), ("o4", 8, {"n": 3}), ("o1", 10, {"n": 4}),
                   ("end", 29, {"n": 5}))
    return events_of(orders, "t"), events_of(payments, "t")


def order(key: str, at: int, **more: Any) -> dict[str, Any]:
    return {"k": key, "t": T + 1000 * at, **more}


def right_pairs() -> list[Record]:
    return [out(0, "o4", 7, order("o4", 6, paid=2)), out(1, "o4", 8, order("o4", 6, paid=3)),
            out(2, "o1", 10, order("o1", 0, paid=4)), out(3, "end", 30, order("end", 30, paid=5))]


PAIR_FAULTS: dict[str, tuple[Plant, list[str]]] = {
    "all is right": (lambda r: None, []),
    "a pair is missing": (lambda r: r.pop(1), ["row_lost"]),
    "a pair is doubled": (lambda r: r.append(replace(r[2], offset=9)), ["row_doubled"]),
    "a partner too early": (lambda r: r.append(out(9, "o2", 5, order("o2", 5, paid=1))), ["row_unexpected"]),
    "the wrong partner": (lambda r: r.__setitem__(2, out(2, "o1", 10, order("o1", 0, paid=2))),
                          ["row_lost", "row_unexpected"]),
}


@pytest.mark.parametrize("fault", PAIR_FAULTS)
def test_join_streams__pairs(fault: str) -> None:
    pairs, alone = join_streams(*orders_and_payments(), "k", WITHIN, paid)
    records = right_pairs()
    plant, found = PAIR_FAULTS[fault]
    plant(records)
    assert kinds(check_rows("out", pairs, records)) == found
    assert [event.row["k"] for event in alone] == ["o2"]    # o3's time is not over: both must be past it


def test_join_table__a_row_that_changed__any_of_them_once() -> None:
    rows = [Record("rows", 0, n, T + 2000 * n, "a", json.dumps({"name": name}), {}) for n, name in enumerate("xy")]
    table = table_of(rows)
    events = events_of(log("in", ("a", 1, {"n": 1}), ("b", 1, {"n": 2})), "t")
    wanted = join_table(events, table, "k", {"as": "name"})
    before, after = (out(n, "a", 1, order("a", 1, n=1, **{"as": name})) for n, name in enumerate("xy"))
    assert kinds(check_rows("out", wanted, [before])) == kinds(check_rows("out", wanted, [after])) == []
    assert kinds(check_rows("out", wanted, [before, after])) == ["row_doubled"]
    assert kinds(check_rows("out", wanted, [])) == ["row_lost"]
    wanted = join_table_as_of(events, table, "k", {"as": "name"})
    assert kinds(check_rows("out", wanted, [after])) == ["row_lost", "row_unexpected"]


def test_check_rows__passed_on__as_often_as_it_came() -> None:
    records = log("in", ("a", 1, {"n": 1}), ("a", 1, {"n": 1}), ("b", 1, {"n": True}))
    wanted = passed_on(events_of(records, "t"))
    assert kinds(check_rows("out", wanted, records)) == []
    assert kinds(check_rows("out", wanted, records[1:])) == ["row_lost"]
    changed = replace(records[2], value=(records[2].value or "").replace("true", "1"))
    assert kinds(check_rows("out", wanted, [*records[:2], changed])) == ["row_lost", "row_unexpected"]


def test_as_sent__keeps_the_producers_time() -> None:
    records = [replace(log("in", ("a", 1, {"n": 1}))[0], timestamp_ms=T)]
    assert kinds(check_rows("late", as_sent(events_of(records, "t")), [replace(records[0], topic="late")])) == []
    assert kinds(check_rows("late", passed_on(events_of(records, "t")), records)) == ["row_lost", "row_unexpected"]


def test_events_of__no_json__is_refused() -> None:
    with pytest.raises(ValueError, match=r"in\[0\]@0 is no JSON object"):
        events_of([Record("in", 0, 0, T, "a", "[]", {})], "t")
