"""The SSE reader against a server that cuts its stream where a killed service would."""

from __future__ import annotations

import socket
import threading

from harness.reader import SseStream

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
