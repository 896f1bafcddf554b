"""Live streams to many readers: query-api beside Nchan, the module of nginx.

Every reader gets every event. The readers are one program of one thread (bench/streams.c), which checks
that each is given every number once and in order; the server has one thread, nginx one worker. What is
written goes to Kafka for ours and by POST to Nchan, at the same times (bench/publish.c). A peer that falls
behind is not waited for: what it had delivered some time after the last event was due is its result.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Callable

from harness.platform import is_ready
from harness.process import Process
from harness.reader import http_request
from measure import usage
from measure.machine import millrace_home
from measure.session import TOOL_SECONDS, BenchFailed, Session, say

TOPIC = "bench-fanout"
NCHAN_PACKAGES = ("nginx", "libnginx-mod-nchan")
NCHAN_MODULE = "usr/lib/nginx/modules/ngx_nchan_module.so"
# Where both want folders that nginx's package makes, Nchan whatever the configuration says. What does not begin
# with a slash lies in the folder of -p.
NGINX_FOLDER, NGINX_FOLDER_HERE = b"/var/lib/nginx/", b"./././././././/"
FIRST_NUMBER = 1_000_000_000
FILES_WANTED = 18_000
RATES = (50, 200, 1000)    # events a second; Nchan can do less than the second
LATE_SECONDS = 20    # from when the last event was due; who is not done by then has not kept up
NCHAN_CONF = """
load_module {home}/{module};
daemon off;
master_process off;
pid {directory}/nchan.pid;
error_log stderr crit;
worker_rlimit_nofile {files};
events {{ worker_connections {files}; }}
http {{
    access_log off;
    nchan_shared_memory_size 256M;
    keepalive_requests 1000000000;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = /publish {{
            nchan_publisher;
            nchan_channel_id bench;
            nchan_message_buffer_length 100000;
            nchan_message_timeout 10m;
        }}
        location = /events {{
            nchan_subscriber eventsource;
            nchan_channel_id bench;
            nchan_subscriber_first_message newest;
        }}
        location = /ready {{ return 200; }}
    }}
}}
"""


@dataclass
class Side:
    """One server, and what bench-publish and bench-streams need to be told of it."""

    name: str
    process: Process
    port: int
    path: str
    publish: tuple[object, ...]
    restart: Callable[[], Process] | None = None    # None: it has to keep up
    next_number: int = FIRST_NUMBER
    samples: dict[int, list[dict[str, Any]]] = field(default_factory=dict)


def _start_ours(session: Session) -> Side:
    port = session.free_port()
    session.create_topics(f"{TOPIC}:1")
    process = session.start_service(
        "query-api", port, "--http.threads=1", f"--query.topics={TOPIC}", "--query.history.topics=",
        "--query.status.topic=", f"--sse.clients.max={FILES_WANTED}")
    session.await_ready(process, lambda: is_ready(port))
    return Side("query-api", process, port, f"/events/{TOPIC}",
                ("--bootstrap", session.kafka.bootstrap, "--topic", TOPIC))


def _nchan_home() -> Path:
    """Debian's packages, unpacked and not installed: that would start an nginx on port 80."""
    home = millrace_home() / "bench" / "nchan-here"
    if (home / "ready").exists():
        return home
    say("fetching Nchan")
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    command = f"apt-get download {' '.join(NCHAN_PACKAGES)} && for package in *.deb; do dpkg -x $package .; done"
    done = subprocess.run(["/bin/sh", "-ec", command], cwd=home, capture_output=True, text=True, check=False)
    if done.returncode != 0 or len(list(home.glob("*.deb"))) != len(NCHAN_PACKAGES):
        raise BenchFailed(f"{command}, in {home}:\n{done.stdout}{done.stderr}")
    for path in (home / "usr" / "sbin" / "nginx", home / NCHAN_MODULE):
        path.write_bytes(path.read_bytes().replace(NGINX_FOLDER, NGINX_FOLDER_HERE))
    (home / "ready").touch()
    return home


def _start_nchan(session: Session) -> Side:
    home, port = _nchan_home(), session.free_port()
    conf = session.directory / "nchan.conf"
    conf.write_text(NCHAN_CONF.format(home=home, module=NCHAN_MODULE, directory=session.directory, port=port,
                                      files=FILES_WANTED))

    def start() -> Process:
        process = session.start("nchan", [home / "usr" / "sbin" / "nginx", "-p", session.directory, "-c", conf])
        session.await_ready(process, lambda: _answers(port))
        return process

    return Side("nchan", start(), port, "/events", ("--port", port, "--path", "/publish"), restart=start)


def _answers(port: int) -> bool:
    try:
        return http_request(port, "GET", "/ready").status == 200
    except OSError:
        return False


class Readers:
    """bench-streams, from when all its streams are open."""

    def __init__(self, session: Session, side: Side, streams: int, **options: int) -> None:
        words = [word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", str(value))]
        self._process = subprocess.Popen(
            [session.bin_dir / "bench-streams", "--port", str(side.port), "--path", side.path,
             "--streams", str(streams), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self._process.stdout
        self._side = side
        if not self._process.stdout.readline():
            self.result()

    def result(self) -> dict[str, Any]:
        """What it measured, once it has ended by itself."""
        out, err = self._process.communicate(timeout=TOOL_SECONDS)
        if self._process.returncode != 0:
            raise BenchFailed(self._side.process.trouble(f"its readers: {err.strip()}"))
        return json.loads(out.splitlines()[-1])

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


def _publisher(session: Session, side: Side, rate: int, count: int) -> subprocess.Popen[str]:
    """bench-publish, which has begun."""
    argv = [session.bin_dir / "bench-publish", *map(str, side.publish), "--first", str(side.next_number),
            "--count", str(count), "--rate", str(rate)]
    side.next_number += count
    return subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def _end_publisher(side: Side, publisher: subprocess.Popen[str], is_done: bool) -> None:
    """One whose events have all arrived ends by itself; one that a server holds up is ended."""
    was_running = publisher.poll() is None
    if was_running and not is_done:
        publisher.kill()
    _, err = publisher.communicate(timeout=TOOL_SECONDS)
    if publisher.returncode != 0 and (is_done or not was_running):
        raise BenchFailed(side.process.trouble(f"was not written to: {err.strip()}"))


def _begin_anew(session: Session, side: Side) -> None:
    """What it had still to do is in no later figure, of the other side neither."""
    assert side.restart
    session.kill(side.process)
    side.process = side.restart()


def _one_load(session: Session, side: Side, streams: int, rate: int, stopped: int = 0) -> dict[str, Any]:
    """rate events a second to every stream, for the plan's seconds; ends when all have all of them, or too late."""
    count = rate * session.plan.seconds
    readers = Readers(session, side, streams, last=side.next_number + count - 1, stopped=stopped,
                      patience_s=session.plan.seconds + LATE_SECONDS)
    cpu = usage.cpu_seconds(side.process.pid)
    publisher = _publisher(session, side, rate, count)
    try:
        result = readers.result()
    except BaseException:
        publisher.kill()
        raise
    cpu = usage.cpu_seconds(side.process.pid) - cpu
    is_done = result["done"] == streams
    _end_publisher(side, publisher, is_done)
    deliveries, due = result["deliveries"], streams * count
    if deliveries != due:
        if is_done or not side.restart or not deliveries:
            raise BenchFailed(f"{side.name}: {deliveries} deliveries, {due} are due")
        _begin_anew(session, side)
    return {**{key: result[key] for key in ("p50_ms", "p99_ms", "max_ms")},
            "deliveries_per_s": round(deliveries / result["seconds"]),
            "cpu_us_per_delivery": round(cpu / deliveries * 1e6, 3),
            "delivered": int(deliveries / due * 1000) / 1000}    # below 1: what it is late with has no latency here


def _median(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """But the worst of what was delivered: a round that was not done is not hidden by two that were."""
    return {**{key: median(sample[key] for sample in samples) for key in samples[0]},
            "delivered": min(sample["delivered"] for sample in samples)}


def _loads(session: Session, sides: list[Side], streams: int) -> dict[str, Any]:
    """Both servers in turn at each rate."""
    result = {}
    for rate in RATES[:1] if session.plan.quick else RATES:
        for number in range(session.plan.rounds):
            for side in sides if number % 2 == 0 else reversed(sides):
                sample = _one_load(session, side, streams, rate)
                side.samples.setdefault(rate, []).append(sample)
                say(f"fanout, {streams} streams, {rate} events/s, round {number + 1}: {side.name} {sample}"
                    f"{'' if sample['delivered'] == 1 else ', not done in time'}")
        result[str(rate)] = {side.name: _median(side.samples[rate]) for side in sides}
    return result


def _stopped_reader(session: Session, side: Side, streams: int) -> dict[str, Any]:
    """The same load with and without a reader that takes nothing, in turn."""
    samples: dict[int, list[dict[str, Any]]] = {0: [], 1: []}
    for number in range(session.plan.rounds):
        for stopped in (0, 1) if number % 2 == 0 else (1, 0):
            samples[stopped].append(_one_load(session, side, streams, 50, stopped))
    alone, beside = (_median(samples[stopped])["p99_ms"] for stopped in (0, 1))
    say(f"fanout, p99 in ms without and with a stopped reader: {alone} and {beside}")
    return {"p99_ms": alone, "p99_ms_beside_it": beside}


def _idle(session: Session, side: Side, streams: int) -> dict[str, Any]:
    """Memory of the process for streams that nothing comes on."""
    before = usage.rss_mib(side.process.pid)
    readers = Readers(session, side, streams)
    bytes_each = round((usage.rss_mib(side.process.pid) - before) * 1024 * 1024 / streams)
    readers.end()
    say(f"fanout, {streams} idle streams: {side.name} {bytes_each} bytes each")
    return {"streams": streams, "bytes_each": bytes_each}


def _drain(session: Session, side: Side, streams: int) -> dict[str, Any]:
    """SIGTERM with many streams open: each ends whole, and then the process, with 0."""
    readers = Readers(session, side, streams)
    session.stop(side.process)
    result = readers.result()
    if result["ended_whole"] != streams:
        raise BenchFailed(f"{side.name}: of {streams} streams {result['ended_whole']} ended whole at SIGTERM")
    say(f"fanout: SIGTERM with {streams} streams, all ended whole")
    return {"streams": streams}


def run(session: Session) -> dict[str, Any]:
    """Loads, memory of idle streams, a stopped reader, the end."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    streams, idle, drained = (50, 200, 100) if session.plan.quick else (2000, 15_000, 5000)
    idles, sides = {}, {}
    for start in (_start_ours, _start_nchan):
        side = start(session)
        sides[side.name] = side
        idles[side.name] = _idle(session, side, idle)    # first: memory that was used before is used again
    ours, nchan = sides["query-api"], sides["nchan"]
    result: dict[str, Any] = {"streams": streams, "loads": _loads(session, [ours, nchan], streams), "idle": idles}
    if not session.plan.quick:
        result["stopped_reader"] = _stopped_reader(session, ours, streams)
    session.kill(nchan.process)    # asked to end, 1.3.6 aborts
    result["drain"] = _drain(session, ours, drained)
    session.delete_topics(TOPIC)
    return result
