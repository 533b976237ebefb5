# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""OpenAI's chat completions on top of the service."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from roborefer_ros.errors import RoboReferError
from roborefer_ros.inference.model import Completion, SamplingParams
from roborefer_ros.server.clients import Client
from roborefer_ros.server.replies import HttpError, error_body
from roborefer_ros.server.schemas import ChatRequest
from roborefer_ros.server.service import ChatTurn, Disconnected, Service


def check_supported(body: ChatRequest, can_sample: bool) -> None:
    """Refuse what would silently not be done.

    Raises:
        HttpError: 400, naming the field, as OpenAI does.
    """
    if body.temperature and not can_sample:
        raise _unsupported("temperature", "this model answers greedily; send 0 or leave it out")
    if body.temperature and body.top_p not in (None, 1):
        raise _unsupported("top_p", "samples are drawn from all tokens; send 1 or leave it out")
    if body.response_format is not None and body.response_format.type != "text":
        raise _unsupported("response_format", "the model writes text as it has learnt to")
    if body.stop:
        raise _unsupported("stop", "answers end where the model ends them; leave it out")
    if body.n not in (None, 1):
        raise _unsupported("n", "there is one answer; send 1 or leave it out")
    if body.tools:
        raise _unsupported("tools", "the model calls no tools")


def single_turn(body: ChatRequest, new_tokens: int) -> ChatTurn:
    """The only turn of a conversation, its answer of ``new_tokens`` unless it asks for less.

    Raises:
        HttpError: 400: it has several turns, or none.
    """
    roles = [message.role for message in body.messages]
    if roles.count("user") != 1 or roles[-1] != "user" or {"assistant", "tool"} & set(roles):
        raise _unsupported(
            "messages", "the model reads a single turn: system messages, then one of the user"
        )
    texts, images = [], []
    for message in body.messages:
        if isinstance(message.content, str):
            texts.append(message.content)
            continue
        for part in message.content:
            if part.type == "text":
                texts.append(part.text)
            else:
                images.append(part.image_url.url)
    return ChatTurn(
        text="\n".join(text for text in texts if text),
        images=images,
        sampling=SamplingParams(
            max_tokens=body.max_completion_tokens or body.max_tokens or new_tokens,
            temperature=body.temperature or 0.0,
            seed=body.seed,
        ),
    )


def completion(model: str, answer: Completion) -> dict[str, Any]:
    """The reply that is not streamed."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": answer.text.strip()},
        "logprobs": None,
        "finish_reason": answer.finish_reason,
    }
    return {**_head(model, "chat.completion"), "choices": [choice], "usage": _usage(answer)}


async def stream(
    service: Service, body: ChatRequest, client: Client, gone: Disconnected, model: str
) -> AsyncIterator[str]:
    """Server-sent events.

    The first item comes only once the model has begun to answer, so that whatever fails before
    that is raised and can still become an HTTP status.

    Raises:
        RoboReferError: before the first item.
    """
    loop = asyncio.get_running_loop()
    texts: asyncio.Queue[str | None] = asyncio.Queue()

    def on_text(text: str) -> None:
        loop.call_soon_threadsafe(texts.put_nowait, text)

    asked = asyncio.ensure_future(service.chat(_turn(service, body), client, gone, on_text))
    asked.add_done_callback(lambda _: texts.put_nowait(None))
    head = _head(model, "chat.completion.chunk")
    sent = ""
    try:
        text = await texts.get()
        if text is None:
            await asked  # raises what went wrong before the first word
        yield _event({**head, "choices": [_delta({"role": "assistant", "content": ""})]})
        while text is not None:
            # A character may take several tokens; until the last one it is U+FFFD.
            stable = text.rstrip("\ufffd")
            if len(stable) > len(sent) and stable.startswith(sent):
                yield _event({**head, "choices": [_delta({"content": stable[len(sent) :]})]})
                sent = stable
            text = await texts.get()
        try:
            answer = await asked
        except RoboReferError as error:
            yield _event({"error": error_body(error)})
            return
        if answer.text.startswith(sent) and len(answer.text) > len(sent):
            yield _event({**head, "choices": [_delta({"content": answer.text[len(sent) :]})]})
        yield _event({**head, "choices": [{**_delta({}), "finish_reason": answer.finish_reason}]})
        if body.stream_options is not None and body.stream_options.include_usage:
            yield _event({**head, "choices": [], "usage": _usage(answer)})
        yield "data: [DONE]\n\n"
    finally:
        asked.cancel()


async def answer_at_once(
    service: Service, body: ChatRequest, client: Client, gone: Disconnected
) -> Completion:
    """The whole answer.

    Raises:
        RoboReferError: one of its numbered subclasses.
    """
    return await service.chat(_turn(service, body), client, gone)


def _turn(service: Service, body: ChatRequest) -> ChatTurn:
    return single_turn(body, service.settings.limits.new_tokens)


def _head(model: str, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
    }


def _delta(delta: dict[str, str]) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}


def _usage(answer: Completion) -> dict[str, int] | None:
    """Counted where the model counts; else nothing, rather than a number that is none."""
    if answer.completion_tokens is None or answer.prompt_tokens is None:
        return None
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
    }


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value)}\n\n"


def _unsupported(param: str, why: str) -> HttpError:
    return HttpError(400, f"{param} is not supported as sent: {why}", param=param)
