# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A small HTTP server, run as a process of its own, that speaks the remote models' contracts.

``python contract_server.py`` prints its port and serves until it is ended.  The first part of
the path chooses how it behaves (``/cut/v1/chat/completions``); ``GET /seen`` tells what arrived.
It knows nothing of the package under test.
"""

from __future__ import annotations

import base64
import gzip
import json
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ANSWER = "[(0.250, 0.500), (0.750, 0.125)]"
SEEN: list[dict[str, Any]] = []
CLOSED: list[str] = []
LOCK = threading.Lock()


def png_size(text: str) -> list[int]:
    """``[width, height, colour type]`` from a base64 PNG's header."""
    raw = base64.b64decode(text.partition("base64,")[2] or text, validate=True)
    assert raw[:8] == b"\x89PNG\r\n\x1a\n"
    return [*struct.unpack(">II", raw[16:24]), raw[25]]


def pieces(text: str, size: int = 7) -> list[str]:
    return [text[i : i + size] for i in range(0, len(text), size)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        mode = self.path.split("/")[1]
        if mode == "seen":
            with LOCK:
                self.send_json(200, {"requests": SEEN, "closed": CLOSED})
        elif self.path.endswith("/models"):
            names = ["qwen3-vl-8b", "other"] if mode == "many" else ["qwen3-vl-8b"]
            self.send_json(200, {"object": "list", "data": [{"id": name} for name in names]})
        else:
            self.send_json(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.mode = self.path.split("/")[1]
        with LOCK:
            count = sum(seen["path"] == self.path for seen in SEEN)
            SEEN.append({"path": self.path, "body": self.brief(body), "at": time.time()})
            SEEN[-1]["authorized"] = "Authorization" in self.headers
        getattr(self, "reply_" + self.mode.replace("-", "_"), self.reply_ok)(body, count)

    def brief(self, body: dict[str, Any]) -> dict[str, Any]:
        """The request with its pictures replaced by their sizes."""
        body = json.loads(json.dumps(body))
        for name in ("image_url", "depth_url"):
            if name in body:
                body[name] = [png_size(text) for text in body[name]]
        for message in body.get("messages", []):
            for part in message["content"]:
                if part["type"] == "image_url":
                    url = part["image_url"]["url"]
                    part["image_url"] = png_size(url) if "png" in url[:20] else url[:30]
        return body

    # --- what is sent ------------------------------------------------------------------

    def send_json(self, status: int, reply: Any, **headers: str) -> None:
        self.send_body(status, json.dumps(reply).encode(), "application/json", **headers)

    def send_body(self, status: int, data: bytes, kind: str, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def start_stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Connection", "close")
        self.end_headers()

    def event(self, data: Any) -> None:
        text = data if isinstance(data, str) else json.dumps(data)
        self.wfile.write(f"data: {text}\n\n".encode())
        self.wfile.flush()

    def delta(self, finish: str | None = None, logprobs: Any = None, **delta: str) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": logprobs}
        self.event({"object": "chat.completion.chunk", "choices": [choice]})

    def stream(self, text: str, body: dict[str, Any], finish: str = "stop") -> None:
        for piece in pieces(text):
            told = None
            if body.get("logprobs"):
                halves = [piece[:3], piece[3:]]
                told = {"content": [{"token": h, "logprob": -0.1} for h in halves if h]}
            self.delta(content=piece, logprobs=told)
        self.delta(finish=finish)
        self.event({"choices": [], "usage": {"completion_tokens": 9}})
        self.event("[DONE]")

    # --- OpenAI's contract, one method for each behaviour --------------------------------

    def reply_ok(self, body: dict[str, Any], _count: int) -> None:
        if self.path.endswith("/query"):
            self.send_json(200, {"result": 1, "answer": ANSWER})
            return
        self.start_stream()
        self.wfile.write(b": keep-alive\n\n")
        self.delta(role="assistant", content="")
        self.stream(ANSWER, body)

    def reply_json_points(self, body: dict[str, Any], _count: int) -> None:
        self.start_stream()
        self.stream('```json\n[{"point_2d": [322, 126], "label": "the mug"}]\n```', body)

    def reply_thinking(self, body: dict[str, Any], _count: int) -> None:
        self.start_stream()
        self.delta(reasoning_content="The mug at (0.9, 0.9)")
        self.delta(reasoning=" is red.")
        self.stream("<think>So it is.</think>" + ANSWER, body)

    def reply_whole(self, _body: dict[str, Any], _count: int) -> None:
        message = {"role": "assistant", "content": ANSWER}
        self.send_json(200, {"choices": [{"message": message, "finish_reason": "stop"}]})

    def reply_picky(self, body: dict[str, Any], _count: int) -> None:
        for field in ("logprobs", "max_tokens"):
            if field in body:
                said = f"Unsupported parameter: '{field}' is not supported with this model."
                self.send_json(400, {"error": {"message": said}})
                return
        self.reply_ok(body, 0)

    def reply_samples(self, body: dict[str, Any], count: int) -> None:
        self.start_stream()
        x = 0.25 if count in (0, 1, 3) else 0.9
        self.stream(f"[({x}, 0.5)]" if count != 4 else "none", body)

    def reply_length(self, body: dict[str, Any], _count: int) -> None:
        self.start_stream()
        self.stream("[(0.250, 0.500), (0.7", body, finish="length")

    def reply_prose(self, body: dict[str, Any], _count: int) -> None:
        self.start_stream()
        self.stream("I see no mug.", body)

    def reply_cut(self, _body: dict[str, Any], _count: int) -> None:
        self.start_stream()
        self.delta(content="[(0.250, 0.")
        self.close_connection = True

    def reply_in_stream(self, _body: dict[str, Any], _count: int) -> None:
        self.start_stream()
        self.event({"error": {"message": "CUDA out of memory", "code": 500}})

    def reply_html(self, _body: dict[str, Any], _count: int) -> None:
        self.send_body(200, b"<html>welcome</html>", "text/html")

    def reply_not_json(self, _body: dict[str, Any], _count: int) -> None:
        self.send_body(200, b"Hello, World!", "application/json")

    def reply_bomb(self, _body: dict[str, Any], _count: int) -> None:
        self.send_body(200, b"[" * 200_000, "application/json")

    def reply_other_json(self, _body: dict[str, Any], _count: int) -> None:
        self.send_json(200, {"choices": [7], "result": 0, "answer": 3})

    def reply_gzip(self, _body: dict[str, Any], _count: int) -> None:
        data = gzip.compress(b"0" * 1_000_000)
        self.send_body(200, data, "application/json", Content_Encoding="gzip")

    def reply_redirect(self, _body: dict[str, Any], _count: int) -> None:
        self.send_body(307, b"", "text/plain", Location="/ok/v1/chat/completions")

    def reply_unauthorized(self, _body: dict[str, Any], _count: int) -> None:
        said = f"Incorrect API key provided: {self.headers.get('Authorization')}"
        self.send_json(401, {"error": {"message": said}})

    # --- servers that repeat the request's key where a reply is expected -------------------

    def reply_tell_page(self, _body: dict[str, Any], _count: int) -> None:
        self.send_body(200, f"{self.headers['Authorization']}".encode(), "application/json")

    def reply_tell_error(self, _body: dict[str, Any], _count: int) -> None:
        self.start_stream()
        self.event({"error": {"message": self.headers["Authorization"]}})

    def reply_tell_answer(self, body: dict[str, Any], _count: int) -> None:
        told = self.headers["Authorization"]
        if self.path.endswith("/query"):
            self.send_json(200, {"result": 1, "answer": told})
            return
        self.start_stream()
        self.delta(content=told, reasoning=told)
        self.delta(finish="stop")

    def reply_status(self, _body: dict[str, Any], _count: int) -> None:
        self.send_body(int(self.path.split("/")[2]), b"<html>no</html>", "text/html")

    def reply_busy(self, body: dict[str, Any], count: int) -> None:
        if count % 3 < 2:
            self.send_json(429, {"error": {"message": "queue full"}}, Retry_After="0")
        else:
            self.reply_ok(body, count)

    def reply_reset(self, body: dict[str, Any], count: int) -> None:
        if count % 2 == 0:
            self.close_connection = True  # not a byte
        else:
            self.reply_ok(body, count)

    # --- servers that do not come to an end ------------------------------------------------

    def reply_endless(self, _body: dict[str, Any], _count: int) -> None:
        self.start_stream()
        self.until_closed(lambda: self.delta(content="blah " * 2000))

    def reply_drip(self, _body: dict[str, Any], _count: int) -> None:
        self.start_stream()
        self.until_closed(lambda: (self.delta(content="(0.1 "), time.sleep(0.02)))

    def reply_silent(self, _body: dict[str, Any], _count: int) -> None:
        self.connection.settimeout(20)
        try:
            if self.connection.recv(1) == b"":
                self.note_closed()
        except OSError:
            self.note_closed()
        self.close_connection = True

    def until_closed(self, send: Any) -> None:
        try:
            for _ in range(100_000):
                send()
        except OSError:
            self.note_closed()
        self.close_connection = True

    def note_closed(self) -> None:
        with LOCK:
            CLOSED.append(self.mode)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()
