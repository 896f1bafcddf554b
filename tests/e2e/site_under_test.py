"""One Kafka, one platform and every ledger: what the tests of a file share.

The ledger grows over all tests of the file and each verdict recounts all of it: a test thus also
shows that it harmed nothing that an earlier one had stored.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from harness import ports
from harness.kafka import KafkaCluster
from harness.ledger import Entry, LedgerWriter, read_ledgers
from harness.orders import OrderMaker, OrderPoster
from harness.platform import Platform, is_ready
from harness.process import Ended, Process
from harness.reader import ReadError, SseStream, http_request, read_topic
from harness.settle import Verdict, settle
from harness.verify import duration_ms, format_discrepancies
from harness.waiting import wait_for


class Site:
    """Starts, loads, disturbs and judges one installation."""

    def __init__(self, cluster: KafkaCluster, platform: Platform) -> None:
        self.cluster = cluster
        self.platform = platform
        self.orders = OrderMaker("e2e")
        self._ledger = LedgerWriter(platform.layout.run_dir / "ledger" / "posted.ndjson")
        self._poster = OrderPoster(platform.ports["ingest-api"], self._ledger)
        self._ledgers: list[Path] = [self._ledger.path]
        self._seconds: list[Process] = []

    # --- Start and end ---------------------------------------------------------------------------

    def start(self) -> None:
        self.platform.create_topics()
        self.platform.seed_products()
        self.platform.start()

    def start_second(self, name: str, *more: str) -> tuple[Process, int]:
        """Another replica of a service, with more flags; and its port. It ends with the site."""
        first, port = self.platform.service(name), ports.free_block(1)
        argv = [word for word in first.argv if not word.startswith("--http.port=")]
        label = f"{name}-{len(self._seconds) + 2}"
        second = Process(label, [*argv, f"--http.port={port}", *more], self.platform.layout.log(label),
                         cwd=self.platform.layout.run_dir).start()
        self._seconds.append(second)

        def ready() -> bool:
            second.require_running()
            return is_ready(port)

        wait_for(f"the second {name} becomes ready", 60.0, ready)
        return second, port

    def close(self) -> None:
        """End everything. How services end is tested where that is the subject."""
        self._poster.close()
        self._ledger.close()
        for second in self._seconds:
            second.kill()
        self.platform.kill_all()
        self.cluster.down()

    def stop_cleanly(self) -> None:
        """Stop in drain order; each must end by itself with exit code 0."""
        unclean = [ended for ended in self.platform.stop() if not ended.is_clean]
        assert not unclean, unclean

    def add_topic(self, name: str) -> None:
        """One more topic, of one partition, that ingest-api has heard of."""
        file = self.platform.layout.run_dir / f"{name}.topics.json"
        file.write_text(json.dumps([{"name": name, "partitions": 1}]))
        self.platform.create_topics(file)
        wait_for(f"ingest-api to hear of topic {name}", 60.0,
                 lambda: http_request(self.port("ingest-api"), "POST", f"/events/{name}", b"{}").status == 201)

    def port(self, service: str) -> int:
        return self.platform.ports[service]

    # --- Load ------------------------------------------------------------------------------------

    def post_good(self, **wishes: str | int) -> Entry:
        return self._poster.post(self.orders.good(**wishes))    # type: ignore[arg-type]

    def post_bad(self) -> Entry:
        return self._poster.post(self.orders.bad())

    def add_entry(self, entry: Entry) -> None:
        """For events that a test sent by other means."""
        self._ledger.add(entry)

    def start_load(self, rate: int, *flags: str) -> None:
        self._ledgers.append(self.platform.start_load(rate, *flags))

    def stop_load(self) -> None:
        ended = self.platform.stop_load()
        assert ended and ended.is_clean, ended

    def answered(self) -> int:
        """Ledger lines of the present load so far, whatever the answer."""
        path = self._ledgers[-1]
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def acknowledged(self) -> int:
        path = self._ledgers[-1]
        return path.read_bytes().count(b'"outcome":"ok"') if path.exists() else 0

    def await_acknowledged(self, more: int, seconds: float = 60.0) -> None:
        """Wait until the load has got `more` further acknowledgements."""
        wanted = self.acknowledged() + more

        def enough() -> bool:
            if self.platform.generator is not None:
                self.platform.generator.require_running()
            return self.acknowledged() >= wanted

        wait_for(f"{more} more acknowledgements (have {wanted - more})", seconds, enough)

    def await_random_moment(self, rng: random.Random, most: int = 250) -> None:
        """A moment that the seed chooses, counted in events so that it means the same anywhere."""
        self.await_acknowledged(rng.randint(1, most))

    # --- Verdict ---------------------------------------------------------------------------------

    def entries(self) -> list[Entry]:
        return read_ledgers(self._ledgers)

    def require_exact(self, seconds: float = 60.0, stopped: bool = False) -> Verdict:
        """Wait until everything accepted has come through; fail with what differs."""
        settings = self.platform.settings
        lines = self.platform.layout.metrics_file if "sink" in settings.services else None
        alive = (lambda: None) if stopped else self.platform.require_running
        verdict = settle(self.cluster.bootstrap, self.entries(), duration_ms(settings.window), lines, seconds, alive)
        if verdict.found:
            first = verdict.found[0]    # in the first line: a summary shows no other
            pytest.fail(f"after {verdict.seconds:.0f} s {len(verdict.found)} discrepancies, first {first.kind} "
                        f"{first.where}:\n{format_discrepancies(verdict.found)}")
        return verdict

    def restart(self, name: str) -> None:
        self.platform.restart(name)

    def terminate(self, name: str) -> Ended:
        """SIGTERM: must drain and end with exit code 0 before its deadline."""
        ended = self.platform.stop_service(name)
        assert ended.is_clean, self.platform.service(name).trouble(f"did not drain: {ended}")
        return ended


def open_stream(site: Site, path: str, last_id: str | None = None, port: int | None = None) -> SseStream:
    """Connect as a browser does: again and again while the server is away."""
    def attempt() -> SseStream | None:
        try:
            return SseStream(port or site.port("query-api"), path, last_id)
        except (OSError, ReadError):
            return None
    return wait_for("query-api takes a stream", 60.0, attempt)


def require_stream_complete(site: Site, topics: list[str], seen: dict[tuple[str, int, int], int]) -> None:
    """Every record of the topics was seen by a stream exactly once: no gap, no repeat."""
    wanted = {(topic, record.partition, record.offset)
              for topic in topics for record in read_topic(site.cluster.bootstrap, topic)}
    lost, repeated = sorted(wanted - seen.keys()), sorted(key for key, times in seen.items() if times > 1)
    strange = sorted(seen.keys() - wanted)
    assert not (lost or repeated or strange), (
        f"{len(lost)} lost {lost[:5]}, {len(repeated)} repeated {repeated[:5]}, {len(strange)} strange {strange[:5]}")


def count_positions(stream: SseStream, seen: dict[tuple[str, int, int], int]) -> None:
    """Add a stream's enveloped records to the positions seen."""
    for event in stream.records():
        envelope = event.json()
        key = envelope["topic"], envelope["partition"], envelope["offset"]
        seen[key] = seen.get(key, 0) + 1
