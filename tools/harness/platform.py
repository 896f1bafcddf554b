"""The platform: the five services and the generator as processes, started, watched and stopped.

Stop order is the order of the data: ingest-api first, so that nothing new comes in, then each
service behind it, so that what was accepted has somebody to go to until the end.
"""

from __future__ import annotations

import http.client
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Sequence

from harness import ports
from harness.process import Ended, Process, ProcessFailed, describe_code
from harness.reader import http_get
from harness.waiting import wait_for

SERVICES = ("ingest-api", "processor", "analytics", "query-api", "sink")    # drain order
PORT_OFFSET = {"ingest-api": 0, "query-api": 1, "processor": 2, "analytics": 3, "sink": 4}
PIPELINES = {"processor": "pipelines/orders.json", "analytics": "pipelines/product-metrics.json"}
READY_SECONDS = 120.0
STOP_SECONDS = 15.0    # service.drain.timeout is 10 s


@dataclass(frozen=True)
class Layout:
    """Where things are."""

    root: Path         # the source tree: pipelines, schemas
    bin_dir: Path      # the programs
    run_dir: Path      # logs, ledgers, output of this run

    @property
    def metrics_file(self) -> Path:
        return self.run_dir / "output" / "metrics.json"

    def log(self, name: str) -> Path:
        return self.run_dir / "logs" / f"{name}.log"


@dataclass
class Settings:
    """How one run differs from another."""

    window: str | None = "10s"                        # None: as the pipeline file says
    guarantee: str = "exactly_once"
    port_base: int = 0                                # 0: any free ports
    services: Sequence[str] = SERVICES
    topics: str = "pipelines/topics.json"
    pipelines: dict[str, str] = field(default_factory=lambda: dict(PIPELINES))    # worker → file
    shown: Sequence[str] = ()                         # topics that query-api serves; (): its default
    kafka: Sequence[str] = ()                         # librdkafka properties for all, NAME=VALUE
    flags: dict[str, list[str]] = field(default_factory=dict)    # more flags by service name


class Platform:
    """A set of services against one Kafka."""

    def __init__(self, layout: Layout, bootstrap: str, settings: Settings | None = None) -> None:
        self.layout = layout
        self.bootstrap = bootstrap
        self.settings = settings or Settings()
        self.generator: Process | None = None
        base = self.settings.port_base or ports.free_block(len(SERVICES))
        self.ports = {name: base + offset for name, offset in PORT_OFFSET.items()}
        self._processes = {name: self._service(name) for name in self.settings.services}
        self._loads = 0

    # --- Commands --------------------------------------------------------------------------------

    def _kafka_flags(self) -> list[str]:
        return [f"--kafka.{prop}" for prop in (f"bootstrap.servers={self.bootstrap}", *self.settings.kafka)]

    def _service(self, name: str) -> Process:
        argv = [str(self.layout.bin_dir / name), *self._kafka_flags(), "--http.host=127.0.0.1",
                f"--http.port={self.ports[name]}", "--log.format=json", *self._own_flags(name),
                *self.settings.flags.get(name, [])]
        return Process(name, argv, self.layout.log(name), cwd=self.layout.run_dir)

    def _own_flags(self, name: str) -> list[str]:
        root, settings = self.layout.root, self.settings
        if name == "ingest-api":
            return [f"--topics.file={root / settings.topics}", f"--schemas.dir={root / 'schemas'}"]
        if name in PIPELINES:
            window = [f"--window.size={settings.window}"] if name == "analytics" and settings.window else []
            return [f"--pipeline.file={root / settings.pipelines[name]}",
                    f"--pipeline.guarantee={settings.guarantee}", *window]
        if name == "query-api" and settings.shown:
            return [f"--query.topics={','.join(settings.shown)}"]
        if name == "sink":
            return [f"--sink.file={self.layout.metrics_file}"]
        return []

    def _tool(self, name: str, *flags: str) -> None:
        """Run a tool to its end; its output goes to its log."""
        argv = [str(self.layout.bin_dir / name), *self._kafka_flags(), *flags]
        process = Process(name, argv, self.layout.log(name)).start()
        code = process.wait(READY_SECONDS)
        if code != 0:
            raise ProcessFailed(process.trouble(f"failed with {describe_code(code)}"))

    # --- Start -----------------------------------------------------------------------------------

    def create_topics(self, file: Path | None = None) -> None:
        """On real Kafka; dev-broker makes the topics itself."""
        self._tool("topics", f"--topics.file={file or self.layout.root / self.settings.topics}")

    def seed_products(self) -> None:
        """Put the products there before the first order could miss one."""
        self._tool("event-generator", "--seed-products=true", "--target=stdout", "--count=1")

    def start(self, on_ready: Callable[[str], None] = lambda name: None) -> None:
        """Start all services at once, then wait for each."""
        self.layout.metrics_file.parent.mkdir(parents=True, exist_ok=True)
        for name in reversed(self.settings.services):
            self._processes[name].start()
        for name in reversed(self.settings.services):
            self.wait_ready(name)
            on_ready(name)

    def wait_ready(self, name: str, seconds: float = READY_SECONDS) -> None:
        """Wait for /health/ready; fails at once, with log lines, when the service has ended."""
        process = self._processes[name]

        def ready() -> bool:
            process.require_running()
            return is_ready(self.ports[name])

        try:
            wait_for(f"{name} becomes ready", seconds, ready)
        except AssertionError as error:
            raise ProcessFailed(process.trouble(f"is not ready: {error}")) from error

    def start_load(self, rate: int, *flags: str) -> Path:
        """Start event-generator over HTTP; returns its ledger."""
        self._loads += 1
        ledger = self.layout.run_dir / "ledger" / f"generator-{self._loads}.ndjson"
        ledger.parent.mkdir(parents=True, exist_ok=True)
        argv = [str(self.layout.bin_dir / "event-generator"), *self._kafka_flags(), "--target=http",
                f"--url=http://127.0.0.1:{self.ports['ingest-api']}", f"--rate={rate}",
                f"--seed={self._loads}", f"--ledger={ledger}", *flags]
        generator = Process("event-generator", argv, self.layout.log("event-generator")).start()
        self.generator = generator

        def opened() -> bool:
            generator.require_running()
            return ledger.exists()

        wait_for("event-generator opens its ledger", READY_SECONDS, opened)    # from now on it ends in order
        return ledger

    # --- While it runs ---------------------------------------------------------------------------

    def service(self, name: str) -> Process:
        return self._processes[name]

    def require_running(self) -> None:
        """Raise when any service has ended by itself."""
        for process in self._processes.values():
            process.require_running()

    def kill(self, name: str) -> None:
        self._processes[name].kill()

    def restart(self, name: str) -> None:
        """Start a service again after kill or stop, on its old port, and wait until it is ready."""
        self._processes[name].start()
        self.wait_ready(name)

    # --- Stop ------------------------------------------------------------------------------------

    def stop_load(self, seconds: float = 40.0) -> Ended | None:
        """Stop the generator; it waits for outstanding answers and closes its ledger."""
        if self.generator is None:
            return None
        ended = self.generator.stop(seconds)
        self.generator = None
        return ended

    def stop_service(self, name: str) -> Ended:
        return self._processes[name].stop(STOP_SECONDS)

    def stop(self, on_stopped: Callable[[Ended], None] = lambda ended: None) -> list[Ended]:
        """Generator, then services in drain order. All are asked, whatever the others do."""
        ends = []
        load = self.stop_load()
        for ended in ([load] if load else []):
            ends.append(ended)
            on_stopped(ended)
        for name in self.settings.services:
            if self._processes[name].was_started:
                ends.append(self.stop_service(name))
                on_stopped(ends[-1])
        return ends

    def kill_all(self) -> None:
        """End everything at once, for a second Ctrl-C and for tests that failed."""
        for process in [self.generator, *self._processes.values()]:
            if process is not None:
                process.kill()


def is_ready(port: int) -> bool:
    """One readiness probe; a refused or broken connection is a no."""
    try:
        return http_get(port, "/health/ready", seconds=2.0).status == 200
    except (OSError, http.client.HTTPException):
        return False
