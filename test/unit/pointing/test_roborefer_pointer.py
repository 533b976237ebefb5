# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""RoboRefer behind the protocol: what it keeps, cuts, refuses, and how sure it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from roborefer_ros.cancellation import Cancellation
from roborefer_ros.errors import (
    CanceledError,
    InstructionTooLongError,
    InvalidPointerSpecError,
    NoPointInAnswerError,
)
from roborefer_ros.inference.decoding import generate
from roborefer_ros.inference.roborefer import RoboReferModel
from roborefer_ros.pointing.factory import open_pointer
from roborefer_ros.pointing.pointer import Pointer
from roborefer_ros.pointing.prompts import roborefer_prompt

GOLDEN = Path(__file__).resolve().parents[2] / "data" / "golden"

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (40, 40, 3), np.uint8)
DEPTH = RNG.integers(0, 256, (40, 40), np.uint8)


TINY = f"roborefer:{GOLDEN / 'tiny-2b-style'}"

#: instruction -> answer
LESSONS = {
    "pick the red mug": "[(0.412, 0.655)]",
    "the bowl": "[(0.930, 0.108), (0.250, 0.777)]",
    "leftmost box": "Step 1: look. (0.5, 0.5)\n[(1.0, 0.07)]",
}


def opened(spec: str) -> Pointer:
    pointer = open_pointer(spec, device="cpu")
    assert isinstance(pointer.model, RoboReferModel)
    return pointer


@pytest.fixture(scope="module")
def lessons() -> dict[str, torch.Tensor]:
    """The language model of a tiny checkpoint, taught the answers by heart."""
    pointer = opened(TINY)
    network, processor = pointer.model.network, pointer.model.processor
    llm, tokenizer = network.llm.requires_grad_(True), processor.tokenizer
    batch = []
    for instruction, text in LESSONS.items():
        for depth in (DEPTH, None):
            prompt = prompt_of(pointer, instruction, [] if depth is None else [depth]).clone()
            ids = tokenizer.encode(f"{text}<|im_end|>", add_special_tokens=False)
            batch.append((prompt, torch.tensor(ids)))
    optimiser = torch.optim.Adam(llm.parameters(), lr=3e-3)
    torch.manual_seed(0)
    for _ in range(40):
        loss = torch.zeros(())
        for prompt, ids in batch:
            rows = torch.cat([prompt, llm.get_input_embeddings()(ids[:-1])])
            logits = llm(inputs_embeds=rows[None]).logits[0, len(prompt) - 1 :]
            loss = loss + torch.nn.functional.cross_entropy(logits, ids)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return {name: value.detach() for name, value in llm.state_dict().items()}


def taught(spec: str, lessons: dict[str, torch.Tensor]) -> Pointer:
    pointer = opened(spec)
    pointer.model.network.llm.load_state_dict(lessons)
    return pointer


@pytest.fixture(scope="module")
def pupil(lessons: dict[str, torch.Tensor]) -> Iterator[Pointer]:
    pointer = taught(TINY, lessons)
    yield pointer
    pointer.close()


def prompt_of(pointer: Pointer, instruction: str, depths: list[np.ndarray]) -> torch.Tensor:
    """``[N, hidden]`` of the spliced prompt."""
    network, processor = pointer.model.network, pointer.model.processor
    inputs = processor(roborefer_prompt(instruction), [RGB], depths)
    with torch.inference_mode():
        rows = network.encode_images(inputs.image_pixel_values), []
        if depths:
            rows = rows[0], network.encode_depths(inputs.depth_pixel_values)
        return network.splice(inputs.input_ids, *rows, **processor.splice_ids)


def plain_text(pointer: Pointer, instruction: str, depths: list[np.ndarray]) -> str:
    """The answer without anything that saves time."""
    embeds, processor = prompt_of(pointer, instruction, depths), pointer.model.processor
    llm = pointer.model.network.llm
    ids = generate(llm, embeds, stop_ids=processor.stop_ids, max_new_tokens=40).ids
    return str(processor.tokenizer.decode(ids, skip_special_tokens=True)).strip()


def test_answers_are_those_of_plain_greedy_search(pupil: Pointer) -> None:
    """Questions about the same pictures, others, and without depth, in every order."""
    for instruction in [*LESSONS, "the bowl"]:
        for depth in (DEPTH, None):
            answer = pupil.point(RGB, depth, instruction)
            assert answer.text == plain_text(pupil, instruction, [] if depth is None else [depth])
            assert answer.text == LESSONS[instruction]
            assert len(answer.confidences) == len(answer.points)
            assert all(0.0 < c <= 1.0 for c in answer.confidences)


def test_another_picture_is_looked_at(pupil: Pointer) -> None:
    """Pictures are known by their content, and those of the last question alone are kept."""
    vision = pupil.model.vision
    other = RGB.copy()

    def encoded(rgb: np.ndarray, depth: np.ndarray) -> int:
        before = vision.misses
        pupil.point(rgb, depth, "pick the red mug")
        assert len(vision) == 2
        assert len(pupil.model.prefixes) == 1
        return vision.misses - before

    pupil.model.forget()
    assert encoded(other, DEPTH) == 2
    other[:] = 0  # the caller's array is not what is remembered
    assert encoded(RGB, DEPTH) == 0
    changed = DEPTH.copy()
    changed[0, 0] ^= 1
    assert encoded(RGB, changed) == 1
    assert encoded(other, DEPTH) == 2


def test_a_cancelled_goal_spoils_nothing(pupil: Pointer) -> None:
    expected = pupil.point(RGB, DEPTH, "pick the red mug")
    calls = 0

    def cancelled() -> bool:
        nonlocal calls
        calls += 1
        return calls > 5

    with pytest.raises(CanceledError):
        pupil.point(RGB, None, "the bowl", cancellation=Cancellation(cancelled=cancelled))
    assert pupil.point(RGB, DEPTH, "pick the red mug").text == expected.text


def test_agreement_of_samples(lessons: dict[str, torch.Tensor]) -> None:
    pointer = taught(f"{TINY}?samples=4&reuse=false", lessons)
    texts: list[str] = []
    answer = pointer.point(RGB, DEPTH, "pick the red mug", on_text=texts.append)
    assert answer.text == texts[-1] == "[(0.412, 0.655)]"  # samples are not shown
    assert answer.confidences == (5 / 6,)
    assert len(pointer.model.vision) == len(pointer.model.prefixes) == 0
    # A model that is in doubt between many answers, the first digit above all
    with torch.no_grad():
        pointer.model.network.llm.model.norm.weight *= 0.3
    doubtful = pointer.point(RGB, DEPTH, "pick the red mug")
    assert doubtful.points == answer.points
    assert doubtful.confidences[0] < 5 / 6
    assert pointer.point(RGB, DEPTH, "pick the red mug").confidences == doubtful.confidences


def test_confidence_falls_with_doubt(lessons: dict[str, torch.Tensor]) -> None:
    pointer = taught(TINY, lessons)
    sure = pointer.point(RGB, None, "the bowl").confidences
    with torch.no_grad():
        pointer.model.network.llm.model.norm.weight *= 0.5
    unsure = pointer.point(RGB, None, "the bowl").confidences
    assert all(u < s - 0.01 for s, u in zip(sure, unsure, strict=True))
    assert all(s > 0.9 for s in sure)
    assert len(sure) == 2


@pytest.mark.parametrize("options", ["sample=3", "samples=-1", "max_tokens=0"])
def test_options_that_cannot_be_read(options: str) -> None:
    with pytest.raises(InvalidPointerSpecError):
        opened(f"{TINY}?{options}")


def test_answer_and_prompt_fit_into_the_context(tmp_path: Path) -> None:
    folder = tmp_path / "short"
    shutil.copytree(GOLDEN / "tiny-2b-style", folder)
    path = folder / "llm/tokenizer_config.json"
    config = json.loads(path.read_text())
    wide = opened(f"roborefer:{folder}?max_tokens=30")
    length = len(prompt_of(wide, "the mug", []))
    path.write_text(json.dumps({**config, "model_max_length": length + 5}))
    short = opened(f"roborefer:{folder}?max_tokens=30")
    told: list[str] = []
    with pytest.raises(NoPointInAnswerError) as caught:
        short.point(RGB, None, "the mug", on_text=told.append)
    assert len(told) == 5
    with pytest.raises(NoPointInAnswerError) as whole:
        wide.point(RGB, None, "the mug")
    assert whole.value.answer.startswith(caught.value.answer.rstrip("\ufffd"))
    with pytest.raises(InstructionTooLongError, match=str(length + 5)):
        short.point(RGB, None, "the mug " + "behind the lamp " * 5)
