"""CPU time and memory of another process, from the kernel."""

from __future__ import annotations

import time
from pathlib import Path


def cpu_seconds(pid: int) -> float:
    """User and system time of all its threads, ended ones too.

    The process' CPU clock (see clock_getcpuclockid(3)) is the exact sum; utime and stime in
    /proc/PID/stat are the same time in steps of 10 ms.
    """
    return time.clock_gettime((~pid << 3) | 2)


def tree(pid: int) -> list[int]:
    """The process and all that descend from it: a server's workers may be processes."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += tree(int(child))
    return found


def tree_cpu_seconds(pid: int) -> float:
    return sum(map(cpu_seconds, tree(pid)))


def tree_peak_rss_mib(pid: int) -> float:
    return round(sum(map(peak_rss_mib, tree(pid))), 1)


def _status_kib(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise KeyError(f"/proc/{pid}/status has no {field}")


def rss_mib(pid: int) -> float:
    return round(_status_kib(pid, "VmRSS") / 1024, 1)


def peak_rss_mib(pid: int) -> float:
    return round(_status_kib(pid, "VmHWM") / 1024, 1)
