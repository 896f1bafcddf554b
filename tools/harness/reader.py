"""What readers of Millrace see: records through kcat, live events through SSE.

kcat reads read-committed, as a consumer of ours would, but shares no code with the services beyond
librdkafka. SSE is read from http.client line by line, as a browser's EventSource would.
"""

from __future__ import annotations

import http.client
import json
import os
import shlex
import socket
import subprocess
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterable, Sequence

READ_SECONDS = 60.0


class ReadError(RuntimeError):
    """Kafka or query-api could not be read; the text says what was asked and what came back."""


@dataclass(frozen=True)
class Record:
    """One Kafka record. Text is UTF-8; bytes that are not survive as lone surrogates."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: str | None
    value: str | None
    headers: dict[str, str]

    @property
    def position(self) -> tuple[int, int]:
        return self.partition, self.offset

    @property
    def where(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


def _record(line: str) -> Record:
    row = json.loads(line)
    flat = row.get("headers") or []
    return Record(row["topic"], row["partition"], row["offset"], row.get("ts", -1), row.get("key"),
                  row.get("payload"), dict(zip(flat[::2], flat[1::2])))


def _kcat(arguments: list[str], seconds: float, stdin: bytes | None = None) -> bytes:
    # Where Kafka is reachable only from inside: "docker exec -i CONTAINER kcat", say.
    argv = [*shlex.split(os.environ.get("MILLRACE_KCAT", "kcat")), "-q", *arguments]
    try:
        done = subprocess.run(argv, input=stdin, stdin=None if stdin is not None else subprocess.DEVNULL,
                              capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        raise ReadError(f"{' '.join(argv)}: no end within {seconds:g} s") from error
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip()
        raise ReadError(f"{' '.join(argv)}: exit code {done.returncode}: {reason}")
    return done.stdout


def read_topic(bootstrap: str, topic: str, seconds: float = READ_SECONDS,
               isolation: str = "read_committed") -> list[Record]:
    """Every committed record of the topic, by partition and offset; read_uncommitted: those of open
    and aborted transactions, too."""
    out = _kcat(["-C", "-J", "-e", "-b", bootstrap, "-t", topic, "-o", "beginning",
                 "-X", f"isolation.level={isolation}", "-X", "fetch.wait.max.ms=20",
                 "-X", "queued.max.messages.kbytes=1000000"], seconds)
    lines = out.decode("utf-8", errors="surrogateescape").split("\n")
    return sorted((_record(line) for line in lines if line), key=lambda record: record.position)


def read_topics(bootstrap: str, topics: Iterable[str], seconds: float = READ_SECONDS) -> dict[str, list[Record]]:
    """read_topic for several topics at once (kcat spends most of its time waiting)."""
    names = list(topics)
    with ThreadPoolExecutor(max_workers=6) as pool:
        return dict(zip(names, pool.map(lambda name: read_topic(bootstrap, name, seconds), names)))


def _partitions_at(server: str, is_it: Callable[[dict[str, Any]], bool]) -> list[str]:
    """Those of which it holds, as one broker tells; a broker that says nothing is in the list itself."""
    try:
        cluster = json.loads(_kcat(["-L", "-J", "-b", server], READ_SECONDS))
    except ReadError as error:
        return [str(error)]
    return [f"{topic['topic']}[{partition['partition']}]"
            for topic in cluster["topics"] for partition in topic["partitions"] if is_it(partition)]


def _partitions(servers: list[str], is_it: Callable[[dict[str, Any]], bool]) -> list[str]:
    """The same, as any of the brokers tells."""
    with ThreadPoolExecutor(max_workers=len(servers)) as pool:
        return sorted({what for found in pool.map(lambda server: _partitions_at(server, is_it), servers)
                       for what in found})


def out_of_sync(bootstrap: str) -> list[str]:
    """Partitions that lack a leader or an in-sync replica, as any of the brokers says, and brokers that
    say nothing: one that has just come back answers late, or tells what was when it went."""
    return _partitions(bootstrap.split(","), lambda partition: partition["leader"] < 0
                       or len(partition["isrs"]) < len(partition["replicas"]))


def waiting_for(bootstrap: str, broker: int) -> list[str]:
    """Partitions that cannot be written without this broker, as any of the others says: it, or nobody, leads them, or it
    is one of the replicas that acknowledge. Brokers are numbered as their addresses are listed."""
    others = [server for number, server in enumerate(bootstrap.split(","), 1) if number != broker]
    return _partitions(others, lambda partition: partition["leader"] in (-1, broker)
                       or any(replica["id"] == broker for replica in partition["isrs"]))


def leaders(bootstrap: str, topic: str) -> dict[int, int]:
    """The leader of each partition; -1: it has none."""
    cluster = json.loads(_kcat(["-L", "-J", "-b", bootstrap, "-t", topic], READ_SECONDS))
    return {partition["partition"]: partition["leader"]
            for found in cluster["topics"] for partition in found["partitions"]}


def produce(bootstrap: str, topic: str, values: Iterable[bytes], key: str | None = None) -> None:
    """Put raw values (without newline bytes) into a topic, behind ingest-api's back."""
    arguments = ["-P", "-b", bootstrap, "-t", topic, "-X", "acks=all"]
    _kcat(arguments + (["-k", key] if key else []), READ_SECONDS, b"".join(v + b"\n" for v in values))


def produce_bytes(bootstrap: str, topic: str, values: Sequence[bytes]) -> None:
    """The same of any bytes, in order, into partition 0."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / str(number) for number in range(len(values))]
        for file, value in zip(files, values):
            file.write_bytes(value)
        _kcat(["-P", "-b", bootstrap, "-t", topic, "-p", "0", "-k", "k", "-X", "acks=all", *map(str, files)],
              READ_SECONDS)


# --- HTTP ----------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Answer:
    """An HTTP answer, read completely."""

    status: int
    headers: dict[str, str]    # names in lower case
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def http_request(port: int, method: str, path: str, body: bytes | None = None,
                 headers: dict[str, str] | None = None, seconds: float = 30.0) -> Answer:
    """One request on a connection of its own, on loopback."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, names, response.read())
    finally:
        connection.close()


def http_get(port: int, path: str, seconds: float = 30.0) -> Answer:
    return http_request(port, "GET", path, seconds=seconds)


# --- SSE -----------------------------------------------------------------------------------------

@dataclass(frozen=True)
class SseEvent:
    """One dispatched event. `name` is empty for a record; `id` is the cursor after this event."""

    id: str
    name: str
    data: str

    def json(self) -> Any:
        return json.loads(self.data)


class SseStream:
    """One SSE connection, read by a thread into `events`, or into on_event where that is given."""

    def __init__(self, port: int, path: str, last_event_id: str | None = None,
                 on_event: Callable[[SseEvent], None] | None = None) -> None:
        self.events: list[SseEvent] = []
        self._on_event = on_event or self.events.append
        self.last_id = last_event_id or ""
        self._changed = threading.Condition()
        self._ended = False
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30.0)
        headers = {"Accept": "text/event-stream"}
        if last_event_id:
            headers["Last-Event-ID"] = last_event_id
        self._connection.request("GET", path, headers=headers)
        self._socket = self._connection.sock
        self._response = self._connection.getresponse()
        if self._response.status != 200:
            raise ReadError(f"GET {path}: {self._response.status} {self._response.read(500)!r}")
        self._socket.settimeout(None)
        self._thread = threading.Thread(target=self._read, name=f"sse {path}", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        name, event_id = "", self.last_id
        data: list[str] = []
        try:
            for raw in self._response:
                line = raw.decode("utf-8").rstrip("\r\n")
                field, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if line == "":
                    self.last_id = event_id    # now, not earlier: an event cut in two was not seen
                    self._dispatch(name, data)
                    name, data = "", []
                elif field == "id":
                    event_id = value
                elif field == "event":
                    name = value
                elif field == "data":
                    data.append(value)
        except (OSError, http.client.HTTPException, ValueError):
            pass    # the connection ended, by us or by the server: both are an end of the stream
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _dispatch(self, name: str, data: list[str]) -> None:
        with self._changed:
            if data:
                self._on_event(SseEvent(self.last_id, name, "\n".join(data)))
            self._changed.notify_all()

    @property
    def has_ended(self) -> bool:
        return self._ended

    def records(self) -> list[SseEvent]:
        """Events that are records, not notices such as snapshot-end or gap."""
        return [event for event in list(self.events) if not event.name]

    def wait_until(self, what: str, seconds: float, done: Callable[[SseStream], Any]) -> None:
        """Wait until done(self) holds; raises ReadError on deadline or at the stream's end."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or done(self), seconds)
            if not done(self):
                state = "ended" if self._ended else f"did not show it in {seconds:g} s"
                raise ReadError(f"SSE: {what}: stream {state} after {len(self.events)} events; "
                                f"last: {self.events[-3:]}")

    def wait_open(self, seconds: float = 60.0) -> None:
        """Wait for the cursor that says where the stream starts: from here on nothing is missed."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._ended or self.last_id, seconds) or not self.last_id:
                raise ReadError("SSE: no id: line at the stream's start")

    def close(self) -> None:
        """Drop the connection as a vanishing client does, and collect the thread."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass    # the server was first
        self._thread.join(60.0)    # it takes what is there already
        self._connection.close()

    def __enter__(self) -> SseStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
