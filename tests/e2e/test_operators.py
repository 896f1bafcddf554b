"""What query-api tells those who look after the platform, on real Kafka: topics, consumer groups, how far
they are behind."""

from __future__ import annotations

import json
from typing import Any

from harness.reader import http_get, read_topic
from harness.waiting import wait_for
from site_under_test import Site


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
