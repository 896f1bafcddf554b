"""SSE: resuming loses and repeats nothing; a slow client hurts only itself."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.reader import SseStream, http_get, read_topic
from harness.verify import METRICS, ORDERS, PROCESSED
from raw_http import connect
from site_under_test import Site, count_positions, open_stream, require_stream_complete

TOPICS = [ORDERS, PROCESSED, METRICS]
PATH = f"/events/{','.join(TOPICS)}?envelope=1&from=earliest"
RATE = 200
SLOW_CLIENTS = 20


def await_records(stream: SseStream, wanted: int) -> None:
    stream.wait_until(f"{wanted} records", 60.0, lambda s: len(s.records()) >= wanted)


def read_until_complete(site: Site, stream: SseStream, seen: dict[tuple[str, int, int], int]) -> None:
    """Read on until the stream has shown as many records as the topics hold in all."""
    verdict = site.require_exact()
    count = len(verdict.seen.orders) + len(verdict.seen.processed) + len(verdict.seen.metrics)
    wanted = count - len(seen)
    await_records(stream, wanted)
    count_positions(stream, seen)


@pytest.mark.parametrize("way", ["SIGTERM", "SIGKILL", "client drops"])
def test_resume__across_restarts__no_gap_and_no_repeat(site: Site, way: str) -> None:
    rng = random.Random(way)
    seen: dict[tuple[str, int, int], int] = {}
    site.start_load(RATE)
    site.await_acknowledged(RATE)
    stream = open_stream(site, PATH)
    for _ in range(3):
        wanted = rng.randint(50, 400)
        await_records(stream, wanted)
        if way == "SIGTERM":
            site.terminate("query-api")
        elif way == "SIGKILL":
            site.platform.kill("query-api")
        stream.close()
        count_positions(stream, seen)
        if way != "client drops":
            site.restart("query-api")
        stream = open_stream(site, PATH, stream.last_id)
    site.stop_load()
    read_until_complete(site, stream, seen)
    stream.close()
    require_stream_complete(site, TOPICS, seen)


def test_from_earliest__shows_every_record_once(site: Site) -> None:
    seen: dict[tuple[str, int, int], int] = {}
    with open_stream(site, PATH) as stream:
        read_until_complete(site, stream, seen)
    require_stream_complete(site, TOPICS, seen)


def test_last_event_id_by_query__is_taken_as_well(site: Site) -> None:
    """EventSource cannot set headers on its first connection."""
    with open_stream(site, PATH) as first:
        first.wait_until("some records", 60.0, lambda s: len(s.records()) >= 10)
    cursor = first.records()[9].id
    path = f"/events/{','.join(TOPICS)}?envelope=1&last_event_id={cursor.replace('~', '%7E')}"
    with SseStream(site.port("query-api"), path) as second:
        second.wait_until("a record", 60.0, lambda s: len(s.records()) >= 1)
        shown = {(e["topic"], e["partition"], e["offset"]) for e in (event.json() for event in second.records())}
    earlier = {(e["topic"], e["partition"], e["offset"]) for e in (event.json() for event in first.records()[:10])}
    assert shown.isdisjoint(earlier)


def test_since__older_than_memory__from_the_first_record_of_that_time(site: Site) -> None:
    """A replica that holds next to nothing must ask Kafka where the time begins."""
    stored = [site.post_good() for _ in range(60)]
    records = read_topic(site.cluster.bootstrap, ORDERS)
    since = next(record.timestamp_ms for record in records
                 if record.position == (stored[20].partition, stored[20].offset))
    begins = {partition: min((record.offset for record in records if record.partition == partition
                              and record.timestamp_ms >= since), default=None)
              for partition in {record.partition for record in records}}
    _, port = site.start_second("query-api", "--query.ring.bytes=4KiB", "--query.load.records=1")
    with SseStream(port, f"/events/{ORDERS}?envelope=1&since={since}") as stream:
        wanted = {record.position for record in records
                  if begins[record.partition] is not None and record.offset >= begins[record.partition]}
        await_records(stream, len(wanted))
        shown = [(e["partition"], e["offset"]) for e in (event.json() for event in stream.records())]
    assert len(shown) == len(set(shown)) and set(shown) == wanted


def resident_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no VmRSS of {pid}")


def test_slow_clients__hurt_only_themselves(site: Site) -> None:
    """Clients that never read: the others stay current, and memory stays within bounds."""
    site.start_load(RATE)
    with ExitStack() as stack:
        for _ in range(SLOW_CLIENTS):
            sock = stack.enter_context(connect(site.port("query-api")))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.sendall(f"GET {PATH} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n".encode())
        fast = stack.enter_context(SseStream(site.port("query-api"), f"/events/{ORDERS}?envelope=1"))
        fast.wait_open()
        before = resident_bytes(site.platform.service("query-api").pid)
        site.await_acknowledged(5 * RATE)
        site.stop_load()
        last = site.post_good()
        fast.wait_until("the last order", 60.0, lambda s: any(
            e["partition"] == last.partition and e["offset"] == last.offset
            for e in (event.json() for event in s.records()[-20:])))
        grown = resident_bytes(site.platform.service("query-api").pid) - before
        assert grown < 64 << 20, f"query-api grew by {grown >> 20} MiB"
    assert http_get(site.port("query-api"), "/health/ready").status == 200
    site.require_exact()


def test_unknown_topic__is_refused(site: Site) -> None:
    answer = http_get(site.port("query-api"), "/events/no-such-topic")
    assert answer.status in (403, 404) and answer.headers["content-type"] == "application/problem+json"
