"""A PostgreSQL server of one's own: Debian's, on a free port, in a folder that goes with it.

PostgreSQL does not run as root: root starts it as the user postgres that the package makes.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Sequence

from harness import ports
from harness.process import Process, ProcessFailed
from harness.waiting import wait_for

USER = "millrace"
START_SECONDS = 90.0
FOR_TESTS = ("fsync=off", "shared_buffers=16MB")    # what is kept need not outlive the machine
QUERY_SECONDS = 60.0


def _bin_dir() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise ProcessFailed("PostgreSQL is not installed: run scripts/deps test")
    return found[-1].parent


class Postgres:
    """One server; start() after kill() or stop() goes on with what it had."""

    def __init__(self, log: Path, settings: Sequence[str] = FOR_TESTS) -> None:
        self.port = ports.free_block(1)
        # Not below the run's folder: that is for the run's user alone.
        self._dir = Path(tempfile.mkdtemp(prefix="millrace-postgres-"))
        self._bin = _bin_dir()
        self._as_user: list[str] = []
        if os.geteuid() == 0:
            shutil.chown(self._dir, "postgres", "postgres")
            # The kernel forgets who is to die with whom when a process changes its user.
            self._as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig", "KILL"]
        data = self._dir / "data"
        made = subprocess.run([*self._as_user, str(self._bin / "initdb"), "-D", str(data), "-U", USER, "-A", "trust",
                               "-N", "-E", "UTF8", "--locale=C"], capture_output=True, text=True, check=False)
        if made.returncode != 0:
            raise ProcessFailed(f"initdb: {made.stderr.strip()}")
        self._process = Process("postgres", [*self._as_user, str(self._bin / "postgres"), "-D", str(data), "-p",
                                             str(self.port), "-k", str(self._dir), "-c", "listen_addresses=127.0.0.1",
                                             *(word for setting in settings for word in ("-c", setting))], log, cwd=self._dir)

    @property
    def pid(self) -> int:
        return self._process.pid

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def start(self) -> Postgres:
        self._process.start()

        def answers() -> bool:
            self._process.require_running()
            return self._psql("postgres", "SELECT 1").returncode == 0

        wait_for("PostgreSQL answers", START_SECONDS, answers)
        return self

    def stop(self) -> None:
        """Sessions are told, and end."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(START_SECONDS)

    def _signal_all(self, number: int) -> None:
        """The server and its sessions, each of which leads a process group of its own."""
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for each in (pid, *map(int, children)):
            try:
                os.kill(each, number)
            except ProcessLookupError:
                pass    # a session that ended meanwhile

    def pause(self) -> None:
        """Connections stand, and nothing more is said on them."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal_all(signal.SIGCONT)

    def serve_tls(self, certificate: Path, key: Path) -> None:
        """To who asks for it; others go on without."""
        for name, source in (("ssl_cert_file", certificate), ("ssl_key_file", key)):
            copy = self._dir / source.name
            shutil.copyfile(source, copy)
            copy.chmod(0o600)
            if self._as_user:
                shutil.chown(copy, "postgres", "postgres")
            self.query(f"ALTER SYSTEM SET {name} = '{copy}'")
        self.query("ALTER SYSTEM SET ssl = on")
        self.query("SELECT pg_reload_conf()")
        wait_for("PostgreSQL serves TLS", START_SECONDS, lambda: self.query("SHOW ssl") == [["on"]])

    @contextmanager
    def locked(self, table: str, database: str) -> Iterator[None]:
        """Whoever asks for the table waits."""
        held = f"FROM pg_locks WHERE relation = '{table}'::regclass AND mode = 'AccessExclusiveLock' AND granted"
        holder = subprocess.Popen(self.psql_argv(database, "-c", f"BEGIN; LOCK TABLE {table}; SELECT pg_sleep(600)"),
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(f"{table} is locked", QUERY_SECONDS, lambda: self.query(f"SELECT count(*) {held}", database) == [["1"]])
            yield
        finally:
            self.query(f"SELECT pg_terminate_backend(pid) {held}", database)
            holder.kill()
            holder.wait()

    def close(self) -> None:
        self._process.kill()
        shutil.rmtree(self._dir, ignore_errors=True)

    def psql_argv(self, database: str, *words: str) -> list[str]:
        return [str(self._bin / "psql"), "-X", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", *words, self.url(database)]

    def _psql(self, database: str, sql: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.psql_argv(database, "-c", sql), capture_output=True, text=True, check=False,
                              timeout=QUERY_SECONDS)

    def query(self, sql: str, database: str = "postgres") -> list[list[str]]:
        """Rows as psql shows them."""
        done = self._psql(database, sql)
        if done.returncode != 0:
            raise ProcessFailed(f"psql: {done.stderr.strip()}")
        return [line.split("\t") for line in done.stdout.splitlines()]
