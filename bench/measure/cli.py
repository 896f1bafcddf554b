"""bench/run: which parts, how much of each, and where the figures go."""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any, Callable, Sequence

from harness.kafka import bin_dir
from measure import fanout, footprint, history, images, ingest, jobs, latency, machine, refusals, restore, results, scale
from measure.session import Plan, Session, say

# In this order: the loudest first, what wants a quiet broker last.
PARTS: dict[str, Callable[[Session], dict[str, Any]]] = {
    **{contest.name: partial(ingest.run, contest=contest) for contest in (ingest.SINGLE, ingest.NDJSON, ingest.HASTY)},
    "refusals": refusals.run,
    **{job.name: partial(jobs.run, job=job) for job in (jobs.ENRICH, jobs.WINDOW, jobs.HOPPING, jobs.SESSION, jobs.JOIN)},
    "commit": jobs.run_commits,
    "scale": scale.run,
    "restore": restore.run,
    "latency": latency.run,
    "fanout": fanout.run,
    "history": history.run,
    "footprint": footprint.run,
    "images": images.run,
}
ONLY_NAMED = ("images",)    # needs docker


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench/run", description="Measures Millrace on this machine, beside what it is compared with. "
        "Results go to bench/results. Needs a release build and scripts/deps bench.")
    parser.add_argument("parts", nargs="*", metavar="PART",
                        help=f"{', '.join(PARTS)} (default: all but {', '.join(ONLY_NAMED)}, which needs docker)")
    parser.add_argument("--rounds", type=int, help="of every comparison, the sides taking turns (default 3)")
    parser.add_argument("--seconds", type=int, help="of load per measurement of a server (default 10)")
    parser.add_argument("--events", type=int, help="per run of a job, enrich to join (default 5000000)")
    parser.add_argument("--probes", type=int, help="per latency measurement (default 200)")
    parser.add_argument("--threads", type=int, action="append", metavar="N",
                        help="of the jobs, ours and theirs; may be repeated (default 1)")
    parser.add_argument("--http-threads", type=int, default=1, help="of ingest-api and of the floor (default 1)")
    parser.add_argument("--bin", type=Path, metavar="DIR", help="the programs (default: build/release/bin)")
    parser.add_argument("--quick", action="store_true",
                        help="a smoke test: every part, small, its figures worth nothing and not written")
    parser.add_argument("--readme", action="store_true",
                        help="measure nothing: put the table of bench/results into README.md")
    return parser


def _plan(options: argparse.Namespace) -> Plan:
    """Full size unless told otherwise; --quick changes the defaults."""
    defaults = {"rounds": 1, "seconds": 2, "events": 200_000, "probes": 10} if options.quick else \
        {"rounds": 3, "seconds": 10, "events": 5_000_000, "probes": 200}
    sizes = {name: getattr(options, name) or default for name, default in defaults.items()}
    return Plan(quick=options.quick, threads=options.threads or [1], http_threads=options.http_threads, **sizes)


def _measure(root: Path, options: argparse.Namespace) -> None:
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown:
        raise SystemExit(f"bench/run: no such part: {', '.join(unknown)} ({', '.join(PARTS)})")
    chosen = [part for part in PARTS if part in (options.parts or PARTS.keys() - ONLY_NAMED)]
    begin = time.monotonic()
    with Session(root, options.bin or bin_dir(root), _plan(options)) as session:
        taken_on = machine.describe(root)    # a fresh machine has Kafka's version only now
        for part in chosen:
            figures = PARTS[part](session)
            if not options.quick:
                results.write(root, part, taken_on, figures)
    say(f"{', '.join(chosen)}: all outputs were right; {time.monotonic() - begin:.0f} s")
    if not options.quick:
        print(results.table(root))


def main(root: Path, arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when every part gave figures and every output was right."""
    options = _parser().parse_args(arguments)
    if options.readme:
        results.write_readme(root)
    else:
        _measure(root, options)
    return 0
