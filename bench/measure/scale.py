"""What an event costs as keys, windows and partitions grow: the engine alone (bench/micro/bench_scale.c)."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from measure import drawing
from measure.session import BenchFailed, Session, say

QUICK = ("20000", "1000")    # events, keys at most
MOST_SECONDS = 1800.0        # three minutes of CPU, whatever else runs


def run(session: Session) -> dict[str, Any]:
    """By axis, what was measured at each place on it."""
    argv = [str(session.bin_dir / "bench_scale"), *(QUICK if session.plan.quick else ())]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=MOST_SECONDS)
    if done.returncode != 0:
        raise BenchFailed(f"{' '.join(argv)}: exit code {done.returncode}\n{done.stderr}")
    figures: dict[str, Any] = {}
    for line in done.stdout.splitlines():
        case = json.loads(line)
        figures.setdefault(case.pop("axis"), []).append(case)
        say(f"scale: {line}")
    drawing.scale_svg(figures)    # a quick run draws, too, for nobody
    return figures
