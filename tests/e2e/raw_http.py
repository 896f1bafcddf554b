"""Bytes in, bytes out: requests that no HTTP library would send."""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class RawAnswer:
    """Everything that came back until the server closed or fell silent."""

    data: bytes
    closed: bool

    @property
    def statuses(self) -> list[int]:
        """The statuses of all answers, 100 Continue left out."""
        found = [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3})", self.data)]
        return [status for status in found if status != 100]


def connect(port: int, seconds: float = 10.0) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=seconds)


def exchange(port: int, request: bytes, silence_seconds: float = 1.0, seconds: float = 10.0) -> RawAnswer:
    """Send, then read until the server closes; or until it has answered and then stays silent."""
    with connect(port, seconds) as sock:
        try:
            sock.sendall(request)
        except (BrokenPipeError, ConnectionResetError):
            pass    # refused before all of it was sent; the answer may still be there
        return read_all(sock, silence_seconds, seconds)


def read_all(sock: socket.socket, silence_seconds: float, seconds: float) -> RawAnswer:
    data = b""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        sock.settimeout(silence_seconds if data else deadline - time.monotonic())
        try:
            chunk = sock.recv(65536)
        except TimeoutError:
            return RawAnswer(data, closed=False)
        except ConnectionResetError:
            return RawAnswer(data, closed=True)
        if not chunk:
            return RawAnswer(data, closed=True)
        data += chunk
    return RawAnswer(data, closed=False)
