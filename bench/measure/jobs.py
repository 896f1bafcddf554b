"""The jobs, ours beside Kafka Streams: enrich (processor), and window, hopping, session and join
(analytics).

Both sides read the same topic, loaded once, from its start and with a fresh group, and write to topics
made for the run. A run ends when the group's committed offsets reach the end of the input: with
exactly once they move only together with the outputs. Then the outputs are counted.

Three figures from one run, since a JVM starts slowly and gets faster as it compiles:
    whole        from exec on
    after_start  from the first commit that is seen on; what the ratios are made of
    second_half  from the moment when half of the input is done
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Callable

from harness.process import Process
from measure import usage
from measure.peer import COMMIT_MS, KafkaStreams
from measure.session import BenchFailed, Session, say

PARTITIONS = 6
BAD_EVERY = 1000            # of the orders: dead letters are part of the job
DEADLINE_SECONDS = 280
COMMIT_RECORDS = 40_000
COMMIT_INTERVALS_MS = (10, 30, 100, 300, 1000)
GUARANTEES = ("exactly_once", "at_least_once")
JVM_TERMINATED = 143        # how a JVM ends on SIGTERM after its shutdown hooks
KEYS = 1000                 # users of a minute of clicks
PEER_STORES = {"enrich": (), "window": ("windows",), "hopping": ("windows",), "session": ("windows",),
               "join": ("paid-this-join-store", "paid-other-join-store")}
SPANS = ("whole", "after_start", "second_half")
SIDES = ("millrace", "kafka-streams")
FLOOR = "floor"             # ours again, with a pipeline that does nothing


@dataclass(frozen=True)
class Job:
    """What one comparison runs on either side."""

    name: str                              # as the peer calls it
    service: str
    pipeline: str                          # its file, from the project's root
    inputs: dict[str, dict[str, object]]   # what is read to its end: role → for bench-load
    topics: dict[str, str]                 # the pipeline file's topics: role → name
    verify: Callable[[Session, "Run"], Any]
    stores: tuple[str, ...] = ()           # of the pipeline; theirs are PEER_STORES
    require_same: Callable[[Any, Any], None] | None = None    # of both sides' outputs
    minutes: int = 0    # of event time in which the input lies, whatever its size; 0: 1,000 events a second
    floor: str = ""     # a pipeline that puts its input out as it came: what the Kafka client alone costs

    @property
    def sides(self) -> tuple[str, ...]:
        return (*SIDES, FLOOR) if self.floor else SIDES

    def at(self, side: str) -> Job:
        """What this side runs of it."""
        return replace(self, pipeline=self.floor, stores=(), verify=_verify_copy) if side == FLOOR else self


@dataclass(frozen=True)
class Variant:
    """One way to run a job."""

    guarantee: str
    threads: int
    commit_ms: int = COMMIT_MS
    commit_records: int = COMMIT_RECORDS

    @property
    def title(self) -> str:
        return f"{self.guarantee}, {self.threads} thread{'s' if self.threads > 1 else ''}"


@dataclass(frozen=True)
class Run:
    """One run of one side: fresh names, so that nothing is left from another."""

    job: Job
    variant: Variant
    name: str                  # pipeline or application id, and so the consumer group
    loads: dict[str, dict[str, Any]]    # what bench-load said of each input
    topics: dict[str, str]              # role → this run's topic

    @property
    def load(self) -> dict[str, Any]:
        return self.loads["input"]

    @property
    def records(self) -> int:
        return sum(load["records"] for load in self.loads.values())

    @property
    def input_topics(self) -> list[str]:
        return [self.topics[role] for role in self.loads]

    @property
    def own_topics(self) -> list[str]:
        return [topic for role, topic in self.topics.items() if role not in self.loads and role != "products"]


# --- Starting either side ------------------------------------------------------------------------

def _with_topics(value: Any, names: dict[str, str]) -> Any:
    """A pipeline file's tree with its topics renamed, and nothing else of the same name."""
    if isinstance(value, dict):
        return {key: names[item] if key == "topic" else _with_topics(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_topics(item, names) for item in value]
    return value


def _pipeline_copy(session: Session, run: Run) -> Path:
    """The pipeline that ships, under this run's names and with nothing else changed."""
    names = {name: run.topics[role] for role, name in run.job.topics.items()}
    document = _with_topics(json.loads((session.root / run.job.pipeline).read_text()), names)
    copy = session.directory / f"{run.name}.json"
    copy.write_text(json.dumps({**document, "name": run.name}, indent=2))
    return copy


def _start_millrace(session: Session, run: Run) -> Process:
    return session.start_service(
        run.job.service, session.free_port(), f"--pipeline.file={_pipeline_copy(session, run)}",
        f"--pipeline.guarantee={run.variant.guarantee}", f"--pipeline.threads={run.variant.threads}",
        f"--commit.interval={run.variant.commit_ms}ms", f"--commit.records={run.variant.commit_records}")


def _start_peer(session: Session, run: Run) -> Process:
    return KafkaStreams(session).start(run.job.name, run.name, run.variant.guarantee, run.variant.threads, run.topics)


# --- One run -------------------------------------------------------------------------------------

def _span(samples: list[dict[str, Any]], begin: dict[str, Any]) -> dict[str, int]:
    end = samples[-1]
    events = end["committed"] - begin["committed"]
    cpu = end["cpu"] - begin["cpu"]
    seconds = end["t"] - begin["t"]
    if events == 0 or cpu <= 0:    # all of it was in one commit
        return {"events_per_s": 0, "events_per_cpu_s": 0}
    return {"events_per_s": round(events / seconds), "events_per_cpu_s": round(events / cpu)}


def _figures(samples: list[dict[str, Any]], pid: int) -> dict[str, Any]:
    total = samples[-1]["committed"]
    first = next(sample for sample in samples if sample["committed"] > 0)
    half = next(sample for sample in samples if sample["committed"] >= total / 2)
    begins = ({"t": 0.0, "committed": 0, "cpu": 0.0}, first, half)
    return {**{span: _span(samples, begin) for span, begin in zip(SPANS, begins)},
            "seconds": samples[-1]["t"], "cpu_seconds": round(samples[-1]["cpu"], 2),
            "peak_rss_mib": usage.peak_rss_mib(pid), "commits_seen": len(samples)}


def _new_run(session: Session, job: Job, variant: Variant, inputs: dict[str, Any], side: str) -> Run:
    name = session.fresh_name(f"{job.name}-{side}")
    own = {role: f"{name}-{role}" for role in job.topics.keys() - inputs["topics"].keys()}
    return Run(job.at(side), variant, name, inputs["loads"], {**own, **inputs["topics"]})


def _measure(session: Session, run: Run, side: str) -> tuple[dict[str, Any], Any]:
    """Figures and the verified output."""
    session.create_topics(*(f"{topic}:{PARTITIONS}" for topic in run.own_topics))
    is_peer = side == "kafka-streams"
    stores = PEER_STORES[run.job.name] if is_peer else run.job.stores
    changelogs = [f"{run.name}-{store}-changelog" for store in stores]
    if changelogs and not is_peer:
        session.create_topics(*(f"{topic}:{PARTITIONS}:compact" for topic in changelogs))
    process = (_start_peer if is_peer else _start_millrace)(session, run)
    try:
        lines = session.tool("progress", group=run.name, topic=",".join(run.input_topics), pid=process.pid,
                             end=run.records, timeout_s=DEADLINE_SECONDS)
    except BenchFailed as error:
        raise BenchFailed(process.trouble(f"did not finish: {error}")) from error
    figures = _figures([json.loads(line) for line in lines.splitlines()], process.pid)
    session.stop(process, (JVM_TERMINATED,) if is_peer else (0,))
    output = run.job.verify(session, run)
    session.delete_topics(*run.own_topics, *changelogs)
    return figures, output


# --- What has to come out ------------------------------------------------------------------------

def _verify_enrich(session: Session, run: Run) -> dict[str, int]:
    """Every good order exactly once, every bad one in the dead letters."""
    good = session.tool_json("read", topic=run.topics["output"])
    bad = session.tool_json("read", topic=run.topics["dead-letters"])
    load = run.load
    seen = (good["records"], good["checksum"], bad["records"])
    if seen != (load["good"], load["checksum"], load["records"] - load["good"]):
        raise BenchFailed(f"{run.name}: outputs {good}, dead letters {bad}, but the input was {load}")
    return {"outputs": good["records"], "dead_letters": bad["records"]}


def _verify_copy(session: Session, run: Run) -> dict[str, int]:
    """As many records as there were, good or bad."""
    copied = session.tool_json("read", topic=run.topics["output"])["records"]
    if copied != run.load["records"]:
        raise BenchFailed(f"{run.name}: {copied} records were put out, but the input was {run.load}")
    return {"outputs": copied}


def _verify_window(session: Session, run: Run) -> dict[str, Any]:
    """The last result of each window; together they count every order once."""
    last: dict[str, tuple[int, float]] = {}
    lines = session.tool("read", topic=run.topics["output"], values=1).splitlines()
    for line in lines:
        metric = json.loads(line)
        last[f"{metric['product_id']}@{metric['window_start']}"] = (metric["order_count"], metric["total_revenue"])
    counted = sum(count for count, _ in last.values())
    if counted != run.load["records"]:
        raise BenchFailed(f"{run.name}: its windows count {counted} of {run.load['records']} orders")
    return {"outputs": len(lines), "windows": last}


def _require_theirs_in_ours(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Kafka Streams looks for closed windows once a second of the clock, and not at all once its input has
    ended: what closed last is missing there."""
    if not theirs["windows"] or theirs["windows"].keys() - ours["windows"].keys():
        raise BenchFailed(f"Kafka Streams has {len(theirs['windows'])} windows, some of which ours does not have")
    shared = {window: ours["windows"][window] for window in theirs["windows"]}
    _require_same_windows({"windows": shared}, theirs)


def _verify_results(session: Session, run: Run, name: str) -> dict[str, Any]:
    """Each window that has closed, once."""
    results: dict[str, tuple[Any, ...]] = {}
    for line in session.tool("read", topic=run.topics["output"], values=1).splitlines():
        result = json.loads(line)
        window = f"{result['user_id']}@{result[f'{name}_start']}"
        if window in results:
            raise BenchFailed(f"{run.name}: {window} was put out twice")
        results[window] = (result["count"], result["total"], result[f"{name}_end"])
    return {"outputs": len(results), "windows": results}


def _verify_join(session: Session, run: Run) -> dict[str, int]:
    """Every order once, since every order is paid once and in time."""
    paid = session.tool_json("read", topic=run.topics["output"])
    if (paid["records"], paid["checksum"]) != (run.load["records"], run.load["checksum"]):
        raise BenchFailed(f"{run.name}: outputs {paid}, but the input was {run.load}")
    return {"outputs": paid["records"]}


def _require_same_windows(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Counts equal; sums equal up to the rounding of the peer's floating-point additions."""
    for window in ours["windows"].keys() | theirs["windows"].keys():
        a, b = ours["windows"].get(window), theirs["windows"].get(window)
        if a is None or b is None or a[0] != b[0] or abs(a[1] - b[1]) > 1e-9 * abs(b[1]):
            raise BenchFailed(f"window {window}: ours has (count, sum) {a}, Kafka Streams has {b}")


# --- A whole comparison --------------------------------------------------------------------------

_CLICKS = {"input": {"kind": "clicks", "keys": KEYS}}
_RESULTS = {"input": "clicks", "output": "click-results", "dead-letters": "clicks.dlq", "late": "clicks.late"}

ENRICH = Job("enrich", "processor", "pipelines/orders.json", {"input": {"kind": "orders", "bad_every": BAD_EVERY}},
             {"input": "orders", "products": "products", "output": "processed-orders", "dead-letters": "orders.dlq"},
             _verify_enrich, floor="bench/pipelines/copy.json")
WINDOW = Job("window", "analytics", "pipelines/product-metrics.json", {"input": {"kind": "processed"}},
             {"input": "processed-orders", "output": "product-metrics", "dead-letters": "orders.dlq",
              "late": "processed-orders.late"},
             _verify_window, ("windows",), _require_same_windows)
HOPPING = Job("hopping", "analytics", "bench/pipelines/hopping.json", _CLICKS, _RESULTS,
              partial(_verify_results, name="window"), ("windows",), _require_theirs_in_ours, minutes=5)
SESSION = Job("session", "analytics", "bench/pipelines/session.json", _CLICKS, _RESULTS,
              partial(_verify_results, name="session"), ("windows",), _require_theirs_in_ours, minutes=5)
JOIN = Job("join", "analytics", "bench/pipelines/join.json",
           {"input": {"kind": "orders"}, "payments": {"kind": "payments"}},
           {"input": "orders", "payments": "payments", "output": "paid-orders", "dead-letters": "orders.dlq",
            "late": "orders.late"},
           _verify_join, ("paid",), minutes=5)


def _load_inputs(session: Session, job: Job) -> dict[str, Any]:
    """The topics that both sides read, and what is in them; the products too, which no run writes."""
    topics = {role: session.fresh_name(f"{job.name}-{role}") for role in (*job.inputs, "products")}
    session.create_topics(*(f"{topics[role]}:{PARTITIONS}" for role in job.inputs), f"{topics['products']}:1:compact")
    session.tool("load", topic=topics["products"], kind="products", start_ms=session.start_ms)
    say(f"{job.name}: loading {session.plan.events} events")
    pace = {"events_per_second": max(1, session.plan.events // (job.minutes * 60))} if job.minutes else {}
    loads = {role: session.tool_json("load", topic=topics[role], count=session.plan.events, **pace,
                                     start_ms=session.start_ms, **load) for role, load in job.inputs.items()}
    return {"topics": topics, "loads": loads}


def _variants(session: Session) -> list[Variant]:
    plan = session.plan
    return [Variant(guarantee, threads) for threads in plan.threads
            for guarantee in (GUARANTEES[:1] if plan.quick else GUARANTEES)]


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    figures: dict[str, Any] = {
        span: {key: median(run[span][key] for run in runs) for key in ("events_per_s", "events_per_cpu_s")}
        for span in SPANS}
    return {**figures, "cpu_seconds": median(run["cpu_seconds"] for run in runs),
            "peak_rss_mib": max(run["peak_rss_mib"] for run in runs), "rounds": runs}


def _compare(session: Session, job: Job, variant: Variant, inputs: dict[str, Any]) -> dict[str, Any]:
    """The sides take turns, so that a slow minute of the machine meets both."""
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in job.sides}
    outputs: dict[str, Any] = {}
    for number in range(session.plan.rounds):
        for side in job.sides:
            figures, outputs[side] = _measure(session, _new_run(session, job, variant, inputs, side), side)
            runs[side].append(figures)
            say(f"{job.name}, {variant.title}, round {number + 1}: {side} "
                f"{figures['after_start']['events_per_s']} events/s, "
                f"{figures['after_start']['events_per_cpu_s']} per CPU-second")
        if job.require_same:
            job.require_same(*(outputs[side] for side in SIDES))
    summaries = {side: _summary(runs[side]) for side in job.sides}
    ratios = {side: {span: _ratio(summaries[side][span], summaries["kafka-streams"][span]) for span in SPANS}
              for side in job.sides if side != "kafka-streams"}
    return {"guarantee": variant.guarantee, "threads": variant.threads, **summaries, "ratio_per_cpu_s": ratios}


def _ratio(ours: dict[str, int], theirs: dict[str, int]) -> float:
    if not ours["events_per_cpu_s"] or not theirs["events_per_cpu_s"]:
        return 0.0
    return round(ours["events_per_cpu_s"] / theirs["events_per_cpu_s"], 2)


def run_commits(session: Session) -> dict[str, Any]:
    """What committing more or less often costs, ours alone; the interval is the only bound."""
    inputs = _load_inputs(session, ENRICH)
    runs: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for number in range(session.plan.rounds):
        for commit_ms in COMMIT_INTERVALS_MS[-1:] if session.plan.quick else COMMIT_INTERVALS_MS:
            for guarantee in GUARANTEES:
                variant = Variant(guarantee, 1, commit_ms, session.plan.events)
                figures, _ = _measure(session, _new_run(session, ENRICH, variant, inputs, "millrace"), "millrace")
                runs.setdefault((commit_ms, guarantee), []).append(figures)
                say(f"commit every {commit_ms} ms, {variant.title}, round {number + 1}: "
                    f"{figures['whole']['events_per_cpu_s']} per CPU-second")
    session.delete_topics(*inputs["topics"].values())
    return {"events": session.plan.events, "intervals": [
        {"commit_ms": commit_ms, "guarantee": guarantee, **_summary(of)} for (commit_ms, guarantee), of in runs.items()]}


def run(session: Session, job: Job) -> dict[str, Any]:
    """All variants of one job on one input."""
    KafkaStreams(session).build()
    inputs = _load_inputs(session, job)
    variants = [_compare(session, job, variant, inputs) for variant in _variants(session)]
    session.delete_topics(*inputs["topics"].values())
    return {"events": session.plan.events, "variants": variants}
