"""Named consumers: what Kafka remembers, on any replica, through kills; and what becomes of names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conftest import MakeSite
from harness.platform import Settings
from harness.reader import Answer, ReadError, SseStream, http_get, http_request, read_topic
from harness.verify import ORDERS
from harness.waiting import wait_for
from raw_websocket import WebSocketClient
from site_under_test import Site

RATE = 200
ROUNDS = 3
NAMES_MAX = 4
ON = ["--query.consumers=on", "--query.consumers.commit.interval=300ms", f"--query.consumers.max={NAMES_MAX}",
      "--http.threads=2"]
Positions = set[tuple[int, int]]


@pytest.fixture(scope="module")
def site(make_site: MakeSite) -> Site:
    return make_site(settings=Settings(services=("ingest-api", "query-api"), flags={"query-api": ON}))


@pytest.fixture(scope="module")
def other(site: Site) -> int:
    """The port of another replica."""
    return site.start_second("query-api")[1]


def open_named(port: int, name: str, more: str = "") -> SseStream:
    stream = SseStream(port, f"/events/{ORDERS}?envelope=1&consumer={name}&from=earliest{more}")
    stream.wait_until("the name is open", 60.0, lambda s: told(s, "open"))
    return stream


def told(stream: SseStream, state: str) -> bool:
    return any(event.name == "consumer" and event.json()["state"] == state for event in list(stream.events))


def positions(stream: SseStream) -> list[tuple[int, int]]:
    return [(e["partition"], e["offset"]) for e in (event.json() for event in stream.records())]


def await_more(stream: SseStream, count: int) -> None:
    stream.wait_until(f"{count} records", 60.0, lambda s: len(s.records()) >= count)


def stored(site: Site) -> Positions:
    return {record.position for record in read_topic(site.cluster.bootstrap, ORDERS)}


def show(port: int, name: str) -> Any:
    answer = http_get(port, f"/consumers/{name}")
    assert answer.status == 200, answer
    return answer.json()


def committed(port: int, name: str) -> dict[int, int]:
    [topic] = show(port, name)["topics"]
    return {row["partition"]: row["committed"] for row in topic["partitions"]}


def names(port: int) -> list[str]:
    answer = http_get(port, "/consumers")
    assert answer.status == 200, answer
    return [item["name"] for item in answer.json()["items"]]


def post(port: int, path: str, **body: Any) -> Answer:
    return http_request(port, "POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"})


def require_goes_on(stream: SseStream, since: dict[int, int], seen: Positions) -> None:
    """Of each partition the stream began at what was committed, and nothing before that is missing."""
    first: dict[int, int] = {}
    for partition, offset in positions(stream):
        first.setdefault(partition, offset)
    for partition, offset in first.items():
        assert offset >= since[partition]
        missing = {(partition, at) for at in range(offset)} - seen
        assert not missing, sorted(missing)[:5]


def test_kill__another_replica_goes_on__nothing_is_lost(site: Site, other: int) -> None:
    seen: Positions = set()
    repeated = 0

    def count(stream: SseStream) -> None:
        nonlocal repeated
        found = positions(stream)
        assert len(found) == len(set(found)), "a stream showed a record twice"
        repeated += len(seen.intersection(found))
        seen.update(found)

    site.start_load(RATE)
    held: SseStream | None = None
    for _ in range(ROUNDS):
        first = open_named(site.port("query-api"), "killed")
        if held is not None:    # the other replica's stream: it is told, and what it was sent counts
            held.wait_until("that it was taken over", 60.0, lambda s: told(s, "taken"))
            held.close()
            count(held)
        await_more(first, RATE)
        site.platform.kill("query-api")
        first.close()
        count(first)
        since = committed(other, "killed")
        held = open_named(other, "killed")
        await_more(held, RATE)
        require_goes_on(held, since, seen)
        site.restart("query-api")
    site.stop_load()
    wanted = stored(site)
    assert held is not None
    held.wait_until("the rest", 60.0, lambda s: wanted <= seen.union(positions(s)))
    wait_for("all of it is committed", 60.0, lambda: show(other, "killed")["lag"] == 0)
    held.close()
    count(held)
    assert seen == wanted
    print(f"{len(seen)} records, {repeated} of them twice")
    assert 0 < repeated < len(seen)


def test_manual__goes_on_at_what_was_committed__on_another_replica(site: Site, other: int) -> None:
    for _ in range(20):
        site.post_good()
    wanted = stored(site)
    with open_named(site.port("query-api"), "manual", "&commit=manual") as stream:
        await_more(stream, len(wanted))
        dealt_with = stream.records()[len(wanted) // 2]
        assert post(other, "/consumers/manual/offsets", cursor=dealt_with.id, claim=1).status == 200
        behind = post(other, "/consumers/manual/offsets", cursor=stream.records()[0].id)
        assert behind.status == 409 and behind.json()["code"] == "consumer-stale"
    with open_named(other, "manual", "&commit=manual") as stream:
        rest = len(wanted) - len(wanted) // 2 - 1
        await_more(stream, rest)
        assert len(stream.records()) == rest
    assert http_request(other, "DELETE", "/consumers/manual").status == 204


def test_websocket__goes_on_at_what_it_committed__on_another_replica(site: Site, other: int) -> None:
    wanted = stored(site)
    with WebSocketClient(site.port("query-api")) as client:
        client.say(action="subscribe", subscription="s", topics=[ORDERS], consumer="socket", commit="manual",
                   **{"from": "earliest"})
        client.wait_until("all records", lambda told: sum("offset" in one for one in told) == len(wanted))
        records = [message for message in client.messages if "offset" in message]
        assert {(record["partition"], record["offset"]) for record in records} == wanted
        client.say(action="commit", subscription="s", cursor=records[len(wanted) // 2]["id"])
        client.wait_until("that it is committed", lambda told: told[-1].get("event") == "committed")
    rest = len(wanted) - len(wanted) // 2 - 1
    with open_named(other, "socket") as stream:
        await_more(stream, rest)
        assert len(stream.records()) == rest
        wait_for("all of it is committed", 60.0, lambda: show(other, "socket")["lag"] == 0)
    with WebSocketClient(other) as client:    # which takes over
        client.say(action="subscribe", subscription="s", topics=[ORDERS], consumer="socket", unacked_max=10)
        client.wait_until("it is open", lambda told: any(one.get("event") == "position" for one in told))
        last = site.post_good()
        client.wait_until("the one record", lambda told: told[-1].get("offset") == last.offset)
        assert show(other, "socket")["lag"] == 1
        client.say(action="ack", subscription="s", records=1)
        wait_for("what was acknowledged is committed", 60.0, lambda: show(other, "socket")["lag"] == 0)
    assert http_request(other, "DELETE", "/consumers/socket").status == 204


def test_reset__to_a_time__on_another_replica__ends_the_stream(site: Site, other: int) -> None:
    last = [site.post_good() for _ in range(10)][0]
    records = read_topic(site.cluster.bootstrap, ORDERS)
    since = next(record.timestamp_ms for record in records if record.position == (last.partition, last.offset))
    with open_named(site.port("query-api"), "reset") as stream:
        await_more(stream, len(records))
        wait_for("all of it is committed", 60.0, lambda: show(other, "reset")["lag"] == 0)
        answer = post(other, "/consumers/reset/reset", to=since)
        assert answer.status == 200, answer
        stream.wait_until("the reset", 60.0, lambda s: told(s, "reset"))
        last_id = stream.last_id
    begins = committed(other, "reset")
    wanted = {record.position for record in records if record.offset >= begins[record.partition]}
    assert all(record.timestamp_ms >= since or record.offset >= begins[record.partition]
               for record in records if record.position in wanted)
    assert {record.position for record in records if record.timestamp_ms >= since} <= wanted
    path = f"/events/{ORDERS}?envelope=1&consumer=reset"
    with SseStream(site.port("query-api"), path, last_id) as stream:    # as a browser comes back by itself
        await_more(stream, len(wanted))
        assert set(positions(stream)) == wanted


def test_names__listed_bounded_deleted(site: Site, other: int) -> None:
    port = site.port("query-api")
    known = names(port)
    new = [f"new-{n}" for n in range(NAMES_MAX - len(known))]
    streams = [open_named(port, name) for name in new]
    for name in new:
        wait_for(f"{name} has a position", 60.0, lambda: http_get(other, f"/consumers/{name}").status == 200)
    assert names(other) == sorted(known + new)
    with pytest.raises(ReadError):
        open_named(other, "one-too-many")
    assert "one-too-many" not in names(other)
    assert http_request(other, "DELETE", f"/consumers/{new[0]}").status == 204
    streams[0].wait_until("the deletion", 60.0, lambda s: told(s, "deleted"))
    assert names(port) == sorted(known + new[1:])
    assert http_request(port, "DELETE", f"/consumers/{new[0]}").status == 404
    for stream in streams:
        stream.close()
    for name in names(port):
        assert http_request(port, "DELETE", f"/consumers/{name}").status == 204


def test_unused_names__go__and_those_in_use_stay(site: Site) -> None:
    _, port = site.start_second("query-api", "--query.consumers.keep=2s")
    with open_named(port, "used") as used, open_named(port, "unused"):
        used.wait_open()
        wait_for("both have a position", 60.0, lambda: names(port) == ["unused", "used"])
    with open_named(port, "used"), open_named(port, "read", "&commit=manual"):    # and never committed
        wait_for("the one goes", 60.0, lambda: names(port) == ["read", "used"])
        since = show(port, "read")["used_at"]
        wait_for("the other is kept for longer", 60.0, lambda: show(port, "read")["used_at"] > since + 2000)
    wait_for("the others go", 60.0, lambda: names(port) == [])
