# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Any OpenAI-compatible chat server behind the Pointer protocol: vLLM, SGLang, a cloud."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import (
    BackendBadReplyError,
    BackendRejectedError,
    InvalidPointerSpecError,
    NoPointInAnswerError,
)
from roborefer_ros.frame import Mode
from roborefer_ros.pointing import formats
from roborefer_ros.pointing.agreement import SAMPLING_TEMPERATURE, with_agreement
from roborefer_ros.pointing.chat_stream import ChatReply
from roborefer_ros.pointing.families import (
    FAMILIES,
    Family,
    answer_from_text,
    family_named,
    family_of,
)
from roborefer_ros.pointing.http_session import (
    DEFAULT_KEY_VARIABLE,
    HttpLimits,
    HttpSession,
    api_key,
    parse_json,
)
from roborefer_ros.pointing.images import encode_base64, qwen2_size, resized
from roborefer_ros.pointing.pointer import PointerAnswer
from roborefer_ros.pointing.spec import (
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
}


class OpenAIPointer:
    """A model behind an OpenAI-compatible server.

    Args:
        source: what follows ``openai:``: ``//host[:port]/v1?model=NAME`` with the options
            ``family``, ``samples`` (agreement, see ``agreement``), ``timeout_s``, ``attempts``,
            ``max_tokens``, ``image`` (png or jpeg), ``tls`` and ``key_env``.  Without ``model``
            the server is asked, and must serve exactly one.  TLS is on without a port or with
            443, else ``tls=true`` turns it on.
        max_new_tokens: a longer answer is cut off; ``max_tokens`` in the spec wins.
        verbatim: instructions are whole texts and are asked as they are (benchmarks).

    Raises:
        InvalidPointerSpecError: the spec cannot be read.
    """

    uses_depth = False

    def __init__(
        self,
        source: str,
        *,
        max_new_tokens: int = 512,
        limits: HttpLimits | None = None,
        verbatim: bool = False,
    ) -> None:
        self._name = f"openai:{source}"
        self._verbatim = verbatim
        parts = split_server(self._name)
        options = read_options(parts.query, _READERS)
        self._model: str = options.get("model", "")
        self._family: Family | None = (
            family_named(options["family"]) if "family" in options else None
        )
        self._samples: int = options.get("samples", 0)
        self._max_tokens: int = options.get("max_tokens", max_new_tokens)
        self._image_format: str = options.get("image", "png")
        self._left_out: set[str] = set()
        self._server = base_url(parts, options.get("tls"))
        limits = limits or HttpLimits(
            total_s=options.get("timeout_s", HttpLimits.total_s),
            attempts=options.get("attempts", HttpLimits.attempts),
        )
        key = api_key(options.get("key_env", DEFAULT_KEY_VARIABLE))
        self._session = HttpSession(self._server, key=key, limits=limits)

    @property
    def name(self) -> str:
        return self._name

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
        """See ``Pointer.point``."""
        waits = {"deadline": deadline, "cancelled": cancelled}
        started = time.perf_counter()
        if not self._model:
            self._model = self._only_model(waits)
        # Unknown names get RoboRefer's prompt, which says in full what is wanted.
        family = self._family or family_of(self._model) or FAMILIES["tuples"]
        height, width = rgb.shape[:2]
        size = (
            qwen2_size(width, height) if family.parse is formats.parse_pixels else (width, height)
        )
        picture = encode_base64(resized(rgb, size), self._image_format)
        body = self._body(family, picture, instruction, verbatim)
        encoded = time.perf_counter()

        def ask(temperature: float, on_text: Callable[[str], None]) -> PointerAnswer:
            reply = self._chat({**body, "temperature": temperature}, waits, on_text)
            return _explained(
                reply,
                family,
                size,
                max_points=max_points,
                token_ends=reply.token_ends,
                logprobs=reply.logprobs,
                timings_s={
                    "encode": encoded - started,
                    "remote": time.perf_counter() - encoded,
                },
            )

        return with_agreement(
            ask(0.0, on_text),
            lambda _: ask(SAMPLING_TEMPERATURE, lambda _: None),
            self._samples,
            width / height,
        )

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _body(
        self, family: Family, picture: str, instruction: str, verbatim: bool
    ) -> dict[str, Any]:
        image = {"url": f"data:image/{self._image_format};base64,{picture}"}
        whole = self._verbatim or verbatim
        text = instruction if whole else family.prompt(instruction)
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": image},
                        {"type": "text", "text": text},
                    ],
                }
            ],
            "stream": True,
            "max_tokens": self._max_tokens,
            "logprobs": True,
        }
        if family.keeps_special_tokens:
            body["skip_special_tokens"] = False  # vLLM and SGLang
        return body

    def _chat(
        self, body: dict[str, Any], waits: dict[str, Any], on_text: Callable[[str], None]
    ) -> ChatReply:
        """One request; a field that the server refuses by name is left out from then on."""
        while True:
            reply = ChatReply(self._server, on_text, self._session.redact)
            try:
                self._session.exchange(
                    "POST", "/chat/completions", self._accepted(body), on_data=reply.feed, **waits
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

    def _only_model(self, waits: dict[str, Any]) -> str:
        """The model that the server serves.

        Raises:
            InvalidPointerSpecError: it serves several.
            BackendBadReplyError: it does not say.
        """
        raw = self._session.exchange("GET", "/models", **waits)
        reply = parse_json(raw, self._server, self._session.redact)
        rows = reply.get("data") if isinstance(reply, dict) else None
        if not isinstance(rows, list):
            raise BackendBadReplyError(
                f"{self._server}/models lists no models; name one in the spec: ?model=NAME"
            )
        names = [row["id"] for row in rows if isinstance(row, dict) and "id" in row]
        if len(names) != 1 or not isinstance(names[0], str):
            some = self._session.redact(", ".join(str(name) for name in names[:5]))
            raise InvalidPointerSpecError(
                f"{self._server} serves {len(names)} models ({some[:200]}); name one in the "
                "spec: ?model=NAME"
            )
        return names[0]


def _explained(
    reply: ChatReply, family: Family, size: tuple[int, int], **options: Any
) -> PointerAnswer:
    """The answer in a reply; if there is none, the server's reason is in the error."""
    try:
        return answer_from_text(family, reply.text, size, reasoning=reply.reasoning, **options)
    except NoPointInAnswerError as error:
        why = reply.why_nothing()
        if not why:
            raise
        explained = type(error)(f"{error}: {why}")
        explained.answer = error.answer or reply.refusal
        raise explained from error
