"""docker compose up, as a user types it: a dashboard that lives, nothing left after down. How long it takes is
measured by bench/run images."""

from __future__ import annotations

from conftest import Compose
from harness.platform import SERVICES
from harness.reader import SseStream, http_get


def test_up__healthy__metrics_flow__down_leaves_nothing(stack: Compose) -> None:
    stack.up()
    assert b"<html" in http_get(stack.ports["query-api"], "/").body
    with SseStream(stack.ports["query-api"], "/events/product-metrics") as stream:
        stream.wait_until("windows of the generator's orders", 120.0, lambda s: len(s.records()) >= 3)
    for service in SERVICES:
        require_confined(stack, service)
    require_published_on_loopback_only(stack)
    stack.down()
    assert stack.leftovers() == []


def require_confined(stack: Compose, service: str) -> None:
    """What the kernel enforces, not what the files ask for."""
    status = stack.process_status(service)
    assert status["CapEff"] == "0000000000000000", service
    assert status["CapBnd"] == "0000000000000000", service
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2"), service
    assert status["Uid"].split() == ["65532"] * 4 and status["Gid"].split() == ["65532"] * 4, service
    found = stack.inspect(service)
    with open(f"/proc/{found['State']['Pid']}/mountinfo", encoding="ascii") as mounts:
        root = next(line.split() for line in mounts if line.split()[4] == "/")
    assert "ro" in root[5].split(","), f"{service}: the root is writable"
    limits = found["HostConfig"]
    assert limits["Memory"] and limits["NanoCpus"] and limits["PidsLimit"], service
    assert found["RestartCount"] == 0, service


def require_published_on_loopback_only(stack: Compose) -> None:
    published = {}
    for service in (*SERVICES, "kafka-1", "kafka-2", "kafka-3", "event-generator"):
        for port, places in stack.inspect(service)["NetworkSettings"]["Ports"].items():
            for place in places or []:
                published[service, port] = place["HostIp"], int(place["HostPort"])
    assert published == {("ingest-api", "8080/tcp"): ("127.0.0.1", stack.ports["ingest-api"]),
                         ("query-api", "8081/tcp"): ("127.0.0.1", stack.ports["query-api"])}
