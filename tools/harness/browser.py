"""Browser tests (node --test) that can have something done outside of the browser and wait until it is."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Callable, Mapping, Sequence

BROWSER_SECONDS = 240.0
POLL_SECONDS = 0.1

# What a test runs to ask: it makes a file, and waits until that is gone.
ASK = 'touch "{0}"; while [ -e "{0}" ]; do sleep 0.1; done'


def run_browser_tests(files: Sequence[Path], env: Mapping[str, str], asks: Mapping[str, Callable[[], None]],
                      folder: Path) -> None:
    """Fail with the tests' log unless all of them pass. asks: by the variable that has the command to run, what
    is done then, on this thread: another one may not start processes. folder: for the log and the questions."""
    requests = {folder / name: act for name, act in asks.items()}
    commands = {request.name: ASK.format(request) for request in requests}
    log = folder / "browser.log"
    with open(log, "wb") as out:
        node = subprocess.Popen(["node", "--test", "--test-concurrency=1", *files], stdout=out,
                                stderr=subprocess.STDOUT, env={**os.environ, **env, **commands})
        try:
            code = _serve(node, requests)
        finally:
            node.kill()
            node.wait()
    assert code == 0, log.read_text()


def _serve(node: subprocess.Popen[bytes], requests: Mapping[Path, Callable[[], None]]) -> int:
    for _ in range(int(BROWSER_SECONDS / POLL_SECONDS)):
        try:
            return node.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            for request, act in requests.items():
                if request.exists():
                    act()
                    request.unlink()
    raise AssertionError(f"the browser tests did not end in {BROWSER_SECONDS:g} s")
