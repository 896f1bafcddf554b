"""What ingest-api refuses by itself, without Kafka, beside what it stores: how soon it answers, and what that costs.

One ingest-api; its answers take turns, round by round: some clients that pause between requests, then as
many requests as a number of connections can send.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from harness.reader import http_request
from harness.waiting import wait_for
from measure.servers import TOPIC, Load, Server
from measure.session import Session, say

KEPT, SMALL = "bench-kept", "bench-small"    # a compacted topic, and one that takes little
SMALL_BYTES_MAX = 10_000
ANSWER_SECONDS = 30.0
WARM_UP_SECONDS = 1
FIGURES = ("requests_per_s", "p50_ms", "p99_ms", "cpu_us_per_request")


@dataclass(frozen=True)
class Rate:
    connections: int
    pause_ms: int    # after an answer, before the connection's next request


RATES = {"low": Rate(4, 10), "high": Rate(64, 0)}


@dataclass(frozen=True)
class Answer:
    code: str    # of the problem; "": stored
    load: Load


ANSWERS = {
    "stored": Answer("", Load()),
    "unknown topic": Answer("topic-unknown", Load(status=404, topic="bench-none")),
    "bad partition": Answer("partition-unknown", Load(status=404, query="?partition=99")),
    "larger than its topic takes": Answer("record-too-large",
                                          Load(status=413, topic=SMALL, body_bytes=SMALL_BYTES_MAX + 1000)),
    "keyless for a compacted topic": Answer("key-missing", Load(status=422, topic=KEPT)),
}


def _await_answer(server: Server, answer: Answer) -> None:
    """What a topic takes is known soon after it was first written to."""
    load = answer.load
    body = json.dumps({"order_id": "o-1", "user_id": "u-1", "product_id": "prod-1", "amount": 10.5,
                       "timestamp": 1795242600000, "note": "x" * load.body_bytes}).encode()

    def answered() -> bool:
        got = http_request(server.port, "POST", load.target, body, {"Content-Type": "application/json"})
        return (got.status, got.json().get("code", "")) == (load.status, answer.code)

    wait_for(f"{load.target}: {load.status} {answer.code}", ANSWER_SECONDS, answered)


def _sample(session: Session, server: Server, load: Load, rate: Rate) -> dict[str, Any]:
    paced = replace(load, pause_ms=rate.pause_ms)
    if not session.plan.quick:
        paced.run(session, server, rate.connections, WARM_UP_SECONDS)
    return paced.run(session, server, rate.connections, session.plan.seconds)


def run(session: Session) -> dict[str, Any]:
    """Every answer at both rates."""
    session.create_topics(f"{TOPIC}:6", f"{KEPT}:6:compact",
                          f"{SMALL}:6:max.message.bytes={SMALL_BYTES_MAX}")
    server = Server(session, "ingest-api")
    samples: dict[str, dict[str, list[dict[str, Any]]]] = {name: {rate: [] for rate in RATES} for name in ANSWERS}
    for answer in ANSWERS.values():
        _await_answer(server, answer)
    for number in range(session.plan.rounds):
        for name, answer in ANSWERS.items():
            for rate in RATES:
                sample = _sample(session, server, answer.load, RATES[rate])
                samples[name][rate].append(sample)
                say(f"refusals, {rate} rate, round {number + 1}: {name} {sample['requests_per_s']}/s, "
                    f"p50 {sample['p50_ms']} ms, p99 {sample['p99_ms']} ms")
    session.stop(server.process)
    session.delete_topics(TOPIC, KEPT, SMALL)
    return {"rates": {name: vars(rate) for name, rate in RATES.items()},
            "answers": {name: {"status": ANSWERS[name].load.status,
                               **{rate: {**{key: median(sample[key] for sample in taken) for key in FIGURES},
                                         "rounds": taken} for rate, taken in rates.items()}}
                        for name, rates in samples.items()}}
