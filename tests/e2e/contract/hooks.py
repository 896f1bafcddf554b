"""What schemathesis needs to know beyond an OpenAPI document. test_schemathesis.py makes the installation
that this speaks of, and runs it."""

from __future__ import annotations

import itertools
import json
from datetime import datetime
from typing import Any

import schemathesis
from hypothesis import strategies as st

TOPIC = "clicks"    # of one partition
EMPTY: dict[str, Any] = {"properties": {}}
PAGE = "YTE3OTUyNDQ5NzAwMDAgMTc5NTI0NDk4MDAwMCAzIDgxMiA9cHJvZC0x"    # a place in the order of time
SCHEMA_ID = "urn:millrace:any"    # of the one schema in schemas.dir


# --- What the installation has ------------------------------------------------------------------------

@schemathesis.hook
def before_load_schema(context: schemathesis.HookContext, raw_schema: dict[str, Any]) -> None:
    """A name of the right form that nothing has is refused, and rightly so: only names of something are sent."""
    schemas = raw_schema["components"]["schemas"]
    schemas["TopicName"] = {"enum": [TOPIC]}
    if "SubjectName" in schemas:
        schemas["SubjectName"] = {"enum": [f"{TOPIC}-value"]}
    for partition in (schemas.get("Partition", {}), schemas.get("Record", EMPTY)["properties"].get("partition", {})):
        partition["maximum"] = 0
    for name in {"Event", "StreamEvent"} & schemas.keys():
        schemas[name]["properties"]["$schema"] = {"enum": [SCHEMA_ID]}
    # The schema that a CloudEvent names is looked for, too, and takes none whose data are not JSON.
    schemas.get("CloudEvent", EMPTY)["properties"].pop("dataschema", None)
    parameters = raw_schema["components"].get("parameters", {})
    # What only an answer can have given, and how long an answer may take.
    for name, values in (("Cursor", [PAGE]), ("After", [f"{TOPIC}~0=0"]), ("Wait", ["0", "20ms"])):
        if name in parameters:
            parameters[name]["schema"] = {"enum": values}
    # Which texts are expressions no schema can say: test_history.c sends some.
    for operations in raw_schema["paths"].values():
        for operation in operations.values():
            if "parameters" in operation:
                operation["parameters"] = [parameter for parameter in operation["parameters"]
                                           if not parameter.get("$ref", "").endswith("/Filter")]
    generate_content(raw_schema)


def generate_content(node: Any) -> None:
    """Where a text holds values, values are made, as contentSchema has them, and write_json and write_lines
    make a text of them: hardly one of any other texts would be JSON at all."""
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        generate_content(value)
    if isinstance(node, dict) and "contentSchema" in node:
        content = node["contentSchema"]
        node.clear()
        node.update(content)


# What the document cannot say: a record's timestamp is after 1970.
schemathesis.openapi.format("date-time", st.datetimes(min_value=datetime(1971, 1, 1)).map(
    lambda time: time.isoformat() + "Z"))


# --- How it is written ----------------------------------------------------------------------------------

@schemathesis.serializer(
    "application/cloudevents+json", "application/cloudevents-batch+json", "application/vnd.kafka.json.v2+json",
    "application/vnd.kafka.binary.v2+json", "application/vnd.kafka.text.v2+json", "text/plain")
def write_json(context: schemathesis.SerializationContext, value: Any) -> bytes:
    if context.case.media_type == "text/plain" and isinstance(value, str):    # an example
        return value.encode()
    return json.dumps(value).encode()


@schemathesis.serializer("application/x-ndjson")
def write_lines(context: schemathesis.SerializationContext, value: Any) -> bytes:
    if isinstance(value, str):    # an example
        return value.encode()
    lines = value if isinstance(value, list) else [[value]]    # what is no list of lines is a line that is none
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


# --- Each request for itself -----------------------------------------------------------------------------

keys = itertools.count()


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
    """An Idempotency-Key of an earlier request would be refused, as test_idempotency.py shows: each gets a number.
    Not the empty and the long ones, which it could make right or wrong."""
    key = case.headers.get("Idempotency-Key", "")
    if 0 < len(key.strip('" \t')) < 200:
        case.headers["Idempotency-Key"] = f"{key[:1]}{next(keys):08d}{key[1:]}"
