# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the server makes of a model: instructions, whole texts, samples, errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roborefer_ros.errors import InvalidGoalError, ModelFailedError, ModelOutOfMemoryError
from roborefer_ros.inference.echo import EchoModel
from roborefer_ros.inference.model import (
    Completion,
    Outcome,
    Picture,
    Request,
    SamplingParams,
    complete_all,
)
from roborefer_ros.pointing.factory import open_pointer
from roborefer_ros.pointing.families import FAMILIES
from roborefer_ros.pointing.pointer import Pointer
from roborefer_ros.pointing.prompts import POINT_SUFFIX
from roborefer_ros.server.clients import Client
from roborefer_ros.server.located import read_answer
from roborefer_ros.server.metrics import Metrics
from roborefer_ros.server.options import read_options
from roborefer_ros.server.replies import public_error
from roborefer_ros.server.scheduler import Scheduler

TINY = Path(__file__).resolve().parents[2] / "data" / "golden" / "tiny-2b-style"


def picture(seed: int, height: int, width: int) -> Picture:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Picture.of(pixels)


def opened(spec: str) -> Pointer:
    """As ``roborefer serve`` opens it."""
    options = read_options(["--model", spec, "--max-batch", "6", "--device", "cpu"])
    return open_pointer(options.model)


def told(pointer: Pointer, *requests: Request) -> list[Outcome]:
    return complete_all(pointer.model, requests)


def few(tokens: int) -> SamplingParams:
    return SamplingParams(max_tokens=tokens)


@pytest.mark.parametrize("samples", ["", "?samples=2"])
def test_points_and_confidences_are_those_of_the_pointer(samples: str) -> None:
    """The bundled network behind the queue: questions together, also with samples."""
    from roborefer_ros.simulation.held_out import held_out_scene

    scene = held_out_scene(3, 320, 240, 3)
    rgb = Picture.of(scene.view.rgb)
    asked = [question.instruction for question in scene.questions]
    alone = open_pointer(f"roborefer:demo{samples}", device="cpu", max_new_tokens=32)
    expected = [alone.point(rgb.pixels, None, text) for text in asked]
    pointer = opened(f"roborefer:demo{samples}")
    scheduler = Scheduler(pointer.model, max_queued=64, batch_wait_s=0.05, metrics=Metrics())
    jobs = [
        scheduler.submit(Client("here"), pointer.requests(Request(text, (rgb,), sampling=few(32))))
        for text in asked
    ]
    for job, known in zip(jobs, expected, strict=True):
        found, _ = read_answer(pointer, job.result.result(100.0), (320, 240))
        assert (found.text, found.points) == (known.text, known.points)
        assert found.confidences == pytest.approx(known.confidences, abs=1e-3)
        assert 0.0 < min(found.confidences) < 1.0
    scheduler.close()


def test_the_reason_for_an_answer_without_a_point_is_kept() -> None:
    pointer = open_pointer("echo")
    (good, missing), (none, reason) = (
        read_answer(pointer, [Completion(text)], (10, 10))
        for text in ("[(0.1, 0.2)]", "<think>[Size] [it]: 0.1</think>nothing here")
    )
    assert missing is None
    assert good.points == ((0.1, 0.2),)
    assert reason is not None
    assert reason.code == 2544
    assert none.points == ()
    assert "nothing here" in none.text
    assert [step.target for step in none.steps] == ["it"]


def test_options_of_the_spec_reach_the_model() -> None:
    pointer = opened(f"roborefer:{TINY}?max_tokens=3&reuse=false")
    (outcome,) = told(pointer, Request("Talk.", (picture(1, 48, 64),)))
    assert isinstance(outcome, Completion)
    assert outcome.completion_tokens == 3
    model: Any = pointer.model
    assert model.vision.size_bytes == model.prefixes.size_bytes == 0
    assert model.max_batch == 6


def test_clients_are_told_a_name_without_the_path() -> None:
    assert read_options(["--model", f"roborefer:{TINY}"]).model.name == "roborefer:tiny-2b-style"
    hub = "roborefer:Zhoues/RoboRefer-2B-SFT"
    assert read_options(["--model", hub]).model.name == hub


def test_what_a_model_raised_is_not_told_to_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    pointer = opened(f"roborefer:{TINY}")
    model: Any = pointer.model

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("the prompt was: secret")

    monkeypatch.setattr(model.network.llm.model, "forward", broken)
    (outcome,) = told(pointer, Request("secret", (picture(1, 48, 64),)))
    assert isinstance(outcome, ModelFailedError)
    shown = public_error(outcome)
    assert shown.code == 2543
    assert "secret" not in str(shown)
    assert "RuntimeError" in str(shown)


class Listens(EchoModel):
    """Notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Request] = []

    def complete(self, requests: Sequence[Request]) -> Iterator[tuple[int, Outcome]]:
        self.asked += requests
        return super().complete(requests)


def test_instructions_alone_are_put_into_words() -> None:
    model, image = Listens(), picture(1, 10, 10)
    pointer = Pointer(model, FAMILIES["qwen3-vl"], samples=2)
    request = Request("the mug", (image,), sampling=few(7))
    told(pointer, replace(request, prompt="What  colour?\n(0.1, 0.2)"), *pointer.requests(request))
    assert model.asked[0].prompt == "What  colour?\n(0.1, 0.2)"
    greedy, *sampled = model.asked[1:]
    assert greedy.prompt.startswith("Point to the mug. Output the point")
    assert [one.sampling.temperature for one in sampled] == [0.7, 0.7]
    assert {one.prompt for one in sampled} == {greedy.prompt}
    assert {one.sampling.max_tokens for one in (greedy, *sampled)} == {7}
    assert POINT_SUFFIX not in greedy.prompt


def test_families_keep_the_tokens_that_are_their_points() -> None:
    for name, skips in (("rex-omni", False), ("tuples", True)):
        pointer = Pointer(EchoModel(), FAMILIES[name])
        for request in (
            pointer.requests(Request("the mug", (picture(1, 10, 10),)))[0],
            pointer.prepared(Request("the mug", (picture(1, 10, 10),))),
        ):
            assert request.sampling.skip_special_tokens is skips


def test_prompts_are_counted() -> None:
    pointer, image = opened(f"roborefer:{TINY}"), picture(1, 48, 64)
    short, long, bare = told(
        pointer,
        Request("?", (image,), sampling=few(3)),
        Request("? and what is beside it", (image,), sampling=few(3)),
        Request("?", sampling=few(3)),
    )
    assert isinstance(short, Completion)
    assert isinstance(long, Completion)
    assert isinstance(bare, Completion)
    assert (long.prompt_tokens or 0) > (short.prompt_tokens or 0) > (bare.prompt_tokens or 0) > 0
    assert short.completion_tokens is not None
    assert short.completion_tokens <= 3
    assert (short.finish_reason == "length") == (short.completion_tokens == 3)


def test_more_requests_than_a_batch_are_all_answered() -> None:
    pointer, image = opened(f"roborefer:{TINY}"), picture(1, 48, 64)
    requests = [Request(f"Thing {n}?", (image,), sampling=few(4)) for n in range(15)]
    together = told(pointer, *requests)
    for outcome, request in zip(together, requests, strict=True):
        (alone,) = told(pointer, request)
        assert isinstance(outcome, Completion)
        assert isinstance(alone, Completion)
        assert outcome.text == alone.text


def test_errors_of_any_kind_are_numbered() -> None:
    assert isinstance(public_error(MemoryError()), ModelOutOfMemoryError)
    assert public_error(ValueError("secret")).code == 2543
    assert "secret" not in str(public_error(ValueError("secret")))
    kept = InvalidGoalError("two images")
    assert public_error(kept) is kept
