"""Result files under bench/results, the Markdown tables made of them, and README.md's block."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any, Callable, Sequence

from measure import drawing

BEGIN, END = "<!-- bench:start -->", "<!-- bench:end -->"
SERVER_TITLES = {"ingest-api": "**ingest-api**", "floor": "bare floor", "floor-keyed": "bare floor, keyed",
                 "floor-at-once": "libmicrohttpd alone", "fastapi": "FastAPI, 2 processes"}
JOB_TITLES = {"millrace": "**Millrace**", "kafka-streams": "Kafka Streams", "floor": "our client alone"}
FANOUT_TITLES = {"query-api": "**query-api**", "nchan": "Nchan"}
HISTORY_WRITES = {"query-api": "**query-api**, from Kafka", "copy": "`COPY` of the same rows by psql, one transaction",
                  "insert": "`INSERT` of 1,000 rows a transaction by psql"}
HISTORY_READS = {"memory": "100 rows by **query-api**, from memory", "postgres": "100 rows by **query-api**, from PostgreSQL",
                 "key": "100 rows of a key by **query-api**, from PostgreSQL", "select": "the same rows by psql, one `SELECT`"}
RESTORE_TITLES = {"changelog": "the changelog", "local": "local disk"}
Row = Sequence[object]


def _folder(root: Path) -> Path:
    return root / "bench" / "results"


def write(root: Path, part: str, taken_on: dict[str, Any], figures: dict[str, Any]) -> None:
    """One part's figures, its drawing if it has one, and the tables of all parts anew."""
    _folder(root).mkdir(exist_ok=True)
    text = json.dumps({"part": part, "machine": taken_on, "figures": figures}, indent=2)
    (_folder(root) / f"{part}.json").write_text(text + "\n")
    if part in DRAWINGS:
        (root / "docs" / "images" / f"{part}.svg").write_text(DRAWINGS[part](figures))
    (_folder(root) / "README.md").write_text(
        f"# Figures\n\nWritten by `bench/run`; [how they are taken](../README.md).\n\n{table(root)}")


def table(root: Path) -> str:
    """All parts that have been measured, as Markdown."""
    paths = {part: _folder(root) / f"{part}.json" for part in SECTIONS}
    measured = {part: json.loads(path.read_text()) for part, path in paths.items() if path.exists()}
    return "\n".join(_section(part, document["figures"]) + origin
                     for (part, document), origin in zip(measured.items(), _origins(list(measured.values()))))


def _section(part: str, figures: dict[str, Any]) -> str:
    title, rows_of = SECTIONS[part]
    return f"**{title}** (`bench/run {part}`)\n\n{_markdown(*rows_of(figures))}"


def _origins(documents: list[dict[str, Any]]) -> list[str]:
    """Date and machine below each table, but once for those that one run made."""
    machines = [document["machine"] for document in documents]
    return [_origin(this) if this != following else "" for this, following in zip(machines, [*machines[1:], None])]


def write_readme(root: Path) -> None:
    """Put the tables between the two marks of README.md."""
    path = root / "README.md"
    text = path.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"bench/run: README.md has no block between {BEGIN} and {END}")
    path.write_text(f"{before}{BEGIN}\n{table(root)}{END}{after}")


def _markdown(head: Row, rows: Sequence[Row]) -> str:
    """The first column is text, the others are figures."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)


def _origin(machine: dict[str, Any]) -> str:
    m = machine
    return (f"\n<sub>{m['date']}, {m['cores']} cores of {m['cpu']}, {m['memory_gib']} GiB, {m['system']}, Linux "
            f"{m['kernel']}, librdkafka {m['librdkafka']}, libmicrohttpd {m['libmicrohttpd']}, Kafka {m['kafka']}, "
            f"JVM {m['jvm']}, commit {m['commit']}</sub>\n")


def _thousands(number: float) -> str:
    return f"{number:,.0f}"


def _beside(ratio: float) -> str:
    return f"**{ratio:.0%}**" if ratio < 2 else f"**{ratio:.1f}×**"


def _contest(figures: dict[str, Any]) -> tuple[Row, list[Row]]:
    """What a request costs, and ours in relation to each of the others."""
    rows: list[Row] = []
    for load, servers in figures["loads"].items():
        ratios = servers["ratio_to"]
        ours_us = servers["ingest-api"]["cpu_us_per_request"]
        for name, title in SERVER_TITLES.items():
            if name not in servers:
                continue
            s = servers[name]
            rows.append((f"{title}, {load}", _thousands(s["events_per_s"]),
                         _beside(ratios[name]) if name in ratios else "",
                         _beside(s["cpu_us_per_request"] / ours_us) if name in ratios else "",
                         f"{s['p50_ms']:.1f}", f"{s['p99_ms']:.1f}", f"{s['cpu_us_per_request']:.1f}",
                         f"{s['peak_rss_mib']:.0f}"))
    return ("server", "events/s", "ours beside it", "by CPU", "p50 ms", "p99 ms", "CPU µs/request", "peak MiB"), rows


def _refusals(figures: dict[str, Any]) -> tuple[Row, list[Row]]:
    rows: list[Row] = []
    for rate, what in figures["rates"].items():
        load = f"{what['connections']} connections" + (f", {what['pause_ms']} ms between" if what["pause_ms"] else "")
        for name, answer in figures["answers"].items():
            s = answer[rate]
            rows.append((f"{answer['status']}, {name}; {load}", _thousands(s["requests_per_s"]),
                         f"{s['p50_ms']:.2f}", f"{s['p99_ms']:.2f}", f"{s['cpu_us_per_request']:.1f}"))
    return ("answer", "requests/s", "p50 ms", "p99 ms", "CPU µs/request"), rows


def _rate(side: dict[str, Any], span: str, ratio: float | None) -> str:
    """Events per CPU-second, ours with the ratio to theirs."""
    rate = _thousands(side[span]["events_per_cpu_s"])
    return f"{rate} (**{ratio:.1f}×**)" if ratio is not None else rate


def _job(figures: dict[str, Any]) -> tuple[Row, list[Row]]:
    rows: list[Row] = []
    for v in figures["variants"]:
        what = f"{v['guarantee'].replace('_', ' ')}, {v['threads']} thread{'s' if v['threads'] > 1 else ''}"
        for side, title in JOB_TITLES.items():
            if side not in v:
                continue
            s, ratios = v[side], v["ratio_per_cpu_s"].get(side, {})
            rows.append((f"{title}, {what}", _thousands(s["after_start"]["events_per_s"]),
                         *(_rate(s, span, ratios.get(span)) for span in ("after_start", "second_half", "whole")),
                         f"{s['peak_rss_mib']:.0f}"))
    return ("job", "events/s", "events per CPU-second", "second half only", "start included", "peak MiB"), rows


def _commit(figures: dict[str, Any]) -> tuple[Row, list[Row]]:
    return ("commit every", "guarantee", "events/s", "events per CPU-second", "commits seen", "peak MiB"), [
        (f"{i['commit_ms']} ms", i["guarantee"].replace("_", " "), _thousands(i["whole"]["events_per_s"]),
         _thousands(i["whole"]["events_per_cpu_s"]), median(run["commits_seen"] for run in i["rounds"]),
         f"{i['peak_rss_mib']:.0f}") for i in figures["intervals"]]


def _scale(figures: dict[str, Any]) -> tuple[Row, list[Row]]:
    """What grows is said once, where its own column does."""
    return ("what grows", "keys", "windows", "partitions", "CPU ns/event", "bytes of state/key"), [
        (title if i == 0 else "", _thousands(c["keys"]), c["windows"], c["partitions"], _thousands(c["ns_per_event"]),
         _thousands(c["bytes_per_key"]))
        for axis, title in drawing.AXES.items() for i, c in enumerate(figures[axis])]


def _restore(figures: dict[str, Any]) -> tuple[Row, list[Row]]:
    return ("state comes from", "back after s", "ready after s", "peak MiB"), [
        (f"{title}, {_thousands(figures['keys'])} keys", figures[side]["restore_s"], figures[side]["ready_s"],
         f"{figures[side]['peak_rss_mib']:.0f}")
        for side, title in RESTORE_TITLES.items() if side in figures]


def _latency(figures: dict[str, Any]) -> tuple[Row, list[Row]]:
    rows: list[Row] = [
        (name.replace("_", " "), f["p50_ms"], f["p95_ms"], f["p99_ms"], f["max_ms"], f["probes"])
        for name, f in figures.items() if isinstance(f, dict)]
    return ("guarantee", "p50 ms", "p95 ms", "p99 ms", "max ms", "probes"), rows


def _fanout_row(title: str, load: dict[str, Any]) -> Row:
    """Latencies of a server that was ended before it was done are those of what had come: the least there can be."""
    delivered = load.get("delivered", 1)
    late, least = (f", not done in time: {delivered:.0%} delivered", "> ") if delivered < 1 else ("", "")
    return (f"{title}{late}", _thousands(load["deliveries_per_s"]), f"{least}{load['p50_ms']:,.0f}",
            f"{least}{load['p99_ms']:,.0f}", f"{load['cpu_us_per_delivery']:.2f}", "")


def _fanout(figures: dict[str, Any]) -> tuple[Row, list[Row]]:
    rows: list[Row] = [
        _fanout_row(f"{FANOUT_TITLES[name]}, {_thousands(figures['streams'])} streams × {rate}/s", load)
        for rate, sides in figures["loads"].items() for name, load in sides.items()]
    if "stopped_reader" in figures:
        alone, beside = (figures["stopped_reader"][key] for key in ("p99_ms", "p99_ms_beside_it"))
        rows.append((f"{FANOUT_TITLES['query-api']}, × 50/s, and one that reads nothing", "", "",
                     f"{beside:,.0f} ({beside / alone - 1:+.0%})", "", ""))
    rows += [(f"{FANOUT_TITLES[name]}, {_thousands(s['streams'])} idle streams", "", "", "", "", _thousands(s["bytes_each"]))
             for name, s in figures["idle"].items()]
    return ("server", "deliveries/s", "p50 ms", "p99 ms", "CPU µs/delivery", "bytes/stream"), rows


def _history(figures: dict[str, Any]) -> tuple[Row, list[Row]]:
    rows: list[Row] = [
        (title, _thousands(f["rows_per_s"]), "" if side == "query-api" else _beside(f["ours_beside_it"]),
         f"{f['cpu_us_per_row']:.1f}" if "cpu_us_per_row" in f else "", f"{f['postgres_cpu_us_per_row']:.1f}", "", "")
        for side, title in HISTORY_WRITES.items() for f in (figures["writes"][side],)]
    rows += [(title, "", "", "", "", f"{f['p50_ms']:.2f}", f"{f['p99_ms']:.2f}")
             for side, title in HISTORY_READS.items() for f in (figures["reads"][side],)]
    return ("what", "rows/s", "ours beside it", "CPU µs/row", "PostgreSQL's", "p50 ms", "p99 ms"), rows


def _footprint(figures: dict[str, Any]) -> tuple[Row, list[Row]]:
    return ("service", "ready after ms", "idle MiB"), [
        (name, f["ready_ms"], f["rss_mib"]) for name, f in figures.items()]


def _images(figures: dict[str, Any]) -> tuple[Row, list[Row]]:
    return ("image", "MB", "ready after ms", "idle MiB"), [
        *((name, f["mb"], f["ready_ms"], f["idle_mib"]) for name, f in figures["services"].items()),
        ("the whole of docker-compose.yml, three brokers included", "", f"{figures['up_s'] * 1000:,.0f}", "")]


SECTIONS: dict[str, tuple[str, Callable[[dict[str, Any]], tuple[Row, list[Row]]]]] = {
    "ingest": ("One order per POST, answered 201 once Kafka has acknowledged it with acks=all", _contest),
    "ndjson": ("500 orders of 200 bytes per POST, as NDJSON, each checked and acknowledged", _contest),
    "hasty": ("One order per POST, answered 202 at once", _contest),
    "refusals": ("What is refused here, without Kafka, beside what it has stored", _refusals),
    "enrich": ("Orders joined with products", _job),
    "window": ("One-minute windows per product", _job),
    "hopping": ("Windows of ten seconds that begin each second, per user, finals only", _job),
    "session": ("Sessions with a gap of ten seconds, per user, finals only", _job),
    "join": ("Orders joined with payments within ten seconds", _job),
    "commit": ("Orders joined with products, by how often is committed", _commit),
    "scale": ("What an event costs the engine alone, without Kafka", _scale),
    "restore": ("A worker that was killed, until its state is back", _restore),
    "latency": ("From POST to the SSE event that counts the order", _latency),
    "fanout": ("Events to many live streams", _fanout),
    "history": ("Histories in PostgreSQL, written from Kafka, and read", _history),
    "footprint": ("Each service, idle", _footprint),
    "images": ("Each container image", _images),
}

# Parts that are drawn too, for docs/images.
DRAWINGS: dict[str, Callable[[dict[str, Any]], str]] = {"scale": drawing.scale_svg}
