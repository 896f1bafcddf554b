"""Compose projects, with a stand-in for docker."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.compose import Compose, DockerFailed


def use_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """A docker that notes how it was called, then does as the script says; its notes, a line a call."""
    calls = tmp_path / "calls"
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\necho \"$*\" >>{calls}\n{script}\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return calls


def test_pause__freezer_gives_up__is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = tmp_path / "calls"
    script = (f"[ $(wc -l <{calls}) -ge 3 ] || "
              "{ echo 'OCI runtime pause failed: unable to freeze: unknown' >&2; exit 1; }")
    use_docker(tmp_path, monkeypatch, script)
    Compose(tmp_path, "p", "t").pause("kafka-2")
    assert calls.read_text() == 3 * "pause p-kafka-2-1\n"


def test_pause__any_other_reason__is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = use_docker(tmp_path, monkeypatch, "echo 'No such container' >&2; exit 1")
    with pytest.raises(DockerFailed, match="No such container"):
        Compose(tmp_path, "p", "t").pause("kafka-2")
    assert calls.read_text() == "pause p-kafka-2-1\n"
