"""How long a worker with a million keys needs until it works on, after it was killed; from its changelog,
and from the copy on local disk and what is new in the changelog.

The worker fills its store once; then it is killed and started again, round by round. `restore` is from
the group's giving it its partitions to the last task's being back, by the worker's own log; `ready` from
exec to the first 200 of /health/ready, which joining the group is a part of.
"""

from __future__ import annotations

import json
import time
from statistics import median
from typing import Any

from harness.platform import is_ready
from harness.process import Process
from measure import usage
from measure.session import BenchFailed, Session, say

KEYS = 1_000_000
QUICK_KEYS = 20_000
PARTITIONS = 6
READY_SECONDS = 120.0
FILL_SECONDS = 120
# A killed member is missed until its session ends: not what is measured here.
FLAGS = ("--kafka.session.timeout.ms=6000", "--pipeline.threads=1", "--instance.id=restore")


def _seconds_in_log(process: Process) -> tuple[float, int]:
    """From the last assignment to the last task that is back; how many keys all have."""
    begin, end, keys = 0.0, 0.0, 0
    for line in process.log.read_text().splitlines():
        event = json.loads(line)
        if event.get("event") == "partitions_assigned":
            begin, keys = _at(event), 0
        elif event.get("event") == "task_restored":
            end, keys = _at(event), keys + event["keys"]
    return end - begin, keys


def _at(event: dict[str, Any]) -> float:
    text = event["ts"]
    whole, _, fraction = text.rstrip("Z").partition(".")
    return time.mktime(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float(f"0.{fraction or 0}")


class _Restores:
    """One pipeline, its store filled, and its worker started again and again."""

    def __init__(self, session: Session, keys: int, flags: tuple[str, ...]) -> None:
        self.session, self.keys, self.flags = session, keys, flags
        self.name = session.fresh_name("restore")
        topics = {topic: f"{self.name}-{topic}" for topic in ("orders", "order-totals", "orders.dlq", "orders.late")}
        session.create_topics(*(f"{topic}:{PARTITIONS}" for topic in topics.values()),
                              f"{self.name}-orders-changelog:{PARTITIONS}:compact")
        document = json.loads((session.root / "bench/pipelines/restore.json").read_text())
        for member in ("source", "output", "dead_letter", "late"):
            document[member]["topic"] = topics[document[member]["topic"]]
        self.file = session.directory / f"{self.name}.json"
        self.file.write_text(json.dumps({**document, "name": self.name}))
        self.input = topics["orders"]
        session.tool("load", topic=self.input, kind="orders", count=keys, start_ms=session.start_ms)
        self.starts = 0

    def _start(self) -> tuple[Process, int]:
        self.starts += 1
        port = self.session.free_port()
        return self.session.start(f"{self.name}-{self.starts}", [
            self.session.bin_dir / "analytics", f"--kafka.bootstrap.servers={self.session.kafka.bootstrap}",
            "--http.host=127.0.0.1", f"--http.port={port}", "--log.format=json", f"--pipeline.file={self.file}",
            *FLAGS, *self.flags]), port

    def fill(self) -> None:
        process, _ = self._start()
        self.session.tool("progress", group=self.name, topic=self.input, pid=process.pid, end=self.keys,
                          timeout_s=FILL_SECONDS)
        self.session.kill(process)

    def restore(self) -> dict[str, float]:
        begin = time.monotonic()
        process, port = self._start()
        self.session.await_ready(process, lambda: is_ready(port), READY_SECONDS, poll_seconds=0.005)
        ready = time.monotonic() - begin
        seconds, keys = _seconds_in_log(process)
        if keys != self.keys:
            raise BenchFailed(f"{self.name}: {keys} keys came back of {self.keys}")
        figures = {"restore_s": round(seconds, 3), "ready_s": round(ready, 3),
                   "peak_rss_mib": usage.peak_rss_mib(process.pid)}
        self.session.kill(process)
        return figures


def run(session: Session) -> dict[str, Any]:
    """The sides take turns."""
    keys = QUICK_KEYS if session.plan.quick else KEYS
    sides = {"changelog": _Restores(session, keys, ()),
             "local": _Restores(session, keys, (f"--state.dir={session.directory / 'state'}",))}
    rounds: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for restores in sides.values():
        restores.fill()
    for number in range(session.plan.rounds):
        for side, restores in sides.items():
            rounds[side].append(restores.restore())
            say(f"restore, round {number + 1}: {side} {rounds[side][-1]}")
    return {"keys": keys, **{side: {**{key: median(each[key] for each in figures) for key in figures[0]},
                                    "rounds": figures} for side, figures in rounds.items()}}
