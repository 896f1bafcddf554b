"""The ledger: every event that was sent, with its final outcome, one JSON object a line.

event-generator and OrderPoster write ledgers; the verifier reads them. An event that has no line
was not sent as far as the ledger knows, so writers write the line only at the final outcome, and
flush it at once.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Iterable, Iterator, TextIO

OK = "ok"        # acknowledged: must be there exactly once
SPOOLED = "spooled"    # on a service's disk (202): must be there in the end, repeats bear one spool id
FAIL = "fail"    # refused: must not be there
INFO = "info"    # nobody knows (no answer): at most once
OUTCOMES = (OK, SPOOLED, FAIL, INFO)


class LedgerError(ValueError):
    """A ledger line that makes no sense; names the file and the line."""


@dataclass(frozen=True)
class Entry:
    """One event at its final outcome."""

    n: int
    id: str                   # the order id; events without one get the id the sender gave them
    topic: str
    outcome: str
    status: int               # HTTP status, 0 where there was none
    partition: int            # -1 unless acknowledged
    offset: int               # -1 unless acknowledged
    good: bool                # whether the pipeline ought to take it
    sent_ms: int
    value: str                # the event's JSON text, byte for byte

    @property
    def position(self) -> tuple[int, int]:
        return self.partition, self.offset

    @property
    def has_position(self) -> bool:
        return self.partition >= 0 and self.offset >= 0


def _integer(row: dict[str, Any], field: str, default: int) -> int:
    value = row.get(field)
    return default if value is None else int(value)


def parse_line(line: str) -> Entry:
    """One ledger line. Raises LedgerError without place; read_ledger adds it."""
    try:
        row = json.loads(line)
        entry = Entry(n=_integer(row, "n", 0), id=str(row["id"]), topic=row["topic"],
                      outcome=row["outcome"], status=_integer(row, "status", 0),
                      partition=_integer(row, "partition", -1), offset=_integer(row, "offset", -1),
                      good=bool(row["good"]), sent_ms=_integer(row, "sent_ms", 0), value=row["value"])
    except (ValueError, TypeError, KeyError) as error:
        raise LedgerError(f"{type(error).__name__}: {error}") from error
    if entry.outcome not in OUTCOMES:
        raise LedgerError(f"outcome is {entry.outcome!r}, none of {', '.join(OUTCOMES)}")
    return entry


def read_ledger(path: Path) -> Iterator[Entry]:
    """All entries of one file. A last line without newline was cut by a kill: it counts not."""
    with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith("\n"):
                return
            try:
                yield parse_line(line)
            except LedgerError as error:
                raise LedgerError(f"{path}:{number}: {error}") from error


def read_ledgers(paths: Iterable[Path]) -> list[Entry]:
    """All entries of all files that exist."""
    return [entry for path in paths if path.exists() for entry in read_ledger(path)]


class LedgerWriter:
    """Appends entries to a file; usable as a context manager."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file: TextIO = open(path, "a", encoding="utf-8", newline="\n")
        self.entries: list[Entry] = []

    def add(self, entry: Entry) -> None:
        self._file.write(json.dumps(asdict(entry), separators=(",", ":")) + "\n")
        self._file.flush()
        self.entries.append(entry)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> LedgerWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
