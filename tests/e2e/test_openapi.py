"""What ingest-api's OpenAPI document shows is what happens: every example of a request is sent, is taken,
and is answered in the shape that the document gives to that answer."""

from __future__ import annotations

import json
from typing import Any, Iterator

import jsonschema
import pytest

from harness.platform import Settings
from harness.reader import http_get, http_request
from conftest import MakeSite
from site_under_test import Site

FORMS_MIN = 10    # of requests that the document shows: fewer means that they were not found


@pytest.fixture(scope="module")
def site(make_site: MakeSite) -> Site:
    """ingest-api, with the topics that the examples name."""
    site = make_site(settings=Settings(services=("ingest-api",)))
    site.add_topic("clicks")
    return site


class Document:
    """The document as the service gives it out."""

    def __init__(self, port: int) -> None:
        self.tree = json.loads(http_get(port, "/openapi.json").body)

    def resolve(self, node: Any) -> Any:
        while isinstance(node, dict) and "$ref" in node:
            target = self.tree
            for key in node["$ref"].removeprefix("#/").split("/"):
                target = target[key.replace("~1", "/").replace("~0", "~")]
            node = target
        return node

    def requests(self) -> Iterator[tuple[dict[str, Any], str, str, Any]]:
        """Operation, path, content type and body of every example."""
        for template, methods in self.tree["paths"].items():
            if "post" not in methods:
                continue
            operation = methods["post"]
            path = template
            for parameter in map(self.resolve, operation.get("parameters", [])):
                if parameter["in"] == "path":
                    path = path.replace(f"{{{parameter['name']}}}", str(parameter["example"]))
            for media_type, media in self.resolve(operation["requestBody"])["content"].items():
                shown = [self.resolve(example)["value"] for example in media.get("examples", {}).values()]
                for body in shown or [media["example"]]:
                    yield operation, path, media_type, body

    def require_shape(self, operation: dict[str, Any], status: int, media_type: str, body: bytes) -> None:
        answers = operation["responses"]
        assert str(status) in answers, f"{status} is not one of the answers: {body!r}"
        content = self.resolve(answers[str(status)]).get("content")
        if not content:
            assert not body
            return
        schema = {**content[media_type]["schema"], "components": self.tree["components"]}
        jsonschema.Draft202012Validator(schema).validate(json.loads(body))


def as_bytes(body: Any) -> bytes:
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


def test_examples__sent__are_taken_and_answered_as_shown(site: Site) -> None:
    port = site.port("ingest-api")
    document = Document(port)
    sent = 0
    for operation, path, media_type, body in document.requests():
        for query, wanted in (("", (200, 201)), ("?hasty", (202,))):
            answer = http_request(port, "POST", path + query, as_bytes(body), {"Content-Type": media_type})
            place = f"{path}{query} as {media_type}: {answer.status} {answer.body!r}"
            assert answer.status in wanted, place
            document.require_shape(operation, answer.status, answer.headers.get("content-type", ""), answer.body)
            sent += 1
    assert sent >= 2 * FORMS_MIN, f"only {sent} requests were made of the document's examples"


def test_refusals__have_the_shape_that_is_shown(site: Site) -> None:
    port = site.port("ingest-api")
    document = Document(port)
    operation = document.tree["paths"]["/events/{topic}"]["post"]
    for path, media_type, body, status in (
            ("/events/orders", "application/json", b"{", 400),
            ("/events/no-such-topic", "application/json", b"{}", 404),
            ("/events/orders", "application/xml", b"<a/>", 415),
            ("/events/orders", "application/json", b"{}", 422),
            ("/events/orders", "application/x-ndjson", b"{}\n{\n", 422),
            ("/events/clicks", "application/x-ndjson", b"{}\n{\n", 207)):
        answer = http_request(port, "POST", path, body, {"Content-Type": media_type})
        assert answer.status == status, f"{path} {body!r}: {answer.status} {answer.body!r}"
        document.require_shape(operation, status, answer.headers["content-type"], answer.body)
