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
from roborefer_ros.server.engine import EngineAnswer
from roborefer_ros.server.replies import HttpError, error_body
from roborefer_ros.server.schemas import ChatRequest
from roborefer_ros.server.service import Disconnected, Service


def check_supported(body: ChatRequest) -> None:
    """Refuse what would silently not be done.

    Raises:
        HttpError: 400, naming the field, as OpenAI does.
    """
    if body.temperature:
        raise _unsupported("temperature", "the model answers greedily; send 0 or leave it out")
    if body.n not in (None, 1):
        raise _unsupported("n", "there is one greedy answer; send 1 or leave it out")
    if body.tools:
        raise _unsupported("tools", "the model calls no tools")


def single_turn(body: ChatRequest) -> tuple[str, list[str]]:
    """The text (system's words first) and the images of a conversation with one turn.

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
    return "\n".join(text for text in texts if text), images


def completion(model: str, answer: EngineAnswer) -> dict[str, Any]:
    """The reply that is not streamed."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": answer.text},
        "logprobs": None,
        "finish_reason": "length" if answer.cut_off else "stop",
    }
    return {**_head(model, "chat.completion"), "choices": [choice], "usage": _usage(answer)}


async def stream(
    service: Service, body: ChatRequest, client: str, gone: Disconnected, model: str
) -> AsyncIterator[str]:
    """Server-sent events.  The first item comes only once the model has begun to answer, so
    that whatever fails before that is raised and can still become an HTTP status.

    Raises:
        RoboReferError: before the first item.
    """
    loop = asyncio.get_running_loop()
    texts: asyncio.Queue[str | None] = asyncio.Queue()

    def on_text(text: str) -> None:
        loop.call_soon_threadsafe(texts.put_nowait, text)

    query = await _query(service, body, client, on_text)
    asked = asyncio.ensure_future(service.ask(query, client, gone))
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
        reason = "length" if answer.cut_off else "stop"
        yield _event({**head, "choices": [{**_delta({}), "finish_reason": reason}]})
        if body.stream_options is not None and body.stream_options.include_usage:
            yield _event({**head, "choices": [], "usage": _usage(answer)})
        yield "data: [DONE]\n\n"
    finally:
        asked.cancel()


async def answer_at_once(
    service: Service, body: ChatRequest, client: str, gone: Disconnected
) -> EngineAnswer:
    """The whole answer.

    Raises:
        RoboReferError: one of its numbered subclasses.
    """
    return await service.ask(await _query(service, body, client, None), client, gone)


async def _query(service: Service, body: ChatRequest, client: str, on_text: Any) -> Any:
    text, images = single_turn(body)
    limit = body.max_completion_tokens or body.max_tokens or service.settings.limits.new_tokens
    return await service.chat_query(text, images, client, limit, on_text)


def _head(model: str, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
    }


def _delta(delta: dict[str, str]) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}


def _usage(answer: EngineAnswer) -> dict[str, int]:
    # Prompts are counted in rows of pictures rather than tokens; nobody is billed for them.
    return {"prompt_tokens": 0, "completion_tokens": answer.tokens, "total_tokens": answer.tokens}


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value)}\n\n"


def _unsupported(param: str, why: str) -> HttpError:
    return HttpError(400, f"{param} is not supported as sent: {why}", param=param)
