"""SIGTERM under load: each service drains, ends with exit code 0, and nothing acknowledged is lost."""

from __future__ import annotations

import pytest

from harness.platform import SERVICES
from site_under_test import Site

RATE = 300


@pytest.mark.parametrize("name", SERVICES)
def test_sigterm_under_load__drains(site: Site, name: str) -> None:
    site.start_load(RATE)
    site.await_acknowledged(RATE)
    site.terminate(name)
    site.restart(name)
    site.await_acknowledged(RATE)
    site.stop_load()
    site.require_exact()
