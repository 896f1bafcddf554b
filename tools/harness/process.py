"""Child processes that cannot outlive us.

Each child leads a session of its own, so that Ctrl-C in a terminal reaches only the harness, which
then stops everything in order. The kernel kills a child when the thread that started it dies
(PR_SET_PDEATHSIG), so that even SIGKILL to the harness leaves nothing behind. Because the promise
is about the starting *thread*, only the main thread may start processes.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Mapping, Sequence

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class ProcessFailed(RuntimeError):
    """A child ended, or did not do what it was started for; the text carries its last log lines."""


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    name: str
    code: int
    seconds: float
    forced: bool    # it had to be killed after the deadline

    @property
    def is_clean(self) -> bool:
        return self.code == 0 and not self.forced


def _die_with(parent_pid: int) -> Callable[[], None]:
    """A preexec function that ties the child to its parent, also when that has just died."""
    def tie() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:
            os._exit(127)
    return tie


class Process:
    """One child process with its log file. start() after an end starts it anew, same log."""

    def __init__(self, name: str, argv: Sequence[str], log: Path,
                 env: Mapping[str, str] | None = None, cwd: Path | None = None) -> None:
        self.name = name
        self.argv = [str(word) for word in argv]
        self.log = log
        self._env = {**os.environ, **env} if env else None
        self._cwd = cwd
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self._popen is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._popen.pid

    @property
    def was_started(self) -> bool:
        return self._popen is not None

    @property
    def is_running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    @property
    def is_stopped(self) -> bool:
        """Whether it sleeps after SIGSTOP."""
        return self.is_running and Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"

    def start(self, stdout: Path | None = None) -> Process:
        """Start it; stderr (and stdout, unless given a file) are appended to the log."""
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("only the main thread starts processes (see the head of this file)")
        if self.is_running:
            raise RuntimeError(f"{self.name} is running already")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab") as log, open(stdout or self.log, "ab") as out:
            try:
                self._popen = subprocess.Popen(
                    self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=log, env=self._env,
                    cwd=self._cwd, start_new_session=True, preexec_fn=_die_with(os.getpid()))
            except OSError as error:
                raise ProcessFailed(f"{self.name} cannot be started: {error}") from error
        return self

    def send_signal(self, number: int) -> None:
        """Signal the process itself, not its group: a service has to pass on what it started."""
        if self.is_running:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL to the whole group, and wait until the kernel has done it."""
        if self._popen is None:
            return
        if self._popen.poll() is None:
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()

    def wait(self, seconds: float) -> int:
        """The exit code once it ends by itself."""
        assert self._popen is not None
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise ProcessFailed(self.trouble(f"still running after {seconds:g} s")) from None

    def stop(self, seconds: float, number: int = signal.SIGTERM) -> Ended:
        """Ask it to end; kill it after the deadline. Says how it went, never raises for that."""
        begin = time.monotonic()
        if self._popen is None:
            return Ended(self.name, 0, 0.0, forced=False)
        self.send_signal(number)
        forced = False
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            forced = True
            self.kill()
        return Ended(self.name, self._popen.returncode, time.monotonic() - begin, forced)

    def require_running(self) -> None:
        """Raise, with the last log lines, when it has ended."""
        if not self.is_running:
            code = self._popen.returncode if self._popen else None
            raise ProcessFailed(self.trouble(f"ended with {describe_code(code)}"))

    def trouble(self, what: str, lines: int = 15) -> str:
        """A message for people: what happened, with which command, and the last log lines."""
        tail = "".join(f"    {line}\n" for line in self.log_tail(lines)) or "    (empty)\n"
        return f"{self.name} {what}\n  command: {' '.join(self.argv)}\n  last lines of {self.log}:\n{tail}"

    def log_tail(self, lines: int = 15) -> list[str]:
        if not self.log.exists():
            return []
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return [line.rstrip("\n") for line in deque(log, maxlen=lines)]


def describe_code(code: int | None) -> str:
    """An exit code for people; negative ones are signals."""
    if code is None:
        return "no exit code"
    if code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"
