"""The SSE reader against a server that cuts its stream where a killed service would; what brokers say of replicas."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest

from harness.reader import SseStream, out_of_sync

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def read_until_cut(body: bytes) -> SseStream:
    """A stream that got `body` and then the end of its connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(HEAD + body)

        thread = threading.Thread(target=serve)
        thread.start()
        with SseStream(server.getsockname()[1], "/events/orders") as stream:
            thread.join()
            stream.wait_until("the end", 5.0, lambda s: s.has_ended)
        return stream


def test_whole_events__are_seen_with_their_ids() -> None:
    stream = read_until_cut(b":ok\n\nid: a\n\nid: b\ndata: 1\n\nevent: gap\nid: c\ndata: 2\n\n")
    assert [(event.id, event.name, event.data) for event in stream.events] == [("b", "", "1"), ("c", "gap", "2")]
    assert stream.last_id == "c"


def test_event_cut_in_two__is_not_seen_and_its_id_does_not_count() -> None:
    for cut in (b"id: b\n", b"id: b\ndata: 2\n", b"id: b\ndata: 2"):
        stream = read_until_cut(b"id: a\ndata: 1\n\n" + cut)
        assert [event.data for event in stream.events] == ["1"], cut
        assert stream.last_id == "a", cut


def test_out_of_sync__every_broker_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One still tells what was, one knows better, one says nothing."""
    def cluster(isrs: list[int]) -> str:
        partition = {"partition": 2, "leader": 2, "replicas": [1, 2], "isrs": isrs}
        return json.dumps({"topics": [{"topic": "orders", "partitions": [partition]}]})

    kcat = tmp_path / "kcat"
    kcat.write_text("#!/bin/sh\n"
                    f"case \"$*\" in *stale*) echo '{cluster([1, 2])}' ;; *fresh*) echo '{cluster([2])}' ;;\n"
                    "*) echo no broker >&2; exit 1 ;; esac\n")
    kcat.chmod(0o755)
    monkeypatch.setenv("MILLRACE_KCAT", str(kcat))
    assert out_of_sync("stale:1") == []
    assert out_of_sync("stale:1,fresh:1") == ["orders[2]"]
    (said,) = out_of_sync("stale:1,silent:1")
    assert "silent:1" in said and "no broker" in said
