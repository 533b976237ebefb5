# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The server's half of the soak: right requests beside broken, huge, slow and abandoned ones."""

from __future__ import annotations

import base64
import io
import json
import random
import socket
import threading
import time
from collections.abc import Callable

import httpx
import numpy as np
from PIL import Image

from benchmarks.server import Process
from benchmarks.soak_tally import Holdings, Tally

_CLIENTS = 4
#: longest that a reply may take, seconds
_HUNG_S = 60.0
#: a loaded server may say so
_BUSY = {429, 503, 504}


class ServerSoak:
    """Asks a server until it is told to stop.

    Args:
        seed: Of every random choice.
        stop: Set when the soak is to end.
    """

    def __init__(self, seed: int, stop: threading.Event) -> None:
        self.requests = Tally()
        self.held: list[Holdings] = []
        self._seed, self._stop = seed, stop
        pixels = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        self._png = file.getvalue()
        self._picture = base64.b64encode(self._png).decode()

    def run(self, minutes: float) -> None:
        """Soak until ``stop`` is set, at most this long."""
        command = ("-m", "roborefer_ros.cli", "serve", "--model", "echo:", "--port", "0")
        with Process(*command) as server:
            threads = [
                threading.Thread(target=self._ask, args=(server.port, number), daemon=True)
                for number in range(_CLIENTS)
            ]
            for thread in threads:
                thread.start()
            self._stop.wait(20.0 * minutes)
            self.held.append(Holdings.of(server.pid))
            self._stop.wait(40.0 * minutes)
            self._stop.set()
            for thread in threads:
                thread.join(_HUNG_S + 10.0)
                if thread.is_alive():
                    self.requests.fault("a request hangs")
            self.held.append(Holdings.of(server.pid))
            self._still_right(server.port)

    def _still_right(self, port: int) -> None:
        with httpx.Client(timeout=_HUNG_S, trust_env=False) as client:
            self._point(client, port, random.Random(self._seed))

    def _ask(self, port: int, number: int) -> None:
        dice = random.Random(self._seed + number)
        kinds: tuple[Callable[[httpx.Client, int, random.Random], None], ...] = (
            self._point,
            self._point,
            self._point,
            self._broken_picture,
            self._broken_json,
            self._raw,
            self._abandoned,
        )
        with httpx.Client(timeout=_HUNG_S, trust_env=False) as client:
            while not self._stop.is_set():
                try:
                    dice.choice(kinds)(client, port, dice)
                except httpx.TimeoutException:
                    self.requests.fault("hung")
                except httpx.TransportError as error:
                    self.requests.count(f"closed ({type(error).__name__})")
                time.sleep(dice.uniform(0.0, 0.02))

    def _point(self, client: httpx.Client, port: int, dice: random.Random) -> None:
        x, y = (round(dice.uniform(0.1, 0.9), 3) for _ in range(2))
        body = {"image": self._picture, "instruction": f"[({x}, {y})]"}
        reply = client.post(f"http://127.0.0.1:{port}/v1/point", json=body)
        if reply.status_code in _BUSY:
            self.requests.count(f"{reply.status_code}")
            return
        point = reply.json().get("points", [{}])[0] if reply.status_code == 200 else {}
        if abs(point.get("x", -1.0) - x) + abs(point.get("y", -1.0) - y) < 1e-6:
            self.requests.count("answered")
        else:
            self.requests.fault(f"{reply.status_code} for ({x}, {y}): {reply.text[:200]}")

    def _refused(self, reply: httpx.Response, what: str) -> None:
        if 400 <= reply.status_code < 500 or reply.status_code in _BUSY:
            self.requests.count(f"{reply.status_code}")
        else:
            self.requests.fault(f"{reply.status_code} for {what}: {reply.text[:200]}")

    def _broken_picture(self, client: httpx.Client, port: int, dice: random.Random) -> None:
        data = bytearray(self._png)
        kind = dice.choice(("cut", "flipped", "text", "empty"))
        if kind == "cut":
            data = data[: dice.randrange(8, len(data) // 2)]
        elif kind == "flipped":
            for _ in range(20):
                data[dice.randrange(60, len(data) - 20)] ^= 0xFF
        else:
            data = bytearray(b"no picture" if kind == "text" else b"")
        body = {"image": base64.b64encode(bytes(data)).decode(), "instruction": "[(0.5, 0.5)]"}
        reply = client.post(f"http://127.0.0.1:{port}/v1/point", json=body)
        self._refused(reply, f"a picture that is {kind}")

    def _broken_json(self, client: httpx.Client, port: int, dice: random.Random) -> None:
        text = dice.choice(
            (
                "{",
                "[" * 5000,
                json.dumps({"image": 5, "instruction": []}),
                json.dumps({"image": self._picture, "instruction": "x \ud83d"}),
                json.dumps({"image": self._picture, "instruction": "x", "unknown": 1}),
                '{"image": NaN}',
            )
        )
        headers = {"content-type": "application/json"}
        url = f"http://127.0.0.1:{port}/v1/point"
        self._refused(client.post(url, content=text.encode(), headers=headers), text[:40])

    def _raw(self, _client: httpx.Client, port: int, dice: random.Random) -> None:
        """Bytes that are no request, or more of one than anybody should send."""
        data = dice.choice(
            (
                b"GARBAGE\r\n\r\n",
                b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 2000 + b"\r\n",
                b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 200_000 + b"\r\n\r\n",
                b"POST /v1/point HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\n",
            )
        )
        with socket.create_connection(("127.0.0.1", port), timeout=_HUNG_S) as connection:
            try:
                connection.sendall(data)
                reply = connection.recv(64)
            except ConnectionError:
                reply = b""
        if b" 500 " in reply:
            self.requests.fault(f"500 for {data[:40]!r}")
        else:
            self.requests.count("raw bytes refused")

    def _abandoned(self, _client: httpx.Client, port: int, dice: random.Random) -> None:
        """A body that is announced, begun and left."""
        head = b"POST /v1/point HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n"
        head += b"Content-Type: application/json\r\n\r\n"
        with socket.create_connection(("127.0.0.1", port), timeout=_HUNG_S) as connection:
            connection.sendall(head + b'{"image": "' + b"A" * dice.randrange(0, 5000))
            time.sleep(dice.uniform(0.0, 0.2))
        self.requests.count("abandoned")


def report(soak: ServerSoak) -> tuple[list[str], bool]:
    """Lines to print, and whether all was well."""
    lines = soak.requests.lines("requests")
    leaked: list[str] = []
    if len(soak.held) == 2:
        leaked = soak.held[1].leaked_since(soak.held[0])
        lines.append(f"  server holds {soak.held[0]} -> {soak.held[1]}")
    lines.append(f"  leaked: {', '.join(leaked) or 'nothing'}")
    well = not leaked and not soak.requests.wrong and soak.requests.counts["answered"] > 0
    return lines, well
