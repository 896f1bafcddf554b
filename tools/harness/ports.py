"""Ports that nobody else is using.

Ports are taken from below the kernel's ephemeral range: a port that bind(0) hands out may be given
to some outgoing connection between our asking and the service's listening.

Runs of the harness share them out in slices, since a port must stay free while its service is away: killed,
or not started yet. A slice belongs to the process that has bound its name, a socket's in the abstract
namespace: the kernel gives it to one, in the same network as the ports, and takes it back when that ends.
"""

from __future__ import annotations

import random
import socket

FIRST, LAST = 18000, 32000
SLICE = 100
NAME = "millrace-ports"
_claims: list[socket.socket] = []    # open for as long as this process lives
_left: list[int] = []                # ports of our slices that nobody has been given


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a service could listen on the port right now (TIME_WAIT does not count)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _claim_slice() -> range:
    """A slice that is no other process's."""
    starts = list(range(FIRST, LAST, SLICE))
    random.shuffle(starts)
    for start in starts:
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            claim.bind(f"\0{NAME}-{start}")
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        return range(start, start + SLICE)
    raise RuntimeError(f"other runs have all ports between {FIRST} and {LAST}")


def free_block(count: int) -> int:
    """The first of `count` consecutive free ports; never the same block twice."""
    global _left
    assert 0 < count <= SLICE
    while True:
        for at in range(len(_left) - count + 1):
            block = _left[at:at + count]
            if block[-1] - block[0] == count - 1 and all(map(is_free, block)):
                del _left[at:at + count]
                return block[0]
        _left = [*_claim_slice()]
