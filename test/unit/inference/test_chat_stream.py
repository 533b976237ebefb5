# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Chat replies arrive in any pieces, and from any server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roborefer_ros.errors import BackendBadReplyError, BackendFailedError, NoPointInAnswerError
from roborefer_ros.inference.chat_stream import ChatReply
from roborefer_ros.inference.echo import EchoModel
from roborefer_ros.inference.http_session import HttpSession
from roborefer_ros.inference.openai_http import completion_of
from roborefer_ros.pointing.families import FAMILIES
from roborefer_ros.pointing.pointer import Pointer

STREAM = "text/event-stream"


def event(**choice: Any) -> bytes:
    return b"data: " + json.dumps({"choices": [choice]}, ensure_ascii=False).encode() + b"\r\n\r\n"


def told(*tokens: tuple[str, float]) -> dict[str, Any]:
    return {"content": [{"token": t, "bytes": list(t.encode()), "logprob": p} for t, p in tokens]}


BODY = (
    b": ping\n\nevent: x\n"
    + event(delta={"role": "assistant"})
    + event(delta={"reasoning": "hmé"}, logprobs=told(("hmé", -9.0)))
    + event(delta={"content": "Tisch é "}, logprobs=told(("Tisch", -0.5), (" é ", -0.25)))
    + event(delta={"content": "(0.1, 0.2)"}, finish_reason="stop", logprobs=told(("(0.1, 0.2)", 0)))
    + b'data: {"choices": []}\n\ndata:[DONE]'
)


@settings(deadline=None)
@given(st.lists(st.integers(0, len(BODY)), max_size=12))
def test_pieces_may_be_cut_anywhere(cuts: list[int]) -> None:
    texts: list[str] = []
    reply = ChatReply("server", texts.append)
    edges = [0, *sorted(cuts), len(BODY)]
    for start, end in zip(edges, edges[1:], strict=False):
        reply.feed(BODY[start:end], STREAM)
    reply.finish()
    assert reply.text == texts[-1] == "Tisch é (0.1, 0.2)"
    assert reply.reasoning == "hmé"
    assert reply.token_ends == [5, 8, 18]
    assert reply.logprobs == [-0.5, -0.25, 0.0]
    assert reply.finish_reason == "stop"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "delta", "message", "content", "logprobs", "logprob", "token", "bytes"]
                + ["error", "finish_reason", "reasoning"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(JSON, st.sampled_from([STREAM, "application/json"]))
def test_any_json_is_taken_or_refused_by_number(value: Any, kind: str) -> None:
    body = json.dumps(value).encode()
    for wrapped in (value, {"choices": [value]}, {"choices": [{"delta": value, "message": value}]}):
        body = json.dumps(wrapped).encode()
        reply = ChatReply("server")
        try:
            reply.feed(body if kind != STREAM else b"data: " + body + b"\n", kind)
            reply.finish()
        except (BackendBadReplyError, BackendFailedError) as error:
            assert len(str(error)) < 600
        assert len(reply.token_ends) == len(reply.logprobs)
        assert all(p <= 0.0 for p in reply.logprobs)


@pytest.mark.parametrize("huge", ["9", "-9"])
def test_probabilities_of_hundreds_of_digits(huge: str) -> None:
    digits = huge + "0" * 400
    line = f'{{"content": "a", "x": 0}}, "logprobs": {{"content": [{{"logprob": {digits}}}]}}'
    reply = ChatReply("server")
    reply.feed(f'data: {{"choices": [{{"delta": {line}}}]}}\n'.encode(), STREAM)
    assert reply.logprobs == [0.0 if huge == "9" else -9999.0]


def test_half_a_surrogate_pair_can_be_written() -> None:
    shown: list[str] = []
    session = HttpSession("http://localhost:1")
    try:
        reply = ChatReply("server", shown.append, session.redact)
        reply.feed(b'data: {"choices": [{"delta": {"content": "a\\ud800b"}}]}\n', STREAM)
    finally:
        session.close()
    assert [text.encode() for text in shown] == [b"a?b"]


@pytest.mark.parametrize("body", [b"", b"data: {}\n", b"<html>", b"\xff\xfe", b"data: {\n"])
def test_what_is_no_reply(body: bytes) -> None:
    reply = ChatReply("server")
    with pytest.raises(BackendBadReplyError):
        reply.feed(body, STREAM)
        reply.finish()


STOP = event(delta={}, finish_reason="stop") + b"data: [DONE]\n\n"
SAID = event(delta={"content": "[(0.25, 0.75)]"})


@pytest.mark.parametrize(
    "stream",
    [
        SAID + event(delta=None, finish_reason="stop"),
        event(delta=None) + SAID + STOP,
        event(delta={"content": None}) + SAID + event() + STOP,
        event(delta={"content": [{"type": "text", "text": "[(0.25, 0.75)]"}]}) + STOP,
        event(delta={"content": [{"text": "[(0.25, "}, "0.75)]"]}) + STOP,
        SAID + b'data: {"type": "ping"}\n\n' + STOP,
        SAID + b'data: {"usage": {"total_tokens": 9}}\n\n' + STOP,
        SAID + b'data: {"choices": null}\n\n' + STOP,
        b": OPENROUTER PROCESSING\n\nevent: ping\ndata:\n\n" + SAID + STOP,
        b'data: {"choices": [], "prompt_filter_results": []}\n\n' + SAID + STOP,
        event(
            delta={
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "(0.1, 0.1)"}]}
                ]
            }
        )
        + SAID
        + STOP,
    ],
)
def test_what_servers_send_besides_does_no_harm(stream: bytes) -> None:
    reply = ChatReply("server")
    reply.feed(stream, STREAM)
    reply.finish()
    assert reply.text == "[(0.25, 0.75)]"
    assert reply.finish_reason == "stop"


def test_thinking_parts_are_thoughts() -> None:
    reply = ChatReply("server")
    part = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    reply.feed(event(delta={"content": [part]}) + SAID + STOP, STREAM)
    assert reply.reasoning == "hm"


@pytest.mark.parametrize(
    ("events", "said"),
    [
        (event(delta={"refusal": "I cannot help"}) + STOP, "refused: 'I cannot help'"),
        (event(delta={}, finish_reason="content_filter"), "content filter"),
        (event(delta={"content": "The"}, finish_reason="length"), "max_tokens"),
    ],
)
def test_refused_and_cut_answers_tell_why(events: bytes, said: str) -> None:
    reply = ChatReply("server")
    reply.feed(events, STREAM)
    reply.finish()
    assert said in reply.why_nothing()
    pointer = Pointer(EchoModel(), FAMILIES["tuples"])
    with pytest.raises(NoPointInAnswerError, match=said):
        pointer.prediction([completion_of(reply, (64, 48), {})], (64, 48))
