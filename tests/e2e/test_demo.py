"""scripts/demo as a user runs it, on dev-broker: reports, stops on Ctrl-C, leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Iterator

import pytest

from conftest import ROOT
from harness import ports
from harness.pipeline_demo import pipeline_names
from harness.platform import SERVICES
from harness.process import Process
from harness.waiting import wait_for


@pytest.fixture
def port_base() -> int:
    return ports.free_block(len(SERVICES))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Runs of their own: a user's last run must not be removed by a test."""
    yield tmp_path / "home"


def demo(home: Path, *flags: str) -> Process:
    env = {"MILLRACE_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    return Process("demo", [str(ROOT / "scripts" / "demo"), *flags], home.parent / "demo.log", env=env)


def output(process: Process) -> str:
    return process.log.read_text(errors="replace")


def children_of(home: Path) -> list[int]:
    """Processes whose command line names the run directory: services, tools, dev-broker."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(home).encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            pass    # it ended while we looked
    return found


def test_help__says_every_flag() -> None:
    done = subprocess.run([ROOT / "scripts" / "demo", "--help"], capture_output=True, text=True, check=True)
    for flag in ("--seconds", "--report", "--kafka", "--rate", "--keep", "--pipeline", "--port-base"):
        assert flag in done.stdout


def test_unknown_flag__is_wrong_usage() -> None:
    env = {**os.environ, "MILLRACE_BIN": "/nonexistent"}
    done = subprocess.run([ROOT / "scripts" / "demo", "--reprot"], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 2 and "--reprot" in done.stderr


def test_report__finds_no_difference(home: Path, port_base: int) -> None:
    process = demo(home, "--seconds", "15", "--report", "--port-base", str(port_base)).start()
    assert process.wait(120.0) == 0, output(process)
    text = output(process)
    assert "no discrepancy" in text and "DIFFERENT" not in text
    assert sum(line.endswith("  same") for line in text.splitlines()) == 5, text    # one line a product
    assert not children_of(home)


@pytest.mark.parametrize("name", pipeline_names())
def test_pipeline__runs_on_its_example(home: Path, port_base: int, name: str) -> None:
    process = demo(home, "--pipeline", name, "--seconds", "8", "--port-base", str(port_base)).start()
    assert process.wait(120.0) == 0, output(process)
    text = output(process)
    assert "← " in text and "→ " in text, text
    assert not children_of(home)


def test_ctrl_c__stops_in_drain_order(home: Path, port_base: int) -> None:
    process = demo(home, "--port-base", str(port_base)).start()
    wait_for("the demo is up", 60.0, lambda: "Ctrl-C" in output(process))
    process.send_signal(signal.SIGINT)
    assert process.wait(60.0) == 0, output(process)
    text = output(process)
    places = [text.rindex(f"  {name}") for name in SERVICES]
    assert places == sorted(places), text
    assert not children_of(home)


def test_harness_killed__leaves_nothing_behind(home: Path, port_base: int) -> None:
    process = demo(home, "--port-base", str(port_base), "--rate", "0").start()
    wait_for("the demo is up", 60.0, lambda: "Ctrl-C" in output(process))
    assert children_of(home)
    os.kill(process.pid, signal.SIGKILL)
    wait_for("all are gone", 60.0, lambda: not children_of(home))
    process.wait(5.0)


def test_port_in_use__says_which_and_what_to_do(home: Path, port_base: int) -> None:
    with socket.create_server(("127.0.0.1", port_base + 1)):
        process = demo(home, "--port-base", str(port_base)).start()
        assert process.wait(30.0) == 1
    assert f"port {port_base + 1} is in use" in output(process) and "--port-base" in output(process)
