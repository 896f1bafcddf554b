"""scripts/demo --pipeline NAME: a pipeline that ships at work on the records of its example.

examples/NAME has demo.json (who runs what), topics.json, and the records: the lines of stream-test,
so that the data of the demo are those of the golden test. Their times are moved so that the last
one is now.
"""

from __future__ import annotations

import argparse
import http.client
import json
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Iterator
from urllib.parse import quote

from harness.demo_run import ROOT, Interrupt, Interrupted, make_broker, make_run_dir, require_free_ports, say, stop_all
from harness.kafka import bin_dir
from harness.platform import Layout, Platform, Settings
from harness.process import ProcessFailed
from harness.reader import SseStream
from harness.verify import SECONDS_BELOW, event_time_ms

EXAMPLES = ROOT / "examples"
PAUSE_SECONDS = 0.2    # between two records
TURN_SECONDS = 0.2
VALUE_CHARACTERS = 300


def pipeline_names() -> list[str]:
    return sorted(path.parent.name for path in EXAMPLES.glob("*/demo.json"))


class Example:
    """examples/NAME."""

    def __init__(self, name: str) -> None:
        self.folder = EXAMPLES / name
        described = json.loads((self.folder / "demo.json").read_text())
        self.summary: str = described["summary"]
        self.pipelines: dict[str, str] = {
            service: f"pipelines/{pipeline}.json" for service, pipeline in described["pipelines"].items()}
        self.shown: list[str] = described["show"]
        lines = (self.folder / described["records"]).read_text().splitlines()
        self._records = [record for record in map(json.loads, lines) if "topic" in record]

    def records(self, now_ms: int) -> Iterator[tuple[str, str | None, Any]]:
        """Topic, key and value of what can be posted, in order, the last of them now."""
        times = [at for record in self._records for at in _times(record.get("value"))]
        shift_ms = now_ms - max(times, default=now_ms)
        for record in self._records:
            if isinstance(record.get("value"), dict):    # no tombstones, nothing that is not JSON
                yield record["topic"], record.get("key"), _moved(record["value"], shift_ms)


TIME_MEMBERS = ("timestamp", "time")


def _time_ms(value: Any) -> int | None:
    """None where it is no time: such a record goes as it is."""
    try:
        return event_time_ms(value)
    except (TypeError, ValueError, ArithmeticError):
        return None


def _times(value: Any) -> Iterator[int]:
    for name in TIME_MEMBERS:
        at = _time_ms(value.get(name)) if isinstance(value, dict) else None
        if at is not None:
            yield at


def _moved(value: dict[str, Any], shift_ms: int) -> dict[str, Any]:
    """The value with its times moved, each in the form that it has."""
    moved = dict(value)
    for name in TIME_MEMBERS:
        at = _time_ms(value.get(name))
        if at is None:
            continue
        if isinstance(value[name], str):
            text = datetime.fromtimestamp((at + shift_ms) / 1000, timezone.utc).isoformat(timespec="milliseconds")
            moved[name] = text.replace("+00:00", "Z")
        else:
            moved[name] = (at + shift_ms) / 1000 if value[name] < SECONDS_BELOW else at + shift_ms
    return moved


class PipelineDemo:
    """One run: start, feed, show, stop."""

    def __init__(self, given: argparse.Namespace, interrupt: Interrupt) -> None:
        self._given = given
        self._interrupt = interrupt
        self._example = Example(given.pipeline)
        self._layout = Layout(ROOT, bin_dir(ROOT), make_run_dir(given.keep))
        self._broker = make_broker(given.kafka, self._layout, self._example.folder / "topics.json")
        self._platform: Platform | None = None

    def run(self) -> int:
        """The exit code: 0, or 1 when something did not end as it should."""
        try:
            platform = self._start()
            say(HINTS.format(summary=self._example.summary, query=platform.ports["query-api"],
                             topics="\n                ".join(self._example.shown),
                             ingest=platform.ports["ingest-api"], topic=self._example.shown[0]))
            self._use(platform)
        except Interrupted:
            pass
        finally:
            clean = stop_all(self._platform, self._broker)
        say(f"Logs of this run: {self._layout.run_dir}")
        return 0 if clean else 1

    def _start(self) -> Platform:
        require_free_ports(self._given.port_base)
        say(f"Starting {f'Kafka with {self._given.kafka} broker(s)' if self._given.kafka else 'dev-broker'} …")
        self._broker.up()
        self._interrupt.check()
        folder = self._example.folder.relative_to(ROOT)
        settings = Settings(window=None, port_base=self._given.port_base, kafka=self._broker.properties,
                            services=("ingest-api", *self._example.pipelines, "query-api"),
                            topics=str(folder / "topics.json"), pipelines=self._example.pipelines,
                            shown=self._example.shown)
        self._platform = platform = Platform(self._layout, self._broker.bootstrap, settings)
        self._interrupt.guard(platform, self._broker)
        if self._given.kafka:
            platform.create_topics()
        platform.start(self._say_ready)
        return platform

    def _say_ready(self, name: str) -> None:
        assert self._platform is not None
        runs = self._example.pipelines.get(name)
        say(f"  {name:<11} ready on http://127.0.0.1:{self._platform.ports[name]}{f' ({runs})' if runs else ''}")
        self._interrupt.check()

    def _use(self, platform: Platform) -> None:
        """Feed the records, show what comes out, until the time is over or the user wants an end."""
        end = time.monotonic() + self._given.seconds if self._given.seconds else float("inf")
        stream = f"/events/{','.join(self._example.shown)}?from=earliest&envelope=1"
        records = self._example.records(int(time.time() * 1000))
        posted = shown = 0
        with SseStream(platform.ports["query-api"], stream) as outputs:
            while time.monotonic() < end and not self._interrupt.is_wanted:
                platform.require_running()
                record = next(records, None)
                if record:
                    self._post(platform.ports["ingest-api"], *record)
                    posted += 1
                for event in outputs.records()[shown:]:
                    shown += 1
                    said = json.loads(event.data)
                    say(f"→ {said['topic']} {said['key']} {json.dumps(said['value'])[:VALUE_CHARACTERS]}")
                time.sleep(PAUSE_SECONDS if record else TURN_SECONDS)
        say(f"{posted} records posted, {shown} came out.")
        if self._given.seconds and not shown:
            raise ProcessFailed("nothing came out")

    @staticmethod
    def _post(port: int, topic: str, key: str | None, value: Any) -> None:
        query = f"?key={quote(key)}" if key else ""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("POST", f"/events/{topic}{query}", json.dumps(value).encode(),
                               {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
        finally:
            connection.close()
        say(f"← {topic} {key or ''} {json.dumps(value)[:VALUE_CHARACTERS]}{'' if answer.status == 201 else f' {answer.status}'}")


HINTS = """
  {summary}
  Records that go in are shown with ←, what comes out with →.

  Live events   curl -N http://127.0.0.1:{query}/events/{topic}
  Of            {topics}
  API           http://127.0.0.1:{ingest}/docs   http://127.0.0.1:{query}/docs

Ctrl-C stops everything in drain order.
"""
