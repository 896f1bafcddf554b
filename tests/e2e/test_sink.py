"""The sink's file has each record once, whatever happens to the sink."""

from __future__ import annotations

import random

from harness.verify import METRICS
from harness.reader import read_topic
from site_under_test import Site

RATE = 200


def test_killed_and_restarted_under_load__each_record_once(site: Site) -> None:
    rng = random.Random(5)
    site.start_load(RATE)
    site.await_acknowledged(RATE)
    for _ in range(5):
        site.await_random_moment(rng, 150)
        site.platform.kill("sink")
        site.await_random_moment(rng, 100)
        site.restart("sink")
    site.await_acknowledged(RATE)
    site.stop_load()
    site.require_exact()


def test_torn_line__is_repaired_at_start(site: Site) -> None:
    """A SIGKILL in the middle of a write leaves half a line; the record is written again, whole."""
    site.require_exact()
    site.platform.kill("sink")
    with open(site.platform.layout.metrics_file, "ab") as file:
        file.write(b'{"window_start":17')
    site.restart("sink")
    site.post_good()
    site.require_exact()


def test_written_but_not_committed__is_not_written_twice(site: Site) -> None:
    """Killed at once after each restart: between a write and its commit is where copies come from."""
    rng = random.Random(6)
    site.start_load(RATE)
    for _ in range(4):
        site.await_random_moment(rng, 60)
        site.platform.kill("sink")
        site.restart("sink")
    site.stop_load()
    site.require_exact()


def test_file__is_plain_json_lines(site: Site) -> None:
    site.require_exact()
    site.terminate("sink")
    data = site.platform.layout.metrics_file.read_bytes()
    assert data.endswith(b"\n") and data.count(b"\n") == len(read_topic(site.cluster.bootstrap, METRICS))
