# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the server makes of a model: instructions, whole texts, errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roborefer_ros.errors import InvalidGoalError, ModelOutOfMemoryError, RoboReferError
from roborefer_ros.inference.model import Outcome, Picture, Request
from roborefer_ros.pointing.echo import EchoModel, EchoPointer
from roborefer_ros.pointing.families import FAMILIES
from roborefer_ros.pointing.model_pointer import ModelPointer
from roborefer_ros.pointing.prompts import POINT_SUFFIX
from roborefer_ros.server.engine import (
    EngineAnswer,
    ModelEngine,
    Query,
    numbered,
)
from roborefer_ros.server.engine_factory import open_engine
from roborefer_ros.server.options import parse_arguments

TINY = Path(__file__).resolve().parents[2] / "data" / "golden" / "tiny-2b-style"


def picture(seed: int, height: int, width: int) -> Picture:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Picture.of(pixels)


def run(engine: Any, queries: Sequence[Query]) -> list[Any]:
    outcomes: dict[int, EngineAnswer | RoboReferError] = {}

    def done(index: int, outcome: EngineAnswer | RoboReferError) -> None:
        assert index not in outcomes
        outcomes[index] = outcome

    engine.answer(queries, done)
    return [outcomes[index] for index in range(len(queries))]


def opened(spec: str) -> ModelEngine:
    engine = open_engine(parse_arguments(["--model", spec, "--max-batch", "6"]))
    assert isinstance(engine, ModelEngine)
    return engine


def test_points_and_confidences_are_those_of_the_pointer() -> None:
    """The bundled network: questions together, one by one and with samples."""
    from roborefer_ros.pointing.factory import open_pointer
    from roborefer_ros.simulation.held_out import held_out_scene

    scene = held_out_scene(3, 320, 240, 3)
    rgb = Picture.of(scene.view.rgb)
    asked = [question.instruction for question in scene.questions]
    queries = [Query(text, (rgb,), is_instruction=True, max_new_tokens=32) for text in asked]
    for samples in ("", "?samples=2"):
        spec = f"roborefer:demo{samples}"
        pointer = open_pointer(spec, device="cpu", dtype="float32", max_new_tokens=32)
        expected = [pointer.point(rgb.pixels, None, text) for text in asked]
        engine = opened(spec)
        assert engine.max_batch == (2 if samples else 6)
        by_turns = [run(engine, [query])[0] for query in queries]
        for outcomes in (run(engine, queries), by_turns):
            for outcome, answer in zip(outcomes, expected, strict=True):
                assert (outcome.text, outcome.points) == (answer.text, answer.points)
                assert outcome.confidences == pytest.approx(answer.confidences, abs=1e-3)
                assert 0.0 < min(outcome.confidences) < 1.0


def test_an_instruction_is_about_one_image() -> None:
    engine = opened(f"roborefer:{TINY}")
    image = picture(1, 48, 64)
    outcomes = run(
        engine,
        [
            Query("the mug", (), is_instruction=True),
            Query("What is it?", (image,), max_new_tokens=4),
            Query("the mug", (image, image), is_instruction=True),
        ],
    )
    assert isinstance(outcomes[0], InvalidGoalError)
    assert isinstance(outcomes[2], InvalidGoalError)
    assert outcomes[1].tokens <= 4


def test_options_of_the_spec_reach_the_engine() -> None:
    engine = opened(f"roborefer:{TINY}?max_tokens=3&reuse=false")
    assert run(engine, [Query("Talk.", (picture(1, 48, 64),))])[0].tokens == 3
    model: Any = engine.model
    assert model.vision.size_bytes == model.prefixes.size_bytes == 0


def test_what_a_model_raised_is_not_told_to_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = opened(f"roborefer:{TINY}")
    model: Any = engine.model

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("the prompt was: secret")

    monkeypatch.setattr(model.network.llm.model, "forward", broken)
    (outcome,) = run(engine, [Query("secret", (picture(1, 48, 64),))])
    assert outcome.code == 2543
    assert "secret" not in str(outcome)


# --- any pointer -----------------------------------------------------------------------


def test_any_pointer_answers_one_by_one() -> None:
    engine = ModelEngine(EchoPointer())
    image = picture(1, 10, 10)
    outcomes = run(
        engine,
        [
            Query("[(0.1, 0.2)]", (image,), is_instruction=True),
            Query("nothing here", (image,), is_instruction=True),
            Query("[(0.1, 0.2)]", (image, image), is_instruction=True),
        ],
    )
    assert outcomes[0].points == ((0.1, 0.2),)
    assert outcomes[1].points == ()
    assert outcomes[1].no_point.code == 2544
    assert isinstance(outcomes[2], InvalidGoalError)


class Listens(EchoModel):
    """Notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def complete(self, requests: Sequence[Request]) -> Iterator[tuple[int, Outcome]]:
        self.asked += [request.prompt for request in requests]
        return super().complete(requests)


def test_texts_reach_any_model_as_they_were_written() -> None:
    texts = ["What  colour is\nthe mug? (0.1, 0.2)", f"Point to it. (0.1, 0.2) {POINT_SUFFIX}"]
    model, image = Listens(), picture(1, 10, 10)
    engine = ModelEngine(ModelPointer(model, FAMILIES["qwen3-vl"]))
    queries = [Query(text, (image,)) for text in texts]
    run(engine, [*queries, Query("the mug", (image,), is_instruction=True)])
    assert model.asked[:2] == texts
    assert model.asked[2].startswith("Point to the mug. Output the point")


def test_prompts_are_counted() -> None:
    engine = opened(f"roborefer:{TINY}")
    image = picture(1, 48, 64)
    short, long = run(
        engine,
        [Query(text, (image,), max_new_tokens=3) for text in ("?", "? and what is beside it")],
    )
    bare = run(engine, [Query("?", (), max_new_tokens=3)])[0]
    assert long.prompt_tokens > short.prompt_tokens > bare.prompt_tokens > 0
    assert short.tokens <= 3
    assert short.cut_off == (short.tokens == 3)


def test_memory_errors_are_numbered() -> None:
    assert isinstance(numbered(MemoryError()), ModelOutOfMemoryError)
    assert numbered(ValueError("secret")).code == 2543
    assert "secret" not in str(numbered(ValueError("secret")))
