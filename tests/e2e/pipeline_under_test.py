"""One pipeline file at work on a real Kafka: its topics, its workers, what went in and came out.

Where `site_under_test` has the whole platform and its orders, this has one pipeline that the test
itself brings, and as many processes that run it as the test wants.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, Callable, Iterable, Mapping

import pytest

from harness import ports
from harness.kafka import KafkaCluster
from harness.platform import is_ready
from harness.process import Ended, Process, ProcessFailed, describe_code
from harness.reader import Record, http_get, read_topic
from harness.settle import settle_until
from harness.verify import Discrepancy, format_discrepancies
from harness.waiting import wait_for

READY_SECONDS = 120.0
STOP_SECONDS = 15.0
CRASH_SECONDS = 90.0
CRASH_CODE = 137    # _exit of an armed worker: as SIGKILL would end it
TOOL_SECONDS = 60.0
# As Java clients and ours place records. Leaders are asked for five times a second: kcat's library may look for a new one
# after 0.25, 0.75, 1.75, 3.75 s, and its waiting is not to be taken for that of who is tested.
PRODUCER = tuple(word for setting in (
    "acks=all", "partitioner=murmur2_random", "retry.backoff.ms=20", "reconnect.backoff.ms=20",
    "reconnect.backoff.max.ms=200", "topic.metadata.refresh.interval.ms=200") for word in ("-X", setting))


class Pipeline:
    """A pipeline, its workers by number, and the topics it needs."""

    def __init__(self, cluster: KafkaCluster, bin_dir: Path, run_dir: Path, file: Mapping[str, Any],
                 topics: Mapping[str, int], flags: Iterable[str] = (), workers: int = 1,
                 configs: Mapping[str, Mapping[str, str]] | None = None) -> None:
        self.name = str(file["name"])
        self.bootstrap = cluster.bootstrap
        self._dir = run_dir / self.name
        self._dir.mkdir(parents=True)
        self.bin_dir = bin_dir
        self.flags = list(flags)    # of workers that are made from here on
        self._create_topics(topics, configs or {})
        self._file = self._dir / "pipeline.json"
        self._file.write_text(json.dumps(file))
        self._base = ports.free_block(workers)
        self.workers = [self._worker(number) for number in range(workers)]

    def _create_topics(self, topics: Mapping[str, int], configs: Mapping[str, Mapping[str, str]]) -> None:
        file = self._dir / "topics.json"
        file.write_text(json.dumps([{"name": name, "partitions": count, "replication": 3,
                                     "config": configs.get(name, {})}
                                    for name, count in topics.items()]))
        tool = Process("topics", [str(self.bin_dir / "topics"), f"--topics.file={file}",
                                  f"--kafka.bootstrap.servers={self.bootstrap}"], self._dir / "topics.log")
        code = tool.start().wait(TOOL_SECONDS)
        if code != 0:
            raise ProcessFailed(tool.trouble(f"failed with {describe_code(code)}"))

    def _worker(self, number: int, flags: Iterable[str] = (), crash_at: str = "", stop_at: str = "") -> Process:
        argv = [str(self.bin_dir / "analytics"), f"--kafka.bootstrap.servers={self.bootstrap}",
                "--http.host=127.0.0.1", f"--http.port={self._base + number}", "--log.format=json",
                f"--pipeline.file={self._file}", *(flag.replace("NUMBER", str(number)) for flag in self.flags), *flags]
        armed = {name: at for name, at in (("MILLRACE_CRASH_AT", crash_at), ("MILLRACE_STOP_AT", stop_at)) if at}
        return Process(f"{self.name}-{number}", argv, self._dir / f"worker-{number}.log", armed, cwd=self._dir)

    # --- Orders ----------------------------------------------------------------------------------

    def run(self, *words: str, file: Path | None = None, crash_at: str = "") -> subprocess.CompletedProcess[str]:
        """What --pause, --savepoint and their like do, and say; crash_at: where it ends itself (worker_crash.h)."""
        armed = {"MILLRACE_CRASH_AT": crash_at} if crash_at else {}
        return subprocess.run([str(self.bin_dir / "analytics"), f"--kafka.bootstrap.servers={self.bootstrap}",
                               "--log.format=json", f"--pipeline.file={file or self._file}", *words], cwd=self._dir,
                              env={**os.environ, **armed}, timeout=TOOL_SECONDS, capture_output=True, text=True)

    def order(self, *words: str) -> str:
        """The same, which has to succeed."""
        done = self.run(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def refused(self, *words: str, file: Path | None = None) -> str:
        """The same, which has to fail: why."""
        done = self.run(*words, file=file)
        assert done.returncode in (1, 2), done.stdout + done.stderr
        return done.stderr

    @property
    def dir(self) -> Path:
        return self._dir

    # --- Workers ---------------------------------------------------------------------------------

    def start(self, *numbers: int) -> None:
        """Start the workers of these numbers (none given: all) and wait until each is ready."""
        chosen = numbers or range(len(self.workers))
        for number in chosen:
            self.workers[number].start()
        for number in chosen:
            self.await_ready(number)

    def start_armed(self, number: int, crash_at: str, *flags: str, stop_at: str = "") -> None:
        """Start a worker that ends, or stops, itself there (POINT:n, see worker_crash.h); it may never be ready."""
        self.workers[number] = self._worker(number, flags, crash_at, stop_at).start()

    def await_stop(self, number: int, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Until an armed worker has stopped itself."""
        wait_for(f"worker {number} of {self.name} gets to where it stops", CRASH_SECONDS,
                 lambda: meanwhile() or self.workers[number].is_stopped)

    def await_crash(self, number: int, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Until an armed worker is at its end; another one, not yet started, stands in its place."""
        wait_for(f"worker {number} of {self.name} gets to its crash point", CRASH_SECONDS,
                 lambda: meanwhile() or not self.workers[number].is_running)
        code = self.workers[number].wait(0)
        assert code == CRASH_CODE, self.workers[number].trouble(f"ended with {describe_code(code)}")
        self.workers[number] = self._worker(number)

    def port(self, number: int) -> int:
        return self._base + number

    def health(self, number: int) -> str:
        """What the worker says of itself."""
        return http_get(self._base + number, "/health/ready").body.decode()

    def await_ready(self, number: int) -> None:
        def ready() -> bool:
            self.workers[number].require_running()
            return is_ready(self._base + number)

        wait_for(f"worker {number} of {self.name} becomes ready", READY_SECONDS, ready)

    def kill(self, number: int) -> None:
        self.workers[number].kill()

    def remove(self, number: int) -> None:
        """Kill a worker; another one, not yet started, stands in its place."""
        self.kill(number)
        self.workers[number] = self._worker(number)

    def leave(self, number: int) -> None:
        """SIGTERM to a worker, which drains; another one, not yet started, stands in its place."""
        ended = self.workers[number].stop(STOP_SECONDS)
        assert ended.is_clean, self.workers[number].trouble(f"ended with {ended}")
        self.workers[number] = self._worker(number)

    def is_listening(self, number: int) -> bool:
        """Whether the worker is far enough to be asked, and to take a signal."""
        try:
            return bool(self.health(number))
        except OSError:
            return False

    def assigned(self, number: int) -> int:
        """Source partitions of a worker; 0 while it is not ready, or does not listen yet."""
        found = re.search(r"(\d+) source partitions", self.health(number)) if self.is_listening(number) else None
        return int(found[1]) if found else 0

    def metric(self, number: int, name: str) -> float:
        """A metric of a worker, over all its labels; 0 while it says nothing."""
        try:
            page = http_get(self._base + number, "/metrics").body.decode()
        except OSError:
            return 0.0
        return sum(float(value) for value in re.findall(rf"^millrace_pipeline_{name}\{{[^}}]*\}} (\S+)$", page, re.MULTILINE))

    def committed_at(self, number: int) -> float:
        """When a worker last committed, as it says itself (seconds since the epoch); 0 while it says nothing."""
        return self.metric(number, "last_commit_timestamp_seconds")

    def await_assigned(self, count: int, *numbers: int) -> None:
        """Until these workers have so many source partitions between them."""
        wait_for(f"{self.name}: {numbers} have {count} partitions", READY_SECONDS,
                 lambda: sum(map(self.assigned, numbers)) == count)

    def kill_all(self) -> None:
        for worker in self.workers:
            worker.kill()

    def stop(self) -> None:
        """SIGTERM to all; each must drain in time."""
        ends: list[Ended] = [worker.stop(STOP_SECONDS) for worker in self.workers if worker.was_started]
        assert all(ended.is_clean for ended in ends), ends

    def require_running(self) -> None:
        for worker in self.workers:
            if worker.was_started:
                worker.require_running()

    def require_none(self, look: Callable[[], Iterable[Discrepancy]], seconds: float = 90.0) -> float:
        """Until a look finds no discrepancy, how long that took; fails with what it found."""
        def alive() -> list[Discrepancy]:
            self.require_running()
            return list(look())

        found, passed = settle_until(alive, seconds)
        if found:
            pytest.fail(f"{self.name} after {passed:.0f} s:\n{format_discrepancies(found)}")
        return passed

    def log(self, number: int = 0) -> str:
        return self.workers[number].log.read_text(errors="replace")

    # --- Records ---------------------------------------------------------------------------------

    def produce(self, topic: str, rows: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Keyed rows, placed by their key where Kafka's Java clients and ours place them."""
        text = "".join(f"{key}\t{json.dumps(value, separators=(',', ':'))}\n" for key, value in rows)
        subprocess.run(["kcat", "-P", "-q", "-b", self.bootstrap, "-t", topic, "-K", "\t", *PRODUCER],
                       input=text.encode(), check=True, timeout=TOOL_SECONDS, capture_output=True)

    def read(self, topic: str) -> list[Record]:
        return read_topic(self.bootstrap, topic)

    def partitions(self, topic: str) -> int:
        out = subprocess.run(["kcat", "-L", "-J", "-b", self.bootstrap, "-t", topic], check=True,
                             timeout=TOOL_SECONDS, capture_output=True).stdout
        return len(json.loads(out)["topics"][0]["partitions"])

    def _offset(self, topic: str, partition: int, which: int, isolation: str) -> int:
        out = subprocess.run(["kcat", "-Q", "-b", self.bootstrap, "-t", f"{topic}:{partition}:{which}", "-X",
                              f"isolation.level={isolation}"], check=True, timeout=TOOL_SECONDS, capture_output=True,
                             text=True).stdout
        return int(out.rsplit(maxsplit=1)[-1])

    def first_offset(self, topic: str, partition: int) -> int:
        """Of the oldest record that the topic still has."""
        return self._offset(topic, partition, -2, "read_committed")

    def has_open_transaction(self, topic: str) -> bool:
        """Whether the topic has records whose transaction is not decided."""
        return any(self._offset(topic, partition, -1, "read_uncommitted") >
                   self._offset(topic, partition, -1, "read_committed") for partition in range(self.partitions(topic)))
