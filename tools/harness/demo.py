"""scripts/demo: the whole platform on one machine, for a person to try or for a script to check.

Without --report it runs until Ctrl-C and shows what to try. With --report it needs nobody: it posts
orders of its own while the generator runs, stops the load, waits until everything accepted has come
through, recounts all of it independently, and says whether every reader shows the same.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from harness.demo_run import (ROOT, Interrupt, Interrupted, make_broker, make_run_dir,
                              require_free_ports, say, stop_all)
from harness.kafka import KafkaFailed, bin_dir
from harness.ledger import Entry, LedgerWriter, read_ledgers
from harness.orders import OrderMaker, OrderPoster
from harness.pipeline_demo import PipelineDemo, pipeline_names
from harness.platform import Layout, Platform, Settings
from harness.process import ProcessFailed, describe_code
from harness.reader import ReadError, SseEvent, SseStream, http_get
from harness.report import check_latest, check_stream, comparison_table, outcome_table
from harness.settle import settle
from harness.status import StatusLine
from harness.verify import METRICS, duration_ms, format_discrepancies
from harness.waiting import DeadlineExceeded

WINDOW = "10s"
DISORDER = "2s"    # how far event time runs behind, as on real networks: windows have to cope
SETTLE_SECONDS = 60.0
TURN_SECONDS = 0.5              # between two looks at the clock, the status and the user's wish
EXTRA_GOOD, EXTRA_BAD = 2, 1    # orders that --report posts by itself in each turn


def parse_arguments(words: list[str]) -> argparse.Namespace:
    """The flags of scripts/demo; its --help text is in scripts/demo, which works without Python."""
    parser = argparse.ArgumentParser(prog="scripts/demo", add_help=False, allow_abbrev=False)
    parser.add_argument("--seconds", type=float, default=None)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--kafka", type=int, nargs="?", const=1, default=0, choices=(1, 3))
    parser.add_argument("--rate", type=int, default=30)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--port-base", type=int, default=8080)
    parser.add_argument("--pipeline", choices=pipeline_names())
    given = parser.parse_args(words)
    if given.pipeline and given.report:
        parser.error("--report recounts orders: it does not go with --pipeline")
    if given.report and given.seconds is None:
        given.seconds = 40.0
    return given


def link_output(layout: Layout) -> Path:
    """output/metrics.json is where the documents say: a link in the tree to this run's output."""
    link = ROOT / "output"
    layout.metrics_file.parent.mkdir(parents=True, exist_ok=True)
    try:
        if link.is_symlink():
            link.unlink()
        link.symlink_to(layout.metrics_file.parent)
    except OSError:
        return layout.metrics_file    # a read-only tree, or somebody's own folder: leave it alone
    return link / "metrics.json"


# --- The demo ------------------------------------------------------------------------------------

class Demo:
    """One run: start, use, report, stop."""

    def __init__(self, given: argparse.Namespace, interrupt: Interrupt) -> None:
        self._given = given
        self._interrupt = interrupt
        self._layout = Layout(ROOT, bin_dir(ROOT), make_run_dir(given.keep))
        self._ledgers: list[Path] = []
        self._broker = make_broker(given.kafka, self._layout)
        self._platform: Platform | None = None

    def run(self) -> int:
        """The exit code: 0, or 1 when something differed or did not end as it should."""
        differences = 0
        try:
            self._start()
            self._use()
            if self._given.report:
                differences = self._report()
        except Interrupted:
            differences = int(self._given.report)    # what was not recounted is not proven
        finally:
            clean = stop_all(self._platform, self._broker)
        say(f"Logs, ledger and output of this run: {self._layout.run_dir}")
        return 0 if clean and not differences else 1

    def _start(self) -> None:
        begin = time.monotonic()
        require_free_ports(self._given.port_base)
        sort = f"Kafka with {self._given.kafka} broker(s)" if self._given.kafka else "dev-broker"
        say(f"Starting {sort} …")
        self._broker.up()
        self._interrupt.check()
        settings = Settings(window=WINDOW, port_base=self._given.port_base, kafka=self._broker.properties)
        platform = Platform(self._layout, self._broker.bootstrap, settings)
        self._platform = platform
        self._interrupt.guard(platform, self._broker)
        if self._given.kafka:
            platform.create_topics()
        platform.seed_products()
        platform.start(self._say_ready)
        if self._given.rate > 0:
            self._ledgers.append(platform.start_load(self._given.rate, f"--disorder={DISORDER}"))
            say(f"  event-generator sends {self._given.rate} orders/s")
        say(f"Up after {time.monotonic() - begin:.1f} s.")

    def _say_ready(self, name: str) -> None:
        say(f"  {name:<11} ready on http://127.0.0.1:{self._running.ports[name]}")
        self._interrupt.check()

    @property
    def _running(self) -> Platform:
        assert self._platform is not None
        return self._platform

    def _use(self) -> None:
        """Run until the time is over or the user wants an end."""
        ingest, query = self._running.ports["ingest-api"], self._running.ports["query-api"]
        if not self._given.kafka:
            say("\ndev-broker keeps everything in memory, is for trying out only, and does not isolate transactions."
                "\nscripts/demo --kafka runs the same on real Kafka.")
        say(HINTS.format(ingest=ingest, query=query, file=link_output(self._layout)))
        poster = ExtraOrders(self._layout, ingest) if self._given.report else None
        if poster:
            self._ledgers.append(poster.ledger_path)
        try:
            with StatusLine(query) as status:
                self._watch(status, poster)
        finally:
            if poster:
                poster.close()

    def _watch(self, status: StatusLine, poster: ExtraOrders | None) -> None:
        end = time.monotonic() + self._given.seconds if self._given.seconds else float("inf")
        while time.monotonic() < end and not self._interrupt.is_wanted:
            self._running.require_running()
            if poster:
                poster.post_some()
            status.show()
            time.sleep(max(0.0, min(TURN_SECONDS, end - time.monotonic())))

    def _report(self) -> int:
        """Recount, compare, print. Returns the number of differences."""
        load = self._running.stop_load()
        if load and not load.is_clean:
            say(f"event-generator ended with {describe_code(load.code)}")
            return 1
        entries: list[Entry] = read_ledgers(self._ledgers)
        say(f"\nLoad stopped. Waiting until the {len(entries)} events have come through …")
        window_ms = duration_ms(WINDOW)
        verdict = settle(self._broker.bootstrap, entries, window_ms, self._layout.metrics_file,
                         SETTLE_SECONDS, self._check)
        query = self._running.ports["query-api"]
        events = self._read_stream(query, len(verdict.seen.metrics))
        found = [*verdict.found, *check_stream(verdict.seen.metrics, events),
                 *check_latest(verdict.seen.metrics, http_get(query, f"/latest/{METRICS}"))]
        say(f"\nRecounted from the ledger of what was sent and answered ({verdict.seconds:.1f} s after the load):\n")
        say(outcome_table(entries, verdict.seen))
        say("\nWindows of 10 s, all of a product together; the recount beside what readers see:\n")
        say(comparison_table(entries, verdict.seen, events, window_ms))
        say(f"\n{format_discrepancies(found)}")
        if not entries:
            say("Nothing was sent: that proves nothing.")
        return len(found) or int(not entries)

    def _check(self) -> None:
        """Whether it is worth going on."""
        self._running.require_running()
        self._interrupt.check()

    @staticmethod
    def _read_stream(query: int, count: int) -> list[SseEvent]:
        """All product-metrics records that query-api streams from the earliest on."""
        with SseStream(query, f"/events/{METRICS}?from=earliest&envelope=1") as stream:
            try:
                stream.wait_until(f"{count} records", 20.0, lambda s: len(s.records()) >= count)
            except ReadError as error:
                say(str(error))    # the comparison that follows names what is missing
            return stream.records()


class ExtraOrders:
    """Orders that --report posts itself, some of them bad, beside the generator's."""

    def __init__(self, layout: Layout, port: int) -> None:
        self.ledger_path = layout.run_dir / "ledger" / "report.ndjson"
        self._ledger = LedgerWriter(self.ledger_path)
        self._maker = OrderMaker(f"report-{os.getpid()}")
        self._poster = OrderPoster(port, self._ledger)

    def post_some(self) -> None:
        for _ in range(EXTRA_GOOD):
            self._poster.post(self._maker.good())
        for _ in range(EXTRA_BAD):
            self._poster.post(self._maker.bad())

    def close(self) -> None:
        self._poster.close()
        self._ledger.close()


HINTS = """
  Dashboard     http://127.0.0.1:{query}/
  Post an order curl -X POST http://127.0.0.1:{ingest}/events/orders -H 'Content-Type: application/json' \\
                  -d '{{"order_id":"o-me-1","user_id":"u-1","product_id":"prod-1",\
"amount":49.90,"timestamp":'$(date +%s)'}}'
  Live events   curl -N http://127.0.0.1:{query}/events/product-metrics
  Latest        curl http://127.0.0.1:{query}/latest/product-metrics
  File          tail -f {file}
  API           http://127.0.0.1:{ingest}/docs   http://127.0.0.1:{query}/docs

Ctrl-C stops everything in drain order.
"""


def main() -> int:
    given = parse_arguments(sys.argv[1:])
    interrupt = Interrupt()
    try:
        return (PipelineDemo if given.pipeline else Demo)(given, interrupt).run()
    except (ProcessFailed, KafkaFailed, DeadlineExceeded, ReadError) as error:
        say(f"scripts/demo: {error}", sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
