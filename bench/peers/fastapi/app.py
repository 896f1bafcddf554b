"""The gateway that a Python team would write: FastAPI, confluent-kafka, a compiled JSON Schema.

One order a POST, or lines of NDJSON. Answers 201 with every record's partition and offset once Kafka
has acknowledged all of them (acks=all, idempotent); with ?hasty 202 at once, from a producer of its own
for large batches. Tuned where that is customary: orjson, uvloop,
httptools, the schema compiled to Python once, one producer a process whose delivery reports a thread
takes in batches and hands to the event loop once a batch, all records sent before any is awaited.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import fastjsonschema
import orjson
from confluent_kafka import KafkaError, Message, Producer
from fastapi import FastAPI, Request, Response

TOPIC = "orders"
REPORT_WAIT_SECONDS = 0.1

check = fastjsonschema.compile(json.loads(Path(os.environ["BENCH_SCHEMA"]).read_text()))


class Pending:
    """One request's events; `done` once every report is in."""

    def __init__(self, count: int) -> None:
        self.outstanding = count
        self.results: list[dict[str, Any] | None] = [None] * count
        self.done = asyncio.get_running_loop().create_future()


class Sender:
    """Owns a producer and the thread that takes its reports."""

    def __init__(self, loop: asyncio.AbstractEventLoop, properties: dict[str, Any]) -> None:
        self._loop = loop
        self._producer = Producer({
            "bootstrap.servers": os.environ["BENCH_BOOTSTRAP"], "enable.idempotence": True, "acks": "all",
            "partitioner": "murmur2_random", "socket.nagle.disable": True,
            "queue.buffering.max.messages": 1_000_000, **properties})
        self._finished: list[Pending] = []
        self._is_running = True
        self._thread = threading.Thread(target=self._take_reports, daemon=True)
        self._thread.start()

    def send(self, pending: Pending, index: int, key: str, value: bytes) -> None:
        self._producer.produce(TOPIC, value, key,
                               on_delivery=lambda error, message: self._on_report(pending, index, error, message))

    def send_hasty(self, key: str, value: bytes) -> None:
        self._producer.produce(TOPIC, value, key)

    def close(self) -> None:
        self._is_running = False
        self._thread.join()
        self._producer.flush(10)

    def _on_report(self, pending: Pending, index: int, error: KafkaError | None, message: Message) -> None:
        pending.results[index] = {"status": "failed", "error": error.str()} if error else \
            {"status": "stored", "partition": message.partition(), "offset": message.offset()}
        pending.outstanding -= 1
        if pending.outstanding == 0:
            self._finished.append(pending)

    def _take_reports(self) -> None:
        while self._is_running:
            self._producer.poll(REPORT_WAIT_SECONDS)
            if self._finished:
                finished, self._finished = self._finished, []
                self._loop.call_soon_threadsafe(_complete, finished)


def _complete(finished: list[Pending]) -> None:
    for pending in finished:
        pending.done.set_result(None)


@asynccontextmanager
async def lifespan(application: FastAPI) -> Any:
    loop = asyncio.get_running_loop()
    application.state.sender = Sender(loop, {"linger.ms": 2})
    application.state.hasty = Sender(loop, {"linger.ms": 100, "compression.codec": "lz4"})
    yield
    application.state.sender.close()
    application.state.hasty.close()


app = FastAPI(lifespan=lifespan, openapi_url=None)


def _answer(status: int, body: object) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")


@app.post(f"/events/{TOPIC}")
async def post_events(request: Request) -> Response:
    body = await request.body()
    is_lines = request.headers.get("content-type") == "application/x-ndjson"
    values = body.splitlines() if is_lines else [body]
    try:
        events = [check(orjson.loads(value)) for value in values]
    except orjson.JSONDecodeError as error:
        return _answer(400, {"detail": str(error)})
    except fastjsonschema.JsonSchemaException as error:
        return _answer(422, {"detail": error.message})
    if "hasty" in request.query_params:
        for event, value in zip(events, values):
            app.state.hasty.send_hasty(event["order_id"], value)
        return _answer(202, {"status": "accepted", "topic": TOPIC})
    pending = Pending(len(events))
    for index, (event, value) in enumerate(zip(events, values)):
        app.state.sender.send(pending, index, event["order_id"], value)
    await pending.done
    failed = sum(result["status"] == "failed" for result in pending.results if result)
    status = 201 if not failed else 503 if failed == len(events) else 207
    return _answer(status, {"results": pending.results} if is_lines else pending.results[0])


@app.get("/health/ready")
async def ready() -> Response:
    return _answer(200, {"status": "ready"})
