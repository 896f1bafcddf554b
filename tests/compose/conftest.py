"""Fixtures of the Compose tests: images of this source tree, and projects made of them.

They need docker and its Compose that work, and fail without. MILLRACE_BIN names the folder of
event-generator, which loads the published port from outside, as users do.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Iterator

import pytest

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests" / "e2e")]

from harness.compose import Compose, DockerFailed, docker    # noqa: E402  (the path is set above)

BUILD_SECONDS = 1800.0    # once, without any cache


def pytest_sessionstart(session: pytest.Session) -> None:
    for words in (("info",), ("compose", "version")):
        try:
            docker(*words)
        except (OSError, DockerFailed) as error:
            pytest.exit(f"docker {' '.join(words)} does not work, so nothing can be tested: {error}", returncode=1)


@pytest.fixture(scope="session")
def tag() -> Iterator[str]:
    """Images of the tree as it is now, under a tag that goes with the session; layers stay cached."""
    name = f"test-{os.getpid()}"
    script = str(ROOT / "scripts" / "images")
    subprocess.run([script, "--tag", name], check=True, timeout=BUILD_SECONDS, stdin=subprocess.DEVNULL)
    images = subprocess.run([script, "--tag", name, "--list"], check=True, capture_output=True, text=True).stdout.split()
    try:
        yield name
    finally:
        for image in [*images, f"millrace/test-reader:{name}"]:
            subprocess.run(["docker", "rmi", image], check=False, capture_output=True)


@pytest.fixture(scope="session")
def project() -> str:
    return f"millrace-test-{os.getpid()}"


@pytest.fixture
def stack(tag: str, project: str) -> Iterator[Compose]:
    """The project as users have it, not started yet."""
    compose = Compose(ROOT, project, tag)
    try:
        yield compose
    finally:
        compose.down()
