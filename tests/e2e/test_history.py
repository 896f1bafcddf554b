"""Histories in PostgreSQL, on real Kafka: the same answers from there as from memory, through kills, with replicas, while
the database is away, and as far back as it is told to reach."""

from __future__ import annotations

import http.client
import json
import random
import subprocess
import time
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from conftest import CLUSTER_SECONDS_MAX, ROOT
from harness import ports
from harness.kafka import KafkaCluster, delete_topic
from harness.platform import Layout, is_ready
from harness.postgres import Postgres
from harness.process import Process
from harness.reader import Answer, ReadError, Record, http_get, http_request, read_topic
from harness.waiting import wait_for

SEED = 20261126
START_S = 1_750_000_000
READY_SECONDS = 120.0
SETTLED_SECONDS = 120.0
SMALL = ("--query.history.bytes=16KiB",)    # some twenty rows
Row = tuple[str | None, str | None]    # key and value


class World:
    """A Kafka, a PostgreSQL, and the replicas of query-api that a test starts."""

    def __init__(self, cluster: KafkaCluster, postgres: Postgres, layout: Layout, run_dir: Path) -> None:
        self.cluster, self.postgres, self.layout, self.dir = cluster, postgres, layout, run_dir
        self.rng = random.Random(SEED)
        self.started: list[Process] = []

    def create(self, topic: str, partitions: int = 3) -> None:
        file = self.dir / f"{topic}.topics.json"
        file.write_text(json.dumps([{"name": topic, "partitions": partitions}]))
        tool = Process("topics", [str(self.layout.bin_dir / "topics"), f"--topics.file={file}",
                                  f"--kafka.bootstrap.servers={self.cluster.bootstrap}"], self.dir / "topics.log").start()
        assert tool.wait(60.0) == 0, tool.trouble("failed")

    def produce(self, topic: str, rows: list[Row]) -> None:
        lines = "".join(f"{key or ''}\t{value or ''}\n" for key, value in rows)
        subprocess.run(["kcat", "-P", "-b", self.cluster.bootstrap, "-t", topic, "-K", "\t", "-Z", "-X",
                        "partitioner=murmur2_random", "-X", "acks=all"], input=lines.encode(), check=True, timeout=60)

    def database(self, name: str) -> str:
        self.postgres.query(f"CREATE DATABASE {name}")
        return self.postgres.url(name)

    def start(self, topics: str, url: str | None, *flags: str, wait: bool = True) -> tuple[Process, int]:
        port, name = ports.free_block(1), f"query-api-{len(self.started)}"
        if url:
            secret = self.dir / f"{name}.url"
            secret.write_text(url)
            flags = (f"--query.history.postgres_file={secret}", *flags)
        process = Process(name, [str(self.layout.bin_dir / "query-api"), f"--kafka.bootstrap.servers={self.cluster.bootstrap}",
                                 "--http.host=127.0.0.1", f"--http.port={port}", "--log.format=json",
                                 f"--query.topics={topics}", f"--query.history.topics={topics}",
                                 "--query.history.postgres.timeout=20s", *flags], self.dir / f"{name}.log").start()
        self.started.append(process)
        if wait:
            await_ready(process, port)
        if wait and url:
            wait_for("PostgreSQL has its tables", READY_SECONDS, lambda: metric(port, "millrace_query_history_store_up") == 1)
        return process, port

    # --- What there should be ------------------------------------------------------------------------

    def windows(self, count: int, with_others: bool = True) -> list[Row]:
        """Results of windows, updates of them, deletions, and records that are none, whose time is that of Kafka."""
        rows: list[Row] = []
        for n in range(count):
            key = f"k{self.rng.randrange(40)}"
            start = START_S + 10 * self.rng.randrange(60)
            kind = self.rng.randrange(40)
            if kind == 0:
                rows.append((key, None))
            elif kind == 1 and with_others:
                rows.append((None, f"plain {n}"))
            elif kind == 2 and with_others:
                rows.append((f"{key}-{'ü' * 400}{n % 3}", json.dumps({"n": n})))
            else:
                rows.append((key, json.dumps({"window_start": start, "window_end": start + 10 + 10 * (n % 2), "n": n,
                                              "text": "\u00e4,\"quoted\""})))
        return rows

    def rows_of(self, topic: str) -> dict[tuple[Any, ...], tuple[Any, ...]]:
        """The rows that the topic's records come to."""
        rows: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        for record in read_topic(self.cluster.bootstrap, topic):
            apply(rows, record)
        return rows

    def stored(self, topic: str, database: str) -> dict[tuple[Any, ...], tuple[Any, ...]]:
        found = self.postgres.query(
            "SELECT time_ms, end_ms, row_partition, row_offset, partition, \"offset\", encode(key, 'hex'), encode(value, 'hex')"
            " FROM millrace_history JOIN millrace_history_topic ON id = topic_id"
            f" WHERE topic = '{topic}' AND NOT is_gone", database)
        rows = {}
        for time_ms, end_ms, row_partition, row_offset, partition, offset, key, value in found:
            text = bytes.fromhex(key).decode() if key else None
            is_window = int(row_partition) < 0
            place = ("window", text, int(time_ms), int(end_ms)) if is_window else ("record", int(partition), int(offset))
            rows[place] = (int(partition), int(offset), text, bytes.fromhex(value).decode())
        return rows

    def await_exact(self, topic: str, database: str) -> None:
        """Until the database has what the topic comes to, and not a row else."""
        wanted = self.rows_of(topic)

        def exact() -> bool:
            return self.stored(topic, database) == wanted

        try:
            wait_for("the database is exact", SETTLED_SECONDS, exact, 0.2)
        except AssertionError as error:
            found = self.stored(topic, database)
            raise AssertionError(f"{len(found)} rows, not {len(wanted)}; missing or other: "
                                 f"{[k for k in wanted if found.get(k) != wanted[k]][:5]}, too many: "
                                 f"{[k for k in found if k not in wanted][:5]}") from error


def apply(rows: dict[tuple[Any, ...], tuple[Any, ...]], record: Record) -> None:
    if record.value is None:
        for place in [place for place, row in rows.items() if row[2] == record.key]:
            del rows[place]
        return
    try:
        value = json.loads(record.value)
        place = ("window", record.key, value["window_start"] * 1000, value["window_end"] * 1000)
    except (ValueError, KeyError):
        place = ("record", record.partition, record.offset)
    rows[place] = (record.partition, record.offset, record.key, record.value)


def await_ready(process: Process, port: int) -> None:
    def ready() -> bool:
        process.require_running()
        return is_ready(port)

    wait_for(f"{process.name} becomes ready", READY_SECONDS, ready)


def metric(port: int, name: str, labels: str = "") -> float:
    for line in http_get(port, "/metrics").body.decode().splitlines():
        if line.startswith(f"{name}{labels} "):
            return float(line.rsplit(" ", 1)[1])
    return 0.0


def said(answer: Answer) -> tuple[Any, ...]:
    """All of an answer but for how fresh it is."""
    body: Any = answer.body
    if answer.headers.get("content-type", "").startswith("application/json"):
        body = {name: value for name, value in answer.json().items() if name not in ("as_of", "lag")}
    return (answer.status, answer.headers.get("etag"), answer.headers.get("millrace-complete"),
            answer.headers.get("millrace-next-cursor"), answer.headers.get("link"), body)


@pytest.fixture(scope="module")
def world(layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    run_dir = tmp_path_factory.mktemp("history")
    cluster = KafkaCluster(ROOT, run_dir / "kafka", 1, CLUSTER_SECONDS_MAX)
    postgres = Postgres(run_dir / "postgres.log")
    world = World(cluster, postgres, layout, run_dir)
    try:
        cluster.up()
        postgres.start()
        yield world
    finally:
        for process in world.started:
            process.kill()
        postgres.close()
        cluster.down()


# --- The same answers --------------------------------------------------------------------------------

def corpus(cursor: str) -> list[str]:
    """Addresses below /history/TOPIC and the like."""
    start_ms = START_S * 1000
    ranges = ["", "&from=2025-06-15T15:10:00Z", f"&from={start_ms + 100_000}&to={start_ms + 200_000}", f"&to={start_ms + 50_000}"]
    which = ["", "&key=k1", "&keys=k1,k2,k3,k2", "&prefix=k1", "&key=nobody", f"&window={START_S + 100}", "&window=latest",
             f"&after={cursor}", f"&after={cursor}&keys=k1,k5", "&prefix=k2-%C3%BC"]
    asked = [f"/history/TOPIC?limit={limit}{these}{time}&order={order}"
             for these in which for time in ranges for order, limit in (("desc", 7), ("asc", 1000))]
    asked += [f"/history/TOPIC?limit=20&format={format}&fields=n,text" for format in ("csv", "ndjson")]
    asked += ["/history/TOPIC?limit=10000", "/history/TOPIC", "/top/TOPIC?by=n&window=latest", "/top/TOPIC?by=n&n=5&from=0",
              "/top/TOPIC?by=n&aggregate=sum", "/aggregates/TOPIC?aggregate=sum&field=n&by=key",
              "/aggregates/TOPIC?aggregate=avg&field=n", f"/aggregates/TOPIC?aggregate=count&field=n&from={start_ms + 100_000}",
              "/history/TOPIC?after=TOPIC~0=999999999", "/history/TOPIC?limit=1000&from=0&to=1"]
    return asked


def pages(port: int, path: str) -> list[tuple[Any, ...]]:
    """Every page, as the cursors lead from one to the next."""
    found, cursor = [], ""
    while True:
        answer = http_get(port, path + (f"&cursor={cursor}" if cursor else ""))
        found.append(said(answer))
        cursor = answer.json().get("next_cursor", "") if answer.status == 200 else ""
        if not cursor:
            return found


def test_history__memory_and_database__give_the_same_answers(world: World) -> None:
    topic = "readings"
    world.create(topic)
    world.produce(topic, world.windows(1500))
    url = world.database("answers")
    _, large = world.start(topic, None, "--query.load.records=0")
    _, small = world.start(topic, url, "--query.load.records=20", *SMALL)
    cursor = http_get(large, f"/history/{topic}?limit=1").json()["cursor"]
    world.produce(topic, world.windows(700))
    world.await_exact(topic, "answers")
    end = http_get(large, f"/history/{topic}?limit=1").json()["cursor"]
    wait_for("both replicas to be at the end", SETTLED_SECONDS, lambda: http_get(small, f"/latest/{topic}").json()["cursor"] == end
             and http_get(large, f"/history/{topic}?limit=1").json()["cursor"] == end)
    wait_for("the database to be there", SETTLED_SECONDS, lambda: said(http_get(large, f"/history/{topic}")) == said(http_get(small, f"/history/{topic}")))
    asked = corpus(cursor)
    for path in asked:
        path = path.replace("TOPIC", topic)
        assert said(http_get(small, path)) == said(http_get(large, path)), path
    read = metric(small, "millrace_query_history_stored_reads_total", '{result="found"}')
    assert read > len(asked) * 0.8, read
    assert http_get(small, f"/history/{topic}?limit=0").status == 400
    for path in (f"/history/{topic}?limit=150", f"/history/{topic}?limit=97&order=asc", f"/history/{topic}?limit=5&key=k3",
                 f"/history/{topic}?limit=13&prefix=k1&order=asc"):
        assert pages(small, path) == pages(large, path), path


def test_history__unchanged_and_waits__as_from_memory(world: World) -> None:
    topic = "waited"
    world.create(topic, 1)
    world.produce(topic, [(f"k{n}", json.dumps({"window_start": START_S + n, "window_end": START_S + n + 1})) for n in range(300)])
    url = world.database("waits")
    _, port = world.start(topic, url, *SMALL)
    path = f"/history/{topic}?order=asc&limit=10"
    first = wait_for("an answer", SETTLED_SECONDS, lambda: (a := http_get(port, path)).status == 200 and a.json()["complete"] and a)
    assert http_request(port, "GET", path, headers={"If-None-Match": first.headers["etag"]}).status == 304
    begun = time.monotonic()
    same = http_request(port, "GET", path + "&wait=1s", headers={"If-None-Match": first.headers["etag"]})
    assert same.status == 304 and time.monotonic() - begun > 0.9
    asking = subprocess.Popen(["curl", "-s", "-H", f"If-None-Match: {first.headers['etag']}",
                               f"http://127.0.0.1:{port}{path}&wait=20s"], stdout=subprocess.PIPE)
    wait_for("the request waits", 60.0, lambda: metric(port, "millrace_query_waits") == 1)
    world.produce(topic, [("k1", json.dumps({"window_start": START_S + 1, "window_end": START_S + 2, "late": True}))])
    out, _ = asking.communicate(timeout=30)
    assert '"late": true' in out.decode(), out


# --- Kills, replicas ---------------------------------------------------------------------------------

def test_history__killed_again_and_again__rows_are_exact(world: World) -> None:
    topic = "killed"
    world.create(topic)
    url = world.database("kills")
    process, port = world.start(topic, url, *SMALL, wait=False)
    for _ in range(5):
        world.produce(topic, world.windows(400))
        before = world.rng.randrange(1, 400)
        wait_for("something is written", SETTLED_SECONDS, lambda: metric_or_none(port, topic) >= before)
        process.kill()
        process.start()
    world.produce(topic, world.windows(100))
    world.await_exact(topic, "kills")


def metric_or_none(port: int, topic: str) -> float:
    try:
        return metric(port, "millrace_query_history_stored_total", f'{{topic="{topic}"}}')
    except (OSError, http.client.HTTPException):
        return 0.0


def test_history__two_replicas__one_writes_and_the_other_takes_over(world: World) -> None:
    topic = "shared"
    world.create(topic)
    url = world.database("replicas")
    both = [world.start(topic, url, *SMALL) for _ in range(2)]
    world.produce(topic, world.windows(500))
    world.await_exact(topic, "replicas")
    wait_for("the writer to have counted it", SETTLED_SECONDS, lambda: any(metric_or_none(port, topic) for _, port in both))
    wrote = [metric_or_none(port, topic) for _, port in both]
    assert sorted(bool(count) for count in wrote) == [False, True], wrote
    writer = 0 if wrote[0] else 1
    both[writer][0].kill()
    world.produce(topic, world.windows(500))
    world.await_exact(topic, "replicas")
    left = both[1 - writer][1]
    wait_for("the other one to have counted it", SETTLED_SECONDS, lambda: metric_or_none(left, topic) > 0)
    both[writer][0].start()
    await_ready(*both[writer])
    path = f"/history/{topic}?order=asc&limit=1000"
    wait_for("both replicas say the same", SETTLED_SECONDS, lambda: said(http_get(left, path)) == said(http_get(both[writer][1], path)))


def test_history__topic_made_anew__nothing_of_the_old_one_stays(world: World) -> None:
    topic = "remade"
    world.create(topic, 1)
    url = world.database("remade")
    _, port = world.start(topic, url, *SMALL)
    world.produce(topic, world.windows(300))
    world.await_exact(topic, "remade")
    delete_topic(world.cluster.bootstrap, topic)

    def created() -> bool:
        world.create(topic, 1)
        try:
            return not read_topic(world.cluster.bootstrap, topic)
        except ReadError:
            return False

    wait_for("the topic is there again", 60.0, created)
    world.produce(topic, world.windows(200))
    wait_for("the new one is kept", 60.0, lambda: world.postgres.query(
        "SELECT count(*) FROM millrace_history_topic", "remade") == [["2"]])
    world.await_exact(topic, "remade")
    wait_for("the old one's rows are gone", SETTLED_SECONDS, lambda: world.postgres.query(
        "SELECT count(*) FROM millrace_history_topic WHERE is_gone AND is_swept", "remade") == [["1"]])
    rows = world.postgres.query("SELECT count(*) FROM millrace_history", "remade")
    assert rows == [[str(len(world.rows_of(topic)))]]
    found = wait_for("an answer", SETTLED_SECONDS, lambda: (a := http_get(port, f"/history/{topic}?limit=1000&order=asc")).status == 200 and a)
    assert len(found.json()["items"]) == int(rows[0][0])


# --- Away, retention ---------------------------------------------------------------------------------

def test_history__database_away__memory_answers_and_the_rest_is_503(world: World) -> None:
    topic = "away"
    world.create(topic)
    world.produce(topic, world.windows(600, with_others=False))
    url = world.database("away")
    process, port = world.start(topic, url, "--query.history.postgres.timeout=2s",
                                "--query.history.bytes=64KiB")    # a few of sixty times
    newest, oldest = f"/history/{topic}?limit=2", f"/history/{topic}?order=asc&limit=10"
    wait_for("an answer", SETTLED_SECONDS, lambda: http_get(port, oldest).status == 200)
    world.await_exact(topic, "away")
    wait_for("memory to know of the database", SETTLED_SECONDS, lambda: http_get(port, newest).json()["complete"])
    reads = metric(port, "millrace_query_history_stored_reads_total", '{result="found"}')
    assert http_get(port, newest).status == 200    # from memory
    assert metric(port, "millrace_query_history_stored_reads_total", '{result="found"}') == reads
    for be_away, be_back in ((world.postgres.pause, world.postgres.resume), (world.postgres.stop, world.postgres.start)):
        be_away()
        world.produce(topic, world.windows(300, with_others=False))
        wait_for("it is noticed", SETTLED_SECONDS, lambda: metric(port, "millrace_query_history_store_up") == 0)
        answer = http_get(port, oldest)
        assert answer.status == 503 and answer.json()["code"] == "history-unavailable" and answer.headers["retry-after"]
        assert http_get(port, newest).status == 200
        assert is_ready(port)
        be_back()
        world.await_exact(topic, "away")
        wait_for("an answer", SETTLED_SECONDS, lambda: http_get(port, oldest).status == 200)
    process.require_running()


def asked(port: int, path: str, folder: Path) -> tuple[subprocess.Popen[bytes], Path]:
    """A request that may wait, and where its status will stand."""
    file = folder / f"status-{time.monotonic_ns()}"
    with open(file, "wb") as out:
        return subprocess.Popen(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"http://127.0.0.1:{port}{path}"],
                                stdout=out), file


def test_history__slow_database__holds_up_only_what_it_alone_can_answer(world: World, tmp_path: Path) -> None:
    topic = "slow"
    world.create(topic)
    world.produce(topic, world.windows(600, with_others=False))
    url = world.database("slow")
    flags = ("--query.history.bytes=64KiB", "--query.history.postgres.threads=1", "--query.history.postgres.jobs.max=1",
             "--query.operators.threads=1")
    process, port = world.start(topic, url, "--query.history.postgres.timeout=60s", "--service.drain.timeout=1s", *flags)
    _, hasty = world.start(topic, url, "--query.history.postgres.timeout=1s", *flags)
    newest, oldest = f"/history/{topic}?limit=2", f"/history/{topic}?order=asc&limit=10"
    world.await_exact(topic, "slow")
    for replica in (port, hasty):
        wait_for("an answer", SETTLED_SECONDS, lambda: http_get(replica, oldest).status == 200)
        wait_for("memory to know of the database", SETTLED_SECONDS, lambda: http_get(replica, newest).json()["complete"])
    taken = metric(port, "millrace_query_desk_wait_seconds_count", '{desk="history"}')
    with world.postgres.locked("millrace_history", "slow"):
        first = asked(port, oldest, tmp_path)
        wait_for("a thread has it", SETTLED_SECONDS,
                 lambda: metric(port, "millrace_query_desk_wait_seconds_count", '{desk="history"}') == taken + 1)
        second = asked(port, oldest, tmp_path)
        wait_for("the next one waits", SETTLED_SECONDS, lambda: metric(port, "millrace_query_desk_waiting", '{desk="history"}') == 1)
        refused = http_get(port, oldest)
        assert refused.status == 503 and "query.history.postgres.jobs.max" in refused.json()["detail"]
        assert http_get(port, "/groups").status == 200
        assert http_get(port, newest).status == 200    # from memory
        assert first[0].poll() is None and second[0].poll() is None
        late = http_get(hasty, oldest)
        assert late.status == 503 and late.json()["code"] == "history-unavailable", late
        wait_for("it is noticed", SETTLED_SECONDS, lambda: metric(hasty, "millrace_query_history_store_up") == 0)
        assert http_get(hasty, newest).status == 200
    for each, status in (first, second):
        assert each.wait(30) == 0 and status.read_text() == "200"
    wait_for("an answer", SETTLED_SECONDS, lambda: http_get(hasty, oldest).status == 200)
    assert said(http_get(hasty, oldest)) == said(http_get(port, oldest))
    assert metric(port, "millrace_query_history_stored_read_seconds_count") >= 3
    taken = metric(port, "millrace_query_desk_wait_seconds_count", '{desk="history"}')
    with world.postgres.locked("millrace_history", "slow"):
        last = asked(port, oldest, tmp_path)
        wait_for("a thread has it", SETTLED_SECONDS,
                 lambda: metric(port, "millrace_query_desk_wait_seconds_count", '{desk="history"}') == taken + 1)
        assert not process.stop(25.0).forced    # an end does not wait for PostgreSQL
        last[0].wait(30)


def test_history__tls__to_whom_the_authority_vouches_for(world: World, tmp_path: Path) -> None:
    subprocess.run(["sh", str(ROOT / "tests/support/certificates"), str(tmp_path)], check=True)
    world.postgres.serve_tls(tmp_path / "server.pem", tmp_path / "server.key")
    topic = "secured"
    world.create(topic, 1)
    world.produce(topic, world.windows(50))
    url = world.database("secured")
    _, port = world.start(topic, f"{url}?sslmode=verify-full&sslrootcert={tmp_path / 'ca.pem'}", *SMALL)
    world.await_exact(topic, "secured")
    assert http_get(port, f"/history/{topic}?order=asc").status == 200
    assert world.postgres.query("SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
                                " WHERE datname = 'secured' AND application_name = 'millrace query-api'") == [["t"]]
    stranger, other = world.start(topic, f"{url}?sslmode=verify-full&sslrootcert={tmp_path / 'other.pem'}", wait=False)
    await_ready(stranger, other)
    wait_for("it has tried", SETTLED_SECONDS, lambda: metric(other, "millrace_query_history_store_errors_total") >= 1)
    assert metric(other, "millrace_query_history_store_up") == 0
    assert "certificate verify failed" in stranger.log.read_text()


def test_history__retention__older_rows_go(world: World) -> None:
    topic = "aged"
    world.create(topic, 1)
    now = int(time.time())
    starts = [now - 7200, now - 7100, now - 600, now - 500]
    world.produce(topic, [("k", json.dumps({"window_start": start, "window_end": start + 10})) for start in starts])
    url = world.database("aged")
    _, port = world.start(topic, url, "--query.history.postgres.retention=1h", "--query.history.bytes=4KiB")
    wait_for("older rows are gone", SETTLED_SECONDS, lambda: metric(port, "millrace_query_history_stored_expired_total", f'{{topic="{topic}"}}') == 2)
    found = wait_for("an answer", SETTLED_SECONDS, lambda: (a := http_get(port, f"/history/{topic}?order=asc")).status == 200 and a).json()
    assert [item["window_start"] // 1000 for item in found["items"]] == starts[2:]
    assert found["complete"] is False and found["oldest"] == starts[2] * 1000
    later = http_get(port, f"/history/{topic}?order=asc&from={(now - 3000) * 1000}").json()
    assert later["complete"] is True and len(later["items"]) == 2
    # What comes too late for it is not taken in, as in memory.
    world.produce(topic, [("late", json.dumps({"window_start": now - 7150, "window_end": now - 7140}))])
    wait_for("it is read", SETTLED_SECONDS, lambda: metric(port, "millrace_query_history_stored_total", f'{{topic="{topic}"}}') == 5)
    assert world.postgres.query("SELECT count(*) FROM millrace_history", "aged") == [["2"]]
