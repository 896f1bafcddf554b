"""One core for a server alone, the others for its load and for Kafka."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from measure import usage

ALL = os.sched_getaffinity(0)
OWN, OTHERS = {max(ALL)}, ALL - {max(ALL)}


def _pin(pid: int, cores: set[int]) -> None:
    """All threads of the process and of what descends from it; those to come inherit it."""
    for process in usage.tree(pid):
        for task in Path(f"/proc/{process}/task").iterdir():
            os.sched_setaffinity(int(task.name), cores)


@contextmanager
def apart(kafka: Path, servers: list[int]) -> Iterator[None]:
    """`kafka`: the folder of its cluster. wrk is ours to start, and inherits where we are."""
    brokers = [int(path.read_text()) for path in (kafka / "nodes").glob("*/pid")]
    try:
        for pid in servers:
            _pin(pid, OWN)
        for pid in brokers:
            _pin(pid, OTHERS)
        os.sched_setaffinity(0, OTHERS)
        yield
    finally:
        for pid in (*servers, *brokers):
            _pin(pid, ALL)
        os.sched_setaffinity(0, ALL)
