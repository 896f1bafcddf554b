"""scripts/kafka, which every other test of this folder starts its brokers with."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from conftest import ROOT


def _slow_hash(folder: Path) -> Path:
    """A `sha256sum` that takes its time: what a broker's start waits for before it becomes java."""
    real = shutil.which("sha256sum")
    slow = folder / "sha256sum"
    slow.write_text(f'#!/bin/sh\nsleep 0.5\nexec {real} "$@"\n')
    slow.chmod(0o755)
    return folder


def test_up__slow_machine__start_is_waited_for(tmp_path: Path) -> None:
    """A broker's process is this script's own for a while; it was once taken for one that had ended."""
    cluster = tmp_path / "kafka"
    path = f"{_slow_hash(tmp_path)}:{os.environ['PATH']}"
    kafka = [str(ROOT / "scripts" / "kafka")]
    try:
        up = subprocess.run([*kafka, "up", "--dir", str(cluster)], env={**os.environ, "PATH": path},
                            capture_output=True, text=True, timeout=120, check=False)
        assert up.returncode == 0, up.stderr
    finally:
        subprocess.run([*kafka, "down", "--dir", str(cluster)], timeout=60, check=True)
