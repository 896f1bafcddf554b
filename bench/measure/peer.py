"""The Kafka Streams jobs of bench/peers/kafka-streams: built once per source, started per run."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from harness.process import Process
from measure.machine import millrace_home
from measure.session import BenchFailed, Session, say

GUARANTEES = {"exactly_once": "exactly_once_v2", "at_least_once": "at_least_once"}
COMMIT_MS = 100    # of both sides

# The collector that did best with these jobs here, and a heap that leaves it room.
JVM_FLAGS = ("-Xms1g", "-Xmx1g", "-XX:+UseParallelGC")


class KafkaStreams:
    """Starts jobs; `build` has to have been called."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._source = session.root / "bench" / "peers" / "kafka-streams"
        self._target = millrace_home() / "bench" / f"kafka-streams-{self._source_hash()}"

    def _source_hash(self) -> str:
        digest = hashlib.sha256()
        for path in sorted(path for path in self._source.rglob("*") if path.is_file()):
            digest.update(path.read_bytes())
        return digest.hexdigest()[:12]

    def build(self) -> None:
        if (self._target / "peer.jar").exists():
            return
        say("building the Kafka Streams jobs with Maven")
        done = subprocess.run(["mvn", "-q", "-B", f"-Dbench.build={self._target}", "package"], cwd=self._source,
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BenchFailed(f"mvn package in {self._source}:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")

    def start(self, job: str, application_id: str, guarantee: str, threads: int,
              topics: dict[str, str]) -> Process:
        """topics: role → name; what a job does not use is not looked at."""
        state = self._session.directory / "state" / application_id
        flags = {"bootstrap": self._session.kafka.bootstrap, "application-id": application_id,
                 "state-dir": state, "guarantee": GUARANTEES[guarantee], "commit-ms": COMMIT_MS,
                 "threads": threads, **topics}
        return self._session.start(f"kafka-streams-{job}", [
            "java", *JVM_FLAGS, "-cp", f"{self._target}/peer.jar:{self._target}/libs/*",
            "millrace.bench.Main", job, *(word for key, value in flags.items() for word in (f"--{key}", str(value)))])
