"""Fixtures of the cluster tests: one cluster, applied once, for the whole run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Iterator

import pytest

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from cluster import NAMESPACE, Cluster    # noqa: E402  (the path is set above)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster without Millrace on it, and without it again at the end, whatever happened."""
    if not os.environ.get("KUBECONFIG"):
        pytest.fail("KUBECONFIG is not set: name the cluster to test on. Its content is never guessed.")
    taken = subprocess.run(["kubectl", "get", "namespace", NAMESPACE, "--ignore-not-found", "-o", "name"],
                           capture_output=True, text=True, timeout=30, check=False)
    if taken.returncode:
        pytest.fail(f"the cluster of KUBECONFIG does not answer: {taken.stderr}")
    if taken.stdout.strip():
        pytest.fail(f"namespace {NAMESPACE} exists on this cluster: the tests would delete it at their end")
    found = Cluster(tmp_path_factory.mktemp("run"))
    print(f"logs: {found.run_dir}")
    try:
        yield found
    finally:
        for load in found.loads:
            load.kill()
        subprocess.run(["kubectl", "delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=120s"],
                       capture_output=True, timeout=150, check=False)
