"""Under 200 events a second: brokers and services fall, one at a time; nothing is lost, nothing doubled.

One project for the file, one ledger that grows over its tests; each verdict recounts all of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest

from composed_site import BROKERS, ComposedSite
from conftest import ROOT, Compose
from harness.platform import SERVICES
from harness.reader import SseStream

RATE = 200


@pytest.fixture(scope="module")
def site(tag: str, project: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposedSite]:
    compose = Compose(ROOT, project, tag, [ROOT / "tests" / "compose" / "reader.yml"])
    found = ComposedSite(compose, ROOT, tmp_path_factory.mktemp("compose"))
    try:
        found.start()
        yield found
    finally:
        found.close()


def test_order_in__its_metric_out(site: ComposedSite) -> None:
    with SseStream(site.port("query-api"), "/events/product-metrics") as stream:
        stream.wait_open()
        assert site.post_good(product="prod-3", amount="49.90").status == 201
        stream.wait_until("the window that counts the order", 120.0,
                          lambda s: any(event.json()["product_id"] == "prod-3" for event in s.records()))
        window = stream.records()[0].json()
    assert (window["order_count"], window["total_revenue"], window["avg_order_value"]) == (1, 49.90, 49.90)


@pytest.mark.parametrize("fault", ["kill", "pause", "disconnect"])
def test_each_broker_falls__nothing_is_lost(site: ComposedSite, fault: str) -> None:
    heal = {"kill": site.compose.start, "pause": site.compose.unpause, "disconnect": site.compose.connect}[fault]
    site.start_load(RATE)
    for broker in BROKERS:
        site.await_acknowledged(RATE)
        getattr(site.compose, fault)(broker)
        site.await_acknowledged(RATE, seconds=60.0)    # two brokers are enough
        heal(broker)
        site.compose.await_healthy(broker)
        site.await_in_sync()
    site.stop_load()
    site.require_exact(180.0)


def test_killed_service__comes_back_by_itself(site: ComposedSite) -> None:
    site.start_load(RATE)
    for service in SERVICES:
        site.await_acknowledged(RATE, seconds=60.0)
        site.kill_and_await(service)
    site.await_acknowledged(RATE)
    site.stop_load()
    site.require_exact(180.0)


def test_rolling_replacement_of_everything__loses_and_doubles_nothing(site: ComposedSite) -> None:
    """An upgrade: every service in a new container, every broker restarted, one after the other."""
    site.start_load(RATE)
    for service in SERVICES:
        site.await_acknowledged(RATE, seconds=60.0)
        site.compose.replace(service)
        site.platform.ended_on_purpose.pop(service, None)    # type: ignore[attr-defined]
    for broker in BROKERS:
        site.await_acknowledged(RATE, seconds=60.0)
        site.compose.restart(broker)
        site.await_in_sync()
    site.await_acknowledged(RATE)
    site.stop_load()
    site.require_exact(180.0)


def test_down__leaves_nothing(site: ComposedSite) -> None:
    site.compose.down()
    assert site.compose.leftovers() == []
