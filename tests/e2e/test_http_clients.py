"""Slow, silent and vanishing HTTP clients cost the others nothing."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from typing import Iterator

import pytest

from harness.ledger import INFO, OK, Entry
from harness.platform import Settings
from harness.verify import ORDERS
from harness.waiting import wait_for
from conftest import MakeSite
from raw_http import connect, read_all
from site_under_test import Site

IDLE_CONNECTIONS = 1000
DEADLINE_S = 2    # the service's own, set short for these tests


@pytest.fixture(scope="module")
def site(make_site: MakeSite) -> Site:
    limits = [f"--http.header.timeout={DEADLINE_S}s", f"--http.body.timeout={DEADLINE_S}s"]
    return make_site(settings=Settings(flags={"ingest-api": limits}))


def request_of(text: str) -> bytes:
    body = text.encode()
    return (b"POST /events/orders HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: "
            + str(len(body)).encode() + b"\r\n\r\n" + body)


def drip(sock: socket.socket, data: bytes, pause_seconds: float = 0.1) -> Iterator[None]:
    """Send a byte at a time until the server has had enough. The pause is what makes it slow."""
    for n in range(len(data)):
        try:
            sock.sendall(data[n:n + 1])
        except (BrokenPipeError, ConnectionResetError):
            return
        time.sleep(pause_seconds)
        yield


@pytest.mark.parametrize("sent_before", [0, 90], ids=["slow head", "slow body"])
def test_slow_client__is_cut_at_its_deadline_while_others_are_served(site: Site, sent_before: int) -> None:
    data = request_of(site.orders.good().text)
    with connect(site.port("ingest-api")) as sock:
        at = data.index(b"\r\n\r\n") + 4 if sent_before else 0
        sock.sendall(data[:at])
        for _ in drip(sock, data[at:]):
            assert site.post_good().outcome == OK
        answer = read_all(sock, 1.0, 5.0)
    assert answer.closed and set(answer.statuses) <= {408}, answer    # all of it would take ten times the deadline


def test_client_vanishes_inside_the_body__stores_nothing(site: Site) -> None:
    order = site.orders.good()
    with connect(site.port("ingest-api")) as sock:
        sock.sendall(request_of(order.text)[:-20])
    site.add_entry(Entry(0, order.id, ORDERS, "fail", 0, -1, -1, True, 0, order.text))
    assert site.post_good().outcome == OK
    site.require_exact()


def test_client_vanishes_before_its_answer__at_most_once(site: Site) -> None:
    for _ in range(50):
        order = site.orders.good()
        with connect(site.port("ingest-api")) as sock:
            sock.sendall(request_of(order.text))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")    # RST, not FIN
        site.add_entry(Entry(0, order.id, ORDERS, INFO, 0, -1, -1, True, 0, order.text))
    assert site.post_good().outcome == OK
    site.require_exact()


def test_thousand_idle_connections__good_clients_are_served(site: Site) -> None:
    """Idle ones sit between requests, where no deadline but the idle one applies."""
    port = site.port("ingest-api")
    with ExitStack() as stack:
        idle = [stack.enter_context(connect(port)) for _ in range(IDLE_CONNECTIONS)]
        for _ in range(100):
            assert site.post_good().outcome == OK
        assert len(idle) == IDLE_CONNECTIONS
        wait_for("a new connection is served as well", 60.0, lambda: _ready_by_new_connection(port))
    site.require_exact()


def _ready_by_new_connection(port: int) -> bool:
    with connect(port) as sock:
        sock.sendall(b"GET /health/ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        return read_all(sock, 1.0, 5.0).statuses == [200]
