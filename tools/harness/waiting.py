"""Waiting for a condition instead of for a time."""

from __future__ import annotations

import time
from typing import Callable, TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.05


class DeadlineExceeded(AssertionError):
    """Something awaited did not happen in time. An AssertionError: in a test it is a failure."""


def wait_for(what: str, seconds: float, probe: Callable[[], T | None],
             poll_seconds: float = POLL_SECONDS) -> T:
    """Call probe until its result is true, and return that result.

    `what` completes the sentence "… did not happen in N s". It may be a format string's result
    only: state that changes belongs into the exception that probe itself raises.
    """
    deadline = time.monotonic() + seconds
    while True:
        result = probe()
        if result:
            return result
        if time.monotonic() >= deadline:
            raise DeadlineExceeded(f"{what}: not within {seconds:g} s")
        time.sleep(poll_seconds)
