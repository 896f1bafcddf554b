"""A topic that is deleted and created again while it is streamed: told, and read from its beginning."""

from __future__ import annotations

import json

import pytest

from conftest import MakeSite
from harness.kafka import delete_topic
from harness.platform import Settings
from harness.reader import ReadError, SseStream, produce, read_topic
from harness.waiting import wait_for
from site_under_test import Site

TOPIC = "short-lived"


@pytest.fixture(scope="module")
def site(make_site: MakeSite) -> Site:
    return make_site(settings=Settings(services=("ingest-api", "query-api")))


def create_topic(site: Site, partitions: int) -> None:
    """Again and again: for a while Kafka may still know the one that was deleted."""
    file = site.platform.layout.run_dir / f"{TOPIC}.topics.json"
    file.write_text(json.dumps([{"name": TOPIC, "partitions": partitions}]))

    def created() -> bool:
        site.platform.create_topics(file)
        try:
            read_topic(site.cluster.bootstrap, TOPIC)
        except ReadError:
            return False
        return True

    wait_for(f"topic {TOPIC} to be there", 60.0, created)


def values(stream: SseStream) -> list[int]:
    return [event.json()["value"]["n"] for event in stream.records()]


def test_remade__open_streams_and_old_positions__are_told_and_get_all_of_the_new(site: Site) -> None:
    create_topic(site, 2)
    produce(site.cluster.bootstrap, TOPIC, [f'{{"n":{n}}}'.encode() for n in range(20)])
    _, port = site.start_second("query-api", f"--query.topics={TOPIC}")
    path = f"/events/{TOPIC}?envelope=1&from=earliest"
    with SseStream(port, path) as stream, SseStream(port, path) as gone:
        stream.wait_until("20 records", 60.0, lambda s: len(s.records()) == 20)
        gone.wait_until("20 records", 60.0, lambda s: len(s.records()) == 20)
        old_id = gone.last_id
        delete_topic(site.cluster.bootstrap, TOPIC)
        create_topic(site, 2)
        produce(site.cluster.bootstrap, TOPIC, [f'{{"n":{n}}}'.encode() for n in range(100, 150)])
        stream.wait_until("the gap", 60.0, lambda s: any(e.name == "gap" for e in s.events))
        told = next(i for i, event in enumerate(stream.events) if event.name == "gap")
        stream.wait_until("all of the new topic", 60.0, lambda s: sum(
            1 for event in s.events[told:] if not event.name) == 50)
        after = [event.json()["value"]["n"] for event in stream.events[told:] if not event.name]
        assert sorted(after) == list(range(100, 150))
    with SseStream(port, path, old_id) as again:
        again.wait_until("all of the new topic", 60.0, lambda s: len(s.records()) == 50)
        assert again.events[0].name == "gap" and sorted(values(again)) == list(range(100, 150))
