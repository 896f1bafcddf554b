"""A schema registry of one's own: Apicurio's, in memory, with Confluent's API, on a free port."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

from harness import ports
from harness.process import Process, ProcessFailed
from harness.reader import ReadError, http_get, http_request
from harness.waiting import wait_for

API = "/apis/ccompat/v7"
START_SECONDS = 90.0    # usually 3 s


class SchemaRegistry:
    """It begins to start at once; wait_ready() waits for it."""

    def __init__(self, deps: Path, log: Path) -> None:
        jars = sorted((deps / "schema-registry").glob("*-runner.jar"))
        if not jars:
            raise ProcessFailed("the schema registry is not installed: run scripts/deps test")
        self.port = ports.free_block(1)
        self.url = f"http://127.0.0.1:{self.port}{API}"
        self._process = Process("schema-registry", [
            "java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-Dquarkus.http.host=127.0.0.1",
            f"-Dquarkus.http.port={self.port}", "-jar", str(jars[0])], log).start()

    def wait_ready(self) -> SchemaRegistry:
        def answers() -> bool:
            self._process.require_running()
            try:
                return http_get(self.port, f"{API}/subjects").status == 200
            except (OSError, ReadError):
                return False

        wait_for("the schema registry answers", START_SECONDS, answers)
        return self

    def register(self, subject: str, schema: Any) -> int:
        """The schema's id."""
        answer = http_request(self.port, "POST", f"{API}/subjects/{subject}/versions",
                              json.dumps({"schema": json.dumps(schema)}).encode(),
                              {"Content-Type": "application/vnd.schemaregistry.v1+json"})
        if answer.status != 200:
            raise ProcessFailed(f"registering {subject}: {answer.status} {answer.body[:300]!r}")
        return int(json.loads(answer.body)["id"])

    def pause(self) -> None:
        """Connections stand, and nothing is answered."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def close(self) -> None:
        self._process.kill()
