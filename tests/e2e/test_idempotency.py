"""Two replicas of ingest-api, clients that send every order until they know, and kill -9 in between.

Each order goes out with an Idempotency-Key of its own. A client whose connection broke, or who was told
to come again, sends the same request to the other replica. Whatever was killed at whatever moment, also
between Kafka's acknowledgement and the answer: each order is in Kafka once, where its client was told.
"""

from __future__ import annotations

import http.client
import itertools
import random
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from harness.orders import Order
from harness.platform import Settings, is_ready
from harness.process import Process
from harness.reader import Answer, http_get, http_request, read_topic
from harness.verify import ORDERS
from harness.waiting import wait_for
from conftest import MakeSite
from site_under_test import Site

TOPIC = "ingest-api.idempotency"
# A claim of a dead process is believed for both of these and five seconds.
FLAGS = [f"--idempotency.topic={TOPIC}", "--http.request.timeout=2s", "--kafka.message.timeout.ms=3000"]
CLIENTS = 24
KILLS = 4
ROUNDS_MAX = 4
KNOWN_SECONDS = 120.0


@dataclass
class Replicas:
    """The two, by number."""

    processes: list[Process]
    ports: list[int]

    def await_ready(self, n: int) -> None:
        wait_for(f"replica {n} becomes ready", 60.0, lambda: is_ready(self.ports[n]))

    def kill_and_restart(self, n: int) -> None:
        self.processes[n].kill()
        self.processes[n].start()
        self.await_ready(n)

    def searches(self) -> int:
        """How often a replica had to look into the topic for what a dead one had stored."""
        return sum(process.log.read_text(errors="replace").count('"idempotency_search"')
                   for process in self.processes)


@pytest.fixture(scope="module")
def site(make_site: MakeSite) -> Site:
    return make_site(settings=Settings(services=("ingest-api",), flags={"ingest-api": FLAGS}))


@pytest.fixture(scope="module")
def replicas(site: Site) -> Replicas:
    two, port = site.start_second("ingest-api")
    return Replicas([site.platform.service("ingest-api"), two], [site.port("ingest-api"), port])


@dataclass
class Clients:
    """Send orders until stopped, each until its outcome is known."""

    site: Site
    replicas: Replicas
    stopping: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    told: dict[str, tuple[int, int]] = field(default_factory=dict)
    unanswered: int = 0
    replayed: int = 0

    def next_order(self) -> Order:
        with self.lock:
            return self.site.orders.good()

    def run(self, seed: int) -> None:
        rng = random.Random(seed)
        while not self.stopping.is_set():
            self.deliver(self.next_order(), rng.randint(0, 1))

    def deliver(self, order: Order, first: int) -> None:
        turn = itertools.count(first)

        def attempt() -> Answer | None:
            answer = self.post(order, next(turn) % 2)
            return answer if answer and answer.status not in (409, 503) else None

        answer = wait_for(f"the outcome of {order.id}", KNOWN_SECONDS, attempt)
        assert answer.status == 201, answer
        body = answer.json()
        with self.lock:
            self.told[order.id] = body["partition"], body["offset"]
            self.replayed += answer.headers.get("idempotent-replayed") == "true"

    def post(self, order: Order, replica: int) -> Answer | None:
        headers = {"Content-Type": "application/json", "Idempotency-Key": f'"{order.id}"'}
        try:
            return http_request(self.replicas.ports[replica], "POST", f"/events/{ORDERS}", order.text.encode(),
                                headers)
        except (OSError, http.client.HTTPException):
            with self.lock:
                self.unanswered += 1
            return None


def require_once(site: Site, told: dict[str, tuple[int, int]]) -> None:
    """Every order that a client was told of is in the topic once, and there."""
    found: dict[str, list[tuple[int, int]]] = {}
    for record in read_topic(site.cluster.bootstrap, ORDERS):
        assert record.key
        found.setdefault(record.key, []).append(record.position)
    wrong = {order: (position, found.get(order)) for order, position in told.items()
             if found.get(order) != [position]}
    assert not wrong, f"{len(wrong)} of {len(told)} orders: told, found: {list(wrong.items())[:5]}"


def deliver_under_kills(clients: Clients, replicas: Replicas) -> None:
    clients.stopping.clear()
    with ThreadPoolExecutor(CLIENTS) as pool:
        running: list[Future[None]] = [pool.submit(clients.run, seed) for seed in range(CLIENTS)]
        try:
            for kill in range(KILLS):
                wanted = len(clients.told) + 200
                wait_for("200 more orders", KNOWN_SECONDS, lambda: len(clients.told) >= wanted)
                replicas.kill_and_restart(kill % 2)
        finally:
            clients.stopping.set()
        for client in running:
            client.result()


def test_kill_9_at_any_moment__each_order_is_stored_once(site: Site, replicas: Replicas) -> None:
    clients = Clients(site, replicas)
    for _ in range(ROUNDS_MAX):
        deliver_under_kills(clients, replicas)
        if clients.replayed > 0:    # a kill came between what Kafka acknowledged and its answer: by chance
            break
    assert clients.unanswered > 0, "no kill hit a request"
    require_once(site, clients.told)
    assert replicas.searches() > 0, "no claim was left behind"
    assert clients.replayed > 0, "no retry found its order stored"


def test_answered_orders__are_told_again_by_a_restarted_replica(site: Site, replicas: Replicas) -> None:
    clients = Clients(site, replicas)
    orders = [clients.next_order() for _ in range(20)]
    for order in orders:
        clients.deliver(order, 0)
    told = dict(clients.told)
    replicas.kill_and_restart(0)
    for order in orders:
        clients.deliver(order, 0)
    assert clients.told == told
    assert clients.replayed == len(orders)
    require_once(site, told)
    metrics = http_get(replicas.ports[0], "/metrics").body.decode()
    assert 'millrace_ingest_idempotent_requests_total{outcome="replayed"}' in metrics
