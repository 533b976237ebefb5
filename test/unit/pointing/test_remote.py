# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Remote models against a real server process: both contracts, every failure, cancellation."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from roborefer_ros.cancellation import Cancellation
from roborefer_ros.errors import (
    BackendBadReplyError,
    BackendFailedError,
    BackendRejectedError,
    BackendTimeoutError,
    BackendUnreachableError,
    CanceledError,
    DeadlineExceededError,
    InvalidPointerSpecError,
    ModelFailedError,
    NoPointInAnswerError,
    RoboReferError,
)
from roborefer_ros.inference.http_session import HttpLimits
from roborefer_ros.pointing.factory import open_pointer
from roborefer_ros.pointing.pointer import Pointer
from roborefer_ros.pointing.prompts import POINT_SUFFIX

RGB = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
DEPTH = np.tile(np.arange(64, dtype=np.uint8), (48, 1))
QUICK = HttpLimits(total_s=5.0, connect_s=1.0, silence_s=0.3, reply_bytes=100_000, back_off_s=0.02)
KEY = "sk-never-to-be-seen-0123456789"

Open = Callable[..., Pointer]


@pytest.fixture
def remote(server: Any) -> Iterator[Open]:
    """Opens a pointer at the server; the first argument chooses the server's behaviour."""
    opened: list[Pointer] = []

    def open_at(mode: str, options: str = "model=roborefer", limits: HttpLimits = QUICK) -> Pointer:
        source = f"//127.0.0.1:{server.port}/{mode}/v1?{options}"
        opened.append(open_pointer(f"openai:{source}", http_limits=limits))
        return opened[-1]

    yield open_at
    for pointer in opened:
        pointer.close()


@pytest.fixture
def remote_roborefer(server: Any) -> Iterator[Open]:
    opened: list[Pointer] = []

    def open_at(mode: str, options: str = "", limits: HttpLimits = QUICK) -> Pointer:
        source = f"//127.0.0.1:{server.port}/{mode}{options}"
        opened.append(open_pointer(f"roborefer-http:{source}", http_limits=limits))
        return opened[-1]

    yield open_at
    for pointer in opened:
        pointer.close()


# --- what works --------------------------------------------------------------------------


def test_streams_points_in_order_with_confidence(remote: Open, server: Any) -> None:
    texts: list[str] = []
    answer = remote("ok").point(RGB, DEPTH, "the mug", on_text=texts.append)
    assert answer.points == ((0.25, 0.5), (0.75, 0.125))
    assert answer.text == texts[-1] == "[(0.250, 0.500), (0.750, 0.125)]"
    assert len(texts) > 3
    assert all(b.startswith(a) for a, b in zip(texts, texts[1:], strict=False))
    assert answer.token_logprobs is not None
    assert len(answer.confidences) == 2
    assert all(0.5 < c < 1.0 for c in answer.confidences)
    assert set(answer.timings_s) == {"encode", "remote"}
    body = server.seen("/ok/v1")[-1]["body"]
    image, text = body["messages"][0]["content"]
    assert image["image_url"][:2] == [64, 48]
    assert text["text"] == f"the mug {POINT_SUFFIX}"
    assert (body["model"], body["stream"], body["temperature"]) == ("roborefer", True, 0.0)


def test_keeps_as_many_points_as_wanted(remote: Open) -> None:
    assert remote("ok").point(RGB, None, "the mug", max_points=1).points == ((0.25, 0.5),)


def test_reasoning_is_kept_apart(remote: Open) -> None:
    texts: list[str] = []
    answer = remote("thinking").point(RGB, None, "the mug", on_text=texts.append)
    assert answer.points[0] == (0.25, 0.5)
    assert answer.reasoning == "The mug at (0.9, 0.9) is red.\nSo it is."
    assert not any("0.9" in text for text in texts)


def test_a_server_that_does_not_stream(remote: Open) -> None:
    answer = remote("whole").point(RGB, None, "the mug")
    assert answer.points[0] == (0.25, 0.5)
    assert answer.confidences == ()


def test_fields_that_a_server_refuses_are_left_out(remote: Open, server: Any) -> None:
    pointer = remote("picky")
    assert pointer.point(RGB, None, "the mug").points
    assert pointer.point(RGB, None, "the mug").points
    bodies = [seen["body"] for seen in server.seen("/picky/")]
    assert len(bodies) == 4  # two refusals once, then it is known
    assert "logprobs" not in bodies[-1]
    assert bodies[-1]["max_completion_tokens"] == 512


@pytest.mark.parametrize(
    ("options", "point", "size"),
    [
        ("model=Qwen/Qwen3-VL-8B-Instruct", (0.322, 0.126), [64, 48]),
        # pixels of the picture that was sent: 64x48 becomes 56x56 on Qwen2.5-VL's grid
        ("model=x&family=qwen2.5-vl", None, [56, 56]),
        ("", (0.322, 0.126), [64, 48]),  # the server is asked for its model
    ],
)
def test_families_by_model_name(
    remote: Open, server: Any, options: str, point: tuple[float, float] | None, size: list[int]
) -> None:
    pointer = remote("json-points", options)
    if point is None:
        with pytest.raises(RoboReferError, match="56x56"):
            pointer.point(RGB, None, "the mug")
    else:
        assert pointer.point(RGB, None, "the mug").points == (point,)
    content = server.seen("/json-points/")[-1]["body"]["messages"][0]["content"]
    assert content[0]["image_url"][:2] == size
    assert "point_2d" in content[1]["text"]


def test_agreement_over_samples(remote: Open, server: Any) -> None:
    answer = remote("samples", "model=m&samples=4").point(RGB, None, "the mug")
    # samples 1 and 3 agree, 2 is elsewhere, 4 has no point: (2 + 1) / (4 + 2)
    assert answer.points == ((0.25, 0.5),)
    assert answer.confidences == (0.5,)
    temperatures = [seen["body"]["temperature"] for seen in server.seen("/samples/")]
    assert temperatures == [0.0, 0.7, 0.7, 0.7, 0.7]


def test_an_answer_cut_at_its_length_keeps_whole_points(remote: Open) -> None:
    assert remote("length").point(RGB, None, "the mug").points == ((0.25, 0.5),)


def test_jpeg(remote: Open, server: Any) -> None:
    remote("ok", "model=m&image=jpeg").point(RGB, None, "the mug")
    content = server.seen("/ok/v1")[-1]["body"]["messages"][0]["content"]
    assert content[0]["image_url"].startswith("data:image/jpeg;base64,")


@pytest.mark.parametrize(
    ("options", "given", "enable", "depths"),
    [
        ("", DEPTH, 1, [[64, 48, 2]]),
        ("", None, 0, []),
        ("?depth=server", DEPTH, 1, []),
        ("?depth=none", DEPTH, 0, []),
    ],
)
def test_roborefer_contract(
    remote_roborefer: Open,
    server: Any,
    options: str,
    given: np.ndarray | None,
    enable: int,
    depths: list[list[int]],
) -> None:
    pointer = remote_roborefer("ok", options)
    assert pointer.uses_depth == (options == "")
    texts: list[str] = []
    answer = pointer.point(RGB, given, "the mug", on_text=texts.append)
    assert answer.points == ((0.25, 0.5), (0.75, 0.125))
    assert texts == [answer.text]
    body = server.seen("/ok/query")[-1]["body"]
    assert body == {
        "image_url": [[64, 48, 2]],  # colour type 2: three channels, for depth as well
        "depth_url": depths,
        "enable_depth": enable,
        "text": f"the mug {POINT_SUFFIX}",
        "tell_model": 1,  # for this package's server; the reference's ignores it
    }


# --- what fails --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "error", "requests"),
    [
        ("prose", NoPointInAnswerError, 1),
        ("cut", BackendBadReplyError, 1),
        ("html", BackendBadReplyError, 1),
        ("not-json", BackendBadReplyError, 1),
        ("bomb", BackendBadReplyError, 1),
        ("other-json", BackendBadReplyError, 1),
        ("gzip", BackendBadReplyError, 1),
        ("redirect", BackendBadReplyError, 1),
        ("endless", BackendBadReplyError, 1),
        ("in-stream", BackendFailedError, 1),
        ("unauthorized", BackendRejectedError, 1),
        ("silent", BackendTimeoutError, 1),
        ("status/400", BackendRejectedError, 1),
        ("status/429", BackendRejectedError, 3),
        ("status/500", BackendFailedError, 3),
        ("status/501", BackendFailedError, 1),
        ("status/503", BackendFailedError, 3),
    ],
)
def test_failures_have_numbers(
    remote: Open, server: Any, mode: str, error: type[RoboReferError], requests: int
) -> None:
    before = len(server.seen(f"/{mode}/"))
    with pytest.raises(error) as caught:
        remote(mode).point(RGB, None, "the mug")
    assert type(caught.value) is error
    assert len(str(caught.value)) < 600
    assert len(server.seen(f"/{mode}/")) - before == requests


@pytest.mark.parametrize(
    ("mode", "error"),
    [
        ("html", BackendBadReplyError),
        ("not-json", BackendBadReplyError),
        ("bomb", BackendBadReplyError),
        ("other-json", BackendBadReplyError),
        ("endless", BackendBadReplyError),
        ("silent", BackendTimeoutError),
        ("status/404", BackendRejectedError),
        ("status/500", BackendFailedError),
    ],
)
def test_roborefer_failures_have_numbers(
    remote_roborefer: Open, mode: str, error: type[RoboReferError]
) -> None:
    with pytest.raises(error) as caught:
        remote_roborefer(mode).point(RGB, None, "the mug")
    assert type(caught.value) is error


@pytest.mark.parametrize(("mode", "requests"), [("busy", 3), ("reset", 2)])
def test_what_may_pass_is_tried_again(remote: Open, server: Any, mode: str, requests: int) -> None:
    assert remote(mode).point(RGB, None, "the mug").points
    seen = server.seen(f"/{mode}/")
    assert len(seen) == requests
    assert seen[-1]["at"] - seen[0]["at"] >= 0.015 * (requests - 1)  # it waited in between


def test_no_points_carries_the_text(remote: Open) -> None:
    with pytest.raises(NoPointInAnswerError) as caught:
        remote("prose").point(RGB, None, "the mug")
    assert caught.value.answer == "I see no mug."


def test_nobody_listens() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    pointer = open_pointer(f"openai://127.0.0.1:{port}/v1?model=m", http_limits=QUICK)
    with pytest.raises(BackendUnreachableError, match="is the server running"):
        pointer.point(RGB, None, "the mug")
    pointer.close()


def test_no_such_host() -> None:
    pointer = open_pointer("openai://no-such-host.invalid:80/v1?model=m", http_limits=QUICK)
    with pytest.raises(BackendUnreachableError):
        pointer.point(RGB, None, "the mug")
    pointer.close()


def test_several_models_and_none_named(remote: Open) -> None:
    with pytest.raises(InvalidPointerSpecError, match="serves 2 models"):
        remote("many", "").point(RGB, None, "the mug")


# --- waiting ends ------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["silent", "drip"])
def test_cancelling_closes_the_connection(
    remote: Open, server: Any, eventually: Callable[[Callable[[], bool]], bool], mode: str
) -> None:
    before = server.closed(mode)
    cancel = threading.Event()
    timer = threading.Timer(0.15, cancel.set)
    pointer = remote(mode, limits=HttpLimits())
    timer.start()
    started = time.monotonic()
    with pytest.raises(CanceledError):
        pointer.point(RGB, None, "the mug", cancellation=Cancellation(cancelled=cancel.is_set))
    assert time.monotonic() - started < 1.0
    assert eventually(lambda: server.closed(mode) == before + 1)


@pytest.mark.parametrize("mode", ["silent", "drip", "status/503"])
def test_the_deadline_of_the_goal_holds(remote: Open, mode: str) -> None:
    started = time.monotonic()
    limits = HttpLimits(back_off_s=10.0)
    with pytest.raises((DeadlineExceededError, BackendFailedError)):
        remote(mode, limits=limits).point(
            RGB, None, "the mug", cancellation=Cancellation(time.monotonic() + 0.2)
        )
    assert time.monotonic() - started < 1.0


def test_a_server_that_drips_for_ever_times_out(remote: Open) -> None:
    limits = HttpLimits(total_s=0.3, silence_s=0.25)
    with pytest.raises(BackendTimeoutError, match="0.3 s"):
        remote("drip", limits=limits).point(RGB, None, "the mug")


def test_the_pointer_works_after_a_cancelled_goal(remote: Open) -> None:
    pointer = remote("ok")
    with pytest.raises(CanceledError):
        pointer.point(RGB, None, "the mug", cancellation=Cancellation(cancelled=lambda: True))
    assert pointer.point(RGB, None, "the mug").points


def test_an_exception_of_the_listener_ends_its_request(remote: Open) -> None:
    def listener(_: str) -> None:
        raise KeyError("mine")

    with pytest.raises(ModelFailedError, match="KeyError: 'mine'"):
        remote("ok").point(RGB, None, "the mug", on_text=listener)


# --- keys --------------------------------------------------------------------------------


def test_the_key_is_sent_and_never_told(
    remote: Open, server: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ROBOREFER_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    pointer = remote("ok")
    pointer.point(RGB, None, "the mug")
    assert server.seen("/ok/v1")[-1]["authorized"]
    with pytest.raises(BackendRejectedError) as caught:  # this server repeats it in its reply
        remote("unauthorized").point(RGB, None, "the mug")
    assert "***" in str(caught.value)
    for told in (str(caught.value), caplog.text, pointer.name, repr(vars(pointer))):
        assert KEY not in told


@pytest.mark.parametrize("mode", ["tell-page", "tell-error", "tell-answer"])
def test_a_server_that_repeats_the_key(
    remote: Open, remote_roborefer: Open, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setenv("ROBOREFER_API_KEY", KEY)
    shown: list[str] = []
    for open_remote in (remote, remote_roborefer):
        with pytest.raises(RoboReferError) as caught:
            open_remote(mode).point(RGB, None, "the mug", on_text=shown.append)
        told = f"{caught.value} {caught.value.answer} {shown}"
        assert KEY not in told
        assert "***" in told or (mode == "tell-error" and open_remote is remote_roborefer)


def test_another_variable_can_hold_the_key(
    remote: Open, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOREFER_API_KEY", KEY)
    monkeypatch.delenv("MY_KEY", raising=False)
    remote("ok", "model=m&key_env=MY_KEY").point(RGB, None, "the mug")
    assert not server.seen("/ok/v1")[-1]["authorized"]


def test_a_broken_key_is_refused_without_being_told(
    remote: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOREFER_API_KEY", f"{KEY}\nX-Injected: 1")
    with pytest.raises(InvalidPointerSpecError) as caught:
        remote("ok")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "spec",
    [
        f"openai://localhost/v1?api_key={KEY}",
        f"openai://localhost/v1?token={KEY}",
        f"openai://user:{KEY}@localhost/v1",
        f"roborefer-http://{KEY}@localhost",
    ],
)
def test_secrets_in_a_spec_are_refused(spec: str) -> None:
    with pytest.raises(InvalidPointerSpecError) as caught:
        open_pointer(spec)
    assert KEY not in str(caught.value)


# --- specs -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [
        "openai:",
        "openai://",
        "openai:///v1",
        "openai://host:port/v1",
        "openai://host:99999/v1",
        "openai://host/v1?modl=x",
        "openai://host/v1?family=unknown",
        "openai://host/v1?samples=-1",
        "openai://host/v1?samples=1e999",
        "openai://host/v1?timeout_s=nan",
        "openai://host/v1?image=bmp",
        "openai://host/v1?tls=perhaps",
        "openai://host/v1#part",
        "roborefer-http://host?depth=maybe",
    ],
)
def test_bad_specs(spec: str) -> None:
    with pytest.raises(InvalidPointerSpecError):
        open_pointer(spec)


@pytest.mark.parametrize(
    ("spec", "address"),
    [
        ("openai://api.example.com/v1?model=m", "https://api.example.com/v1"),
        ("openai://gpu-box:8000/v1?model=m", "http://gpu-box:8000/v1"),
        ("openai://gpu-box:8000/v1?model=m&tls=true", "https://gpu-box:8000/v1"),
        ("openai://gpu-box:443/v1/?model=m", "https://gpu-box:443/v1"),
        ("openai://[::1]:8000/v1?model=m", "http://[::1]:8000/v1"),
        ("roborefer-http://gpu-box", "http://gpu-box:25547"),
        ("roborefer-http://gpu-box:80?tls=true", "https://gpu-box:80"),
    ],
)
def test_addresses(spec: str, address: str) -> None:
    pointer: Any = open_pointer(spec, device="cpu", max_new_tokens=64)
    assert pointer.model.server == address
    assert pointer.name == spec
    assert isinstance(pointer, Pointer)
    pointer.close()
    pointer.close()  # twice is harmless


def test_a_key_without_encryption_is_warned_about(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ROBOREFER_API_KEY", KEY)
    for host, warned in (("127.0.0.1", False), ("192.0.2.1", True)):
        caplog.clear()
        open_pointer(f"openai://{host}:8000/v1?model=m").close()
        assert ("without encryption" in caplog.text) == warned
