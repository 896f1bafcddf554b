#!/usr/bin/python3
"""A stand-in for query-api, for working on the dashboard and for trying its browser test.

    fake_query_api.py --uplot DIR [--port 0] [--speed 30]

Serves dashboard/ as query-api does (same paths, same CSP) with made-up orders, and takes
POST /events/{topic} as ingest-api does. POST /test/cut ends every stream and refuses new ones for
two seconds, as a restart would. The tests proper run against the real services.
"""
import argparse
import json
import mimetypes
import pathlib
import queue
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CSP = "default-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
WINDOW_S = 10
CUT_S = 2
PRODUCTS = [f"prod-{n}" for n in range(1, 6)]
DOCS_FILES = {"docs.js", "docs.css", "theme.js", "theme.css", "icon.svg"}


class Pipeline:
    """Orders in, running windows out: what the three services between do, without Kafka."""

    def __init__(self):
        self.lock = threading.Lock()
        self.offsets = {"orders": 0, "processed-orders": 0, "product-metrics": 0}
        self.windows = {}  # product -> value of product-metrics
        self.latest = {}  # product -> enveloped record
        self.streams = set()
        self.cut_until = 0.0

    def send(self, topic, key, value, at_ms, headers):
        offset = self.offsets[topic]
        self.offsets[topic] += 1
        record = {"topic": topic, "partition": 0, "offset": offset, "timestamp": at_ms,
                  "key": key, "headers": headers, "value": value}
        cursor = ";".join(f"{t}~0={n}" for t, n in self.offsets.items() if t != "orders")
        frame = f"id: {cursor}\ndata: {json.dumps(record)}\n\n".encode()
        for stream in self.streams:
            stream.put(frame)
        return record

    def take(self, order, ingest_ms):
        product = str(order["product_id"])
        start = int(order["timestamp"] // 1000 // WINDOW_S * WINDOW_S)
        with self.lock:
            self.send("processed-orders", product, {**order, "product_name": product.title()},
                      int(order["timestamp"]), {"millrace-ingest-time": str(ingest_ms)})
            current = self.windows.get(product)
            if current and current["window_start"] < start:
                self.publish(current, "final")
                current = None
            if current and current["window_start"] > start:
                return  # late: goes to its own topic
            current = current or {"window_start": start, "window_end": start + WINDOW_S,
                                  "product_id": product, "order_count": 0, "total_revenue": 0}
            count = current["order_count"] + 1
            revenue = round(current["total_revenue"] + order["amount"], 2)
            self.windows[product] = {**current, "order_count": count, "total_revenue": revenue,
                                     "avg_order_value": round(revenue / count, 9)}
            self.publish(self.windows[product], "update")

    def publish(self, window, result):
        record = self.send("product-metrics", window["product_id"], window,
                           int(time.time() * 1000), {"millrace-result": result})
        self.latest[window["product_id"]] = record


def documented(path):
    """The answer that the description shows."""
    spec = yaml.safe_load((ROOT / "openapi/query-api.yaml").read_text("utf-8"))
    return spec["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["example"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    pipeline: Pipeline
    uplot: pathlib.Path

    def log_message(self, *_):
        pass

    def answer(self, status, body, content_type="application/json"):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Content-Security-Policy", CSP)
        self.end_headers()
        self.wfile.write(body)

    def file(self, path):
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        self.answer(200, path.read_bytes(), kind)

    def do_GET(self):
        path = self.path.partition("?")[0]
        folder, _, name = path.rpartition("/")
        if path == "/":
            self.file(ROOT / "dashboard/index.html")
        elif path == "/jobs-view":
            self.file(ROOT / "dashboard/jobs.html")
        elif path == "/jobs":
            self.answer(200, documented("/jobs"))
        elif path == "/jobs/orders":
            self.answer(200, documented("/jobs/{pipeline}"))
        elif folder == "/assets" and name.startswith("uPlot"):
            self.file(self.uplot / name)
        elif folder == "/assets" and (ROOT / "dashboard" / name).is_file():
            self.file(ROOT / "dashboard" / name)
        elif path == "/docs":
            self.file(ROOT / "dashboard/docs.html")
        elif folder == "/docs" and name in DOCS_FILES:
            self.file(ROOT / "dashboard" / name)
        elif path == "/openapi.json":
            self.answer(200, yaml.safe_load((ROOT / "openapi/query-api.yaml").read_text("utf-8")))
        elif path == "/latest/product-metrics":
            self.latest()
        elif folder == "/events":
            self.stream()
        else:
            self.answer(404, {"title": "there is nothing at this path", "status": 404})

    def latest(self):
        with self.pipeline.lock:
            items = [{k: r[k] for k in ("key", "value", "partition", "offset", "timestamp")}
                     for r in self.pipeline.latest.values()]
        self.answer(200, {"as_of": int(time.time() * 1000), "lag": 0, "items": items})

    def stream(self):
        if time.monotonic() < self.pipeline.cut_until:
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Cache-Control", "no-cache, no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b":ok\n\nretry: 500\n\n")
        mine = queue.Queue()
        with self.pipeline.lock:
            self.pipeline.streams.add(mine)
        try:
            while (frame := mine.get()) is not None:
                self.wfile.write(frame)
        except OSError:
            pass  # the reader left
        with self.pipeline.lock:
            self.pipeline.streams.discard(mine)
        self.close_connection = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/test/cut":
            self.pipeline.cut_until = time.monotonic() + CUT_S
            with self.pipeline.lock:
                for stream in self.pipeline.streams:
                    stream.put(b"event: shutdown\ndata: {}\n\n")
                    stream.put(None)
            self.answer(204, b"")
        elif self.path == "/tickets":
            self.answer(201, {"ticket": "none", "expires_at": int(time.time() * 1000) + 30000})
        elif self.path == "/events/orders":
            now = int(time.time() * 1000)
            self.pipeline.take(json.loads(body), now)
            self.answer(201, {"status": "stored", "topic": "orders", "partition": 0,
                              "offset": 0, "timestamp": now})
        else:
            self.answer(404, {"title": "there is nothing at this path", "status": 404})


def generate(pipeline, speed):
    draw = random.Random(7)
    weights = [8, 5, 4, 3, 2]
    while True:
        time.sleep(draw.expovariate(speed))
        now = int(time.time() * 1000)
        pipeline.take({"order_id": f"o-{now}", "user_id": "u-1",
                       "product_id": draw.choices(PRODUCTS, weights)[0],
                       "amount": round(draw.uniform(10, 500), 2), "timestamp": now},
                      now - draw.randrange(40, 260))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--speed", type=float, default=30.0, help="orders per second")
    parser.add_argument("--uplot", type=pathlib.Path, required=True, help="uplot's dist folder")
    options = parser.parse_args()
    Handler.pipeline = Pipeline()
    Handler.uplot = options.uplot
    server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    server.daemon_threads = True
    threading.Thread(target=generate, args=(Handler.pipeline, options.speed), daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
