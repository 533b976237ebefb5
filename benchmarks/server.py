# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The server against a server in the reference's style, on the same model, in one run.

    python -m benchmarks.server [--model SPEC] [--clients 1 4 16 64] [--requests 96]

The baseline is what the reference does with a request, no more and no less: a threaded HTTP
server of the standard library, pictures written to temporary files and read back, one request
at a time, every picture encoded anew, one token after the other.  (The reference itself has no
lock and lets several ``generate`` calls run into each other; one at a time is the kind reading
of it.)  Both servers load the same checkpoint, generate the same number of tokens at most, and
are asked by the same client, which opens a connection for each request as the reference's does.

Two loads: "new frame" (each request has a picture of its own) and "same frame" (every client
keeps asking about its own picture).
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from roborefer_ros.arguments import ArgumentParser
from roborefer_ros.pointing.prompts import POINT_SUFFIX

ROOT = Path(__file__).resolve().parents[1]
TINY = f"roborefer:{ROOT / 'test/data/golden/tiny-2b-style'}"
TEXT = f"Point to the mug left of the box. {POINT_SUFFIX}"


# --- the baseline ----------------------------------------------------------------------


def serve_baseline(spec: str, max_new_tokens: int) -> None:
    """The reference's way to answer ``/query``; prints its port."""
    from PIL import Image

    from roborefer_ros.inference.caches import LRUCache
    from roborefer_ros.inference.model import Picture, Request, SamplingParams, complete_all
    from roborefer_ros.inference.roborefer import RoboReferModel

    opened = _pointer(spec, max_new_tokens).model
    # The same network, token by token; caches of no bytes keep nothing.
    model = RoboReferModel(
        *(spec, opened.network, opened.processor),
        max_batch=1,
        vision=LRUCache(0),
        prefixes=LRUCache(0),
        drafts=False,
    )
    sampling = SamplingParams(max_tokens=max_new_tokens)
    lock = threading.Lock()

    def answer(body: dict[str, Any]) -> str:
        paths = []
        for data in body.get("image_url", []):
            with tempfile.NamedTemporaryFile(suffix=".png", delete=False) as file:
                file.write(base64.b64decode(data))
            paths.append(file.name)
        images = tuple(Picture.of(np.array(Image.open(path).convert("RGB"))) for path in paths)
        with lock:
            (said,) = complete_all(model, [Request(body.get("text", ""), images, (), sampling)])
        for path in paths:
            os.remove(path)
        return str(said.text)  # type: ignore[union-attr]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            reply = {"result": 1, "answer": answer(json.loads(self.rfile.read(length)))}
            content = json.dumps(reply).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Silent, so that the terminal is not part of the measurement."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 128

    with Server(("127.0.0.1", 0), Handler) as server:
        print(f"running on http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


def _pointer(spec: str, max_new_tokens: int) -> Any:
    from roborefer_ros.pointing.factory import open_pointer

    return open_pointer(spec, max_new_tokens=max_new_tokens)


# --- running servers -------------------------------------------------------------------


class Process:
    """A server process, ended with the block."""

    def __init__(self, *arguments: str) -> None:
        self._log = tempfile.NamedTemporaryFile("r+", suffix=".log")  # noqa: SIM115
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        environment.pop("ROBOREFER_API_KEY", None)
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=ROOT,
        )
        self.port = self._wait()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def _wait(self) -> int:
        for _ in range(1200):
            text = Path(self._log.name).read_text(errors="replace")
            if found := re.search(r"running on http://127.0.0.1:(\d+)", text):
                return int(found[1])
            if self._process.poll() is not None:
                break
            time.sleep(0.1)
        raise SystemExit(f"a server did not start:\n{text}")

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._log.close()


# --- the client ------------------------------------------------------------------------


@dataclass(frozen=True)
class Load:
    """What a number of clients experienced."""

    per_s: float
    p50_ms: float
    p99_ms: float
    failed: int


def ask(port: int, body: bytes) -> bool:
    """One request on a connection of its own; whether it was answered."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request("POST", "/query", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read()
        return response.status == 200 and json.loads(content)["result"] == 1
    finally:
        connection.close()


def load(port: int, clients: int, requests: int, body: Callable[[int, int], bytes]) -> Load:
    """``requests`` in all, from ``clients`` that each wait for their answer."""
    each = max(4, requests // clients)
    bodies = [[body(client, number) for number in range(each)] for client in range(clients)]
    times: list[float] = []
    failed = 0
    start = threading.Barrier(clients + 1)

    def run(client: int) -> None:
        nonlocal failed
        start.wait()
        for content in bodies[client]:
            began = time.perf_counter()
            if not ask(port, content):
                failed += 1
            times.append(1000 * (time.perf_counter() - began))

    with ThreadPoolExecutor(clients) as pool:
        futures = [pool.submit(run, client) for client in range(clients)]
        start.wait()
        began = time.perf_counter()
        for future in futures:
            future.result()
        took = time.perf_counter() - began
    return Load(
        len(times) / took, float(np.percentile(times, 50)), float(np.percentile(times, 99)), failed
    )


class Bodies:
    """Requests with pictures that no one has asked about before."""

    def __init__(self, width: int, height: int) -> None:
        self._rng = np.random.default_rng(0)
        base = self._rng.integers(0, 256, (height // 16, width // 16, 3), np.uint8)
        self._base = cv2.resize(base, (width, height), interpolation=cv2.INTER_CUBIC)

    def new(self) -> bytes:
        """A request with a new picture."""
        picture = self._base.copy()
        picture[:2] = self._rng.integers(0, 256, picture[:2].shape, np.uint8)
        data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
        image = base64.b64encode(data).decode()
        return json.dumps({"image_url": [image], "text": TEXT}).encode()


# --- what is measured ------------------------------------------------------------------


def throughput(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Both servers at every number of clients, taking turns."""
    rows = []
    bodies = Bodies(*options.size)
    module = ["-m", "benchmarks.server", "--serve-baseline"]
    shared = ["--model", options.model, "--max-new-tokens", str(options.max_new_tokens)]
    ours = ["-m", "roborefer_ros.cli", "serve", *shared, "--port", "0", "--timeout-s", "300"]
    batch = ["--max-batch", str(options.max_batch), "--max-queue", "256"]
    with Process(*module, *shared) as baseline, Process(*ours, *batch) as server:
        for process in (baseline, server):  # warm
            load(process.port, 1, 4, lambda *_: bodies.new())
        for clients in options.clients:
            own = [bodies.new() for _ in range(clients)]
            for kind in ("new frame", "same frame"):

                def make(client: int, _: int, kind: str = kind, own: list[bytes] = own) -> bytes:
                    return bodies.new() if kind == "new frame" else own[client]

                results = {}
                for name, process in (("baseline", baseline), ("server", server)):
                    results[name] = load(process.port, clients, options.requests, make)
                rows.append({"clients": clients, "load": kind, **results})
                _print_row(rows[-1])
    return rows


def _print_row(row: dict[str, Any]) -> None:
    cells = [f"{row['clients']:>7}  {row['load']:<10}"]
    for name in ("baseline", "server"):
        r = row[name]
        cells.append(f"{r.per_s:8.1f} {r.p50_ms:8.1f} {r.p99_ms:8.1f} {r.failed:5d}")
    cells.append(f"{row['server'].per_s / row['baseline'].per_s:6.2f}x")
    print("  ".join(cells), flush=True)


def overhead(options: argparse.Namespace) -> dict[str, float]:
    """What HTTP adds for one client: the same engine in this process and behind the server.

    Returns medians in milliseconds: ``in_process`` (decoding of the picture included), ``http``,
    and ``http_only`` (the pointer without a model behind the server, on a 640x480 JPEG).
    """
    from roborefer_ros.inference.model import Request, SamplingParams, complete_all
    from roborefer_ros.server.pictures import bytes_from_base64, decode_rgb

    model = _pointer(options.model, options.max_new_tokens).model
    sampling = SamplingParams(max_tokens=options.max_new_tokens)
    body = Bodies(*options.size).new()

    def here() -> None:
        parsed = json.loads(body)
        data = bytes_from_base64(parsed["image_url"][0], "image")
        picture = decode_rgb(data, 10**8)
        complete_all(model, [Request(parsed["text"], (picture,), (), sampling)])

    shared = ["--model", options.model, "--max-new-tokens", str(options.max_new_tokens)]
    serve = ["-m", "roborefer_ros.cli", "serve", "--port", "0", "--batch-wait-ms", "0"]
    echo = ["--model", "echo:"]
    times: dict[str, list[float]] = {"in_process": [], "http": [], "http_only": []}
    with Process(*serve, *shared) as server, Process(*serve, *echo) as bare:
        calls: dict[str, Callable[[], Any]] = {
            "in_process": here,
            "http": lambda: ask(server.port, body),
            "http_only": lambda: ask(bare.port, body),
        }
        for number in range(44):
            for name, call in calls.items():
                began = time.perf_counter()
                call()
                if number >= 4:
                    times[name].append(1000 * (time.perf_counter() - began))
    return {name: float(np.median(values)) for name, values in times.items()}


def main() -> None:
    """Print the tables."""
    parser = ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=TINY)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--requests", type=int, default=96, help="in all, per row")
    parser.add_argument("--size", type=int, nargs=2, default=(640, 480), help="of the pictures")
    parser.add_argument("--max-new-tokens", type=int, default=16)
    parser.add_argument("--max-batch", type=int, default=16)
    parser.add_argument("--json", type=Path, help="also write the figures")
    parser.add_argument("--serve-baseline", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve_baseline:
        serve_baseline(options.model, options.max_new_tokens)
        return
    print(f"{options.model}, {options.size[0]}x{options.size[1]} JPEG, {os.cpu_count()} cores")
    print(f"{'':19}  {'one at a time, no reuse':^32}  {'roborefer serve':^32}")
    columns = f"{'per s':>8} {'p50 ms':>8} {'p99 ms':>8} {'fail':>5}"
    print(f"clients  load        {columns}  {columns}   ratio")
    rows = throughput(options)
    cost = overhead(options)
    print(
        f"one client, same frame: in process {cost['in_process']:.2f} ms, over HTTP "
        f"{cost['http']:.2f} ms (+{cost['http'] - cost['in_process']:.2f} ms); HTTP and picture "
        f"alone {cost['http_only']:.2f} ms"
    )
    if options.json:
        plain = [{k: vars(v) if isinstance(v, Load) else v for k, v in row.items()} for row in rows]
        options.json.write_text(json.dumps({"throughput": plain, "overhead_ms": cost}, indent=1))


if __name__ == "__main__":
    main()
