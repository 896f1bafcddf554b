"""Histories in PostgreSQL: how fast query-api writes them, beside psql with the same rows, and how fast pages come.

The writer's clock begins when its first rows are in the database and ends when all are: it reads Kafka, looks into each
record for a window, and commits rows and positions together. psql has the rows in a file already. Both
write the same table with the same indexes, an empty one each time, on a PostgreSQL that syncs its log.
"""

from __future__ import annotations

import http.client
import re
import subprocess
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Callable

from harness.platform import is_ready
from harness.postgres import Postgres
from harness.process import Process
from harness.reader import http_get
from measure import usage
from measure.session import BenchFailed, Session, say

ROWS = 100_000
QUICK_ROWS = 20_000
PARTITIONS = 6
WRITE_SECONDS = 120.0
PAGE = 100
INSERT_ROWS = 1000
SETTINGS = ("shared_buffers=128MB", "max_wal_size=4GB")    # no checkpoint in the middle of a side's turn
COLUMNS = "time_ms, end_ms, key, partition, \"offset\", timestamp_ms, value"
ORDER = "time_ms, key_order, end_ms, row_partition, row_offset"


def _metric(port: int, name: str) -> float:
    text = http_get(port, "/metrics").body.decode()
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found.group(1)) if found else 0.0


class _Histories:
    """One topic of orders, and databases that it goes into."""

    def __init__(self, session: Session, rows: int) -> None:
        self.session, self.rows = session, rows
        self.postgres = Postgres(session.directory / "logs" / "postgres.log", SETTINGS)
        self.topic = session.fresh_name("history")
        self.databases = 0
        session.create_topics(f"{self.topic}:{PARTITIONS}")
        session.tool("load", topic=self.topic, kind="orders", count=rows, start_ms=session.start_ms)
        self.postgres.start()

    def fresh_database(self) -> str:
        self.databases += 1
        name = f"bench{self.databases}"
        self.postgres.query(f"CREATE DATABASE {name}")
        return name

    def start(self, database: str, *flags: str) -> tuple[Process, int]:
        port = self.session.free_port()
        return self.session.start_service(
            "query-api", port, f"--query.topics={self.topic}", f"--query.history.topics={self.topic}",
            f"--query.history.postgres={self.postgres.url(database)}", "--query.history.postgres.timeout=60s", *flags), port

    # --- Writing ---------------------------------------------------------------------------------

    def write(self) -> tuple[str, dict[str, float]]:
        """By query-api, whose view of the topic begins at its end: memory takes next to nothing."""
        database = self.fresh_database()
        process, port = self.start(database, "--query.load.records=1")
        self.session.await_ready(process, lambda: is_ready(port))
        written = f'millrace_query_history_stored_total{{topic="{self.topic}"}}'

        def reading(least: float) -> tuple[float, float, float, float]:
            deadline = time.monotonic() + WRITE_SECONDS
            while (count := _metric(port, written)) < least:
                process.require_running()
                if time.monotonic() > deadline:
                    raise BenchFailed(f"query-api wrote {count:.0f} of {self.rows} rows in {WRITE_SECONDS:.0f} s")
                time.sleep(0.01)
            return count, time.monotonic(), usage.cpu_seconds(process.pid), usage.tree_cpu_seconds(self.postgres.pid)

        first, last = reading(1), reading(self.rows)
        self.session.stop(process)
        self._require_whole(database)
        rows, seconds, ours, theirs = (after - before for before, after in zip(first, last))
        if rows < self.rows / 2:
            raise BenchFailed(f"{self.rows - rows:.0f} of {self.rows} rows were there at the first look")
        return database, {"rows_per_s": round(rows / seconds), "cpu_us_per_row": round(ours / rows * 1e6, 2),
                          "postgres_cpu_us_per_row": round(theirs / rows * 1e6, 2)}

    def _require_whole(self, database: str) -> None:
        found = self.postgres.query('SELECT count(*), count(DISTINCT (partition, "offset")) FROM millrace_history', database)
        next_sum = self.postgres.query('SELECT sum("next") FROM millrace_history_partition', database)
        if found != [[str(self.rows)] * 2] or next_sum != [[str(self.rows)]]:
            raise BenchFailed(f"PostgreSQL has rows {found} and positions {next_sum}, not {self.rows} each once")

    def floor(self, database: str, side: str, file: Path) -> dict[str, float]:
        """psql, with a file of the same rows, into a table like the service's."""
        self.postgres.query("DROP TABLE IF EXISTS floor", database)
        self.postgres.query("CREATE TABLE floor (LIKE millrace_history INCLUDING ALL)", database)
        words = ("-c", f"\\copy floor FROM '{file}' WITH (FORMAT binary)") if side == "copy" else ("-q", "-f", str(file))
        begin, cpu = time.monotonic(), self._backend_seconds()
        child = subprocess.Popen(self.postgres.psql_argv(database, *words), stdout=subprocess.DEVNULL)
        most = cpu
        while child.poll() is None:    # a backend's time is gone with it
            most = max(most, self._backend_seconds())
            time.sleep(0.01)
        seconds = time.monotonic() - begin
        count = self.postgres.query("SELECT count(*) FROM floor", database)
        if child.returncode != 0 or count != [[str(self.rows)]]:
            raise BenchFailed(f"psql ({side}): exit code {child.returncode}, {count} rows of {self.rows}")
        return {"rows_per_s": round(self.rows / seconds), "postgres_cpu_us_per_row": round((most - cpu) / self.rows * 1e6, 2)}

    def _backend_seconds(self) -> float:
        try:
            return usage.tree_cpu_seconds(self.postgres.pid)
        except OSError:    # one ended while it was looked at
            return 0.0

    def export(self, database: str) -> dict[str, Path]:
        """The rows in the order that they were written in, as each side takes them."""
        folder = self.session.directory
        files = {side: folder / f"{self.topic}.{side}" for side in ("copy", "insert")}
        self._run(database, f"\\copy (SELECT * FROM millrace_history ORDER BY {ORDER}) TO '{files['copy']}' WITH (FORMAT binary)")
        rows = self._run(database, "SELECT format('(%s,%s,%L,%s,%s,%s,%s,%s,%s,%L,%L)', topic_id, time_ms, key_order, end_ms,"
                         " row_partition, row_offset, partition, \"offset\", timestamp_ms, key, value)"
                         f" FROM millrace_history ORDER BY {ORDER}").splitlines()
        with files["insert"].open("w", encoding="ascii") as out:
            for at in range(0, self.rows, INSERT_ROWS):
                out.write(f"INSERT INTO floor VALUES {','.join(rows[at:at + INSERT_ROWS])};\n")
        return files

    def _run(self, database: str, sql: str) -> str:
        done = subprocess.run(self.postgres.psql_argv(database, "-c", sql), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BenchFailed(f"psql: {done.stderr.strip()}")
        return done.stdout

    # --- Reading ---------------------------------------------------------------------------------

    def read(self, database: str) -> dict[str, dict[str, float]]:
        self.postgres.query("ANALYZE", database)    # as it does by itself within a minute
        process, port = self.start(database, "--query.history.bytes=8MiB")
        self.session.await_ready(process, lambda: is_ready(port))
        key = self._run(database, "SELECT convert_from(key, 'UTF8') FROM millrace_history GROUP BY key ORDER BY count(*) DESC LIMIT 1").strip()
        pages = {"memory": f"/history/{self.topic}?limit={PAGE}", "postgres": f"/history/{self.topic}?limit={PAGE}&order=asc",
                 "key": f"/history/{self.topic}?limit={PAGE}&order=asc&key={key}"}
        self.session.await_ready(process, lambda: all(http_get(port, page).json().get("complete") for page in pages.values()))
        figures = {name: self._read_side(port, page, name != "memory") for name, page in pages.items()}
        self.session.stop(process)
        return figures

    def _read_side(self, port: int, page: str, is_stored: bool) -> dict[str, float]:
        probes = self.session.plan.probes
        reads = 'millrace_query_history_stored_reads_total{result="found"}'
        before = _metric(port, reads)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

        def once() -> None:
            connection.request("GET", page)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200 or b'"items":[{' not in body:
                raise BenchFailed(f"{page}: {answer.status} {body[:200]!r}")

        figures = _timed(once, probes)
        connection.close()
        found = _metric(port, reads) - before
        if found != (probes if is_stored else 0):
            raise BenchFailed(f"{page}: {found:.0f} of {probes} answers came from PostgreSQL")
        return figures

    def select(self, database: str) -> dict[str, float]:
        """By psql in one session, which says how long each took it."""
        sql = f"SELECT {COLUMNS} FROM millrace_history WHERE topic_id = 1 AND time_ms >= 0 AND time_ms < 4102444800000 ORDER BY {ORDER} LIMIT {PAGE + 1};\n"
        done = subprocess.run(self.postgres.psql_argv(database), input="\\timing on\n" + sql * self.session.plan.probes,
                              capture_output=True, text=True, check=False)
        times = [float(each) for each in re.findall(r"^Time: ([\d.]+) ms", done.stdout, re.MULTILINE)]
        if done.returncode != 0 or len(times) != self.session.plan.probes:
            raise BenchFailed(f"psql: {len(times)} answers, {done.stderr.strip()}")
        return _percentiles(times)


def _percentiles(times: list[float]) -> dict[str, float]:
    return {"p50_ms": round(median(times), 3), "p99_ms": round(quantiles(times, n=100, method="inclusive")[98], 3)}


def _timed(once: Callable[[], None], count: int) -> dict[str, float]:
    times = []
    for _ in range(count):
        begin = time.monotonic()
        once()
        times.append((time.monotonic() - begin) * 1000)
    return _percentiles(times)


def _medians(rounds: list[dict[str, float]]) -> dict[str, Any]:
    return {**{key: median(each[key] for each in rounds) for key in rounds[0]}, "rounds": rounds}


def run(session: Session) -> dict[str, Any]:
    """The sides take turns."""
    histories = _Histories(session, QUICK_ROWS if session.plan.quick else ROWS)
    writes: dict[str, list[dict[str, float]]] = {"query-api": [], "copy": [], "insert": []}
    reads: dict[str, list[dict[str, float]]] = {"memory": [], "postgres": [], "key": [], "select": []}
    try:
        files: dict[str, Path] = {}
        for number in range(session.plan.rounds):
            database, ours = histories.write()
            writes["query-api"].append(ours)
            files = files or histories.export(database)
            for side, file in files.items():
                floor = histories.floor(database, side, file)
                writes[side].append({**floor, "ours_beside_it": round(ours["rows_per_s"] / floor["rows_per_s"], 3)})
            for side, figures in {**histories.read(database), "select": histories.select(database)}.items():
                reads[side].append(figures)
            say(f"history, round {number + 1}: " + ", ".join(f"{side} {w[-1]['rows_per_s']:,}/s" for side, w in writes.items())
                + "; p50 ms: " + ", ".join(f"{side} {r[-1]['p50_ms']}" for side, r in reads.items()))
    finally:
        histories.postgres.close()
    return {"rows": histories.rows, "writes": {side: _medians(rounds) for side, rounds in writes.items()},
            "reads": {side: _medians(rounds) for side, rounds in reads.items()}}
