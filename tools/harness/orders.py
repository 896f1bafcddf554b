"""Makes orders, good and bad, posts them by HTTP and keeps the ledger of the answers."""

from __future__ import annotations

import http.client
import random
import re
import time
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any, Callable, Sequence

from harness.ledger import FAIL, INFO, OK, SPOOLED, Entry, LedgerWriter
from harness.reader import Answer

PRODUCTS = tuple(f"prod-{n}" for n in range(1, 6))


@dataclass(frozen=True)
class Order:
    """One order's text and whether the pipeline ought to take it."""

    id: str
    text: str
    good: bool

    def padded(self, characters: int) -> Order:
        """The same order, as much longer."""
        return self if characters == 0 else replace(self, text=f'{self.text[:-1]},"note":"{"x" * characters}"}}')


def _amount(rng: random.Random) -> str:
    cents = rng.randint(1000, 50000)
    return f"{cents // 100}.{cents % 100:02d}"


def timestamp_forms(at_ms: int) -> tuple[str, str, str]:
    """The three forms of event time, as JSON text; all name the same moment to their precision."""
    whole = datetime.fromtimestamp(at_ms // 1000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    return str(at_ms), str(at_ms // 1000), f'"{whole}.{at_ms % 1000:03d}Z"'


class OrderMaker:
    """Orders from a seed; ids carry a prefix so that several makers never collide."""

    def __init__(self, prefix: str, seed: int = 1) -> None:
        self._prefix = prefix
        self._rng = random.Random(seed)
        self._made = 0

    def _next_id(self) -> str:
        self._made += 1
        return f"o-{self._prefix}-{self._made}"

    def good(self, product: str | None = None, at_ms: int | None = None, amount: str | None = None) -> Order:
        """An order that has to come through, its event time in each form in turn."""
        order_id = self._next_id()
        moment = int(time.time() * 1000) if at_ms is None else at_ms
        stamp = timestamp_forms(moment)[self._made % 3]
        product = product or self._rng.choice(PRODUCTS)
        text = (f'{{"order_id":"{order_id}","user_id":"u-{self._rng.randint(1, 999)}","product_id":"{product}",'
                f'"amount":{amount or _amount(self._rng)},"timestamp":{stamp}}}')
        return Order(order_id, text, True)

    def bad(self) -> Order:
        """An order with one fault: each kind in turn, recognisable in reports by its id."""
        fault, spoil = FAULTS[self._made % len(FAULTS)]
        order = self.good()
        order_id = f"{order.id}-{fault}"
        return Order(order_id, spoil(order.text.replace(order.id, order_id)), False)


def _without_user(text: str) -> str:
    head, _, rest = text.partition('"user_id"')
    return head + rest.partition(",")[2]


def _with_amount(text: str, amount: str) -> str:
    head, _, rest = text.partition('"amount":')
    return f'{head}"amount":{amount},{rest.partition(",")[2]}'


FAULTS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("malformed", lambda text: text.replace(":", "", 1)),
    ("missing-field", _without_user),
    ("negative-amount", lambda text: _with_amount(text, "-12.50")),
    ("unknown-product", lambda text: text.replace('"product_id":"prod-', '"product_id":"prod-99')),
)


class OrderPoster:
    """Posts to one ingest-api over one keep-alive connection; every answer goes to the ledger.

    No retries: a second try after an unknown outcome could store the order twice, and then the
    ledger would no longer say what has to be there.
    """

    def __init__(self, port: int, ledger: LedgerWriter, topic: str = "orders", seconds: float = 30.0,
                 query: str = "") -> None:
        self._port = port
        self._ledger = ledger
        self._topic = topic
        self._path = f"/events/{topic}" + (f"?{query}" if query else "")
        self._seconds = seconds
        self.untold: list[str] = []    # 429 and 503 without Retry-After
        self._connection: http.client.HTTPConnection | None = None

    def post(self, order: Order) -> Entry:
        """Send one order and record what became of it."""
        sent_ms = int(time.time() * 1000)
        answer = self._exchange(order.text.encode())
        return self._add(order, sent_ms, answer.status if answer else 0, _said(answer))

    def post_all(self, orders: Sequence[Order]) -> list[Entry]:
        """Send several orders as one array and record what became of each."""
        sent_ms = int(time.time() * 1000)
        answer = self._exchange(("[" + ",".join(order.text for order in orders) + "]").encode())
        said = _said(answer)
        if answer is None or "results" not in said:    # all of them fared alike, but for what may be stored
            status, fate = answer.status if answer else 0, said if answer and answer.status < 500 else {}
            return [self._add(order, sent_ms, status, fate) for order in orders]
        assert len(said["results"]) == len(orders), said
        return [self._add(order, sent_ms, _status_of(result), result.get("error", result))
                for order, result in zip(orders, said["results"])]

    def _add(self, order: Order, sent_ms: int, status: int, said: dict[str, Any]) -> Entry:
        outcome = outcome_of(status, said.get("status", ""), said.get("detail", ""))
        entry = Entry(len(self._ledger.entries) + 1, order.id, self._topic, outcome, status,
                      said.get("partition", -1), said.get("offset", -1), order.good, sent_ms, order.text)
        self._ledger.add(entry)
        return entry

    def _exchange(self, body: bytes) -> Answer | None:
        """The answer, or None when there was none (nobody knows what became of the order)."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=self._seconds)
        try:
            self._connection.request("POST", self._path, body, {"Content-Type": "application/json"})
            response = self._connection.getresponse()
            answer = Answer(response.status, dict(response.getheaders()), response.read())
        except (OSError, http.client.HTTPException):
            self.close()
            return None
        if answer.status in (429, 503) and "Retry-After" not in answer.headers:
            self.untold.append(answer.body.decode(errors="replace"))
        return answer

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _said(answer: Answer | None) -> dict[str, Any]:
    """What an answer says of its event, or of its events: any of them may be a problem."""
    try:
        said = answer.json() if answer else {}
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _status_of(result: dict[str, Any]) -> int:
    """The status that an event would have had alone."""
    return {"stored": 201, "spooled": 202}.get(result["status"]) or result["error"]["status"]


def outcome_of(status: int, said: str | int = "", detail: str = "") -> str:
    """201 and 202 "spooled" are promises, 4xx a refusal, and so is a problem of 5xx that does not say that
    Kafka may have it. Of anything else its sender cannot know."""
    if status == 201:
        return OK
    if status == 202 and said == "spooled":
        return SPOOLED
    if status >= 500:
        return FAIL if detail and not re.search(r"\bmay\b", detail) else INFO
    return FAIL if status >= 400 else INFO
