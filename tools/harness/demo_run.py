"""What every demo is: a run directory of its own, words for the user, and an end when the user wants it."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import TextIO

from harness import ports
from harness.kafka import Broker, DevBroker, KafkaCluster
from harness.platform import SERVICES, Layout, Platform
from harness.process import Ended, ProcessFailed, describe_code

KAFKA_SECONDS_MAX = 7 * 24 * 3600    # a demo may be left running; its guard ends the brokers with it
ROOT = Path(__file__).resolve().parents[2]


class Interrupted(Exception):
    """The user wants the demo to end; raised only between steps that can be left."""


class Interrupt:
    """First SIGINT, SIGTERM or SIGHUP: finish in order. Second: everything ends at once."""

    def __init__(self) -> None:
        self.is_wanted = False
        self._platform: Platform | None = None
        self._broker: Broker | None = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def guard(self, platform: Platform, broker: Broker) -> None:
        """What a second signal has to end."""
        self._platform, self._broker = platform, broker

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self.is_wanted:
            self.is_wanted = True
            return
        say("\nEnding at once.")
        if self._platform:
            self._platform.kill_all()
        # Real brokers are ended by their guard, dev-broker by the kernel, as soon as we are gone.
        os._exit(128 + number)

    def check(self) -> None:
        if self.is_wanted:
            raise Interrupted


def say(text: str = "", to: TextIO = sys.stdout) -> None:
    print(text, file=to, flush=True)


# --- The run directory ---------------------------------------------------------------------------

def runs_dir() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("MILLRACE_HOME") or Path(cache) / "millrace") / "runs"


def make_run_dir(keep: bool) -> Path:
    """A new run directory, locked while we live. Earlier ones go, unless kept or still in use."""
    parent = runs_dir()
    parent.mkdir(parents=True, exist_ok=True)
    for old in parent.glob("demo-*"):
        if not (old / "keep").exists() and not _is_locked(old):
            shutil.rmtree(old, ignore_errors=True)
    run = parent / f"demo-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    run.mkdir()
    if keep:
        (run / "keep").touch()
    lock = os.open(run / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
    fcntl.flock(lock, fcntl.LOCK_EX)    # held until this process ends
    return run


def _is_locked(run: Path) -> bool:
    try:
        lock = os.open(run / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(lock)


# --- Ports, Kafka, the end ---------------------------------------------------------------------------

def require_free_ports(base: int) -> None:
    taken = [port for port in range(base, base + len(SERVICES)) if not ports.is_free(port)]
    if taken:
        raise ProcessFailed(f"port {taken[0]} is in use; choose others: scripts/demo --port-base {base + 100}")


def make_broker(brokers: int, layout: Layout, topics: Path = ROOT / "pipelines" / "topics.json") -> Broker:
    """Real Kafka with so many brokers; 0: dev-broker, which starts with these topics."""
    if brokers:
        return KafkaCluster(ROOT, layout.run_dir / "kafka", brokers, KAFKA_SECONDS_MAX)
    return DevBroker(topics, layout.bin_dir / "dev-broker", layout.run_dir)


def stop_all(platform: Platform | None, broker: Broker) -> bool:
    """Drain in order. True when each process ended by itself with exit code 0."""
    say("\nStopping in drain order …")
    ends: list[Ended] = platform.stop(_say_ended) if platform else []
    broker.down()
    say("  broker      stopped")
    return all(ended.is_clean for ended in ends)


def _say_ended(ended: Ended) -> None:
    forced = ", killed after its deadline" if ended.forced else ""
    say(f"  {ended.name:<15} {describe_code(ended.code)} after {ended.seconds:.1f} s{forced}")
