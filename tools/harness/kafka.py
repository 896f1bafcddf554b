"""Kafka for demos and tests: real brokers through scripts/kafka, or dev-broker.

scripts/kafka leaves brokers running behind it, so the kernel cannot tie them to us as it ties our
own children. A guard does: a tiny shell that waits on a pipe from us. When we die, however that
happens, the pipe closes and the guard takes the brokers down.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from pathlib import Path
from typing import Protocol, Sequence

from harness.process import Ended, Process
from harness.waiting import wait_for

START_SECONDS = 150.0    # scripts/kafka gives brokers 90 s itself; usually 5 s
STOP_SECONDS = 30.0
DELETE_TOPICS = 20
DELETE_GROUPS = 42

_GUARD = 'read -r ended; [ "$ended" = down ] || exec "$0" down --dir "$1" >/dev/null 2>&1'


class KafkaFailed(RuntimeError):
    """scripts/kafka failed; the text carries what it said."""


class Broker(Protocol):
    """What demos and tests need from a Kafka of either sort."""

    bootstrap: str
    properties: Sequence[str]    # librdkafka's, NAME=VALUE, that its clients need

    def up(self) -> None: ...

    def down(self) -> None: ...


class KafkaCluster:
    """Real brokers, numbered from 1, with their data under `directory` and ports of their own."""

    properties: Sequence[str] = ()

    def __init__(self, root: Path, directory: Path, brokers: int = 1, max_seconds: int = 3600,
                 settings: Sequence[str] = ()) -> None:
        """settings: broker properties more, KEY=VALUE."""
        self._settings = settings
        self._script = root / "scripts" / "kafka"
        self._directory = directory
        self._brokers = brokers
        self._max_seconds = max_seconds
        self._guard: subprocess.Popen[bytes] | None = None
        self.bootstrap = ""

    def _run(self, *words: str, seconds: float = START_SECONDS) -> str:
        """Run scripts/kafka; what it prints on stdout."""
        argv = [str(self._script), *words, "--dir", str(self._directory)]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=seconds, check=False, start_new_session=True)
        if done.returncode != 0:
            raise KafkaFailed(f"{' '.join(argv)}: exit code {done.returncode}\n{done.stderr}")
        return done.stdout

    def up(self) -> None:
        """Start the brokers, on free ports, and return once all of them serve."""
        self._start_guard()
        out = self._run("up", str(self._brokers), "--max-seconds", str(self._max_seconds),
                        *(word for setting in self._settings for word in ("--set", setting)))
        self.bootstrap = out.strip().splitlines()[-1]

    def _start_guard(self) -> None:
        self._guard = subprocess.Popen(["/bin/sh", "-c", _GUARD, str(self._script), str(self._directory)],
                                       stdin=subprocess.PIPE, start_new_session=True)

    def property(self, name: str) -> str:
        """What the brokers have been given of it; the last line counts."""
        lines = (self._directory / "nodes" / "1" / "server.properties").read_text().splitlines()
        return next(line.partition("=")[2] for line in reversed(lines) if line.partition("=")[0] == name)

    def kill(self, broker: int) -> None:
        """SIGKILL one broker."""
        self._run("kill", str(broker))

    def pause(self, broker: int) -> None:
        """SIGSTOP one broker: its connections stay, nothing answers."""
        self._run("pause", str(broker))

    def resume(self, broker: int) -> None:
        self._run("resume", str(broker))

    def restart(self, broker: int) -> None:
        """Start one broker again, on its old data and ports, and wait until it serves."""
        self._run("restart", str(broker))

    def stop(self) -> None:
        """Let all brokers shut down as an operator would; their data stays."""
        self._run("down", "--keep")

    def start_again(self) -> None:
        """After stop: on the old data and ports."""
        self._run("up", "--max-seconds", str(self._max_seconds))

    def down(self) -> None:
        """Stop all brokers and release the guard. May be called twice."""
        if self._guard is None:
            return
        self._run("down", seconds=STOP_SECONDS)
        assert self._guard.stdin is not None
        self._guard.stdin.write(b"down\n")
        self._guard.stdin.close()
        self._guard.wait()
        self._guard = None


class DevBroker:
    """dev-broker: librdkafka's mock cluster as a process. For trying out; nothing is on disk."""

    # It writes the markers that end a transaction without a CRC: who checks CRCs, as our services do
    # unless told otherwise, reads no further than the first of them. And it answers a fetch that found
    # nothing only when its time is over, whatever arrives meanwhile: that time is latency here.
    properties: Sequence[str] = ("check.crcs=false", "fetch.wait.max.ms=20")

    def __init__(self, topics: Path, binary: Path, directory: Path) -> None:
        self._bootstrap_file = directory / "dev-broker.bootstrap"
        self._process = Process("dev-broker", [
            str(binary), f"--topics.file={topics}",
            f"--bootstrap.file={self._bootstrap_file}"], directory / "logs" / "dev-broker.log")
        self.bootstrap = ""

    def up(self) -> None:
        self._bootstrap_file.parent.mkdir(parents=True, exist_ok=True)
        self._bootstrap_file.unlink(missing_ok=True)
        self._process.start()

        def written() -> str:
            self._process.require_running()
            return self._bootstrap_file.read_text().strip() if self._bootstrap_file.exists() else ""

        self.bootstrap = wait_for("dev-broker writes its address", 60.0, written)

    def down(self) -> None:
        self.stop()

    def stop(self) -> Ended:
        return self._process.stop(10.0)


def bin_dir(root: Path) -> Path:
    """Where the programs are: $MILLRACE_BIN, or the release build."""
    return Path(os.environ.get("MILLRACE_BIN") or root / "build" / "release" / "bin").resolve()


def _delete(bootstrap: str, call: int, version: int, name: str, tail: bytes = b"") -> None:
    """DeleteTopics or DeleteGroups of one name, as they stand in Kafka's protocol guide: no tool on this machine has
    them. The answer's last two bytes are the name's error code."""
    host, port = bootstrap.split(",")[0].rsplit(":", 1)
    client, text = b"test", name.encode()
    head = struct.pack(">hhih", call, version, 1, len(client)) + client
    body = head + struct.pack(">ih", 1, len(text)) + text + tail
    with socket.create_connection((host, int(port)), 10.0) as link, link.makefile("rb") as answer:
        link.sendall(struct.pack(">i", len(body)) + body)
        (size,) = struct.unpack(">i", answer.read(4))
        code = struct.unpack(">h", answer.read(size)[-2:])[0]
    if code != 0:
        raise KafkaFailed(f"deleting {name}: error {code}")


def delete_topic(bootstrap: str, topic: str) -> None:
    _delete(bootstrap, DELETE_TOPICS, 1, topic, struct.pack(">i", 10000))


def delete_group(bootstrap: str, group: str) -> None:
    """On a cluster of one broker, which coordinates all groups."""
    _delete(bootstrap, DELETE_GROUPS, 0, group)
