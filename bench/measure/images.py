"""The container images: their size, and each service in one: start time and memory when idle.

Needs docker, so this part runs only when it is named. The platform is docker-compose.yml as it is, but
for the generator.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import time
from statistics import median
from typing import Any

from harness.compose import Compose, docker
from harness.platform import PORT_OFFSET, SERVICES
from harness.waiting import wait_for
from measure.session import Session, say

STARTS = 5
FIRST_PORT = 8080
READY_SECONDS = 60.0
POLL_SECONDS = 0.005
SETTLE_SECONDS = 5.0
UNITS = {"KiB": 1 / 1024, "MiB": 1.0, "GiB": 1024.0}


def _answers(compose: Compose, name: str) -> bool:
    """One readiness probe, straight to the container: most ports are not published."""
    networks = compose.inspect(name)["NetworkSettings"]["Networks"].values()
    address = next(network["IPAddress"] for network in networks)
    connection = http.client.HTTPConnection(address, FIRST_PORT + PORT_OFFSET[name], timeout=2.0)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _start_ms(compose: Compose, name: str) -> float:
    """From `docker start` of a stopped container to its first 200."""
    docker("stop", compose.container(name))
    begin = time.monotonic()
    compose.start(name)
    wait_for(f"{name} is ready", READY_SECONDS, lambda: _answers(compose, name), poll_seconds=POLL_SECONDS)
    return (time.monotonic() - begin) * 1000


def _memory_mib(compose: Compose, name: str) -> float:
    """What the container's limit is held against."""
    row = json.loads(docker("stats", "--no-stream", "--format", "{{json .}}", compose.container(name)))
    used = row["MemUsage"].partition(" / ")[0]
    return round(float(used[:-3]) * UNITS[used[-3:]], 1)


def _measure(compose: Compose, tag: str, starts: int) -> dict[str, Any]:
    figures = {}
    for name in SERVICES:
        size = int(docker("image", "inspect", "--format", "{{.Size}}", f"millrace/{name}:{tag}"))
        ready = median(_start_ms(compose, name) for _ in range(starts))
        time.sleep(SETTLE_SECONDS)
        figures[name] = {"mb": round(size / 1e6, 1), "ready_ms": round(ready, 1),
                         "idle_mib": _memory_mib(compose, name)}
        say(f"images: {name} {figures[name]['mb']} MB, ready in {ready:.0f} ms, {figures[name]['idle_mib']} MiB idle")
    return figures


def run(session: Session) -> dict[str, Any]:
    session.kafka.down()    # this part has brokers of its own
    tag = f"bench-{os.getpid()}"
    script = str(session.root / "scripts" / "images")
    subprocess.run([script, "--tag", tag], check=True, stdin=subprocess.DEVNULL)
    compose = Compose(session.root, f"millrace-{tag}", tag)
    try:
        begin = time.monotonic()
        compose.up("--scale", "event-generator=0")
        up_s = round(time.monotonic() - begin, 1)
        return {"up_s": up_s, "services": _measure(compose, tag, 1 if session.plan.quick else STARTS)}
    finally:
        compose.down()
        names = subprocess.run([script, "--tag", tag, "--list"], check=True, capture_output=True, text=True).stdout
        docker("rmi", *names.split())
