"""Memory and start time of each service, idle, against one broker."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

from harness.platform import SERVICES, Layout, Platform, Settings, is_ready
from measure import usage
from measure.session import Session, require_clean, say

STARTS = 5
POLL_SECONDS = 0.001    # what the start time is good for
SETTLE_SECONDS = 2.0    # idle means: caches filled, connections to Kafka made


def _one_start(session: Session, platform: Platform, name: str) -> dict[str, float]:
    """From exec to the first 200 of /health/ready, then a while without any work."""
    process = platform.service(name)
    begin = time.monotonic()
    process.start()
    session.await_ready(process, lambda: is_ready(platform.ports[name]), poll_seconds=POLL_SECONDS)
    ready_ms = (time.monotonic() - begin) * 1000
    time.sleep(SETTLE_SECONDS)
    figures = {"ready_ms": round(ready_ms, 1), "rss_mib": usage.rss_mib(process.pid)}
    require_clean([platform.stop_service(name)])
    return figures


def run(session: Session) -> dict[str, Any]:
    """Each service alone, so that none starts in another's shadow."""
    session.renew_kafka()    # nothing to load, no windows of another size
    layout = Layout(session.root, session.bin_dir, session.directory / "footprint")
    platform = Platform(layout, session.kafka.bootstrap, Settings())
    layout.metrics_file.parent.mkdir(parents=True, exist_ok=True)
    platform.create_topics()
    result = {}
    try:
        for name in SERVICES:
            starts = [_one_start(session, platform, name) for _ in range(1 if session.plan.quick else STARTS)]
            result[name] = {key: median(start[key] for start in starts) for key in ("ready_ms", "rss_mib")}
            say(f"footprint: {name} ready in {result[name]['ready_ms']} ms, {result[name]['rss_mib']} MiB idle")
    finally:
        platform.kill_all()
    return result
