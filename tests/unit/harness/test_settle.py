"""Settling: until nothing differs, or with what differed last."""

from __future__ import annotations

from harness.settle import settle_until
from harness.verify import Discrepancy

LOST = Discrepancy("row_lost", "out", "once", "never")


def test_settle_until__it_comes_right__finds_nothing() -> None:
    looks = [[LOST, LOST], [LOST], []]
    assert settle_until(lambda: looks.pop(0), 60.0)[0] == []
    assert looks == []


def test_settle_until__it_stays_wrong__says_what_differed() -> None:
    assert settle_until(lambda: [LOST], 0.0)[0] == [LOST]
