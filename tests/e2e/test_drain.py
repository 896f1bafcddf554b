"""SIGTERM under load: each service drains, ends with exit code 0, and nothing acknowledged is lost. So it is with
thousands of streams, each of which is told, and goes on where it was."""

from __future__ import annotations

import json
import resource
import signal

import pytest

from harness.ledger import OK
from harness.platform import SERVICES, is_ready
from harness.reader import read_topic
from harness.verify import ORDERS
from harness.waiting import wait_for
from site_under_test import Site
from stream_crowd import Crowd, CrowdClient

RATE = 300
STREAMS = 5000
OTHER_FILES = 500
ORDERS_EACH = 10                         # before, while and after streams end
RETRY_MS = 2000                          # sse.retry: each is told this and up to as much again
DRAIN = "--service.drain.timeout=2m"     # who reads is slow, here


@pytest.mark.parametrize("name", SERVICES)
def test_sigterm_under_load__drains(site: Site, name: str) -> None:
    site.start_load(RATE)
    site.await_acknowledged(RATE)
    site.terminate(name)
    site.restart(name)
    site.await_acknowledged(RATE)
    site.stop_load()
    site.require_exact()


def positions(client: CrowdClient) -> list[tuple[int, int]]:
    """Of its records, in the order in which they came."""
    envelopes = [json.loads(event.data) for event in client.events() if not event.name]
    return [(envelope["partition"], envelope["offset"]) for envelope in envelopes]


def post_orders(site: Site, crowd: Crowd) -> None:
    """ORDERS_EACH that are surely stored. ingest-api may have closed a connection that was idle for long."""
    stored = 0
    while stored < ORDERS_EACH:
        stored += site.post_good().outcome == OK
        crowd.read()


def require_spread(retries: list[int]) -> None:
    """Over the whole of the range, and evenly: no tenth of it has much more than a tenth of the clients."""
    assert min(retries) >= RETRY_MS and max(retries) <= 2 * RETRY_MS
    tenths = [0] * 10
    for retry in retries:
        tenths[min((retry - RETRY_MS) * 10 // RETRY_MS, 9)] += 1
    assert all(STREAMS / 20 < count < STREAMS / 5 for count in tenths), tenths


def test_sigterm_with_thousands_of_streams__each_is_told_and_goes_on_where_it_was(site: Site) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < STREAMS + OTHER_FILES:
        pytest.skip(f"no {STREAMS} files may be open")
    process, port = site.start_second("query-api", DRAIN)
    path = f"/events/{ORDERS}?envelope=1"
    earlier = {record.position for record in read_topic(site.cluster.bootstrap, ORDERS)}
    with Crowd(port, path, [None] * STREAMS) as crowd:
        post_orders(site, crowd)
        crowd.read_until("streams show orders", crowd.clients, lambda client: client.record_count >= ORDERS_EACH)
        process.send_signal(signal.SIGTERM)
        post_orders(site, crowd)    # while streams end: not all of them do so at one position
        crowd.read_until("streams end", crowd.clients, lambda client: client.ended)
    assert process.wait(120.0) == 0, process.trouble("did not drain")
    ends = [client.events()[-1] for client in crowd.clients]
    assert {end.name for end in ends} == {"shutdown"}
    require_spread([client.retry_ms() for client in crowd.clients])

    process.start()
    wait_for("query-api is ready again", 60.0, lambda: is_ready(port))
    with Crowd(port, path, [end.id for end in ends]) as again:
        post_orders(site, again)
        wanted = {record.position for record in read_topic(site.cluster.bootstrap, ORDERS)} - earlier
        assert len(wanted) >= 3 * ORDERS_EACH
        seen = [positions(client) for client in crowd.clients]
        missing = {id(client): len(wanted) - len(before) for client, before in zip(again.clients, seen)}
        again.read_until("streams show the rest", again.clients,
                         lambda client: client.record_count >= missing[id(client)])
        process.send_signal(signal.SIGTERM)
        again.read_until("streams end", again.clients, lambda client: client.ended)
    assert process.wait(120.0) == 0, process.trouble("did not drain")
    for before, client in zip(seen, again.clients):
        shown = before + positions(client)
        assert len(shown) == len(wanted) and set(shown) == wanted
        assert sorted(shown, key=lambda position: position[0]) == sorted(shown)    # in each partition's order
