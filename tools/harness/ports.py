"""Ports that nobody else is using.

Ports are taken from below the kernel's ephemeral range: a port that bind(0) hands out may be given
to some outgoing connection between our asking and the service's listening.
"""

from __future__ import annotations

import random
import socket

FIRST, LAST = 18000, 32000
_handed_out: set[int] = set()


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a service could listen on the port right now (TIME_WAIT does not count)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_block(count: int) -> int:
    """The first of `count` consecutive free ports; never the same block twice in this process."""
    for _ in range(1000):
        base = random.randrange(FIRST, LAST - count)
        block = range(base, base + count)
        if _handed_out.isdisjoint(block) and all(is_free(port) for port in block):
            _handed_out.update(block)
            return base
    raise RuntimeError(f"no {count} consecutive free ports between {FIRST} and {LAST}")
