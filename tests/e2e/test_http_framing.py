"""Ambiguous requests: what two HTTP programs could read differently is refused, and nothing of it
reaches Kafka.

Each case carries a pipelined second request, as a smuggled one would be. It must never be answered:
a refused request ends its connection. A server may also close without any answer; it may never
answer 2xx.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

import pytest

from harness.ledger import OK, Entry
from harness.platform import Settings
from harness.reader import read_topic
from harness.verify import ORDERS
from conftest import MakeSite
from raw_http import exchange
from site_under_test import Site

BODY = b'{"order_id":"o-frame","user_id":"u-1","product_id":"prod-1","amount":12.34,"timestamp":1700000000}'
SECOND_BODY = BODY.replace(b"o-frame", b"o-smuggled")
LENGTH = str(len(BODY)).encode()
SECOND = (b"POST /events/orders HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: "
          + str(len(SECOND_BODY)).encode() + b"\r\n\r\n" + SECOND_BODY)


def head(*lines: bytes, version: bytes = b"HTTP/1.1", path: bytes = b"/events/orders",
         host: bytes = b"Host: a\r\n") -> bytes:
    request = b"POST " + path + b" " + version + b"\r\n" + host + b"Content-Type: application/json\r\n"
    return request + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def chunk(data: bytes, size: bytes | None = None, end: bytes = b"\r\n") -> bytes:
    return (size or b"%x" % len(data)) + end + data + b"\r\n0\r\n\r\n"


CL = b"Content-Length: " + LENGTH
TE = b"Transfer-Encoding: chunked"
CHUNKED = chunk(BODY)


@dataclass(frozen=True)
class Case:
    label: str
    request: bytes
    statuses: tuple[int, ...] = (400,)


CASES = [
    Case("CL and TE", head(CL, TE) + CHUNKED),
    Case("TE and CL", head(TE, CL) + CHUNKED),
    Case("two different CL", head(b"Content-Length: 5", CL) + BODY),
    Case("two equal CL", head(CL, CL) + BODY),
    Case("CL list", head(b"Content-Length: " + LENGTH + b", " + LENGTH) + BODY),
    Case("CL plus sign", head(b"Content-Length: +" + LENGTH) + BODY),
    Case("CL negative", head(b"Content-Length: -1") + BODY),
    Case("CL hexadecimal", head(b"Content-Length: 0x5") + BODY),
    Case("CL of 23 digits", head(b"Content-Length: 99999999999999999999999") + BODY, (400, 413)),
    Case("TE xchunked", head(b"Transfer-Encoding: xchunked") + CHUNKED, (400, 501)),
    Case("TE chunked, identity", head(b"Transfer-Encoding: chunked, identity") + CHUNKED, (400, 501)),
    Case("TE gzip, chunked", head(b"Transfer-Encoding: gzip, chunked") + CHUNKED, (400, 501)),
    Case("two TE", head(TE, TE) + CHUNKED),
    Case("TE with a space before the colon, and CL", head(b"Transfer-Encoding : chunked", CL) + BODY),
    Case("TE folded", head(b"Transfer-Encoding:\r\n chunked") + CHUNKED),
    Case("TE in HTTP/1.0", head(TE, version=b"HTTP/1.0") + CHUNKED),
    Case("bare CR in a header", head(b"X-A: a\rb", CL) + BODY),
    Case("NUL in a header value", head(b"X-A: a\0b", CL) + BODY),
    Case("chunk size 0x5", head(TE) + chunk(BODY, b"0x%x" % len(BODY))),
    Case("chunk size +5", head(TE) + chunk(BODY, b"+%x" % len(BODY))),
    Case("chunk size overflow", head(TE) + chunk(BODY, b"10000000000000005"), (400, 413)),
    Case("chunk data without CRLF", head(TE) + b"%x\r\n" % len(BODY) + BODY + b"0\r\n\r\n"),
    Case("no Host", head(CL, host=b"") + BODY),
    Case("two Hosts", head(b"Host: b", CL) + BODY),
    Case("HTTP/1.1x", head(CL, version=b"HTTP/1.1x") + BODY, (400, 505)),
    Case("HTTP/2.0", head(CL, version=b"HTTP/2.0") + BODY, (400, 505)),
    Case("space in the path", head(CL, path=b"/events/or ders") + BODY, (400, 404, 505)),
    Case("header without colon", head(b"NoColonHere", CL) + BODY),
    Case("empty header name", head(b": empty", CL) + BODY),
    Case("leading space on the first header",
         b"POST /events/orders HTTP/1.1\r\n Host: a\r\n" + CL + b"\r\n\r\n" + BODY),
    Case("NUL escape in the path", head(CL, path=b"/events/orders%00") + BODY, (400, 404)),
    Case("header of 40 kB", head(b"X-A: " + b"a" * 40_000, CL) + BODY, (400, 431)),
    Case("10,000 headers", head(*[b"X-%d: a" % n for n in range(10_000)], CL) + BODY, (400, 431)),
    Case("path of 1 MB", head(CL, path=b"/events/" + b"a" * 1_000_000) + BODY, (400, 414, 431)),
]


@pytest.fixture(scope="module")
def site(make_site: MakeSite) -> Site:
    return make_site(settings=Settings(services=("ingest-api",)))


@pytest.fixture(autouse=True)
def good_clients_are_served(site: Site) -> Iterator[None]:
    yield
    assert site.post_good().outcome == OK


@pytest.mark.parametrize("request_bytes,chunked", [(head(CL) + BODY, False), (head(TE) + CHUNKED, True)],
                         ids=["length", "chunked"])
def test_plain_request__is_stored_and_the_connection_goes_on(site: Site, request_bytes: bytes, chunked: bool) -> None:
    """The baseline: without it the refusals below would prove nothing."""
    unique = b"o-chunk" if chunked else b"o-plain"    # as long as o-frame: lengths stay right
    answer = exchange(site.port("ingest-api"), request_bytes.replace(b"o-frame", unique) * 2)
    assert answer.statuses == [201, 201] and not answer.closed, answer


@pytest.mark.parametrize("case", CASES, ids=[case.label for case in CASES])
def test_ambiguous__is_refused_and_ends_the_connection(site: Site, case: Case) -> None:
    answer = exchange(site.port("ingest-api"), case.request + SECOND)
    assert set(answer.statuses) <= set(case.statuses), answer.data[:600]
    assert answer.data.lower().count(b"x-request-id") <= 1, f"the pipelined request was answered: {answer.data[:600]!r}"
    assert answer.closed, "the connection stays open after a refusal"


def test_old_http__line_without_version__gets_no_2xx(site: Site) -> None:
    answer = exchange(site.port("ingest-api"), b"GET /health\r\n\r\n" + SECOND)
    assert not [status for status in answer.statuses if status < 400]


def test_expect_100_continue__of_a_body_too_large__is_refused_without_it(site: Site) -> None:
    answer = exchange(site.port("ingest-api"), head(b"Content-Length: 33554432", b"Expect: 100-continue"))
    assert answer.statuses == [413] and b" 100 " not in answer.data.split(b"\r\n")[0]


def test_refused__is_never_in_kafka(site: Site) -> None:
    """Only what was answered 201 is there; above all nothing that was smuggled."""
    values = [record.value or "" for record in read_topic(site.cluster.bootstrap, ORDERS)]
    assert not [value for value in values if "o-frame" in value or "o-smuggled" in value]
    entries: list[Entry] = site.entries()
    assert sorted(value for value in values if "o-plain" not in value and "o-chunk" not in value) \
        == sorted(entry.value for entry in entries)
