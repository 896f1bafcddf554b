"""Thousands of SSE clients in one thread. Each keeps what it was sent: who ends, and how, is looked at afterwards."""

from __future__ import annotations

import selectors
import socket
from dataclasses import dataclass, field
from typing import Callable, Iterable, Sequence

from harness.reader import SseEvent
from harness.waiting import wait_for

SLICE = 250    # opened at a time: fewer than may wait for the server to accept them
POLL_SECONDS = 0.05


class TornAnswer(AssertionError):
    """The server ended a connection elsewhere than behind a whole answer."""


def body_of(data: bytes) -> bytes:
    """The body of a whole answer in chunks (RFC 9112, 7.1)."""
    head, _, rest = data.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 ") or b"transfer-encoding: chunked" not in head.lower():
        raise TornAnswer(f"no stream: {data[:300]!r}")
    body = b""
    while True:
        line, _, rest = rest.partition(b"\r\n")
        size = int(line, 16) if line else -1
        if size < 0 or len(rest) < size + 2 or rest[size:size + 2] != b"\r\n":
            raise TornAnswer(f"torn behind {body[-200:]!r}")
        if size == 0:
            return body
        body, rest = body + rest[:size], rest[size + 2:]


@dataclass
class CrowdClient:
    """One of them, and every byte that came."""

    link: socket.socket
    data: bytearray = field(default_factory=bytearray)
    ended: bool = False
    reset: bool = False

    @property
    def is_open(self) -> bool:
        """It has been told where its stream begins."""
        return b"\nid: " in self.data

    @property
    def record_count(self) -> int:
        return self.data.count(b"\ndata: {\"topic\"")

    def retry_ms(self) -> int:
        """How long it is to wait before it comes back."""
        return next(int(line[7:]) for line in self.data.split(b"\n") if line.startswith(b"retry: "))

    def events(self) -> list[SseEvent]:
        """All of them, once the stream has ended as it should."""
        if self.reset or not self.ended:
            raise TornAnswer(f"reset: {self.reset}, ended: {self.ended}")
        found = []
        event_id = ""
        for block in body_of(bytes(self.data)).decode().split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
            event_id = fields.get("id", event_id)
            if "data" in fields:
                found.append(SseEvent(event_id, fields.get("event", ""), fields["data"]))
        return found


class Crowd:
    """Clients of one path. Nothing is read but in read(): between calls the kernel keeps what comes."""

    def __init__(self, port: int, path: str, last_ids: Sequence[str | None]) -> None:
        self.clients: list[CrowdClient] = []
        self._selector = selectors.DefaultSelector()
        for begin in range(0, len(last_ids), SLICE):
            fresh = [self._open(port, path, last_id) for last_id in last_ids[begin:begin + SLICE]]
            self.read_until("streams begin", fresh, lambda client: client.is_open)

    def _open(self, port: int, path: str, last_id: str | None) -> CrowdClient:
        link = socket.create_connection(("127.0.0.1", port), 60.0)
        resume = f"Last-Event-ID: {last_id}\r\n" if last_id else ""
        link.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n{resume}\r\n".encode())
        link.setblocking(False)
        client = CrowdClient(link)
        self._selector.register(link, selectors.EVENT_READ, client)
        self.clients.append(client)
        return client

    def read(self) -> None:
        """What is there now; waits a moment when nothing is."""
        for key, _ in self._selector.select(POLL_SECONDS):
            client: CrowdClient = key.data
            try:
                got = client.link.recv(65536)
            except ConnectionResetError:
                got, client.reset = b"", True
            client.data += got
            if not got:
                client.ended = True
                self._selector.unregister(client.link)
                client.link.close()

    def read_until(self, what: str, clients: Iterable[CrowdClient], done: Callable[[CrowdClient], bool],
                   seconds: float = 120.0) -> None:
        """Read on until it holds of each of these."""
        waiting = list(clients)

        def all_done() -> bool:
            self.read()
            waiting[:] = [client for client in waiting if not done(client)]
            return not waiting

        wait_for(what, seconds, all_done, poll_seconds=0.0)

    def close(self) -> None:
        for client in self.clients:
            client.link.close()
        self._selector.close()

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
