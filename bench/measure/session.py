"""One run of bench/run: its Kafka, its folder, the C programs and the processes under test."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterable, Sequence

from harness import ports
from harness.kafka import KafkaCluster
from harness.process import Ended, Process, describe_code
from harness.waiting import wait_for

TOOL_SECONDS = 300.0
READY_SECONDS = 30.0
STOP_SECONDS = 20.0
MAX_SECONDS = 3 * 3600    # Kafka ends itself then, whatever became of us
BROKER_JVM = "-Xms1g -Xmx1g -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35"


class BenchFailed(RuntimeError):
    """A figure could not be taken, or an output was wrong."""


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    quick: bool
    rounds: int
    seconds: int            # of load per measurement of a server
    events: int             # per enrich and window run
    probes: int             # per latency measurement
    threads: Sequence[int]  # of workers and peers, each measured
    http_threads: int


class Session:
    """Starts Kafka once, makes fresh topic names, and ends all that it started."""

    def __init__(self, root: Path, bin_dir: Path, plan: Plan) -> None:
        self.root = root
        self.bin_dir = bin_dir
        self.plan = plan
        self.directory = Path(tempfile.mkdtemp(prefix="millrace-bench-"))
        # The flags of kafka-server-start.sh; those of tests are small, and slow once warm.
        os.environ["KAFKA_JVM_FLAGS"] = BROKER_JVM
        self.kafka = KafkaCluster(root, self.directory / "kafka", max_seconds=MAX_SECONDS)
        self.start_ms = int(time.time() // 60 * 60_000) - 6 * 3_600_000    # event time of the loads
        self._running: list[Process] = []
        self._names = 0

    def __enter__(self) -> Session:
        say("starting Kafka")
        self.kafka.up()
        return self

    def renew_kafka(self) -> None:
        """An empty Kafka, for a measurement that must not see what an earlier one left."""
        self.kafka.down()
        self.kafka.up()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for process in reversed(self._running):
            process.kill()
        self.kafka.down()
        if kind is None:
            shutil.rmtree(self.directory, ignore_errors=True)
        else:
            say(f"logs are in {self.directory}")

    # --- Processes under test --------------------------------------------------------------------

    def start(self, name: str, argv: Sequence[str | Path]) -> Process:
        process = Process(name, [str(word) for word in argv], self.directory / "logs" / f"{name}.log",
                          cwd=self.directory)
        process.start()
        self._running.append(process)
        return process

    def stop(self, process: Process, codes: Sequence[int] = (0,)) -> None:
        """Ask it to end, and hold it to a clean end: what crashed on its way out has not finished."""
        ended = process.stop(STOP_SECONDS)
        self._running.remove(process)
        if ended.forced or ended.code not in codes:
            raise BenchFailed(process.trouble(f"ended with {describe_code(ended.code)}"))

    def kill(self, process: Process) -> None:
        process.kill()
        self._running.remove(process)

    def start_service(self, name: str, port: int, *flags: str) -> Process:
        """One of ours, on a port of its own; the caller awaits what it needs."""
        return self.start(name, [self.bin_dir / name, f"--kafka.bootstrap.servers={self.kafka.bootstrap}",
                                 "--http.host=127.0.0.1", f"--http.port={port}", "--log.format=json", *flags])

    def await_ready(self, process: Process, probe: Callable[[], object], seconds: float = READY_SECONDS,
                    poll_seconds: float = 0.05) -> None:
        def ready() -> bool:
            process.require_running()
            return bool(probe())

        wait_for(f"{process.name} becomes ready", seconds, ready, poll_seconds)

    # --- The C programs --------------------------------------------------------------------------

    def tool(self, name: str, *words: object, **options: object) -> str:
        """Run bench-<name> against this run's Kafka and return what it prints."""
        flags = [word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", str(value))]
        argv = [str(self.bin_dir / f"bench-{name}"), *map(str, words), "--bootstrap", self.kafka.bootstrap, *flags]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=TOOL_SECONDS)
        if done.returncode != 0:
            raise BenchFailed(f"{' '.join(argv)}: exit code {done.returncode}\n{done.stderr}{done.stdout[-500:]}")
        return done.stdout

    def tool_json(self, name: str, **options: object) -> dict[str, Any]:
        return json.loads(self.tool(name, **options))

    # --- Topics ----------------------------------------------------------------------------------

    def fresh_name(self, stem: str) -> str:
        self._names += 1
        return f"bench-{stem}-{self._names}"

    def create_topics(self, *topics: str) -> None:
        """Each is NAME:PARTITIONS[:compact][:KEY=VALUE]."""
        self.tool("topics", "create", *topics)

    def delete_topics(self, *names: str) -> None:
        """Their data would fill the disk: a run of five million orders is more than a gigabyte."""
        self.tool("topics", "delete", *names)

    def free_port(self) -> int:
        return ports.free_block(1)


def require_clean(ends: Iterable[Ended]) -> None:
    """For processes that the harness' Platform stopped."""
    for ended in ends:
        if not ended.is_clean:
            raise BenchFailed(f"{ended.name} ended with {describe_code(ended.code)}"
                              f"{', killed after its deadline' if ended.forced else ''}")


def say(text: str) -> None:
    """Progress for people; results go to files."""
    print(f"bench: {text}", file=sys.stderr, flush=True)
