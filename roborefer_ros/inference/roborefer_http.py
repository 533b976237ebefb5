# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A server that speaks RoboRefer's own HTTP contract.

The contract is that of the reference's ``API/api.py``: ``POST /query`` with ``image_url`` and
``depth_url`` (lists of base64 image files, despite the names), ``enable_depth`` (compared
with 1) and ``text``; the reply is ``{"result": 1, "answer": "<text>"}``, any failure an HTML
page with status 500.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from roborefer_ros.errors import BackendBadReplyError
from roborefer_ros.inference.http_session import (
    open_session,
    parse_json,
)
from roborefer_ros.inference.images import encode_base64
from roborefer_ros.inference.model import Completion, Outcome, Request, side_by_side
from roborefer_ros.inference.options import ModelOptions
from roborefer_ros.inference.spec import (
    base_url,
    one_of,
    parse_bool,
    positive_int,
    read_options,
    seconds,
    split_server,
)

#: of the reference's server
DEFAULT_PORT = 25547

#: longest name of a model that is believed
_MAX_NAME = 4096

_READERS: dict[str, Callable[[str], Any]] = {
    "depth": one_of("given", "server", "none"),
    "timeout_s": seconds,
    "attempts": positive_int,
    "tls": parse_bool,
    "key_env": str,
}


class RoboReferHttpModel:
    """The contract of the reference's server, which does not stream: the text comes at once.

    Args:
        options: What is opened: ``roborefer-http://host[:port]`` (port 25547 by default) with the
            options ``depth`` (``given`` sends the depth picture, ``server`` lets the server
            predict one, ``none`` is RGB only), ``timeout_s``, ``attempts``, ``tls`` and
            ``key_env`` (the key is for a proxy: the reference's server asks for none).  The
            contract has no field for the length of an answer.

    Raises:
        InvalidPointerSpecError: The spec cannot be read.
    """

    can_sample = False

    def __init__(self, options: ModelOptions) -> None:
        self.name = options.spec
        self.max_batch = options.max_batch or 1
        parts = split_server(self.name)
        chosen = read_options(parts.query, _READERS)
        self._depth: str = chosen.get("depth", "given")
        self.uses_depth = self._depth == "given" and options.use_depth
        self.server = base_url(parts, chosen.get("tls", False), DEFAULT_PORT)
        self._session = open_session(self.server, chosen, options.http_limits)

    def complete(self, requests: Sequence[Request]) -> Iterator[tuple[int, Outcome]]:
        """See ``Model.complete``."""
        return side_by_side(requests, self._one, self.name, self.max_batch)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _one(self, request: Request) -> Completion:
        started = time.perf_counter()
        body = {
            "image_url": [encode_base64(picture.pixels) for picture in request.images],
            "depth_url": [encode_base64(picture.pixels) for picture in request.depths],
            "enable_depth": int(bool(request.depths) or self._depth == "server"),
            "text": request.prompt,
            "tell_model": 1,  # of this package; the reference ignores it
        }
        encoded = time.perf_counter()
        raw = self._session.exchange("POST", "/query", body, cancellation=request.cancellation)
        reply = parse_json(raw, self.server, self._session.redact)
        text = self._session.redact(self._answer_in(reply))
        if request.on_text is not None:
            request.on_text(text)
        timings = {"encode": encoded - started, "remote": time.perf_counter() - encoded}
        return Completion(
            text,
            timings_s=timings,
            model=_text_of(reply, "model"),
            depth_used=self._depth_used(reply),
        )

    def _depth_used(self, reply: Any) -> str:
        """What the model behind the server saw; the reference's server does not tell."""
        if self._depth != "server":
            return ""  # the caller knows what it sent
        return "none" if _text_of(reply, "depth_used") == "none" else "server"

    def _answer_in(self, reply: Any) -> str:
        answer = reply.get("answer") if isinstance(reply, dict) else None
        if not isinstance(answer, str) or reply.get("result") != 1:
            raise BackendBadReplyError(
                f"the reply of {self.server} is not of the form "
                '{"result": 1, "answer": "..."}; is it a RoboRefer server?'
            )
        return answer


def _text_of(reply: Any, name: str) -> str:
    """A short text of a reply; empty where there is none."""
    value = reply.get(name)
    return value if isinstance(value, str) and len(value) <= _MAX_NAME else ""
