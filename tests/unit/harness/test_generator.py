"""event-generator's ledger is what a verifier goes by: one that sends a thing twice and tells of it once makes a
doubled event out of nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from harness.ledger import FAIL, INFO, OK, read_ledger

ANSWER = b'{"topic":"orders","partition":0,"offset":1}'
STORED = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER)


class IngestThatDies:
    """Takes the second event whole and closes its connection without a word."""

    def __init__(self, comes_back: bool) -> None:
        self._comes_back = comes_back
        self.bodies: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self.port = self._listener.getsockname()[1]

    def _serve(self) -> None:
        while len(self.bodies) < 2 or self._comes_back:
            link, _ = self._listener.accept()
            with link, link.makefile("rb") as requests:
                while self._take(requests) and len(self.bodies) != 2:
                    link.sendall(STORED)
                if not self._comes_back:
                    self._listener.close()

    def _take(self, requests: socket.SocketIO) -> bool:
        head = {}
        for line in iter(requests.readline, b""):
            if line == b"\r\n":
                break
            name, _, value = line.partition(b":")
            head[name.lower()] = value.strip()
        body = requests.read(int(head.get(b"content-length", 0)))
        if body:
            self.bodies.append(body)
        return bool(body)


@pytest.mark.parametrize("comes_back,third", [(True, OK), (False, FAIL)])
def test_connection_lost_without_an_answer__is_not_sent_again_and_not_known(tmp_path: Path, comes_back: bool, third: str) -> None:
    server = IngestThatDies(comes_back)
    path = tmp_path / "ledger.ndjson"
    subprocess.run([f"{os.environ['MILLRACE_BIN']}/event-generator", "--target=http", f"--url=http://127.0.0.1:{server.port}",
                    "--rate=0", "--count=3", "--connections=1", f"--ledger={path}"], check=True, timeout=60,
                   capture_output=True)
    entries = list(read_ledger(path))
    assert [entry.outcome for entry in entries] == [OK, INFO, third]
    assert server.bodies == [entry.value.encode() for entry in entries if entry.outcome != FAIL]
