#!/usr/bin/python3
"""Exits 0 when every broker named answers a Metadata request and sees all of them and a controller.

usage: ready.py HOST:PORT [HOST:PORT…]    one attempt; the reason for a 1 goes to stderr

Standard library only, and 40 ms instead of a JVM's second: scripts/kafka asks it repeatedly.
"""

import socket
import struct
import sys

METADATA_KEY = 3
METADATA_VERSION = 5  # the last whose layout needs no tagged fields is 8; 5 has all that is read here
ANSWER_SECONDS = 2.0


def request():
    """A Metadata request for no topic, creating none."""
    client = b"ready"
    head = struct.pack(">hhih", METADATA_KEY, METADATA_VERSION, 1, len(client)) + client
    body = head + struct.pack(">i?", 0, False)
    return struct.pack(">i", len(body)) + body


def read_exactly(stream, size):
    data = stream.read(size)
    if len(data) != size:
        raise ConnectionError("closed the connection")
    return data


class Reader:
    """Takes Kafka's primitive types off the front of an answer."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self, layout):
        (value,) = struct.unpack_from(layout, self.data, self.at)
        self.at += struct.calcsize(layout)
        return value

    def string(self):
        size = max(self.number(">h"), 0)  # -1: null
        self.at += size
        return self.data[self.at - size : self.at].decode()


def ask(host, port):
    """What one broker knows: ({host:port of each live broker}, controller id or -1)."""
    with socket.create_connection((host, port), ANSWER_SECONDS) as link:
        link.sendall(request())
        with link.makefile("rb") as stream:
            (size,) = struct.unpack(">i", read_exactly(stream, 4))
            answer = Reader(read_exactly(stream, size))
    answer.number(">i")  # correlation id
    answer.number(">i")  # throttle time
    brokers = set()
    for _ in range(answer.number(">i")):
        answer.number(">i")  # node id
        name = answer.string()
        brokers.add(f"{name}:{answer.number('>i')}")
        answer.string()  # rack
    answer.string()  # cluster id
    return brokers, answer.number(">i")


def problem_of(address, expected):
    """Why this broker is not ready, or None."""
    host, port = address.rsplit(":", 1)
    try:
        brokers, controller = ask(host, int(port))
    except (OSError, struct.error) as error:
        return f"{address}: {error}"
    if not expected <= brokers:
        return f"{address}: does not see {', '.join(sorted(expected - brokers))}"
    return f"{address}: knows no controller" if controller < 0 else None


def main():
    addresses = sys.argv[1:]
    if not addresses:
        sys.exit(__doc__)
    problems = [p for p in (problem_of(a, set(addresses)) for a in addresses) if p]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
