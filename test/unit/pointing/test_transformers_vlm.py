# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""In-process models of other families: tiny checkpoints, random weights, one learnt sentence."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import contextlib

from tiny_checkpoints import (
    INSTRUCTION,
    PICTURE,
    save_florence2,
    save_molmo2,
    save_paligemma,
    save_qwen,
    teach,
)

from roborefer_ros.cancellation import Cancellation
from roborefer_ros.errors import (
    CanceledError,
    CheckpointInvalidError,
    CheckpointNotFoundError,
    DeadlineExceededError,
    InvalidPointerSpecError,
    NoPointInAnswerError,
    PointOutsideImageError,
)
from roborefer_ros.pointing.factory import open_pointer
from roborefer_ros.pointing.pointer import Pointer

#: what was not learnt may say anything, in other digits on another processor, but fails nowhere
UNUSABLE_ANSWERS = (NoPointInAnswerError, PointOutsideImageError)

#: family -> how it is saved, what it is taught to say, the points that this means
FAMILIES: dict[str, tuple[Callable[[Path], None], str, list[tuple[float, float]]]] = {
    "qwen3_vl": (
        lambda folder: save_qwen(folder, "3"),
        '[{"point_2d": [461, 527]}, {"point_2d": [10, 20]}]',
        [(0.461, 0.527), (0.01, 0.02)],
    ),
    # 64x48 is resized to 56x56 before the model sees it; its pixels are those
    "qwen2_5_vl": (
        lambda folder: save_qwen(folder, "2_5"),
        '[{"point_2d": [14, 42]}]',
        [(0.25, 0.75)],
    ),
    "molmo2": (
        save_molmo2,
        '<points coords="1 1 461 527 2 010 020">mugs</points>',
        [(0.461, 0.527), (0.01, 0.02)],
    ),
    "paligemma": (
        save_paligemma,
        "<loc0256><loc0128><loc0768><loc0384> mug",
        [(256.5 / 1024, 512.5 / 1024)],
    ),
    "florence2": (
        save_florence2,
        "mug<loc_100><loc_200><loc_300><loc_400>",
        [(0.2005, 0.3005)],
    ),
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("vlm")
    for name, (save, _, _) in FAMILIES.items():
        save(root / name)
    return {name: root / name for name in FAMILIES}


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def taught(request: pytest.FixtureRequest, checkpoints: dict[str, Path]) -> tuple[str, Any]:
    """A pointer whose model knows one answer by heart."""
    name: str = request.param
    pointer = open_pointer(f"transformers:{checkpoints[name]}", device="cpu", max_new_tokens=64)
    teach(pointer, FAMILIES[name][1])
    return name, pointer


def test_points(taught: tuple[str, Any]) -> None:
    name, pointer = taught
    _, text, points = FAMILIES[name]
    texts: list[str] = []
    answer = pointer.point(PICTURE, None, INSTRUCTION, on_text=texts.append)
    assert answer.text == text
    assert list(answer.points) == [pytest.approx(p) for p in points]
    assert texts[-1] == text
    assert len(texts) > 5
    assert answer.token_logprobs is not None
    assert len(answer.token_logprobs) == len(texts)
    assert len(answer.confidences) == len(points)
    assert all(0.5 < c <= 1.0 for c in answer.confidences)
    assert set(answer.timings_s) == {"preprocess", "generate"}
    assert isinstance(pointer, Pointer)
    assert not pointer.uses_depth


def test_greedy_answers_repeat(taught: tuple[str, Any]) -> None:
    """The stored generation_config.json (which samples, in Qwen's case) is not followed."""
    _, pointer = taught
    answers = [pointer.point(PICTURE, None, INSTRUCTION) for _ in range(2)]
    assert answers[0].text == answers[1].text
    np.testing.assert_allclose(answers[0].token_logprobs, answers[1].token_logprobs, atol=1e-5)


def test_cancelling_stops_between_tokens(taught: tuple[str, Any]) -> None:
    _, pointer = taught
    texts: list[str] = []
    with pytest.raises(CanceledError):
        pointer.point(
            PICTURE,
            None,
            INSTRUCTION,
            cancellation=Cancellation(cancelled=lambda: len(texts) >= 3),
            on_text=texts.append,
        )
    assert len(texts) == 3


def test_the_deadline_holds(taught: tuple[str, Any]) -> None:
    _, pointer = taught
    with pytest.raises(DeadlineExceededError):
        pointer.point(
            PICTURE,
            None,
            INSTRUCTION,
            cancellation=Cancellation(time.monotonic() + 0.05),
            on_text=lambda _: time.sleep(0.03),
        )


def test_keeps_as_many_points_as_wanted(taught: tuple[str, Any]) -> None:
    name, pointer = taught
    answer = pointer.point(PICTURE, None, INSTRUCTION, max_points=1)
    assert list(answer.points) == [pytest.approx(FAMILIES[name][2][0])]


def test_special_tokens_in_an_instruction_are_words(taught: tuple[str, Any]) -> None:
    _, pointer = taught
    tokens = " ".join(pointer.model.processor.tokenizer.get_added_vocab())
    with contextlib.suppress(UNUSABLE_ANSWERS):
        pointer.point(PICTURE, None, f"the mug {tokens} now", max_points=1)


def test_agreement_over_samples(taught: tuple[str, Any]) -> None:
    name, pointer = taught
    pointer.samples = 2
    try:
        first = pointer.point(PICTURE, None, INSTRUCTION)
        second = pointer.point(PICTURE, None, INSTRUCTION)
    finally:
        pointer.samples = 0
    assert first.text == FAMILIES[name][1]
    assert first.confidences == second.confidences  # seeded
    assert set(first.confidences) <= {1 / 4, 2 / 4, 3 / 4}


def test_random_weights_give_a_numbered_error(checkpoints: dict[str, Path]) -> None:
    pointer = open_pointer(f"transformers:{checkpoints['qwen3_vl']}?max_tokens=8", device="cpu")
    with pytest.raises(NoPointInAnswerError) as caught:
        pointer.point(PICTURE, None, INSTRUCTION)
    assert "point_2d" in str(caught.value)
    pointer.close()


def test_odd_pictures(taught: tuple[str, Any]) -> None:
    """Extreme and tiny pictures give an answer or a numbered error."""
    _, pointer = taught
    for height, width in ((480, 640), (7, 5), (30, 300)):
        with contextlib.suppress(UNUSABLE_ANSWERS):
            pointer.point(np.zeros((height, width, 3), np.uint8), None, INSTRUCTION)


# --- what cannot be opened ---------------------------------------------------------------


def broken(source: Path, target: Path, change: Callable[[Path], None]) -> str:
    shutil.copytree(source, target)
    change(target)
    return f"transformers:{target}"


def edit_config(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def drop_a_weight(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights[sorted(name for name in weights if "mlp" in name)[0]]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def pickle_only(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "config.json").unlink(),
        lambda folder: (folder / "config.json").write_text("{"),
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "tokenizer.json").unlink(),
        lambda folder: (folder / "preprocessor_config.json").unlink(),
        lambda folder: (folder / "chat_template.jinja").unlink(),
        truncate,
        drop_a_weight,
        pickle_only,
        edit_config(model_type="molmo_point"),
        edit_config(model_type="made_up", auto_map={"AutoConfig": "evil.Config"}),
    ],
)
def test_broken_checkpoints(
    checkpoints: dict[str, Path], tmp_path: Path, change: Callable[[Path], None]
) -> None:
    spec = broken(checkpoints["qwen3_vl"], tmp_path / "broken", change)
    with pytest.raises(CheckpointInvalidError) as caught:
        open_pointer(spec, device="cpu")
    assert len(str(caught.value)) < 700


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError):
        open_pointer(f"transformers:{tmp_path / 'none'}", device="cpu")


@pytest.mark.parametrize("query", ["famly=molmo2", "family=none", "samples=many"])
def test_bad_options(checkpoints: dict[str, Path], query: str) -> None:
    with pytest.raises(InvalidPointerSpecError):
        open_pointer(f"transformers:{checkpoints['molmo2']}?{query}", device="cpu")
