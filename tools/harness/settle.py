"""Waiting until everything accepted has come through, and the verdict on it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Sequence

from harness.ledger import Entry
from harness.verify import Discrepancy, Observation, observe, verify

# Between two looks at Kafka: a look costs about 0.2 s of CPU that the services could use.
LOOK_AGAIN_SECONDS = 0.3


@dataclass(frozen=True)
class Verdict:
    """The last look: what readers saw and how it differs from the ledger."""

    seen: Observation
    found: list[Discrepancy]
    seconds: float    # until it was settled, or until we gave up


def settle_until(look: Callable[[], list[Discrepancy]], seconds: float) -> tuple[list[Discrepancy], float]:
    """Look until nothing differs or the deadline is over: what differed last, and how long it took.

    What is lost or doubled in a log stays so, and an order still under way looks like a lost one:
    so "no difference at some moment" is what has to come, and giving up is what finds a fault.
    """
    begin = time.monotonic()
    while True:
        found = look()
        passed = time.monotonic() - begin
        if not found or passed >= seconds:
            return found, passed
        time.sleep(LOOK_AGAIN_SECONDS)


def settle(bootstrap: str, entries: Sequence[Entry], window_ms: int, metrics_file: Path | None,
           seconds: float = 60.0, also: Callable[[], None] = lambda: None) -> Verdict:
    """settle_until for the whole platform. `also` runs at each look, for example to see that the
    services live."""
    seen = Observation()

    def look() -> list[Discrepancy]:
        nonlocal seen
        also()
        seen = observe(bootstrap, metrics_file)
        return verify(entries, seen, window_ms)

    found, passed = settle_until(look, seconds)
    return Verdict(seen, found, passed)
