# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Reading the reply of an OpenAI-compatible chat server, streamed or whole.

Streams are server-sent events (``data: {...}`` lines, ``data: [DONE]`` at the end).  Servers
differ: reasoning comes as ``reasoning_content`` (vLLM, SGLang, DeepSeek) or ``reasoning``
(newer vLLM, OpenRouter), token probabilities may be missing, and some servers send one JSON
object although a stream was asked for.
"""

from __future__ import annotations

import codecs
import math
from collections.abc import Callable
from typing import Any

from roborefer_ros.errors import BackendBadReplyError, BackendFailedError
from roborefer_ros.inference.http_session import parse_json

_DONE = b"[DONE]"


class ChatReply:
    """Collects one reply.

    Args:
        server: its address, for messages.
        on_text: receives the whole answer text so far, each time it grows.
        redact: what is done to every text before it is used (``HttpSession.redact``).

    Attributes:
        text: the answer.
        reasoning: thoughts that the server sent apart from it.
        token_ends: length of the text at the end of each token, where the server told tokens.
        logprobs: natural log probability of each of them.
        refusal: why the model does not answer, where the server tells it apart.
        finish_reason: ``stop``, ``length``, ...; empty while the reply is incomplete.
    """

    def __init__(
        self,
        server: str,
        on_text: Callable[[str], None] = lambda _: None,
        redact: Callable[[str], str] = str,
    ) -> None:
        self._server = server
        self._redact = redact
        self._on_text = on_text
        self._line = bytearray()
        self._whole = bytearray()
        self._is_stream = True
        self._done = False
        self.text = ""
        self.reasoning = ""
        self.refusal = ""
        self.token_ends: list[int] = []
        self.logprobs: list[float] = []
        self.finish_reason = ""

    def feed(self, data: bytes, content_type: str) -> None:
        """Take the next piece of the body.

        Raises:
            BackendBadReplyError: not of the protocol.
            BackendFailedError: the server reports an error within the stream.
        """
        if content_type == "application/json":
            self._is_stream = False
            self._whole += data
            return
        begin = 0
        while (end := data.find(b"\n", begin)) >= 0:
            self._line += data[begin:end]
            self._take_line(bytes(self._line))
            self._line.clear()
            begin = end + 1
        self._line += data[begin:]

    def finish(self) -> None:
        """The body is complete.

        Raises:
            BackendBadReplyError: the reply is not.
        """
        if not self._is_stream:
            self._take(parse_json(bytes(self._whole), self._server, self._redact), "message")
        elif self._line:
            self._take_line(bytes(self._line))
        if not self._done and not self.finish_reason:
            error = BackendBadReplyError(
                f"the reply of {self._server} broke off after {len(self.text)} characters; look "
                "into the server's log"
            )
            error.answer = self.text
            raise error

    def why_nothing(self) -> str:
        """Why a complete reply holds no answer or half of one; empty when nothing is known."""
        if self.refusal:
            return f"the model refused: {self.refusal[:300]!r}"
        return {
            "content_filter": "the server's content filter stopped the answer; say it differently",
            "length": "the answer reached its greatest length (finish_reason length); allow more "
            "with max_tokens=",
        }.get(self.finish_reason, "")

    def _take_line(self, line: bytes) -> None:
        field, _, value = line.strip().partition(b":")
        if field != b"data":
            return  # comments (keep-alive), event names and blank lines
        value = value.strip()
        if value == _DONE:
            self._done = True
        elif value:
            self._take(parse_json(value, self._server, self._redact), "delta")

    def _take(self, event: Any, part: str) -> None:
        """One JSON object: a piece of a stream (``delta``) or the whole (``message``)."""
        if not isinstance(event, dict):
            raise self._bad("is not a JSON object")
        if event.get("error"):
            said = event["error"]
            said = said.get("message", said) if isinstance(said, dict) else said
            raise BackendFailedError(
                f"{self._server} reported an error within its reply: "
                f"{self._redact(str(said))[:300]!r}"
            )
        choices = event.get("choices")
        if part == "delta" and choices is None:
            return  # pings, usage figures, names of events
        if not isinstance(choices, list):
            raise self._bad("has no 'choices'")
        if not choices:
            return  # usage figures at the end of a stream
        choice = choices[0]
        if not isinstance(choice, dict):
            raise self._bad("has no object as its first choice")
        # null stands for nothing: some servers end their streams with it.
        message = choice.get(part) or {}
        if not isinstance(message, dict):
            raise self._bad(f"has no '{part}' in its first choice")
        said, thought = _parts(message.get("content"))
        self.reasoning += self._redact(
            _text(message.get("reasoning_content")) or _text(message.get("reasoning")) or thought
        )
        self.refusal += self._redact(_text(message.get("refusal")))
        added = self._redact(said)
        self._take_logprobs(choice.get("logprobs"), added)
        if added:
            self.text += added
            self._on_text(self.text)
        self.finish_reason = _text(choice.get("finish_reason")) or self.finish_reason

    def _take_logprobs(self, logprobs: Any, added: str) -> None:
        """Note where each token of the added text ends; thoughts have tokens, too: left out."""
        tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
        if not isinstance(tokens, list) or not added:
            return
        position = 0
        decoder = codecs.getincrementaldecoder("utf-8")("ignore")
        for token in tokens:
            value = token.get("logprob") if isinstance(token, dict) else None
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                return
            position += _token_length(token, decoder)
            self.token_ends.append(len(self.text) + min(position, len(added)))
            # -9999.0 stands for "below what is reported"; positive or NaN is nonsense
            is_nan = isinstance(value, float) and math.isnan(value)
            # compared before it is converted: an integer may be too long for a float
            self.logprobs.append(-9999.0 if is_nan else float(max(min(value, 0.0), -9999.0)))

    def _bad(self, what: str) -> BackendBadReplyError:
        return BackendBadReplyError(
            f"the reply of {self._server} {what}; is it an OpenAI-compatible chat server?"
        )


def _token_length(token: dict[str, Any], decoder: codecs.IncrementalDecoder) -> int:
    """Characters that a token adds; one that ends within a character adds none yet."""
    raw = token.get("bytes")
    if isinstance(raw, list) and all(isinstance(b, int) and 0 <= b < 256 for b in raw):
        return len(decoder.decode(bytes(raw)))
    return len(_text(token.get("token")))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _parts(content: Any) -> tuple[str, str]:
    """Text and thoughts of a message's content: a text, or a list of parts (Mistral, Anthropic)."""
    if not isinstance(content, list):
        return _text(content), ""
    said, thought = "", ""
    for part in content:
        if isinstance(part, str):
            said += part
        if not isinstance(part, dict):
            continue
        if part.get("type") in ("text", "output_text", "text_delta", None):
            said += _text(part.get("text"))
        elif part.get("type") in ("thinking", "reasoning", "thinking_delta"):
            inner = part.get("thinking", part.get("reasoning", part.get("text")))
            thought += _parts(inner)[0]
    return said, thought
