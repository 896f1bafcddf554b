"""A WebSocket client that says what it is told to and keeps what it hears: texts both ways, no more."""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
from typing import Any, Callable

TIMEOUT_S = 30.0
TEXT = 0x81


class WebSocketClient:
    """Messages are JSON objects. One thread's."""

    def __init__(self, port: int, path: str = "/ws") -> None:
        self.messages: list[Any] = []
        self._received = b""
        self._socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                             f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        while b"\r\n\r\n" not in self._received:
            self._receive()
        head, self._received = self._received.split(b"\r\n\r\n", 1)
        if not head.startswith(b"HTTP/1.1 101 "):
            raise AssertionError(head.decode())

    def __enter__(self) -> WebSocketClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def say(self, **message: Any) -> None:
        text = json.dumps(message).encode()
        size = bytes([0x80 | len(text)]) if len(text) < 126 else b"\xfe" + struct.pack(">H", len(text))
        self._socket.sendall(bytes([TEXT]) + size + bytes(4) + text)    # masked, with zeros

    def wait_until(self, what: str, is_there: Callable[[list[Any]], bool]) -> None:
        while not is_there(self.messages):
            try:
                self._take()
            except (OSError, EOFError) as error:
                raise AssertionError(f"not {what}: {error!r}; last: {self.messages[-3:]}") from error

    def _receive(self) -> None:
        more = self._socket.recv(65536)
        if not more:
            raise EOFError("the connection has ended")
        self._received += more

    def _need(self, count: int) -> None:
        while len(self._received) < count:
            self._receive()

    def _take(self) -> None:
        """The next frame; what is no text (a ping) is left unanswered."""
        self._need(2)
        size, head = self._received[1], 2
        if size >= 126:
            head = 4 if size == 126 else 10
            self._need(head)
            size = int.from_bytes(self._received[2:head], "big")
        self._need(head + size)
        if self._received[0] == TEXT:
            self.messages.append(json.loads(self._received[head:head + size]))
        self._received = self._received[head + size:]
