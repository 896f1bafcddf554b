"""SIGKILL of processor and analytics at random moments under load: the results stay exact.

The moments are drawn from a seed and counted in acknowledged events, so a run can be repeated:
MILLRACE_SEED=N.
"""

from __future__ import annotations

import os
import random

import pytest

from site_under_test import Site

RATE = 300
KILLS = 4
SEED = int(os.environ.get("MILLRACE_SEED", "20240607"))


@pytest.mark.parametrize("victims", [("processor",), ("analytics",), ("processor", "analytics")],
                         ids=["processor", "analytics", "both at once"])
def test_killed_under_load__results_stay_exact(site: Site, victims: tuple[str, ...]) -> None:
    rng = random.Random(f"{SEED} {victims}")
    site.start_load(RATE, "--bad-share=0.02", "--disorder=2s")
    site.await_acknowledged(RATE)
    for _ in range(KILLS):
        site.await_random_moment(rng)
        for victim in victims:
            site.platform.kill(victim)
        site.await_random_moment(rng, 100)
        for victim in victims:
            site.restart(victim)
    site.await_acknowledged(RATE)
    site.stop_load()
    site.require_exact(90.0)


def test_afterwards__all_drain_and_nothing_is_left_over(site: Site) -> None:
    """What a late transaction or a second copy would still add shows after the drain."""
    before = site.require_exact().seen
    site.stop_cleanly()
    after = site.require_exact(5.0, stopped=True).seen
    assert len(after.processed) == len(before.processed)
