"""Ports: no two runs of the harness are given the same, also while nobody listens on them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Iterator

import pytest

from harness import ports

TOOLS = Path(__file__).resolve().parents[3] / "tools"
FIRST = 17000    # below those that other runs use meanwhile
OTHER_RUN = f"""
import sys
from harness import ports
ports.NAME, ports.FIRST, ports.LAST = sys.argv[1], {FIRST}, {FIRST + 2 * ports.SLICE}
print(ports.free_block(1), flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def two_slices(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two slices are all there is, and none of them is taken."""
    monkeypatch.setattr(ports, "NAME", f"millrace-ports-test-{os.getpid()}")
    monkeypatch.setattr(ports, "FIRST", FIRST)
    monkeypatch.setattr(ports, "LAST", FIRST + 2 * ports.SLICE)
    monkeypatch.setattr(ports, "_claims", [])
    monkeypatch.setattr(ports, "_left", [])
    yield
    for claim in ports._claims:
        claim.close()


def other_run() -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-B", "-c", OTHER_RUN, ports.NAME], stdin=subprocess.PIPE, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={"PYTHONPATH": str(TOOLS)})


def slice_of(port: int) -> int:
    return (port - FIRST) // ports.SLICE


def test_free_block__blocks_do_not_meet() -> None:
    given = [base + offset for base in (ports.free_block(5) for _ in range(30)) for offset in range(5)]
    assert len(set(given)) == 150 and all(FIRST <= port < ports.LAST for port in given)


def test_free_block__port_in_use__is_not_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    used = ports.free_block(1) + 2
    monkeypatch.setattr(ports, "is_free", lambda port: port != used)
    assert ports.free_block(3) == used + 1


def test_is_free__listened_on__is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not ports.is_free(server.getsockname()[1])


def all_that_are_left() -> list[int]:
    found = []
    with pytest.raises(RuntimeError, match="other runs have all ports"):
        while True:
            found.append(ports.free_block(1))
    return found


def test_free_block__other_runs_slice__is_not_ours() -> None:
    with other_run() as other:
        assert other.stdout and other.stdin
        theirs = int(other.stdout.readline())
        assert {slice_of(port) for port in all_that_are_left()} == {1 - slice_of(theirs)}
        other.stdin.close()
        other.wait()
    assert {slice_of(port) for port in all_that_are_left()} == {slice_of(theirs)}    # it has ended
