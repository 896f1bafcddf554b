"""The recount of pipelines: what windows, sessions, joins and duplicates must have come to.

Everything is computed from the committed input topics, record by record in the order of each
partition, the slow and obvious way: a window is the list of its events, a join compares each with
each. The rules are those of docs/semantics.md; no code, no state and no clock of the services is
used. What the pipeline makes of a window or a pair is the caller's function from events to a row, so
that this module knows rules and no pipeline.

Three sorts of answers:
  rows      what has to come out, each exactly once, in any order           check_rows
  history   every state that a window or session goes through, and its final:
            whatever was put out must be one of them, each later than the last;
            of what closed there is one final, of what is open its last state   check_history
  latest    where the order of arrival is not known (behind a rekey, or where topics meet): the last
            that was put out of each window                                  check_latest

What it cannot tell: which events of a join were late. That depends on when each topic was read.
Whoever recounts a join makes its input so that none is, and holds the late topic to be empty.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Callable, Hashable, Iterable, Iterator, Mapping, Sequence

from harness.reader import Record
from harness.verify import Discrepancy, event_time_ms, parse

HEADER_RESULT = "millrace-result"
HEADER_SENDER = "millrace-sender"
NEVER = -1    # no event yet: the watermark of a partition that nothing was in

Row = dict[str, Any]


@dataclass(frozen=True)
class Event:
    """A record of an input, when it happened, and its partition's watermark once it was taken."""

    record: Record
    row: Row
    time_ms: int
    watermark_ms: int
    counts: bool = True    # False: it was filtered, and only moved the watermark


@dataclass(frozen=True)
class Out:
    """A record as it has to come out; a table that changes meanwhile allows several rows."""

    key: str | None
    time_ms: int
    row: Row
    or_rows: tuple[Row, ...] = ()

    def allowed(self) -> frozenset[Hashable]:
        return frozenset(_frozen(self.key, self.time_ms, row) for row in (self.row, *self.or_rows))


def _freeze(value: Any) -> Hashable:
    """By value: 1.10 is 1.1, the order of members does not count; true is not 1."""
    if isinstance(value, Mapping):
        return frozenset((name, _freeze(member)) for name, member in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(_freeze(member) for member in value)
    return ("bool", value) if isinstance(value, bool) else value


def _frozen(key: str | None, time_ms: int, row: Row | None) -> Hashable:
    return key, time_ms, _freeze(row)


def _frozen_record(record: Record) -> Hashable:
    return _frozen(record.key, record.timestamp_ms, parse(record.value))


# --- Inputs --------------------------------------------------------------------------------------

def events_of(records: Iterable[Record], time_field: str, delay_ms: int = 0) -> list[Event]:
    """The events of one topic, by partition and offset."""
    events: list[Event] = []
    highest: dict[int, int] = {}
    for record in sorted(records, key=lambda record: record.position):
        row = parse(record.value)
        if row is None:
            raise ValueError(f"{record.where} is no JSON object: {record.value!r}")
        time_ms = event_time_ms(row[time_field])
        highest[record.partition] = max(highest.get(record.partition, NEVER), time_ms)
        events.append(Event(record, row, time_ms, highest[record.partition] - delay_ms))
    return events


def events_behind_rekey(records: Iterable[Record], time_field: str, skew_ms: int = 60_000) -> list[Event]:
    """The events of a repartition topic. Its event time is the lowest of what its senders say of themselves,
    without those more than skew_ms behind the furthest; it never goes back."""
    senders: dict[int, dict[str, int]] = defaultdict(dict)
    reached: dict[int, int] = {}
    events = []
    for event in events_of(records, time_field):
        partition = event.record.partition
        name, said = event.record.headers[HEADER_SENDER].split()
        known = senders[partition]
        known[name] = max(known.get(name, NEVER), int(said))
        furthest = max(known.values())
        senders[partition] = known = {name: at for name, at in known.items() if furthest - at <= skew_ms}
        reached[partition] = max(reached.get(partition, NEVER), min(known.values()))
        events.append(replace(event, watermark_ms=reached[partition]))
    return events


def watermarks(events: Iterable[Event]) -> dict[int, int]:
    """Of each partition, at the end of its log."""
    return {event.record.partition: event.watermark_ms for event in events}


def deduplicate(events: Iterable[Event], by: str, ttl_ms: int) -> list[Event]:
    """Of two of one key less than ttl apart, the first in the log counts, while it is remembered."""
    passed: dict[tuple[int, Hashable], list[int]] = defaultdict(list)
    judged = []
    for event in events:
        times = passed[event.record.partition, event.row[by]]
        is_known = any(abs(event.time_ms - time_ms) < ttl_ms and time_ms + ttl_ms > event.watermark_ms
                       for time_ms in times)
        if event.counts and not is_known:
            times.append(event.time_ms)
        judged.append(replace(event, counts=event.counts and not is_known))
    return judged


# --- Windows and sessions --------------------------------------------------------------------------

# A window's key, its start and end in milliseconds (a session's: of its first and last event), and
# its events in order of arrival → the row that shows it.
MakeRow = Callable[[str, int, int, Sequence[Event]], Row]
Place = Hashable              # which window or session of which key
State = Callable[[], Out]     # made when it is asked for: most are not


@dataclass
class History:
    """What the windows of a topic's events go through, when records are taken in the log's order."""

    states: dict[Place, list[State]] = field(default_factory=lambda: defaultdict(list))
    open: set[Place] = field(default_factory=set)
    finals: list[Out] = field(default_factory=list)
    late: list[Event] = field(default_factory=list)

    def _add_state(self, place: Place, state: State) -> None:
        self.open.add(place)
        self.states[place].append(state)

    def _close(self, place: Place) -> None:
        self.open.remove(place)
        self.finals.append(self.states[place][-1]())

    def last(self) -> list[Out]:
        """Of what is open."""
        return [self.states[place][-1]() for place in self.open]


class _Windows(History):
    """Tumbling and hopping windows."""

    def __init__(self, size_ms: int, advance_ms: int, grace_ms: int, by: str, make: MakeRow) -> None:
        super().__init__()
        self._size_ms, self._advance_ms, self._grace_ms = size_ms, advance_ms, grace_ms
        self._by, self._make = by, make
        self._events: dict[Any, list[Event]] = defaultdict(list)

    def _is_closed(self, start_ms: int, event: Event) -> bool:
        return start_ms + self._size_ms + self._grace_ms <= event.watermark_ms

    def take(self, event: Event) -> None:
        partition = event.record.partition
        for place in sorted(place for place in self.open if place[0] == partition and self._is_closed(place[2], event)):
            self._close(place)
        if not event.counts:
            return
        newest = event.time_ms - event.time_ms % self._advance_ms
        starts = range(newest, max(event.time_ms - self._size_ms, NEVER), -self._advance_ms)
        alive = [start_ms for start_ms in starts if not self._is_closed(start_ms, event)]
        if not alive:
            self.late.append(event)
        for start_ms in alive:
            self._add((partition, event.row[self._by], start_ms), event)

    def _add(self, place: tuple[int, str, int], event: Event) -> None:
        events = self._events[place]
        events.append(event)
        count = len(events)
        self._add_state(place, lambda: self._out(place, events[:count]))

    def _out(self, place: tuple[int, str, int], events: Sequence[Event]) -> Out:
        _, key, start_ms = place
        return Out(key, max(event.time_ms for event in events),
                   self._make(key, start_ms, start_ms + self._size_ms, events))


class _Sessions(History):
    """Sessions; one that has taken others up goes on in the place of the oldest of them."""

    def __init__(self, gap_ms: int, grace_ms: int, by: str, make: MakeRow) -> None:
        super().__init__()
        self._gap_ms, self._grace_ms, self._by, self._make = gap_ms, grace_ms, by, make
        self._events: dict[Any, list[Event]] = {}    # of what is open
        self._count = 0

    def _is_over(self, last_ms: int, event: Event) -> bool:
        return last_ms + self._gap_ms + 1 + self._grace_ms <= event.watermark_ms

    def _is_near(self, events: Sequence[Event], event: Event) -> bool:
        times = [other.time_ms for other in events]
        return min(times) - self._gap_ms <= event.time_ms <= max(times) + self._gap_ms

    def take(self, event: Event) -> None:
        partition = event.record.partition
        for place, events in list(self._events.items()):
            if place[0] == partition and self._is_over(max(other.time_ms for other in events), event):
                self._close(place)
                del self._events[place]
        if event.counts:
            self._add(partition, event.row[self._by], event)

    def _add(self, partition: int, key: str, event: Event) -> None:
        near = [place for place, events in self._events.items()
                if place[:2] == (partition, key) and self._is_near(events, event)]
        if not near and self._is_over(event.time_ms, event):
            self.late.append(event)
            return
        place = min(near, default=(partition, key, self._count))
        self._count += 1
        self.open.difference_update(near)
        taken_up = [other for part in near for other in self._events.pop(part)]
        self._events[place] = events = [*sorted(taken_up, key=lambda other: other.record.position), event]
        self._add_state(place, lambda: self._out(key, events))

    def _out(self, key: str, events: Sequence[Event]) -> Out:
        times = [event.time_ms for event in events]
        return Out(key, max(times), self._make(key, min(times), max(times), events))


def windows(events: Iterable[Event], by: str, size_ms: int, make: MakeRow, grace_ms: int = 0,
            advance_ms: int = 0) -> History:
    """Tumbling windows; with advance_ms, hopping ones."""
    history = _Windows(size_ms, advance_ms or size_ms, grace_ms, by, make)
    for event in events:
        history.take(event)
    return history


def sessions(events: Iterable[Event], by: str, gap_ms: int, make: MakeRow, grace_ms: int = 0) -> History:
    """Sessions; `last` is their end."""
    history = _Sessions(gap_ms, grace_ms, by, make)
    for event in events:
        history.take(event)
    return history


def rekeyed(events: Iterable[Event]) -> list[Event]:
    """Behind a rekey: what counts, in one partition, in an order that nobody knows. That none is late is
    for the caller to see to."""
    one = [replace(event, record=replace(event.record, partition=0), watermark_ms=NEVER)
           for event in events if event.counts]
    return by_time(one)


def by_time(events: Iterable[Event]) -> list[Event]:
    """In the order of event time: of one time, the earliest to arrive."""
    return sorted(events, key=lambda event: event.time_ms)


# --- Joins -----------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Within:
    """Which events of the other stream are partners: both bounds belong to it."""

    before_ms: int
    after_ms: int
    grace_ms: int = 0


def join_streams(left: Sequence[Event], right: Sequence[Event], on: str, within: Within,
                 make: Callable[[Row, Row], Row]) -> tuple[list[Out], list[Out]]:
    """The pairs, and the left ones that were given up alone. Event time of a partition is the lower one
    of both topics."""
    partners: dict[tuple[int, Hashable], list[Event]] = defaultdict(list)
    for event in right:
        partners[event.record.partition, event.row[on]].append(event)
    ends = [watermarks(left), watermarks(right)]
    pairs, alone = [], []
    for event in left:
        met = [other for other in partners[event.record.partition, event.row[on]]
               if -within.before_ms <= other.time_ms - event.time_ms <= within.after_ms]
        pairs += [Out(event.row[on], max(event.time_ms, other.time_ms), make(event.row, other.row)) for other in met]
        end_ms = min(end.get(event.record.partition, NEVER) for end in ends)
        if not met and event.time_ms + within.after_ms + within.grace_ms < end_ms:
            alone.append(Out(event.row[on], event.time_ms, event.row))
    return pairs, alone


Versions = dict[str, list[tuple[int, Row | None]]]    # by key: since when, and the row; None: deleted


def table_of(records: Iterable[Record]) -> Versions:
    """What each row of a table was, in the order of its log."""
    versions: Versions = defaultdict(list)
    for record in sorted(records, key=lambda record: record.position):
        if record.key is not None:
            versions[record.key].append((record.timestamp_ms, parse(record.value)))
    return versions


def join_table(events: Iterable[Event], table: Versions, on: str, members: Mapping[str, str],
               key: str | None = None) -> list[Out]:
    """Each event with members (what is set: the row's member) of its row, which may be any that the table
    ever had: rows and events meet as they come. `key` names the member that becomes the key."""
    outs = []
    for event in events:
        found = [row for _, row in table.get(str(event.row[on]), []) if row is not None]
        if event.counts and found:
            outs.append(_joined(event, found, members, key))
    return outs


def join_table_as_of(events: Iterable[Event], table: Versions, on: str, members: Mapping[str, str],
                     key: str | None = None) -> list[Out]:
    """The same, with the row that was valid at the event's time."""
    outs = []
    for event in events:
        past = [version for version in table.get(str(event.row[on]), []) if version[0] <= event.time_ms]
        valid = max(past, key=lambda version: version[0])[1] if past else None
        if len({version[0] for version in past}) != len(past):
            raise ValueError(f"{on} {event.row[on]}: two versions at one time")
        if event.counts and valid is not None:
            outs.append(_joined(event, [valid], members, key))
    return outs


def _joined(event: Event, found: Sequence[Row], members: Mapping[str, str], key: str | None) -> Out:
    rows = [event.row | {name: row[member] for name, member in members.items()} for row in found]
    return Out(rows[0][key] if key else event.record.key, event.time_ms, rows[0], tuple(rows[1:]))


# --- Checks: each yields what it finds ---------------------------------------------------------------

def passed_on(events: Iterable[Event]) -> list[Out]:
    """Each event that counts, as it is."""
    return [Out(event.record.key, event.time_ms, event.row) for event in events if event.counts]


def as_sent(events: Iterable[Event]) -> list[Out]:
    """Late events and dead letters: as their producer sent them."""
    return [Out(event.record.key, event.record.timestamp_ms, event.row) for event in events]


def check_rows(topic: str, wanted: Iterable[Out], records: Iterable[Record]) -> Iterator[Discrepancy]:
    """Each row exactly once, nothing else."""
    outs: dict[frozenset[Hashable], Out] = {}
    counts: Counter[frozenset[Hashable]] = Counter()
    for out in wanted:
        outs[out.allowed()] = out
        counts[out.allowed()] += 1
    of_row = {row: allowed for allowed in outs for row in allowed}
    if len(of_row) != sum(map(len, outs)):
        raise ValueError(f"{topic}: one row could be of two events")
    seen: dict[frozenset[Hashable], list[Record]] = defaultdict(list)
    for record in records:
        allowed = of_row.get(_frozen_record(record))
        if allowed is None:
            yield Discrepancy("row_unexpected", record.where, "no such row", f"{record.key}: {record.value}")
        else:
            seen[allowed].append(record)
    for allowed, out in outs.items():
        found = seen[allowed]
        if len(found) != counts[allowed]:
            kind = "row_lost" if len(found) < counts[allowed] else "row_doubled"
            places = ", ".join(record.where for record in found) or "nowhere"
            yield Discrepancy(kind, topic, f"{counts[allowed]} times {_shown(out)}", f"{len(found)} times: {places}")


def check_history(topic: str, history: History, records: Sequence[Record]) -> Iterator[Discrepancy]:
    """One final of each that closed; each update is a state, later than the one before it; the last state
    of what is open was put out."""
    is_final = {record.position: record.headers.get(HEADER_RESULT) == "final" for record in records}
    yield from check_rows(topic, history.finals, [record for record in records if is_final[record.position]])
    states = {next(iter(state().allowed())): (place, number)
              for place, outs in history.states.items() for number, state in enumerate(outs)}
    at: dict[Place, int] = {}
    for record in records:
        if is_final[record.position]:
            continue
        place, number = states.get(_frozen_record(record), (None, -1))
        if number < 0:
            yield Discrepancy("update_unexpected", record.where, "a state of some window",
                              f"{record.key}: {record.value}")
        elif number <= at.get(place, -1):
            yield Discrepancy("update_went_back", record.where, _shown(history.states[place][at[place]]()),
                              str(record.value))
        else:
            at[place] = number
    for place in history.open:
        if at.get(place, -1) != len(history.states[place]) - 1:
            seen = _shown(history.states[place][at[place]]()) if place in at else "nothing"
            yield Discrepancy("update_lost", topic, _shown(history.states[place][-1]()), seen)


def check_latest(topic: str, wanted: Iterable[Out], records: Iterable[Record],
                 members: Sequence[str]) -> Iterator[Discrepancy]:
    """The last row of each window, which `members` of it name, is the one wanted."""
    def place(row: Row) -> Hashable:
        return tuple(row[member] for member in members)

    last = {place(row): record for record in records if (row := parse(record.value)) is not None}
    expected = {place(out.row): out for out in wanted}
    for name in last.keys() | expected.keys():
        if name not in last:
            yield Discrepancy("row_lost", topic, _shown(expected[name]), "nothing")
        elif name not in expected:
            yield Discrepancy("row_unexpected", last[name].where, "no such window", str(last[name].value))
        elif _frozen_record(last[name]) not in expected[name].allowed():
            yield Discrepancy("row_wrong", last[name].where, _shown(expected[name]),
                              f"{last[name].key} at {last[name].timestamp_ms}: {last[name].value}")


def _shown(out: Out) -> str:
    row = {name: float(value) if isinstance(value, Decimal) and value % 1 else int(value)
           if isinstance(value, Decimal) else value for name, value in out.row.items()}
    return f"{out.key} at {out.time_ms}: {row}"
