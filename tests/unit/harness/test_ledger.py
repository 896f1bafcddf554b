"""Ledgers: what is written comes back; what cannot be is named with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from clean_data import clean_world
from harness.ledger import LedgerError, LedgerWriter, read_ledger, read_ledgers


def test_ledger__round_trip(tmp_path: Path) -> None:
    entries = clean_world().entries
    with LedgerWriter(tmp_path / "a" / "ledger.ndjson") as ledger:
        for entry in entries:
            ledger.add(entry)
    assert list(read_ledger(ledger.path)) == entries


def test_read_ledger__last_line_cut_by_a_kill__does_not_count(tmp_path: Path) -> None:
    with LedgerWriter(tmp_path / "ledger.ndjson") as ledger:
        for entry in clean_world().entries[:2]:
            ledger.add(entry)
    text = ledger.path.read_text()
    ledger.path.write_text(text[:-20])
    assert [entry.id for entry in read_ledger(ledger.path)] == ["o-1"]


@pytest.mark.parametrize("line,reason", [
    ("{", "JSONDecodeError"), ('{"id":"o-1"}', "KeyError"),
    ('{"id":"o","topic":"orders","outcome":"fine","good":true,"value":"{}"}', "outcome is 'fine'"),
])
def test_read_ledger__nonsense__names_file_and_line(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "ledger.ndjson"
    path.write_text(line + "\n")
    with pytest.raises(LedgerError, match="ledger.ndjson:1") as raised:
        list(read_ledger(path))
    assert reason in str(raised.value)


def test_read_ledger__missing_and_null_positions__are_none(tmp_path: Path) -> None:
    path = tmp_path / "ledger.ndjson"
    path.write_text('{"id":"o","topic":"orders","outcome":"info","good":true,"value":"{}","partition":null}\n')
    (entry,) = read_ledgers([path, tmp_path / "absent"])
    assert not entry.has_position
