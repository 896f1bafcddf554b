"""The e2e tests' Site on a Compose project: the same ledger, load and verdict."""

from __future__ import annotations

import os
from pathlib import Path

from harness.compose import Compose
from harness.platform import SERVICES, Layout, Platform, Settings
from harness.process import ProcessFailed
from harness.reader import out_of_sync
from harness.waiting import DeadlineExceeded, wait_for
from site_under_test import Site

BOOTSTRAP = "kafka-1:9092,kafka-2:9092,kafka-3:9092"    # as the reader inside the network sees it
BROKERS = ("kafka-1", "kafka-2", "kafka-3")
LINES = "/var/lib/millrace/metrics.json"
IN_SYNC_SECONDS = 60.0


class ComposedPlatform(Platform):
    """Services are containers, the load is a process of ours."""

    def __init__(self, compose: Compose, layout: Layout) -> None:
        super().__init__(layout, BOOTSTRAP, Settings(window="1m", services=SERVICES))
        self._compose = compose
        self.ports = compose.ports
        self.ended_on_purpose: dict[str, int] = {}

    def require_running(self) -> None:
        """Every container runs and none was started again that no test had ended. Brings the sink's
        file, so that the verdict sees it."""
        for service in (*BROKERS, *SERVICES):
            found = self._compose.inspect(service)
            restarts = found["RestartCount"] - self.ended_on_purpose.get(service, 0)
            if not found["State"]["Running"] or restarts:
                raise ProcessFailed(f"{service}: {found['State']['Status']}, {restarts} restarts; last lines:\n"
                                    f"{self._compose.logs(service)}")
        self.layout.metrics_file.parent.mkdir(parents=True, exist_ok=True)
        self._compose.copy_out("sink", LINES, self.layout.metrics_file)

    def restart(self, name: str) -> None:
        self._compose.restart(name)


class ComposedCluster:
    """What Site needs to know of Kafka."""

    bootstrap = BOOTSTRAP

    def __init__(self, compose: Compose) -> None:
        self._compose = compose

    def down(self) -> None:
        self._compose.down()


class ComposedSite(Site):
    def __init__(self, compose: Compose, root: Path, run_dir: Path) -> None:
        self.compose = compose
        layout = Layout(root, Path(os.environ["MILLRACE_BIN"]), run_dir)
        super().__init__(ComposedCluster(compose), ComposedPlatform(compose, layout))    # type: ignore[arg-type]

    def start(self) -> None:
        os.environ["MILLRACE_KCAT"] = f"docker exec -i {self.compose.container('reader')} kcat"
        self.compose.run("build", "reader", seconds=600.0)
        self.compose.up()

    def kill_and_await(self, service: str) -> None:
        """The process dies; docker starts it again by itself."""
        platform: ComposedPlatform = self.platform    # type: ignore[assignment]
        platform.ended_on_purpose[service] = platform.ended_on_purpose.get(service, 0) + 1
        started = self.compose.inspect(service)["State"]["StartedAt"]
        self.compose.kill_process(service)
        wait_for(f"{service} is started again", 60.0,
                 lambda: self.compose.inspect(service)["State"]["StartedAt"] != started, poll_seconds=0.2)
        self.compose.await_healthy(service)

    def await_in_sync(self) -> None:
        """All replicas caught up: only then is another broker's fault a single one."""
        lacking: list[str] = []

        def are_in_sync() -> bool:
            lacking[:] = out_of_sync(BOOTSTRAP)
            return not lacking

        try:
            wait_for("all replicas are in sync", IN_SYNC_SECONDS, are_in_sync, poll_seconds=0.5)
        except DeadlineExceeded as error:
            raise DeadlineExceeded(f"{error}: {len(lacking)} things lack: {'; '.join(lacking[:5])}") from None
