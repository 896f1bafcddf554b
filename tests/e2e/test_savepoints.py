"""Savepoints on real Kafka: taken under load, by a process of their own or by a worker that was asked over HTTP, restored
into nothing and over what is there, by other workers; what does not fit is refused; and a pipeline that stands still
and goes on. All results recounted from the inputs."""

from __future__ import annotations

import json
import random
import shutil
import threading
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping

import pytest

from conftest import CLUSTER_SECONDS_MAX, ROOT
from harness import ports
from harness.kafka import KafkaCluster, KafkaFailed, delete_group, delete_topic
from harness.platform import Layout, is_ready
from harness.process import Process
from harness.reader import http_get, http_request
from harness.settle import settle_until
from harness.waiting import wait_for
from pipeline_under_test import CRASH_CODE, Pipeline
from recounted_pipelines import Clicks, Payments, Recounted

DAY_MS = 86_400_000
START_MS = 1_700_000_000_000 // DAY_MS * DAY_MS
SHORT_SESSION = ("--kafka.session.timeout.ms=3000", "--kafka.heartbeat.interval.ms=500")
SEED = "20261126"
SETTLED_SECONDS = 120.0

MakePipeline = Callable[..., Pipeline]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    found = KafkaCluster(ROOT, tmp_path_factory.mktemp("kafka"), 1, CLUSTER_SECONDS_MAX)
    try:
        found.up()
        yield found
    finally:
        found.down()


@pytest.fixture
def make(cluster: KafkaCluster, layout: Layout, tmp_path: Path) -> Iterator[MakePipeline]:
    made: list[Pipeline] = []

    def make_one(file: Mapping[str, Any], topics: Mapping[str, int], flags: tuple[str, ...] = ()) -> Pipeline:
        made.append(Pipeline(cluster, layout.bin_dir, tmp_path, file, topics, (*SHORT_SESSION, *flags), workers=5))
        return made[-1]

    try:
        yield make_one
    finally:
        for pipeline in made:
            pipeline.kill_all()


def forget(pipeline: Pipeline, *topics: str) -> None:
    """What Kafka knows of the pipeline, but for what others wrote: its group and its own topics."""
    def gone() -> bool:
        try:
            delete_group(pipeline.bootstrap, pipeline.name)
        except KafkaFailed as error:
            return "error 69" in str(error)    # there is none; 68: somebody is in it yet
        return True

    wait_for(f"group {pipeline.name} is deleted", 60.0, gone)
    for topic in topics:
        delete_topic(pipeline.bootstrap, topic)


def restore(pipeline: Pipeline, folder: Path, *flags: str) -> str:
    """Again while topics that were deleted are on their way out, or workers that were killed are still in the group."""
    said: list[str] = []

    def done() -> bool:
        result = pipeline.run("--restore", str(folder), *flags)
        said.append(result.stdout + result.stderr)
        return result.returncode == 0

    wait_for("the savepoint is restored", 60.0, done)
    return said[-1]


# --- A pipeline whose last results say all that it ever counted ------------------------------------------------

class Tallies:
    """Two stages, each with a store: by the key that records come with, and behind a rekey by another. Windows are so
    long that each key has one: its last result is what was counted of it in all."""

    def __init__(self, make: MakePipeline, name: str) -> None:
        self.name = name    # of the pipeline, and before those of its topics: each test has its own
        self.rng = random.Random(SEED)
        partitions = {"bids": 4, "by-bidder": 4, "by-item": 4, "dlq": 1, "late": 1}
        self.pipeline = make(self.file(), {f"{name}.{topic}": count for topic, count in partitions.items()})
        self.own = [f"{name}-{topic}" for topic in ("bidders-changelog", "items-changelog", "items-repartition")]
        self.bidders: Counter[str] = Counter()
        self.items: Counter[str] = Counter()
        self.sent = 0

    def file(self, result: Mapping[str, Any] | None = None, store: str = "items") -> dict[str, Any]:
        def counted(by: str, store: str) -> dict[str, Any]:
            return {"aggregate": {"by": f"/{by}", "window": {"tumbling": "1d", "grace": "1d"}, "emit": ["update"],
                                  "store": {"name": store},
                                  "result": result or {by: "key", "sum": {"sum": "/n"}, "count": "count"}}}

        def topic(name: str) -> dict[str, Any]:
            return {"topic": f"{self.name}.{name}"}

        return {
            "name": self.name,
            "sources": {"bids": {**topic("bids"), "timestamp": {"field": "/t", "format": "epoch-ms"}}},
            "flows": {
                "bidders": {"from": "bids", "steps": [counted("bidder", "bidders")], "output": topic("by-bidder")},
                "items": {"from": "bids", "steps": [{"rekey": {"key": "/item"}}, counted("item", store)],
                          "output": topic("by-item")}},
            "dead_letter": topic("dlq"), "late": topic("late")}

    def feed(self, count: int) -> None:
        rows = []
        for _ in range(count):
            row = {"bidder": f"b{self.rng.randrange(200)}", "item": f"i{self.rng.randrange(50)}",
                   "n": self.rng.randrange(1000), "t": START_MS + self.sent}
            self.sent += 1
            self.bidders[row["bidder"]] += row["n"]
            self.items[row["item"]] += row["n"]
            rows.append((row["bidder"], row))
        self.pipeline.produce(f"{self.name}.bids", rows)

    def differs(self) -> list[str]:
        """What the last results say otherwise."""
        found = []
        for topic, by, wanted in (("by-bidder", "bidder", self.bidders), ("by-item", "item", self.items)):
            last = {}
            for record in sorted(self.pipeline.read(f"{self.name}.{topic}"), key=lambda record: record.position):
                row = json.loads(record.value)
                last[row[by]] = row["sum"]
            found += [f"{topic} {key}: {last.get(key)}, not {total}" for key, total in wanted.items()
                      if last.get(key) != total]
        return found

    def require_exact(self, what: str) -> None:
        found, _ = settle_until(self.differs, SETTLED_SECONDS)
        assert not found, f"{what}: {found[:10]}"


@pytest.fixture
def tallies(make: MakePipeline, request: pytest.FixtureRequest) -> Tallies:
    return Tallies(make, f"tallies-{list(request.session.items).index(request.node)}")


class Load(threading.Thread):
    """Feeds until it is told to stop."""

    def __init__(self, tallies: Tallies) -> None:
        super().__init__(daemon=True)
        self._tallies = tallies
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.is_set():
            self._tallies.feed(2000)

    def __enter__(self) -> Load:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join(30.0)


def test_savepoint__under_load__restored_by_other_workers__is_exact(tallies: Tallies) -> None:
    pipeline = tallies.pipeline
    folder, later = pipeline.dir / "saved", pipeline.dir / "later"
    pipeline.start(0, 1)
    with Load(tallies):
        wait_for("something is counted", 60.0, lambda: pipeline.read(f"{tallies.name}.by-item"))
        print(pipeline.order("--savepoint", str(folder)))
        print(pipeline.order("--savepoint", str(later)))    # the pipeline has gone on
    assert not (pipeline.dir / "saved.partial").exists()
    tallies.require_exact("with savepoints taken meanwhile")
    assert "there already" in pipeline.refused("--savepoint", str(folder))
    assert "stop them" in pipeline.refused("--restore", str(folder))
    pipeline.leave(0)
    pipeline.leave(1)
    wait_for("the group has forgotten them, and the restore is refused for what is there", 60.0,
             lambda: "savepoint.replace" in pipeline.refused("--restore", str(folder)))

    # Over what is there: back in time, from where it does it all again. Then from nothing.
    print(restore(pipeline, folder, "--savepoint.replace"))
    pipeline.flags += ["--pipeline.threads=2"]
    pipeline.workers[2] = pipeline._worker(2)
    pipeline.start(2)
    tallies.feed(3000)
    tallies.require_exact("back at the first savepoint, one worker of two threads")
    pipeline.leave(2)
    forget(pipeline, *tallies.own)
    print(restore(pipeline, later))
    pipeline.workers[3], pipeline.workers[4] = pipeline._worker(3), pipeline._worker(4)
    pipeline.start(0, 3, 4)
    tallies.feed(3000)
    tallies.require_exact("from the second savepoint alone, three workers")


class QueryApi:
    """One that may tell workers what is wanted, beside a pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._name = pipeline.name
        self._port = ports.free_block(1)
        self._process = Process("query-api", [
            str(pipeline.bin_dir / "query-api"), f"--kafka.bootstrap.servers={pipeline.bootstrap}",
            "--http.host=127.0.0.1", f"--http.port={self._port}", "--log.format=json", "--query.control=on",
            f"--query.topics={self._name}.bids"], pipeline.dir / "query-api.log")

    def __enter__(self) -> QueryApi:
        self._process.start()
        wait_for("query-api is ready", 60.0, lambda: is_ready(self._port))
        wait_for("the workers have told of themselves", 60.0, lambda: self.job().get("state") == "ok")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()

    def job(self) -> dict[str, Any]:
        answer = http_get(self._port, f"/jobs/{self._name}")
        return json.loads(answer.body) if answer.status == 200 else {}

    def ask(self) -> str:
        """For a savepoint: its name."""
        answer = http_request(self._port, "POST", f"/jobs/{self._name}/savepoint", b"{}",
                              {"Content-Type": "application/json", "X-Request-Id": "e2e/test"})
        assert answer.status == 202, answer
        name = json.loads(answer.body)["savepoint"]
        assert name.endswith("Z-e2e-test"), name
        return str(name)

    def await_end(self, name: str) -> dict[str, Any]:
        """What became of it. All workers tell that it is done, and only the one that took it of its partitions."""
        def end() -> dict[str, Any] | None:
            for found in self.job().get("savepoints", []):
                if found["name"] == name and (
                        found["state"] == "failed" or found["state"] == "done" and "partitions" in found):
                    return dict(found)
            return None

        return wait_for(f"savepoint {name} is done, or has failed", 60.0, end)


def test_savepoint__asked_for_over_http__taken_by_a_worker__is_exact(tallies: Tallies) -> None:
    """Under load, by one of two workers, the first of which is then killed: the other one takes the next one."""
    pipeline = tallies.pipeline
    pipeline.flags += [f"--savepoint.dir={pipeline.dir / 'asked'}"]
    pipeline.workers[0], pipeline.workers[1] = pipeline._worker(0), pipeline._worker(1)
    pipeline.start(0, 1)
    with QueryApi(pipeline) as query:
        with Load(tallies):
            wait_for("something is counted", 60.0, lambda: pipeline.read(f"{tallies.name}.by-item"))
            first = query.await_end(query.ask())
        assert first["state"] == "done", first
        assert Path(first["place"]) == pipeline.dir / "asked" / first["name"]
        (number,) = (n for n in (0, 1) if "savepoint_taken" in pipeline.log(n))    # one of them has
        assert {part["topic"] for part in first["partitions"]} == set(tallies.own)
        assert sum(part["bytes"] for part in first["partitions"]) == first["bytes"]
        pipeline.remove(number)
        pipeline.await_assigned(8, 1 - number)    # four of the bids, and of what is rekeyed
        tallies.feed(1000)
        second = query.await_end(query.ask())
        assert second["state"] == "done" and second["instance"] != first["instance"], second
        assert [found["state"] for found in query.job()["savepoints"]] == ["done", "done"]
    pipeline.leave(1 - number)
    for savepoint in (second, first):
        forget(pipeline, *tallies.own)
        print(restore(pipeline, Path(savepoint["place"])))
        pipeline.start(2)
        tallies.feed(1000)
        tallies.require_exact("from a savepoint that a worker has taken")
        pipeline.leave(2)


def save_and_forget(tallies: Tallies, records: int) -> Path:
    """A savepoint behind so many records; nobody works any more, and Kafka has nothing of what they knew."""
    pipeline = tallies.pipeline
    folder = pipeline.dir / "saved"
    pipeline.start(0)
    tallies.feed(records)
    tallies.require_exact("before")
    pipeline.order("--savepoint", str(folder))
    pipeline.leave(0)
    forget(pipeline, *tallies.own)
    return folder


def test_restore__killed__has_done_nothing(tallies: Tallies) -> None:
    pipeline, folder = tallies.pipeline, save_and_forget(tallies, 20000)

    def killed(point: str) -> bool:
        """False: it did not come so far, as Kafka still had something of before."""
        return pipeline.run("--restore", str(folder), crash_at=point).returncode == CRASH_CODE

    for point in ("after-init", "before-offsets", "after-send-offsets"):    # nothing, state, all of it is written
        wait_for(f"the restore is killed {point}", 60.0, lambda: killed(point))
    print(pipeline.order("--restore", str(folder)))    # there is nothing that it would have to replace
    pipeline.start(0)
    tallies.feed(3000)
    tallies.require_exact("after a restore that was killed again and again")


def test_restore__what_does_not_fit__is_refused_with_the_reason(tallies: Tallies) -> None:
    pipeline, folder = tallies.pipeline, save_and_forget(tallies, 2000)

    other = pipeline.dir / "other.json"
    other.write_text(json.dumps(tallies.file(result={"max": {"max": "/n"}})))
    why = pipeline.refused("--restore", str(folder), file=other)
    assert f"store {tallies.own[0]}" in why and "/flows/bidders/steps/0/aggregate" in why, why
    other.write_text(json.dumps(tallies.file(store="renamed")))
    why = pipeline.refused("--restore", str(folder), file=other)
    assert f"{tallies.name}-renamed-changelog" in why and "not in the savepoint" in why, why

    spoiled = pipeline.dir / "spoiled"
    changes: list[tuple[str, Callable[[Path], Any], str]] = [
        ("a byte", _flip, "checksum"),
        ("an end", lambda file: file.write_bytes(file.read_bytes()[:-3]), "ends within a record"),
        ("a file", lambda file: file.unlink(), "No such file"),
        ("a manifest", lambda file: (file.parent / "manifest.json").unlink(), "manifest.json"),
        ("a partition", lambda file: _without(file.parent / "manifest.json"), "checksum"),
    ]
    largest = max(folder.glob("*.records"), key=lambda file: file.stat().st_size)
    for what, change, reason in changes:
        shutil.copytree(folder, spoiled)
        change(spoiled / largest.name)
        why = pipeline.refused("--restore", str(spoiled))
        assert reason in why, f"{what}: {why}"
        shutil.rmtree(spoiled)
    print(restore(pipeline, folder))    # nothing of all that has left anything
    pipeline.start(0)
    tallies.feed(2000)
    tallies.require_exact("after what was refused")


def _flip(file: Path) -> None:
    bytes_ = bytearray(file.read_bytes())
    bytes_[len(bytes_) // 2] ^= 1
    file.write_bytes(bytes_)


def _without(manifest: Path) -> None:
    text = json.loads(manifest.read_text())
    text["files"].pop()
    manifest.write_text(json.dumps(text))


def test_state__of_a_savepoint_and_live__is_what_was_counted(tallies: Tallies) -> None:
    pipeline = tallies.pipeline
    folder = pipeline.dir / "saved"
    pipeline.start(0)
    tallies.feed(3000)
    tallies.require_exact("before")
    pipeline.order("--savepoint", str(folder))

    def lines(*words: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in pipeline.order("--state", *words).splitlines()]

    for what in (str(folder), "live"):
        stores = {store["changelog"]: store for store in lines(what)}
        assert stores[tallies.own[0]]["rows"] == len(tallies.bidders)
        assert stores[tallies.own[1]]["step"] == "/flows/items/steps/1/aggregate"
        rows = lines(what, "--state.store=items")
        assert {row["key"]: row["value"]["sum"] for row in rows} == tallies.items
        assert {row["time"] for row in rows} == {START_MS}
        (row,) = lines(what, f"--state.store={tallies.own[1]}", "--state.key=i7")
        assert row["value"]["item"] == "i7" and row["value"]["sum"] == tallies.items["i7"]
    assert "no store" in pipeline.refused("--state", "live", "--state.store=other")


# --- Every result once -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("sort", [Clicks, Payments])
def test_pause__savepoint__restore__resume__each_result_is_there_once(
        make: MakePipeline, sort: Callable[..., Recounted]) -> None:
    """Sessions behind a dedup, a join of streams: paused under load, saved, taken from Kafka, brought back to other
    workers, which stay paused until they are told to go on."""
    recounted = sort(make, SEED)
    pipeline = recounted.pipeline
    folder = pipeline.dir / "saved"
    pipeline.start(0, 1)
    recounted.feed(400)
    wait_for("both have worked", 60.0, lambda: all(pipeline.committed_at(number) > 0 for number in (0, 1)))
    for _ in range(5):
        recounted.feed(200)
    pipeline.order("--pause")
    wait_for("both stand still", 60.0, lambda: all("paused" in pipeline.health(number) for number in (0, 1)))
    recounted.feed(200)
    print(pipeline.order("--savepoint", str(folder)))
    assert all("paused" in pipeline.health(number) for number in (0, 1))    # the hold is over, the pause is not
    pipeline.leave(0)
    pipeline.leave(1)
    forget(pipeline, *(file["changelog"] for file in json.loads((folder / "manifest.json").read_text())["stores"]))
    print(restore(pipeline, folder))
    pipeline.start(2, 3, 4)
    wait_for("all of them stand still", 60.0, lambda: all("paused" in pipeline.health(number) for number in (2, 3, 4)))
    recounted.feed(200)
    pipeline.order("--resume")
    recounted.feed(200)
    pipeline.require_none(recounted.check)
