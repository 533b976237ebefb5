# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Any OpenAI-compatible chat server: vLLM, SGLang, a cloud."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from roborefer_ros.cancellation import Cancellation
from roborefer_ros.errors import (
    BackendBadReplyError,
    BackendRejectedError,
    InvalidGoalError,
    InvalidPointerSpecError,
)
from roborefer_ros.inference.chat_stream import ChatReply
from roborefer_ros.inference.http_session import (
    open_session,
    parse_json,
)
from roborefer_ros.inference.images import encode_base64
from roborefer_ros.inference.model import Completion, Outcome, Picture, Request, side_by_side
from roborefer_ros.inference.options import ModelOptions
from roborefer_ros.inference.spec import (
    base_url,
    count,
    one_of,
    parse_bool,
    positive_int,
    read_options,
    seconds,
    split_server,
)

_READERS: dict[str, Callable[[str], Any]] = {
    "model": str,
    "family": str,
    "samples": count,
    "timeout_s": seconds,
    "attempts": positive_int,
    "max_tokens": positive_int,
    "image": one_of("png", "jpeg"),
    "tls": parse_bool,
    "key_env": str,
}

#: request fields that not every server takes -> what takes their place (None: left out)
_OPTIONAL_FIELDS: dict[str, str | None] = {
    "max_tokens": "max_completion_tokens",
    "logprobs": None,
    "temperature": None,
    "skip_special_tokens": None,
    "seed": None,
}


class OpenAIModel:
    """A model behind an OpenAI-compatible server.

    Args:
        options: What is opened: ``openai://host[:port]/v1?model=NAME`` with the options
            ``timeout_s``, ``attempts``, ``max_tokens``, ``image`` (png or jpeg), ``tls`` and
            ``key_env``.  Without ``model`` the server is asked, and must serve exactly one.  TLS
            is on without a port or with 443, else ``tls=true`` turns it on.

    Attributes:
        options: All options of the spec; ``family`` and ``samples`` are for whoever points.

    Raises:
        InvalidPointerSpecError: The spec cannot be read.
    """

    uses_depth = False
    can_sample = True

    def __init__(self, options: ModelOptions) -> None:
        self.name = options.spec
        self.max_batch = options.max_batch or 1
        parts = split_server(self.name)
        self.options = chosen = read_options(parts.query, _READERS)
        self._model: str = chosen.get("model", "")
        self._max_tokens: int = chosen.get("max_tokens", options.max_new_tokens)
        self._image_format: str = chosen.get("image", "png")
        self._left_out: set[str] = set()
        self.server = base_url(parts, chosen.get("tls"))
        self._session = open_session(self.server, chosen, options.http_limits)

    def complete(self, requests: Sequence[Request]) -> Iterator[tuple[int, Outcome]]:
        """See ``Model.complete``."""
        return side_by_side(requests, self._one, self.name, self.max_batch)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def model_name(self, cancellation: Cancellation) -> str:
        """Name of the model; the server is asked for it once where the spec has none."""
        if not self._model:
            self._model = self._only_model(cancellation)
        return self._model

    def _one(self, request: Request) -> Completion:
        started = time.perf_counter()
        if request.depths:
            raise InvalidGoalError(f"{self.name} takes no depth pictures; ask it without depth")
        body = self._body(request)
        encoded = time.perf_counter()
        reply = self._chat(body, request.cancellation, request.on_text or (lambda _: None))
        height, width = request.images[0].pixels.shape[:2]
        timings = {"encode": encoded - started, "remote": time.perf_counter() - encoded}
        return completion_of(reply, (width, height), timings)

    def _body(self, request: Request) -> dict[str, Any]:
        content: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": self._data_uri(picture)}}
            for picture in request.images
        ]
        content.append({"type": "text", "text": request.prompt})
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": self.model_name(request.cancellation),
            "messages": [{"role": "user", "content": content}],
            "stream": True,
            "max_tokens": min(sampling.max_tokens or self._max_tokens, self._max_tokens),
            "logprobs": True,
            "temperature": sampling.temperature,
        }
        if sampling.temperature > 0.0 and sampling.seed is not None:
            body["seed"] = sampling.seed
        if not sampling.skip_special_tokens:
            body["skip_special_tokens"] = False  # vLLM and SGLang
        return body

    def _data_uri(self, picture: Picture) -> str:
        data = encode_base64(picture.pixels, self._image_format)
        return f"data:image/{self._image_format};base64,{data}"

    def _chat(
        self, body: dict[str, Any], cancellation: Cancellation, on_text: Callable[[str], None]
    ) -> ChatReply:
        """One request; a field that the server refuses by name is left out from then on."""
        while True:
            reply = ChatReply(self.server, on_text, self._session.redact)
            try:
                self._session.exchange(
                    "POST",
                    "/chat/completions",
                    self._accepted(body),
                    on_data=reply.feed,
                    cancellation=cancellation,
                )
            except BackendRejectedError as error:
                refused = {
                    field
                    for field in _OPTIONAL_FIELDS
                    if field in body and re.search(rf"\b{field}\b", str(error))
                } - self._left_out
                if not refused:
                    raise
                self._left_out |= refused
                continue
            reply.finish()
            return reply

    def _accepted(self, body: dict[str, Any]) -> dict[str, Any]:
        body = dict(body)
        for field in self._left_out & body.keys():
            value = body.pop(field)
            instead = _OPTIONAL_FIELDS[field]
            if instead:
                body[instead] = value
        return body

    def _only_model(self, cancellation: Cancellation) -> str:
        """The model that the server serves.

        Raises:
            InvalidPointerSpecError: it serves several.
            BackendBadReplyError: it does not say.
        """
        raw = self._session.exchange("GET", "/models", cancellation=cancellation)
        reply = parse_json(raw, self.server, self._session.redact)
        rows = reply.get("data") if isinstance(reply, dict) else None
        if not isinstance(rows, list):
            raise BackendBadReplyError(
                f"{self.server}/models lists no models; name one in the spec: ?model=NAME"
            )
        names = [row["id"] for row in rows if isinstance(row, dict) and "id" in row]
        if len(names) != 1 or not isinstance(names[0], str):
            some = self._session.redact(", ".join(str(name) for name in names[:5]))
            raise InvalidPointerSpecError(
                f"{self.server} serves {len(names)} models ({some[:200]}); name one in the "
                "spec: ?model=NAME"
            )
        return names[0]


def completion_of(
    reply: ChatReply, image_size: tuple[int, int], timings_s: dict[str, float]
) -> Completion:
    """The completion in a complete reply, with the server's reason where it holds no answer."""
    return Completion(
        reply.text or reply.refusal,
        reasoning=reply.reasoning,
        token_logprobs=tuple(reply.logprobs),
        token_ends=tuple(reply.token_ends),
        finish_reason="length" if reply.finish_reason == "length" else "stop",
        explanation=reply.why_nothing(),
        completion_tokens=len(reply.logprobs) or None,
        timings_s=timings_s,
        image_size=image_size,
    )
