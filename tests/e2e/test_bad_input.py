"""Bad requests are refused with a reason, store nothing, and hurt nobody."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Iterator

import pytest

from harness.ledger import OK
from harness.platform import Settings
from harness.reader import Answer, http_request, read_topic
from harness.verify import ORDERS
from harness.waiting import wait_for
from conftest import MakeSite
from site_under_test import Site

JSON = {"Content-Type": "application/json"}
GOOD = '{"order_id":"o-bad-input","user_id":"u-1","product_id":"prod-1","amount":12.34,"timestamp":1700000000}'


@pytest.fixture(scope="module")
def site(make_site: MakeSite) -> Site:
    """ingest-api alone: what it refuses, no other service may ever see."""
    return make_site(settings=Settings(services=("ingest-api",)))


def changed(old: str, new: str) -> bytes:
    assert old in GOOD
    return GOOD.replace(old, new).encode()


MALFORMED = {
    "empty": b"",
    "blank": b"  \n",
    "open object": b"{",
    "truncated": GOOD[:-10].encode(),
    "truncated in a string": GOOD[:15].encode(),
    "trailing comma": changed("0}", "0,}"),
    "two documents": (GOOD + GOOD).encode(),
    "text after": (GOOD + "x").encode(),
    "NUL after": GOOD.encode() + b"\0",
    "no quotes": b"{order_id:1}",
    "single quotes": b"{'order_id':'o'}",
    "NaN": changed("12.34", "NaN"),
    "plus sign": changed("12.34", "+12.34"),
    "hex number": changed("12.34", "0x10"),
    "leading zero": changed("12.34", "012.34"),
    "raw newline in a string": changed("u-1", "u\n1"),
    "raw NUL in a string": changed("u-1", "u\0"),
    "bad escape": changed("u-1", "\\x41"),
    "half a surrogate pair cut": changed("u-1", "\\ud8"),
    "invalid UTF-8": changed("u-1", "u-1").replace(b"u-1", b"\xff\xfe"),
    "overlong UTF-8": changed("u-1", "u-1").replace(b"u-1", b"\xc0\xaf"),
    "UTF-8 of a surrogate": changed("u-1", "u-1").replace(b"u-1", b"\xed\xa0\x80"),
    "cut UTF-8": changed("u-1", "u-1").replace(b"u-1", b"\xe2\x82"),
    "UTF-16": GOOD.encode("utf-16"),
    "deep arrays": b"[" * 100_000,
    "deep arrays, closed": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "deep inside a field": changed("12.34", "[" * 5000 + "]" * 5000),
}

INVALID = {
    "a number": b"1",
    "a string": b'"order"',
    "null": b"null",
    "no field": b"{}",
    "array of numbers": b"[1,2]",
    "field missing": changed('"user_id":"u-1",', ""),
    "amount is text": changed("12.34", '"12.34"'),
    "id is a number": changed('"o-bad-input"', "1"),
    "id empty": changed('"o-bad-input"', '""'),
}


def require_problem(answer: Answer, statuses: set[int]) -> None:
    """A refusal has an expected status and a problem body that says why."""
    assert answer.status in statuses, answer
    assert answer.headers["content-type"] == "application/problem+json", answer
    problem = answer.json()
    assert problem["status"] == answer.status, problem
    for field in ("type", "title", "detail", "code", "retryable", "request_id"):
        assert field in problem, (field, problem)


def post(site: Site, body: bytes, path: str = "/events/orders", headers: dict[str, str] | None = None) -> Answer:
    return http_request(site.port("ingest-api"), "POST", path, body, JSON if headers is None else headers)


@pytest.fixture(autouse=True)
def good_clients_are_served(site: Site) -> Iterator[None]:
    """After each bad request the service lives and takes a good one."""
    yield
    assert site.post_good().outcome == OK


@pytest.mark.parametrize("label", MALFORMED)
def test_malformed__is_400(site: Site, label: str) -> None:
    require_problem(post(site, MALFORMED[label]), {400, 422} if label.startswith("deep") else {400})


@pytest.mark.parametrize("label", INVALID)
def test_well_formed_but_wrong__is_422_with_pointers(site: Site, label: str) -> None:
    answer = post(site, INVALID[label])
    require_problem(answer, {400, 422} if label in ("a number", "a string", "null") else {422})


def test_too_large__is_413(site: Site) -> None:
    require_problem(post(site, changed("u-1", "u" * (2 << 20))), {413})


def test_too_large_for_the_default_connection__does_not_wait_for_the_body(site: Site) -> None:
    """32 MiB announced: refused by the announcement, not after all of it was taken in."""
    answer = http_request(site.port("ingest-api"), "POST", "/events/orders", b"{}",
                          {**JSON, "Content-Length": str(32 << 20)})
    require_problem(answer, {413})


@pytest.mark.parametrize("topic,statuses", [
    ("no-such-topic", {404, 403}), ("__consumer_offsets", {403, 404}), ("..", {400, 404, 403}),
    ("a" * 300, {400, 403, 404}), ("or%2Fders", {400, 403, 404}), ("or%00ders", {400}), ("%ff", {400, 403, 404}),
])
def test_topic_unknown_or_not_allowed__is_refused(site: Site, topic: str, statuses: set[int]) -> None:
    require_problem(post(site, GOOD.encode(), f"/events/{topic}"), statuses)


@pytest.fixture(scope="module")
def undeclared(site: Site, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Topics that ingest-api's own topics.file says nothing of."""
    file = tmp_path_factory.mktemp("topics") / "undeclared.json"
    file.write_text(json.dumps([{"name": "kept-states", "config": {"cleanup.policy": "compact"}},
                                {"name": "short-notes", "config": {"max.message.bytes": "10000"}},
                                {"name": "fresh-notes", "config": {"message.timestamp.before.max.ms": "3600000"}}]))
    site.platform.create_topics(file)


def await_answer(site: Site, topic: str, body: bytes, code: str, headers: dict[str, str] | None = None) -> Answer:
    """What Kafka says of a topic is known to each worker soon after it has used it."""
    def answer() -> Answer | None:
        got = post(site, body, f"/events/{topic}", headers)
        said = got.json()
        return got if code == said.get("code", said.get("status", "stored")) else None

    return wait_for(f"{topic}: {code}", 60.0, answer)


def test_keyless_for_a_compacted_topic__is_422_by_what_kafka_says(site: Site, undeclared: None) -> None:
    require_problem(await_answer(site, "kept-states", b'{"a":1}', "key-missing"), {422})
    assert post(site, b'{"a":1}', "/events/kept-states?key=k").status == 201


def test_larger_than_a_topic_takes__is_413_by_what_kafka_says(site: Site, undeclared: None) -> None:
    large = b'{"a":"' + b"x" * 12000 + b'"}'
    require_problem(await_answer(site, "short-notes", large, "record-too-large"), {413})
    assert post(site, b'{"a":1}', "/events/short-notes").status == 201


def test_many_for_a_topic_that_takes_little_at_once__are_stored(site: Site, undeclared: None) -> None:
    """Each of them fits; all of them in one batch would be refused by Kafka as a whole."""
    lines = b'{"a":"' + b"x" * 200 + b'"}\n'
    answer = await_answer(site, "short-notes", lines * 500, "stored", {"Content-Type": "application/x-ndjson"})
    said = answer.json()
    assert (answer.status, said["stored"], said["failed"]) == (201, 500, 0), said


def test_refused_by_kafka_for_one_of_them__the_others_may_come_again(site: Site, undeclared: None) -> None:
    """Kafka refuses a batch as a whole and names the records that it is for: only they can never be stored."""
    now = datetime.now(timezone.utc)
    _, port = site.start_second("ingest-api", "--http.threads=1")

    def posted(notes: list[dict[str, object]]) -> Answer:
        return http_request(port, "POST", "/events/fresh-notes", json.dumps(notes).encode(),
                            {"Content-Type": "application/cloudevents-batch+json"})

    def note(number: int, time: datetime) -> dict[str, object]:
        return {"specversion": "1.0", "type": "note", "source": "/notes", "id": str(number), "partitionkey": "k",
                "time": time.isoformat(), "data": {"number": number}}

    assert posted([note(-1, now)]).status == 201    # its client knows the topic from here on
    notes = [note(number, now) for number in range(8)]
    notes[3] = note(3, now - timedelta(hours=5))
    notes[6] = note(6, now - timedelta(hours=5))
    answer = posted(notes)
    said = answer.json()
    assert (answer.status, said["stored"], said["failed"]) == (207, 0, 8), said
    codes = [(result["error"]["code"], result["retryable"]) for result in said["results"]]
    assert codes == [("kafka-rejected", False) if number in (3, 6) else ("kafka-batch-refused", True)
                     for number in range(8)], said
    assert "imestamp" in said["results"][3]["error"]["detail"], said
    answer = posted([note for number, note in enumerate(notes) if number not in (3, 6)])
    assert answer.status == 201, answer
    stored = {(result["partition"], result["offset"]): result["timestamp"] for result in answer.json()["results"]}
    records = [record for record in read_topic(site.cluster.bootstrap, "fresh-notes") if record.position in stored]
    assert {record.position: record.timestamp_ms for record in records} == stored
    assert [json.loads(record.value or "")["data"]["number"] for record in records] == [0, 1, 2, 4, 5, 7]


def test_wrong_method__is_405_with_allow(site: Site) -> None:
    answer = http_request(site.port("ingest-api"), "DELETE", "/events/orders")
    require_problem(answer, {405})
    assert "POST" in answer.headers["allow"]


def test_wrong_type__is_415(site: Site) -> None:
    require_problem(post(site, GOOD.encode(), headers={"Content-Type": "image/png"}), {415})


def test_refused__is_never_in_kafka(site: Site) -> None:
    values = {record.value for record in read_topic(site.cluster.bootstrap, ORDERS)}
    posted = {entry.value for entry in site.entries()}
    assert values == posted
