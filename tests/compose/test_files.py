"""Dockerfiles and docker-compose.yml: linted, and held against rules of our own."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import Any

import pytest

from conftest import ROOT, docker

BROKERS = ("kafka-1", "kafka-2", "kafka-3")
SERVICES = ("ingest-api", "processor", "processor-2", "analytics", "analytics-2", "query-api", "sink")
JOBS = ("topics", "products")
DRAIN_SECONDS = 10    # service.drain.timeout


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    """As Compose itself reads the file, defaults and merges applied."""
    text = docker("compose", "--file", str(ROOT / "docker-compose.yml"), "--profile", "*", "config", "--format", "json")
    return dict(json.loads(text)["services"])


@pytest.mark.parametrize("path", ["Dockerfile", "tests/compose/reader/Dockerfile"])
def test_hadolint(path: str) -> None:
    done = subprocess.run([os.environ["MILLRACE_HADOLINT"], "--no-color", str(ROOT / path)],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_dockerfile__builds_with_any_builder() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert not re.search(r"^#\s*syntax=|<<|--mount", text, re.MULTILINE)


def test_version__is_the_projects_everywhere(config: dict[str, Any]) -> None:
    found = re.search(r"^project\(millrace VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text(), re.MULTILINE)
    assert found and f"ARG VERSION={found[1]}\n" in (ROOT / "Dockerfile").read_text()
    ours = {service["image"].partition(":")[2] for name, service in config.items() if name not in BROKERS}
    assert ours == {found[1]}


def test_services__every_one_is_known(config: dict[str, Any]) -> None:
    assert sorted(config) == sorted((*BROKERS, *SERVICES, *JOBS, "event-generator"))


def test_every_container__is_confined_and_bounded(config: dict[str, Any]) -> None:
    for name, service in config.items():
        assert service["cap_drop"] == ["ALL"] and "cap_add" not in service, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service and "network_mode" not in service and "pid" not in service, name
        assert service["mem_limit"] and service["cpus"] and service["pids_limit"], name
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}, name
        assert service.get("read_only", False) == (name not in BROKERS), name
        assert service["restart"] == ("no" if name in JOBS else "unless-stopped"), name
        assert ":latest" not in service["image"], name


def test_services__have_time_to_drain(config: dict[str, Any]) -> None:
    for name in SERVICES:
        assert int(config[name]["stop_grace_period"].removesuffix("s")) > DRAIN_SECONDS, name


def test_workers__have_stable_ids_of_their_own(config: dict[str, Any]) -> None:
    ids = {name: service["environment"]["MILLRACE_INSTANCE_ID"] for name, service in config.items()
           if name.startswith(("processor", "analytics"))}
    assert len(set(ids.values())) == len(ids) == 4


def test_cluster__keeps_what_it_acknowledged(config: dict[str, Any]) -> None:
    for name in BROKERS:
        settings = config[name]["environment"]
        assert settings["KAFKA_MIN_INSYNC_REPLICAS"] == "2" and settings["KAFKA_DEFAULT_REPLICATION_FACTOR"] == "3"
        assert settings["KAFKA_UNCLEAN_LEADER_ELECTION_ENABLE"] == "false"
        assert settings["KAFKA_NODE_ID"] == name[-1] and config[name]["hostname"] == name
        assert [volume["source"] for volume in config[name]["volumes"]] == [name]
    topics = json.loads((ROOT / "pipelines" / "topics.json").read_text())
    for topic in topics:
        kept = topic["config"].get("retention.ms") == str(7 * 24 * 3600 * 1000)
        assert topic["replication"] == 3 and (kept or topic["config"]["cleanup.policy"].startswith("compact")), topic["name"]
