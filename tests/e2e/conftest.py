"""Fixtures of the end-to-end tests: one Kafka and one platform for each test file.

Each file runs in a pytest of its own (see CMakeLists.txt), on a cluster of its own with ports of its
own. MILLRACE_BIN names the folder of the programs under test.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Callable, Iterator, Sequence

import pytest

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from harness.kafka import KafkaCluster, bin_dir    # noqa: E402  (the path is set above)
from harness.platform import Layout, Platform, Settings    # noqa: E402
from harness.schema_registry import SchemaRegistry    # noqa: E402
from site_under_test import Site    # noqa: E402

DEPS = Path(os.environ.get("MILLRACE_DEPS", Path.home() / ".cache/millrace/deps"))
# Long enough for a whole file; a cluster that a killed test left behind ends by itself.
CLUSTER_SECONDS_MAX = int(os.environ.get("MILLRACE_CLUSTER_SECONDS", "900")) + int(os.environ.get("MILLRACE_AWAY_SECONDS", "0"))


def pytest_configure(config: pytest.Config) -> None:
    """Many sockets: the tests of a thousand idle connections, and the services that hold them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@pytest.fixture(scope="session")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Where this session's logs and ledgers go, and where the programs are."""
    found = Layout(ROOT, bin_dir(ROOT), tmp_path_factory.mktemp("run"))
    print(f"logs: {found.run_dir}")
    return found


MakeSite = Callable[..., Site]


@pytest.fixture(scope="module")
def make_site(layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeSite]:
    """Starts sites: make_site(brokers=3, settings=Settings(…), kafka=["KEY=VALUE"]). All end with the test
    file."""
    sites: list[Site] = []

    def make(brokers: int = 1, settings: Settings | None = None, kafka: Sequence[str] = ()) -> Site:
        run_dir = tmp_path_factory.mktemp("site")
        cluster = KafkaCluster(ROOT, run_dir / "kafka", brokers, CLUSTER_SECONDS_MAX, kafka)
        cluster.up()
        platform = Platform(Layout(ROOT, layout.bin_dir, run_dir), cluster.bootstrap, settings)
        site = Site(cluster, platform)
        sites.append(site)
        site.start()
        return site

    try:
        yield make
    finally:
        for site in sites:
            site.close()


@pytest.fixture(scope="module")
def site(make_site: MakeSite) -> Site:
    """The usual site: one broker, all five services."""
    return make_site()


MakeDisk = Callable[[str], Path]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SchemaRegistry]:
    """Begins to start; who needs it there calls wait_ready()."""
    started = SchemaRegistry(DEPS, tmp_path_factory.mktemp("registry") / "log")
    yield started
    started.close()


@pytest.fixture
def make_disk(tmp_path: Path) -> Iterator[MakeDisk]:
    """Makes disks of a size ("1m"), where we may."""
    folders: list[Path] = []

    def make(size: str) -> Path:
        folder = tmp_path / f"disk-{len(folders)}"
        folder.mkdir()
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=False,
                              capture_output=True, text=True)
        if made.returncode != 0:
            pytest.skip(f"cannot mount a small disk: {made.stderr.strip()}")
        folders.append(folder)
        return folder

    yield make
    for folder in folders:
        subprocess.run(["umount", str(folder)], check=True)
