"""Avro: what a real encoder wrote, with schemas in a real registry, is shown as what it says; nothing is lost
while the registry is away. And what that registry has is shown to operators."""

from __future__ import annotations

import base64
import http.client
import json
import math
import random
import sys
from decimal import Decimal
from io import BytesIO
from typing import Any, Callable

import pytest

from conftest import DEPS, MakeSite
from harness.platform import Settings
from harness.reader import SseStream, http_get, produce_bytes
from harness.schema_registry import API, SchemaRegistry
from harness.waiting import wait_for
from site_under_test import Site

sys.path += map(str, (DEPS / "venv-e2e/lib").glob("python3*/site-packages"))    # behind Debian's own

import fastavro    # noqa: E402  (the path is set above)

RANDOM, ORDERS, AWAY = "avro-random", "avro-orders", "avro-away"
SCHEMAS = 12
VALUES = 25
DEPTH_MAX = 3
FLAGS = ["--schema.registry.timeout=500ms", "--schema.registry.wait=2s", "--schema.registry.retry=500ms",
         "--query.avro.topics=avro-*", "--query.consumers=on", "--http.threads=2"]


@pytest.fixture(scope="module")
def site(registry: SchemaRegistry, make_site: MakeSite, tmp_path_factory: pytest.TempPathFactory) -> Site:
    topics = tmp_path_factory.mktemp("topics") / "topics.json"
    topics.write_text(json.dumps([{"name": name, "partitions": 1} for name in (RANDOM, ORDERS, AWAY, "products")]))
    made = make_site(settings=Settings(services=("query-api",), topics=str(topics), shown=(RANDOM, ORDERS, AWAY),
                                       flags={"query-api": [f"--schema.registry.url={registry.url}", *FLAGS]}))
    registry.wait_ready()
    return made


def encode(schema_id: int, schema: Any, value: Any) -> bytes:
    """Confluent's wire format."""
    out = BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return b"\0" + schema_id.to_bytes(4, "big") + out.getvalue()


def produce(site: Site, topic: str, *values: bytes) -> None:
    produce_bytes(site.cluster.bootstrap, topic, values)


# --- random schemas: of each type a schema, and values with what is to be shown of them ------------------------

class Number(str):
    """A number's own digits."""


class Real:
    """A number that is to read back as the same."""

    def __init__(self, value: float, is_float: bool) -> None:
        self.value, self.is_float = value, is_float

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Number):
            return False
        return single(float(other)) == self.value if self.is_float else float(other) == self.value

    def __repr__(self) -> str:
        return f"Real({self.value!r})"


def single(value: float) -> float:
    out = BytesIO()
    fastavro.schemaless_writer(out, "float", value)
    out.seek(0)
    return fastavro.schemaless_reader(out, "float", None)


Maker = Callable[[random.Random], tuple[Any, Any]]    # a value, and what is to be shown
Typed = tuple[Any, Maker]


def of_long(bits: int) -> Maker:
    def make(rng: random.Random) -> tuple[Any, Any]:
        size = rng.randrange(bits)
        value = rng.choice([rng.randrange(-2**size, 2**size), -2**(bits - 1), 2**(bits - 1) - 1])
        return value, Number(value)
    return make


def of_real(is_float: bool) -> Maker:
    def make(rng: random.Random) -> tuple[Any, Any]:
        value = rng.choice([rng.gauss(0, 1) * 10**rng.randrange(-30, 30), rng.random(), 0.1, -0.0, math.inf, math.nan])
        value = single(value) if is_float else value
        if math.isnan(value):
            return value, "NaN"
        return value, "Infinity" if math.isinf(value) else Real(value, is_float)
    return make


def text(rng: random.Random) -> str:
    return "".join(rng.choice("aZ0 \"\\/\n\x00\x1f\u00e9\u4e2d\U0001f600") for _ in range(rng.randrange(12)))


def of_bytes(size: int | None) -> Maker:
    def make(rng: random.Random) -> tuple[Any, Any]:
        value = rng.randbytes(rng.randrange(40) if size is None else size)
        return value, base64.b64encode(value).decode()
    return make


def of_decimal(precision: int, scale: int) -> Maker:
    def make(rng: random.Random) -> tuple[Any, Any]:
        unscaled = rng.choice([0, rng.randrange(-10**rng.randrange(1, precision), 10**precision)])
        value = Decimal((unscaled < 0, tuple(map(int, str(abs(unscaled)))), -scale))
        return value, Number(f"{value:f}")
    return make


def same(make: Callable[[random.Random], Any]) -> Maker:
    def twice(rng: random.Random) -> tuple[Any, Any]:
        value = make(rng)
        return value, value
    return twice


class Schemas:
    """Names are used once."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.names = 0

    def name(self) -> dict[str, str]:
        self.names += 1
        return {"name": f"t{self.names}", **({"namespace": f"n{self.names}.m"} if self.rng.random() < 0.3 else {})}

    def leaf(self) -> Typed:
        rng, size, scale = self.rng, self.rng.randrange(1, 20), self.rng.randrange(5)
        precision = rng.randrange(10, 60)
        decimal = {"logicalType": "decimal", "precision": precision, "scale": scale}
        symbols = [f"S{number}" for number in range(rng.randrange(1, 100))]
        return rng.choice([
            ("null", same(lambda rng: None)), ("boolean", same(lambda rng: rng.random() < 0.5)),
            ("int", of_long(32)), ("long", of_long(64)), ("float", of_real(True)), ("double", of_real(False)),
            ("string", same(text)), ("bytes", of_bytes(None)), ({"type": "bytes", **decimal}, of_decimal(precision, scale)),
            ({"type": "fixed", "size": size, **self.name()}, of_bytes(size)),
            ({"type": "fixed", "size": 30, **self.name(), **decimal}, of_decimal(precision, scale)),
            ({"type": "enum", "symbols": symbols, **self.name()}, same(lambda rng: rng.choice(symbols))),
        ])

    def record(self, depth: int) -> Typed:
        name = self.name()
        fields = [(f"f{number}", *self.any(depth + 1)) for number in range(self.rng.randrange(1, 8))]

        def make(rng: random.Random) -> tuple[Any, Any]:
            made = {field: maker(rng) for field, _, maker in fields}
            return {field: pair[0] for field, pair in made.items()}, {field: pair[1] for field, pair in made.items()}

        return {"type": "record", **name, "fields": [{"name": field, "type": schema} for field, schema, _ in fields]}, make

    def items(self, depth: int) -> Typed:
        schema, maker = self.any(depth + 1)

        def make(rng: random.Random) -> tuple[Any, Any]:
            made = [maker(rng) for _ in range(rng.randrange(6))]
            return [pair[0] for pair in made], [pair[1] for pair in made]

        return {"type": "array", "items": schema}, make

    def map(self, depth: int) -> Typed:
        schema, maker = self.any(depth + 1)

        def make(rng: random.Random) -> tuple[Any, Any]:
            made = {text(rng): maker(rng) for _ in range(rng.randrange(6))}
            return {key: pair[0] for key, pair in made.items()}, {key: pair[1] for key, pair in made.items()}

        return {"type": "map", "values": schema}, make

    def optional(self, depth: int) -> Typed:
        schema, maker = self.any(depth + 1)
        while schema == "null" or isinstance(schema, list):
            schema, maker = self.any(depth + 1)
        return ["null", schema], lambda rng: maker(rng) if rng.random() < 0.6 else (None, None)

    def any(self, depth: int) -> Typed:
        if depth >= DEPTH_MAX or self.rng.random() < 0.4:
            return self.leaf()
        return self.rng.choice([self.record, self.items, self.map, self.optional])(depth)


# --- what is shown ----------------------------------------------------------------------------------------------

def read_lines(site: Site, path: str, count: int) -> list[Any]:
    """So many records of NDJSON."""
    connection = http.client.HTTPConnection("127.0.0.1", site.port("query-api"), timeout=30.0)
    found: list[Any] = []
    try:
        connection.request("GET", path, headers={"Accept": "application/x-ndjson"})
        response = connection.getresponse()
        while len(found) < count:
            line = response.readline()
            assert line, f"the stream ended after {len(found)} records"
            said = json.loads(line, parse_int=Number, parse_float=Number)
            found += [said] if "event" not in said else []
    finally:
        connection.close()
    return found


def test_decoded__random_schemas__what_another_encoder_wrote(site: Site, registry: SchemaRegistry) -> None:
    rng = random.Random("avro")
    values, expected = [], []
    for number in range(SCHEMAS):
        schema, maker = Schemas(rng).record(0)
        schema_id = registry.register(f"random-{number}", schema)
        for _ in range(VALUES):
            value, shown = maker(rng)
            values.append(encode(schema_id, schema, value))
            expected.append(shown)
    produce(site, RANDOM, *values)
    lines = read_lines(site, f"/events/{RANDOM}?from=earliest", len(values))
    assert [int(line["offset"]) for line in lines] == list(range(len(values)))
    for line, shown in zip(lines, expected):
        assert line.get("value_error") is None and line["value"] == shown
    raw = read_lines(site, f"/events/{RANDOM}?from=earliest&avro=raw", len(values))
    assert [base64.b64decode(line["value"]) for line in raw] == values


ORDER = {"type": "record", "name": "Order", "namespace": "shop",
         "fields": [{"name": "order_id", "type": {"type": "string", "logicalType": "uuid"}},
                    {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
                    {"name": "coupon", "type": ["null", "string"], "default": None}]}
LATER = {**ORDER, "fields": [*ORDER["fields"], {"name": "at", "default": 0,
                                                "type": {"type": "long", "logicalType": "timestamp-millis"}}]}
OF_ORDER = {"order_id": "f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "amount": Decimal("12.30"), "coupon": None}


def test_schema_changes__and_what_cannot_be_decoded__each_record_is_there(site: Site, registry: SchemaRegistry) -> None:
    first, later = registry.register("orders-value", ORDER), registry.register("orders-value", LATER)
    good = encode(first, ORDER, OF_ORDER)
    values = [good, encode(later, LATER, {**OF_ORDER, "coupon": "ten", "at": 1}), b"\0\0\x0f\x42\x3f\x02",
              random.Random(1).randbytes(50), good[:-3], good + b"\0", b'{"plain":"JSON"}', good]
    shown = {"order_id": OF_ORDER["order_id"], "amount": Number("12.30"), "coupon": None}
    errors = [None, None, "the registry has no schema 999999", "does not begin with a zero", f"schema {first}: ",
              f"schema {first}: 1 bytes behind its end", None, None]
    produce(site, ORDERS, *values)
    lines = read_lines(site, f"/events/{ORDERS}?from=earliest", len(values))
    assert [line["value"] for line in lines if "value_error" not in line] == [
        shown, {**shown, "coupon": "ten", "at": Number(1)}, {"plain": "JSON"}, shown]
    for line, value, error in zip(lines, values, errors):
        assert (error or "") in line.get("value_error", "") and (error is not None) == ("value_error" in line)
        assert error is None or base64.b64decode(line["value"]) == value
    # By field, under a name that Kafka remembers, whichever way they are shown.
    path = f"/events/{ORDERS}?from=earliest&filter=coupon%20%3D%3D%20%27ten%27&envelope=1"
    with SseStream(site.port("query-api"), f"{path}&consumer=reader") as named, \
            SseStream(site.port("query-api"), f"{path}&avro=raw") as raw:
        named.wait_until("the one with a coupon", 20.0, lambda s: len(s.records()) == 1)
        raw.wait_until("the same, raw", 20.0, lambda s: len(s.records()) == 1)
        assert named.records()[0].json()["value"]["at"] == 1
        assert base64.b64decode(raw.records()[0].json()["value"]) == values[1]


def number_of(n: int) -> Any:
    """A schema that the registry has and nobody has asked for."""
    return {"type": "record", "name": f"Away{n}", "fields": [{"name": "n", "type": "int"}]}


def test_registry_away__records_wait_for_it__not_for_ever(site: Site, registry: SchemaRegistry) -> None:
    schemas = [(registry.register(f"away-{n}", number_of(n)), number_of(n)) for n in range(3)]

    def record(which: int, n: int) -> bytes:
        return encode(*schemas[which], {"n": n})

    with SseStream(site.port("query-api"), f"/events/{AWAY}?from=earliest&envelope=1") as stream:
        produce(site, AWAY, record(0, 0))
        stream.wait_until("a first record", 20.0, lambda s: len(s.records()) == 1)
        registry.pause()
        try:
            produce(site, AWAY, record(0, 1), record(1, 2), record(0, 3))    # what is known needs no registry
            stream.wait_until("the known one", 20.0, lambda s: len(s.records()) == 2)
        finally:
            registry.resume()
        stream.wait_until("those behind it", 20.0, lambda s: len(s.records()) == 4)
        registry.pause()
        try:
            produce(site, AWAY, record(2, 4), record(0, 5))
            stream.wait_until("what waited too long", 20.0, lambda s: len(s.records()) == 6)
        finally:
            registry.resume()
        seen = [event.json() for event in stream.records()]
        assert [line["offset"] for line in seen] == list(range(6))
        assert [line["value"]["n"] for line in seen[:2]] == [0, 1] and seen[5]["value"] == {"n": 5}
        assert seen[3]["value"] == {"n": 3}
        assert seen[2]["value"] == {"n": 2} or "value_error" in seen[2]    # on a machine that is slow
        assert base64.b64decode(seen[4]["value"]) == record(2, 4) and "Timeout was reached" in seen[4]["value_error"]

        def is_decoded() -> bool:
            produce(site, AWAY, record(2, 6))
            return isinstance(stream.records()[-1].json()["value"], dict)

        wait_for("decoded again", 60.0, is_decoded)


# --- what the registry has ---------------------------------------------------------------------------------------

def get(site: Site, path: str) -> Any:
    """A machine that is slow may be told to come back later."""
    found: list[Any] = []

    def is_answered() -> bool:
        answer = http_get(site.port("query-api"), path)
        assert answer.status in (200, 503), answer.body
        found.append(json.loads(answer.body))
        return answer.status == 200

    wait_for(f"an answer to {path}", 60.0, is_answered)
    return found[-1]


def test_schemas__are_shown_as_they_were_registered(site: Site, registry: SchemaRegistry) -> None:
    ids = [registry.register("shown-value", schema) for schema in (ORDER, LATER)]
    others = [registry.register(f"shown.{n}", number_of(100 + n)) for n in range(3)]
    rows, cursor = [], ""
    while cursor is not None:
        page = get(site, f"/schemas?limit=2&cursor={cursor}")
        assert len(page["items"]) == 2 or page["next_cursor"] is None
        rows += page["items"]
        cursor = page["next_cursor"]
    names = [row["subject"] for row in rows]
    assert names == sorted(json.loads(http_get(registry.port, f"{API}/subjects").body))
    shown = {"subject": "shown-value", "topic": "shown", "version": 2, "id": ids[1], "type": "AVRO"}
    assert rows[names.index("shown-value")] == shown
    assert [rows[names.index(f"shown.{n}")]["id"] for n in range(3)] == others
    latest, first = get(site, "/schemas/shown-value"), get(site, "/schemas/shown-value/versions/1")
    assert {**latest, **shown} == latest and latest["versions"] == [1, 2] and latest["references"] == []
    assert latest["compatibility"] is None or isinstance(latest["compatibility"], str)
    assert json.loads(latest["schema"]) == LATER and json.loads(first["schema"]) == ORDER
    assert (first["version"], first["id"]) == (1, ids[0])
    for path in ("/schemas/shown-key", "/schemas/shown-value/versions/3"):
        assert http_get(site.port("query-api"), path).status in (404, 503)


def test_schemas__registry_away__is_told(site: Site, registry: SchemaRegistry) -> None:
    registry.register("shown-value", ORDER)
    registry.pause()
    try:
        answer = http_get(site.port("query-api"), "/schemas/shown-value")
        assert answer.status == 503 and json.loads(answer.body)["code"] == "registry-unavailable", answer.body
        assert http_get(site.port("query-api"), "/topics").status == 200
    finally:
        registry.resume()
    assert get(site, "/schemas/shown-value")["subject"] == "shown-value"
