"""Windowed keys as the engine writes them, read by Kafka Streams' own Java classes. No broker."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from harness.kafka import bin_dir

HERE = Path(__file__).resolve().parent
JAVA = HERE / "java"
MINUTE_MS = 60_000
START_MS = 1_700_000_040_000


def millrace_home() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("MILLRACE_HOME") or Path(cache) / "millrace")


@pytest.fixture(scope="module")
def jars() -> Path:
    """Kafka Streams and what it needs, fetched once for each pom.xml."""
    pom = JAVA / "pom.xml"
    target = millrace_home() / "java-keys" / hashlib.sha256(pom.read_bytes()).hexdigest()[:12]
    if not target.is_dir():
        fetched = target.with_name(f".{target.name}.{os.getpid()}")
        subprocess.run(["mvn", "-q", "-B", "--strict-checksums", "-f", pom, "dependency:copy-dependencies",
                        "-DincludeScope=runtime", f"-DoutputDirectory={fetched}"], check=True)
        fetched.rename(target)
    return target


def read_by_java(jars: Path, kind: str, size_ms: int, keys: list[bytes]) -> list[str]:
    done = subprocess.run(["java", "-cp", f"{jars}/*", JAVA / "WindowedKeys.java", kind, str(size_ms),
                           *(key.hex() for key in keys)], check=True, text=True, capture_output=True)
    return done.stdout.splitlines()


def keys_of(window: dict, events: list[tuple[str, int]], tmp_path: Path) -> list[bytes]:
    """The keys of the results, each once, in the order in which they come."""
    pipeline = {"name": "keys", "source": {"topic": "in"}, "output": {"topic": "out"},
                "steps": [{"aggregate": {"by": "/k", "window": window, "key": "windowed", "emit": ["update"],
                                         "result": {"n": "count"}}}]}
    script = tmp_path / "keys.jsonl"
    lines = [{"pipeline": pipeline}] + [{"topic": "in", "value": {"k": key}, "timestamp": at} for key, at in events]
    script.write_text("".join(json.dumps(line) + "\n" for line in lines))
    printed = subprocess.run([bin_dir(HERE.parents[1]) / "stream-test", script], text=True, capture_output=True).stdout
    keys = []
    for line in printed.splitlines():
        record = json.loads(line[line.index("{"):])
        if record.get("out") == "out":
            key = (base64.b64decode(record["key_base64"]) if "key_base64" in record else record["key"].encode())
            keys += [key] if key not in keys else []
    return keys


def test_time_windows__java_reads_key_and_bounds(jars: Path, tmp_path: Path) -> None:
    keys = keys_of({"tumbling": "1m"}, [("ab", START_MS), ("Zürich 🎈", START_MS + MINUTE_MS)], tmp_path)
    assert read_by_java(jars, "time", MINUTE_MS, keys) == [
        f"ab {START_MS} {START_MS + MINUTE_MS}",
        f"Zürich 🎈 {START_MS + MINUTE_MS} {START_MS + 2 * MINUTE_MS}"]


def test_hopping_windows__java_reads_each(jars: Path, tmp_path: Path) -> None:
    keys = keys_of({"hopping": "1m", "advance": "30s"}, [("a", START_MS)], tmp_path)
    assert read_by_java(jars, "time", MINUTE_MS, keys) == [
        f"a {START_MS - 30_000} {START_MS + 30_000}", f"a {START_MS} {START_MS + MINUTE_MS}"]


def test_sessions__java_reads_first_and_last_event(jars: Path, tmp_path: Path) -> None:
    events = [("a", START_MS), ("Zürich 🎈", START_MS + 1), ("a", START_MS + MINUTE_MS)]
    for end in ("last", "gap"):    # what is shown as the end is not what the key says
        keys = keys_of({"session": "1m", "end": end}, events, tmp_path)
        assert read_by_java(jars, "session", 0, keys) == [
            f"a {START_MS} {START_MS}", f"Zürich 🎈 {START_MS + 1} {START_MS + 1}", f"a {START_MS} {START_MS + MINUTE_MS}"]
