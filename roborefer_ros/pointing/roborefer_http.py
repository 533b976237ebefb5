# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A server that speaks RoboRefer's own HTTP contract, behind the Pointer protocol.

The contract is that of the reference's ``API/api.py``: ``POST /query`` with ``image_url`` and
``depth_url`` (lists of base64 image files, despite the names), ``enable_depth`` (compared
with 1) and ``text``; the reply is ``{"result": 1, "answer": "<text>"}``, any failure an HTML
page with status 500.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import BackendBadReplyError
from roborefer_ros.frame import Mode
from roborefer_ros.pointing.families import FAMILIES, answer_from_text
from roborefer_ros.pointing.http_session import (
    DEFAULT_KEY_VARIABLE,
    HttpLimits,
    HttpSession,
    api_key,
    parse_json,
)
from roborefer_ros.pointing.images import encode_base64
from roborefer_ros.pointing.pointer import PointerAnswer
from roborefer_ros.pointing.spec import (
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


class RoboReferHttpPointer:
    """RoboRefer on another machine.

    Args:
        source: what follows ``roborefer-http:``: ``//host[:port]`` (port 25547 by default) with
            the options ``depth`` (``given`` sends the depth picture, ``server`` lets the server
            predict one, ``none`` is RGB only), ``timeout_s``, ``attempts``, ``tls`` and
            ``key_env`` (the key is for a proxy: the reference's server asks for none).
        verbatim: instructions are whole texts and are asked as they are (benchmarks).

    Raises:
        InvalidPointerSpecError: the spec cannot be read.
    """

    def __init__(
        self, source: str, *, limits: HttpLimits | None = None, verbatim: bool = False
    ) -> None:
        self._name = f"roborefer-http:{source}"
        self._verbatim = verbatim
        parts = split_server(self._name)
        options = read_options(parts.query, _READERS)
        self._depth: str = options.get("depth", "given")
        self._server = base_url(parts, options.get("tls", False), DEFAULT_PORT)
        limits = limits or HttpLimits(
            total_s=options.get("timeout_s", HttpLimits.total_s),
            attempts=options.get("attempts", HttpLimits.attempts),
        )
        key = api_key(options.get("key_env", DEFAULT_KEY_VARIABLE))
        self._session = HttpSession(self._server, key=key, limits=limits)

    @property
    def name(self) -> str:
        return self._name

    @property
    def uses_depth(self) -> bool:
        return self._depth == "given"

    def point(
        self,
        rgb: npt.NDArray[np.uint8],
        relative_depth: npt.NDArray[np.uint8] | None,
        instruction: str,
        mode: Mode = Mode.AUTO,
        *,
        max_points: int = 0,
        deadline: float | None = None,
        cancelled: Callable[[], bool] = lambda: False,
        on_text: Callable[[str], None] = lambda _: None,
        verbatim: bool = False,
    ) -> PointerAnswer:
        """See ``Pointer.point``; the server does not stream, so the text comes at once."""
        started = time.perf_counter()
        family = FAMILIES["tuples"]
        depths = [relative_depth] if self.uses_depth and relative_depth is not None else []
        body = {
            "image_url": [encode_base64(rgb)],
            "depth_url": [encode_base64(depth) for depth in depths],
            "enable_depth": int(bool(depths) or self._depth == "server"),
            "text": instruction if verbatim or self._verbatim else family.prompt(instruction),
            "tell_model": 1,  # of this package; the reference ignores it
        }
        encoded = time.perf_counter()
        raw = self._session.exchange("POST", "/query", body, deadline=deadline, cancelled=cancelled)
        reply = parse_json(raw, self._server, self._session.redact)
        text = self._session.redact(self._answer_in(reply))
        on_text(text)
        timings = {"encode": encoded - started, "remote": time.perf_counter() - encoded}
        height, width = rgb.shape[:2]
        answer = answer_from_text(
            family, text, (width, height), max_points=max_points, timings_s=timings
        )
        return replace(answer, model=_text_of(reply, "model"), depth_used=self._depth_used(reply))

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _depth_used(self, reply: Any) -> str:
        """What the model behind the server saw; the reference's server does not tell."""
        if self._depth != "server":
            return ""  # the caller knows what it sent
        return "none" if _text_of(reply, "depth_used") == "none" else "server"

    def _answer_in(self, reply: Any) -> str:
        answer = reply.get("answer") if isinstance(reply, dict) else None
        if not isinstance(answer, str) or reply.get("result") != 1:
            raise BackendBadReplyError(
                f"the reply of {self._server} is not of the form "
                '{"result": 1, "answer": "..."}; is it a RoboRefer server?'
            )
        return answer


def _text_of(reply: Any, name: str) -> str:
    """A short text of a reply; empty where there is none."""
    value = reply.get(name)
    return value if isinstance(value, str) and len(value) <= _MAX_NAME else ""
