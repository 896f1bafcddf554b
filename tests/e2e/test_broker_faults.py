"""Brokers die and come back during load: nothing acknowledged is lost, nothing is there twice, and who watches by a
stream sees all of it once."""

from __future__ import annotations

from contextlib import suppress

from conftest import MakeSite
from harness.platform import Settings
from harness.reader import SseStream, read_topics
from harness.verify import METRICS, ORDERS, PROCESSED
from harness.waiting import DeadlineExceeded, wait_for
from site_under_test import Site, open_stream

RATE = 200
TOPICS = [ORDERS, PROCESSED, METRICS]
PATH = f"/events/{','.join(TOPICS)}?envelope=1&from=earliest&slow=catch-up"
# A replica that remembers next to nothing: who comes back to it reads from the brokers.
FORGETFUL = ("--query.ring.bytes=4KiB", "--query.load.records=1")

# However long a busy machine takes to start a broker: what times out first may be there twice (kafka_config.c).
PATIENT = "--kafka.message.timeout.ms=600000"
SECONDS = 240.0


class Watcher:
    """A client that watches all partitions, by one connection or, as EventSource does, by one after the other, each from
    the last id on."""

    def __init__(self, site: Site, port: int | None = None) -> None:
        self._site, self._port = site, port
        self._next: dict[tuple[str, int], int] = {}
        self._seen: set[tuple[str, int, int]] = set()
        self.stream = open_stream(site, PATH, port=port)

    def come_back(self) -> None:
        self.stream.close()
        self._take(self.stream)
        self.stream = open_stream(self._site, PATH, self.stream.last_id, self._port)

    def _take(self, stream: SseStream) -> None:
        """No gap: records in each partition's order, so that none is there twice."""
        for event in stream.events:
            if event.name in ("lagged", "error"):    # it reads from the brokers what it was too slow for; it cannot now
                continue
            assert not event.name, event
            record = event.json()
            topic, partition, offset = record["topic"], record["partition"], record["offset"]
            assert offset >= self._next.get((topic, partition), 0), f"{topic}[{partition}]@{offset} again, or late"
            self._next[topic, partition] = offset + 1
            self._seen.add((topic, partition, offset))

    def require_all(self, wanted: set[tuple[str, int, int]], keeps: bool) -> None:
        """keeps: by the connection that it began with."""
        def has_all() -> bool:
            if self.stream.has_ended:
                assert not keeps, self.stream.events[-3:]
                self.come_back()
            return len(self._seen) + len(self.stream.records()) >= len(wanted)

        with suppress(DeadlineExceeded):    # what is missing is told below
            wait_for("the stream shows all", SECONDS, has_all)
        self.stream.close()
        self._take(self.stream)
        lost, strange = sorted(wanted - self._seen), sorted(self._seen - wanted)
        assert not (lost or strange), f"{len(lost)} lost {lost[:5]}, {len(strange)} strange {strange[:5]}"


def require_all_seen(site: Site, keeps: Watcher, *others: Watcher) -> None:
    wanted = {(topic, record.partition, record.offset)
              for topic, records in read_topics(site.cluster.bootstrap, TOPICS).items() for record in records}
    keeps.require_all(wanted, keeps=True)
    for watcher in others:
        watcher.require_all(wanted, keeps=False)


def test_only_broker_killed_or_stopped__and_started_again(make_site: MakeSite) -> None:
    """While it is away ingest-api refuses or waits; afterwards everything goes on by itself. Streams stay open."""
    site = make_site(brokers=1, settings=Settings(flags={"ingest-api": [PATIENT]}))
    cluster = site.cluster
    _, forgetful = site.start_second("query-api", *FORGETFUL)
    site.start_load(RATE)
    keeps, returns, asks_kafka = Watcher(site), Watcher(site), Watcher(site, forgetful)
    for leave, come in ((lambda: cluster.kill(1), lambda: cluster.restart(1)), (cluster.stop, cluster.start_again)):
        site.await_acknowledged(RATE, SECONDS)
        returns.come_back()
        leave()
        for watcher in (returns, asks_kafka):
            watcher.come_back()
        come()
        site.await_acknowledged(RATE, SECONDS)
        for watcher in (returns, asks_kafka):
            watcher.come_back()
    site.stop_load()
    site.require_exact(SECONDS)
    require_all_seen(site, keeps, returns, asks_kafka)
    site.stop_cleanly()
    site.close()    # a fourth broker would be too much for a small machine


def test_each_of_three_brokers_killed_and_restarted(make_site: MakeSite) -> None:
    """Leaders, coordinators and the controller: each is on some broker, so each falls once."""
    site = make_site(brokers=3, settings=Settings(flags={"ingest-api": [PATIENT]}))
    site.start_load(RATE)
    keeps, returns = Watcher(site), Watcher(site)
    for broker in (1, 2, 3):
        site.await_acknowledged(RATE, SECONDS)
        site.cluster.kill(broker)
        returns.come_back()
        site.await_acknowledged(RATE, SECONDS)    # two brokers are enough
        site.cluster.restart(broker)
    site.cluster.pause(2)    # a broker that hangs: its connections stay, nothing answers
    returns.come_back()
    site.await_acknowledged(RATE, SECONDS)
    site.cluster.resume(2)
    site.await_acknowledged(RATE, SECONDS)
    site.stop_load()
    site.require_exact(SECONDS)
    require_all_seen(site, keeps, returns)
