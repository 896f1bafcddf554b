"""Processes: started, ended, and never left behind, whatever becomes of their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.process import Process, ProcessFailed, describe_code
from harness.waiting import DeadlineExceeded, wait_for

TOOLS = Path(__file__).resolve().parents[3] / "tools"


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_stop__obedient__is_clean(tmp_path: Path) -> None:
    script = 'trap "exit 0" TERM; echo up; while :; do sleep 0.05; done'
    process = Process("obedient", ["/bin/sh", "-c", script], tmp_path / "log").start()
    wait_for("the trap is set", 60.0, lambda: process.log_tail())
    ended = process.stop(60.0)
    assert ended.is_clean and not process.is_running


def test_stop__deaf__is_killed_after_the_deadline(tmp_path: Path) -> None:
    script = 'trap "" TERM; echo up; while :; do sleep 0.05; done'
    process = Process("deaf", ["/bin/sh", "-c", script], tmp_path / "log").start()
    wait_for("the trap is set", 60.0, lambda: process.log_tail())
    ended = process.stop(0.2)
    assert ended.forced and not ended.is_clean and not process.is_running


def test_require_running__ended__shows_last_lines(tmp_path: Path) -> None:
    process = Process("brief", ["/bin/sh", "-c", "echo what went wrong >&2; exit 3"], tmp_path / "log").start()
    assert process.wait(60.0) == 3
    with pytest.raises(ProcessFailed, match="(?s)exit code 3.*what went wrong"):
        process.require_running()


def test_start__again_after_kill__same_log(tmp_path: Path) -> None:
    process = Process("twice", ["/bin/sh", "-c", "echo started; exec sleep 100"], tmp_path / "log").start()
    wait_for("first line", 60.0, lambda: len(process.log_tail()) == 1)
    first = process.pid
    process.kill()
    process.start()
    wait_for("second line", 60.0, lambda: len(process.log_tail()) == 2)
    process.kill()
    assert process.pid != first and not is_alive(first)


def test_parent_killed__child_dies_too(tmp_path: Path) -> None:
    code = ("import sys, time; from pathlib import Path; from harness.process import Process\n"
            "child = Process('child', ['/bin/sleep', '100'], Path(sys.argv[1])).start()\n"
            "print(child.pid, flush=True); time.sleep(100)")
    parent = subprocess.Popen([sys.executable, "-B", "-c", code, str(tmp_path / "log")], stdout=subprocess.PIPE,
                              env={**os.environ, "PYTHONPATH": str(TOOLS)}, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert is_alive(child)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    wait_for("the child is gone", 60.0, lambda: not is_alive(child))


def test_describe_code() -> None:
    assert describe_code(-9) == "signal SIGKILL" and describe_code(3) == "exit code 3"


def test_wait_for__deadline__names_what() -> None:
    with pytest.raises(DeadlineExceeded, match="never: not within 0.1 s"):
        wait_for("never", 0.1, lambda: None)
