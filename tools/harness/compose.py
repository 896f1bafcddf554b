"""Millrace in Docker Compose: a project of its own, watched and disturbed from outside.

Containers outlive whoever started them, so a guard ends the project when we die, as in kafka.py.
Published ports are the two that users see; Kafka is read by a container inside the project's network
(MILLRACE_KCAT, see reader.py).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any, Sequence

from harness import ports
from harness.waiting import wait_for

COMMAND_SECONDS = 180.0
HEALTHY_SECONDS = 90.0
PAUSE_SECONDS = 60.0

_GUARD = 'read -r ended; [ "$ended" = down ] || exec "$@" >/dev/null 2>&1'


class DockerFailed(RuntimeError):
    """A docker command failed; the text carries what it said."""


def docker(*words: str, seconds: float = COMMAND_SECONDS, env: dict[str, str] | None = None) -> str:
    """Run docker; what it prints on stdout."""
    argv = ["docker", *words]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds,
                          check=False, env={**os.environ, **(env or {})})
    if done.returncode != 0:
        raise DockerFailed(f"{' '.join(argv)}: exit code {done.returncode}\n{done.stderr[-3000:]}")
    return done.stdout


class Compose:
    """One project: its own names, ports, networks and volumes, so that no other is touched."""

    def __init__(self, root: Path, project: str, tag: str, overlays: Sequence[Path] = ()) -> None:
        self.project = project
        base = ports.free_block(2)
        self.ports = {"ingest-api": base, "query-api": base + 1}
        self._env = {"MILLRACE_TAG": tag, "MILLRACE_INGEST_PORT": str(base), "MILLRACE_QUERY_PORT": str(base + 1)}
        files = [root / "docker-compose.yml", *overlays]
        self._words = ["compose", "--project-name", project, *(word for file in files for word in ("--file", str(file)))]
        self._guard: subprocess.Popen[bytes] | None = None

    def run(self, *words: str, seconds: float = COMMAND_SECONDS) -> str:
        """docker compose … of this project."""
        return docker(*self._words, *words, seconds=seconds, env=self._env)

    # --- Start and end ---------------------------------------------------------------------------

    def up(self, *words: str) -> None:
        """Start everything, and return once it is healthy."""
        if self._guard is None:
            argv = ["docker", *self._words, "down", "--volumes", "--timeout", "0"]
            self._guard = subprocess.Popen(["/bin/sh", "-c", _GUARD, "guard", *argv], stdin=subprocess.PIPE,
                                           start_new_session=True, env={**os.environ, **self._env})
        self.run("up", "--detach", "--no-build", "--wait", *words)

    def down(self) -> None:
        """Stop in order and delete all of it, volumes too; releases the guard. May be called twice."""
        if self._guard is None:
            return
        self.run("down", "--volumes")
        assert self._guard.stdin is not None
        self._guard.stdin.write(b"down\n")
        self._guard.stdin.close()
        self._guard.wait()
        self._guard = None

    def leftovers(self) -> list[str]:
        """What docker still has of this project."""
        label = f"label=com.docker.compose.project={self.project}"
        found = {"container": docker("ps", "--all", "--quiet", "--filter", label),
                 "volume": docker("volume", "ls", "--quiet", "--filter", label),
                 "network": docker("network", "ls", "--quiet", "--filter", label)}
        return [f"{kind} {name}" for kind, names in found.items() for name in names.split()]

    # --- Looking ---------------------------------------------------------------------------------

    def container(self, service: str) -> str:
        return f"{self.project}-{service}-1"

    def inspect(self, service: str) -> Any:
        return json.loads(docker("inspect", self.container(service)))[0]

    def process_status(self, service: str) -> dict[str, str]:
        """/proc/PID/status of its first process: rights as the kernel has them."""
        pid = self.inspect(service)["State"]["Pid"]
        lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
        return dict(line.split(":\t", 1) for line in lines if ":\t" in line)

    def is_healthy(self, service: str) -> bool:
        state = self.inspect(service)["State"]
        return bool(state["Running"]) and state.get("Health", {}).get("Status") == "healthy"

    def await_healthy(self, *services: str, seconds: float = HEALTHY_SECONDS) -> None:
        for service in services:
            wait_for(f"{service} is healthy", seconds, lambda name=service: self.is_healthy(name), poll_seconds=0.2)

    def logs(self, service: str, lines: int = 40) -> str:
        return self.run("logs", "--no-log-prefix", "--tail", str(lines), service)

    def copy_out(self, service: str, path: str, target: Path) -> None:
        docker("cp", f"{self.container(service)}:{path}", str(target))

    # --- Disturbing ------------------------------------------------------------------------------

    def kill_process(self, service: str) -> None:
        """SIGKILL behind docker's back, as the kernel's out-of-memory killer would: the restart policy
        applies, which it does not after `docker kill`."""
        os.kill(self.inspect(service)["State"]["Pid"], signal.SIGKILL)

    def kill(self, service: str) -> None:
        docker("kill", "--signal", "KILL", self.container(service))

    def start(self, service: str) -> None:
        docker("start", self.container(service))

    def pause(self, service: str) -> None:
        """The kernel's freezer gives up on a container that is throttled or starts a process just then (its
        health check does); it runs on and is asked again."""
        def is_frozen() -> bool:
            try:
                docker("pause", self.container(service))
            except DockerFailed as error:
                if "unable to freeze" not in str(error):
                    raise
                return False
            return True

        wait_for(f"{service} is frozen", PAUSE_SECONDS, is_frozen)

    def unpause(self, service: str) -> None:
        docker("unpause", self.container(service))

    def disconnect(self, service: str) -> None:
        """Pull its network cable."""
        docker("network", "disconnect", f"{self.project}_default", self.container(service))

    def connect(self, service: str) -> None:
        docker("network", "connect", "--alias", service, f"{self.project}_default", self.container(service))

    def restart(self, service: str) -> None:
        """SIGTERM, drain, start: the same container."""
        self.run("restart", "--no-deps", service)
        self.await_healthy(service)

    def replace(self, service: str) -> None:
        """A new container in place of the old one, as in an upgrade."""
        self.run("up", "--detach", "--no-build", "--no-deps", "--force-recreate", service)
        self.await_healthy(service)
