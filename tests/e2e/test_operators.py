"""What query-api tells those who look after the platform, on real Kafka: topics, consumer groups, how far
they are behind; dead letters, and that each is sent back once."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import pytest

from conftest import MakeSite
from harness.platform import Settings
from harness.reader import Record, http_get, http_request, read_topic
from harness.waiting import wait_for
from site_under_test import Site

LETTERS = "/dead-letters/orders.dlq"


@pytest.fixture(scope="module")
def site(make_site: MakeSite) -> Site:
    """The usual site, from which dead letters may be sent back."""
    return make_site(settings=Settings(flags={"query-api": ["--query.control=on"]}))


def ask(site: Site, path: str) -> dict[str, Any]:
    answer = http_get(site.port("query-api"), path)
    assert answer.status == 200, answer
    found = json.loads(answer.body)
    assert found["complete"], found["reasons"]
    return found


def group(site: Site, name: str) -> dict[str, Any]:
    return ask(site, f"/groups/{name}")


def await_status(site: Site, name: str, status: str, lag: int) -> dict[str, Any]:
    def there() -> bool:
        found = group(site, name)
        return found["status"] == status and found["lag"] == lag

    wait_for(f"{name} to be {status} with a lag of {lag}", 60, there)
    return group(site, name)


def test_topics__say_what_kafka_holds(site: Site) -> None:
    for _ in range(30):
        site.post_good()
    site.require_exact()
    held = read_topic(site.cluster.bootstrap, "orders")
    rows = {row["topic"]: row for row in ask(site, "/topics")["items"]}
    assert rows["orders"]["records"] == len(held) == 30
    assert not rows["orders"]["internal"] and rows["__consumer_offsets"]["internal"]
    assert rows["products"]["settings"]["cleanup_policy"] == "compact"
    topic = ask(site, "/topics/orders")
    assert len(topic["partitions"]) == topic["partition_count"]
    for partition in topic["partitions"]:
        newest = [record.offset for record in held if record.partition == partition["partition"]]
        assert partition["first"] == 0 and partition["next"] == (max(newest) + 1 if newest else 0)
    assert [row["lag"] for row in topic["groups"]] == [0] and topic["groups"][0]["group"] == "orders"


def test_groups__say_who_reads_and_how_far(site: Site) -> None:
    well = await_status(site, "orders", "ok", 0)
    assert well["state"] == "Stable" and well["member_count"] == len(well["members"]) >= 1
    read = {(row["topic"], row["partition"]): row for row in well["offsets"]}
    members = {member["id"] for member in well["members"]}
    assert all(read["orders", p["partition"]]["member"] in members for p in ask(site, "/topics/orders")["partitions"])
    assert http_get(site.port("query-api"), "/groups/none").status == 404


def test_groups__one_whose_members_have_gone__comes_first(site: Site) -> None:
    site.terminate("processor")
    for _ in range(12):
        site.post_good()
    stopped = await_status(site, "orders", "stopped", 12)
    assert stopped["state"] == "Empty" and stopped["members"] == []
    assert stopped["reasons"] == ["nobody is in the group, 12 wait"]
    assert ask(site, "/groups")["items"][0]["group"] == "orders"
    site.restart("processor")
    await_status(site, "orders", "ok", 0)
    site.require_exact()


# --- Dead letters ------------------------------------------------------------------------------------

def pages(site: Site, limit: int, **chosen: str) -> list[dict[str, Any]]:
    """All letters that are chosen, page by page."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    for _ in range(1000):
        answer = http_get(site.port("query-api"), f"{LETTERS}?{urlencode({'limit': limit, **chosen, **cursor})}")
        assert answer.status == 200, answer
        page = json.loads(answer.body)
        found += page["items"]
        if not page["next_cursor"]:
            return found
        cursor = {"cursor": page["next_cursor"]}
    raise AssertionError("the pages do not end")


def replay(site: Site, **wishes: str | int) -> dict[str, Any]:
    """200, or another one is under way: then it is asked for again."""
    answers: list[Any] = []

    def done() -> bool:
        answers.append(http_request(site.port("query-api"), "POST", f"{LETTERS}/replay", json.dumps(wishes).encode(),
                                    {"Content-Type": "application/json"}, seconds=60))
        assert answers[-1].status in (200, 409), answers[-1]
        return answers[-1].status == 200

    wait_for("the replay", 60, done)
    return json.loads(answers[-1].body)


def place(letter: dict[str, Any]) -> tuple[int, int]:
    return letter["partition"], letter["offset"]


def test_dead_letters__each_on_one_page_and_as_it_was_written(site: Site) -> None:
    """Written by transactions, whose ends lie between them."""
    for _ in range(120):    # of four kinds, two of which ingest-api refuses
        site.post_bad()
    for _ in range(20):
        site.post_good()
    site.require_exact()
    written: dict[tuple[int, int], Record] = {
        record.position: record for record in read_topic(site.cluster.bootstrap, "orders.dlq")}
    shown = pages(site, 7)
    assert len(written) >= 40 and sorted(written) == sorted(place(letter) for letter in shown)
    for letter in shown:
        record = written[place(letter)]
        assert letter["value"] == record.value and letter["timestamp"] == record.timestamp_ms
        assert {header["name"]: header["value"] for header in letter["headers"]} == record.headers
        assert letter["source"] == "orders" and not letter["dealt_with"]
    codes = {letter["code"] for letter in shown}
    assert "reference-missing" in codes and len(codes) > 1
    for code in codes:
        assert len(pages(site, 50, code=code)) == sum(letter["code"] == code for letter in shown)
    partition, offset = min(written)
    raw = http_get(site.port("query-api"), f"{LETTERS}/{partition}/{offset}?format=raw")
    assert raw.body.decode() == written[partition, offset].value


def test_dead_letters__are_sent_back_once_however_often_it_is_asked_for(site: Site) -> None:
    """To a topic that nobody reads: sent where they came from, they would be refused again."""
    site.add_topic("parked")
    before = len(read_topic(site.cluster.bootstrap, "parked"))
    all_letters, chosen = pages(site, 100), pages(site, 100, code="reference-missing")
    one = chosen[0]
    told = replay(site, partition=one["partition"], offset=one["offset"], target="parked")
    assert told["sent"] == told["read"] == 1 and told["done"]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: replay(site, code="reference-missing", target="parked"), range(4)))
    assert sum(answer["sent"] for answer in answers) == len(chosen) - 1
    assert replay(site, code="reference-missing", target="parked")["sent"] == 0
    sent = read_topic(site.cluster.bootstrap, "parked")[before:]
    assert sorted(record.value or "" for record in sent) == sorted(letter["value"] for letter in chosen)
    waiting = pages(site, 100, waiting="1")
    assert {place(letter) for letter in waiting} == {place(letter) for letter in all_letters} - {
        place(letter) for letter in chosen}
    assert all(letter["dealt_with"] for letter in pages(site, 100, code="reference-missing"))
    discarded = replay(site, action="discard")
    assert discarded["sent"] == len(waiting) and not pages(site, 100, waiting="1")
