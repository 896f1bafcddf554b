"""Brokers die and come back during load: nothing acknowledged is lost, nothing is there twice."""

from __future__ import annotations

from conftest import MakeSite

RATE = 200


def test_only_broker_killed_and_restarted(make_site: MakeSite) -> None:
    """While it is away ingest-api refuses or waits; afterwards everything goes on by itself."""
    site = make_site(brokers=1)
    site.start_load(RATE)
    for _ in range(2):
        site.await_acknowledged(RATE)
        site.cluster.kill(1)
        site.cluster.restart(1)
        site.await_acknowledged(RATE, seconds=60.0)
    site.stop_load()
    site.require_exact(90.0)
    site.stop_cleanly()
    site.close()    # a fourth broker would be too much for a small machine


def test_each_of_three_brokers_killed_and_restarted(make_site: MakeSite) -> None:
    """Leaders, coordinators and the controller: each is on some broker, so each falls once."""
    site = make_site(brokers=3)
    site.start_load(RATE)
    for broker in (1, 2, 3):
        site.await_acknowledged(RATE)
        site.cluster.kill(broker)
        site.await_acknowledged(RATE, seconds=60.0)    # two brokers are enough
        site.cluster.restart(broker)
    site.cluster.pause(2)    # a broker that hangs: its connections stay, nothing answers
    site.await_acknowledged(RATE, seconds=60.0)
    site.cluster.resume(2)
    site.await_acknowledged(RATE)
    site.stop_load()
    site.require_exact(90.0)
