# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Which family a model belongs to, what it is asked, and how sure it is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roborefer_ros.errors import InvalidPointerSpecError, NoPointInAnswerError
from roborefer_ros.inference.images import encode_base64
from roborefer_ros.inference.model import Completion
from roborefer_ros.pointing import prompts
from roborefer_ros.pointing.agreement import agreement
from roborefer_ros.pointing.answers import parse_tuples, point_confidences, split_reasoning
from roborefer_ros.pointing.families import (
    _BY_MODEL_TYPE,
    _BY_NAME,
    FAMILIES,
    family_named,
    family_of,
    prediction_from_text,
)
from roborefer_ros.pointing.images import qwen2_size, resized


@pytest.mark.parametrize(
    ("name", "model_type", "family"),
    [
        ("Zhoues/RoboRefer-2B-SFT", "", "tuples"),
        ("wentao-yuan/robopoint-v1-vicuna-v1.5-13b", "llava", "tuples"),
        ("OpenGVLab/InternVL3_5-8B-HF", "internvl", "tuples"),
        ("BAAI/RoboBrain2.0-7B", "qwen2_5_vl", "robobrain2.0"),
        ("BAAI/RoboBrain2.5-8B-NV", "qwen3_vl", "robobrain2.5"),
        ("XiaomiMiMo/MiMo-VL-7B-RL", "qwen2_5_vl", "robobrain2.0"),
        ("Qwen/Qwen2.5-VL-7B-Instruct", "qwen2_5_vl", "qwen2.5-vl"),
        ("Qwen/Qwen3-VL-8B-Instruct", "qwen3_vl", "qwen3-vl"),
        ("Qwen/Qwen3.5-35B-A3B", "qwen3_5_moe", "qwen3-vl"),
        ("IDEA-Research/Rex-Omni", "qwen2_5_vl", "rex-omni"),
        ("google/gemma-4-31b-it", "gemma4", "qwen3-vl"),
        ("nvidia/Cosmos-Reason2-8B", "qwen3_vl", "qwen3-vl"),
        ("gemini-robotics-er-1.5-preview", "", "gemini"),
        ("allenai/Molmo-7B-D-0924", "molmo", "molmo"),
        ("allenai/Molmo2-8B", "molmo2", "molmo2"),
        ("florence-community/Florence-2-base", "florence2", "florence2"),
        ("google/paligemma2-3b-mix-448", "paligemma", "paligemma"),
        ("moondream/moondream3-preview", "", "moondream"),
        ("/models/mine", "qwen3_vl", "qwen3-vl"),
        ("/models/mine/", "molmo2", "molmo2"),
        ("/molmo/mine", "", None),  # only the last part of a path is the model's name
        ("gpt-5", "", None),
    ],
)
def test_family_of_a_model(name: str, model_type: str, family: str | None) -> None:
    found = family_of(name, model_type)
    assert (found.name if found else None) == family


def test_tables_name_known_families() -> None:
    assert {family for _, family in _BY_NAME} <= set(FAMILIES)
    assert set(_BY_MODEL_TYPE.values()) <= set(FAMILIES)
    with pytest.raises(InvalidPointerSpecError, match="qwen3-vl"):
        family_named("qwen")


def test_model_types_are_those_of_transformers() -> None:
    auto = pytest.importorskip("transformers.models.auto.configuration_auto")
    unknown = set(_BY_MODEL_TYPE) - set(auto.CONFIG_MAPPING_NAMES)
    assert unknown == {"molmo"}  # needs its own code, so it is served remotely only


# --- prompts -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("instruction", "request_", "phrase"),
    [
        ("the red mug", "Point to the red mug", "the red mug"),
        ("Pick up the red mug.", "Pick up the red mug.", "the red mug"),
        ("Please point out the mug", "Please point out the mug", "the mug"),
        ("point to the mug!", "point to the mug!", "the mug"),
        ("pick-up truck", "Point to pick-up truck", "pick-up truck"),
        ("marked box", "Point to marked box", "marked box"),
        ("Locate", "Point to Locate", "Locate"),
    ],
)
def test_requests_and_phrases(instruction: str, request_: str, phrase: str) -> None:
    assert prompts.request(instruction) == request_
    assert prompts.phrase(instruction) == phrase


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_prompt_holds_the_thing(family: str) -> None:
    assert "the red mug" in FAMILIES[family].prompt("the red mug")


def test_the_reference_prompt_is_verbatim() -> None:
    assert prompts.roborefer_prompt("Pick the mug.").startswith(
        "Pick the mug. Your answer should be formatted as a list of tuples, i.e. [(x1, y1)], where "
    )


# --- reasoning and confidence --------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        ("[(0.1, 0.2)]", "", "[(0.1, 0.2)]"),
        ("<think>a</think>b", "a", "b"),
        ("a</think>b", "a", "b"),
        ("x<think>a</think>y<think>b</think>z", "a\nb", "x y z"),
        ("<think>a", "a", ""),
        ("Step1: the cup\nStep 2: left.\n[(0.1, 0.2)]", "Step1: the cup\nStep 2: left.", "[(0.1,"),
        ("Step 1: [(0.1, 0.2)]", "", "Step 1: [(0.1, 0.2)]"),
        ("Stepping stones", "", "Stepping stones"),
    ],
)
def test_reasoning_is_split_off(text: str, reasoning: str, answer: str) -> None:
    found, rest = split_reasoning(text)
    assert found == reasoning
    assert " ".join(rest.split()).startswith(answer)
    assert len(rest) == len(text)


def test_answers_carry_their_reasoning_and_errors_their_text() -> None:
    family = FAMILIES["tuples"]
    answer = prediction_from_text(
        family, Completion("<think>so</think>[(0.1, 0.2)]", reasoning="hm"), (640, 480)
    )
    assert answer.reasoning == "hm\nso"
    assert answer.confidences == ()
    with pytest.raises(NoPointInAnswerError) as caught:
        prediction_from_text(family, Completion(" nothing "), (640, 480))
    assert caught.value.answer == "nothing"


def test_confidence_is_that_of_the_points_own_tokens() -> None:
    text = "see [(0.1, 0.2), (0.3, 0.4)]"
    ends = list(range(1, len(text) + 1))
    second = text.index("(0.3")
    logprobs = [-5.0 if c == "s" else (-0.1 if i >= second else 0.0) for i, c in enumerate(text)]
    first, other = point_confidences(parse_tuples(text), ends, logprobs)
    assert first == 1.0
    assert other == pytest.approx(math.exp(-0.1 * len("(0.3, 0.4)") / 2))


@pytest.mark.parametrize(
    ("samples", "confidence"),
    [
        ([[(0.5, 0.5)]] * 3, 4 / 5),
        ([[(0.9, 0.5)], [], [(0.1, 0.1), (0.51, 0.5)]], 2 / 5),
        ([], 1 / 2),
    ],
)
def test_agreement(samples: list[list[tuple[float, float]]], confidence: float) -> None:
    assert agreement([(0.5, 0.5)], samples, 4 / 3) == (confidence,)


def test_agreement_is_measured_in_the_image_not_in_its_unit_square() -> None:
    # 0.06 of the width of a 4:1 image is 0.24 heights away, beyond 5 % of the diagonal (0.206)
    assert agreement([(0.5, 0.5)], [[(0.56, 0.5)]], 4.0) == (1 / 3,)
    assert agreement([(0.5, 0.5)], [[(0.5, 0.56)]], 4.0) == (2 / 3,)


# --- pictures ------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(1, 5000), st.integers(1, 5000))
def test_qwen_size_is_that_of_the_processor(width: int, height: int) -> None:
    qwen = pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")
    if max(width, height) / min(width, height) > 190:
        return  # the processor refuses such
    size = qwen2_size(width, height)
    limits = {"min_pixels": 56 * 56, "max_pixels": 12_845_056}
    if min(width, height) >= 28:
        assert (size[1], size[0]) == qwen.smart_resize(height, width, 28, **limits)
    assert (size[1], size[0]) == qwen.smart_resize(size[1], size[0], 28, **limits)


def test_png_keeps_every_pixel() -> None:
    import base64

    import cv2

    rgb = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    for picture, channels in ((rgb, rgb), (rgb[..., 0], np.stack([rgb[..., 0]] * 3, axis=-1))):
        raw = np.frombuffer(base64.b64decode(encode_base64(picture)), np.uint8)
        np.testing.assert_array_equal(cv2.imdecode(raw, cv2.IMREAD_UNCHANGED)[..., ::-1], channels)
    assert resized(rgb, (7, 9)) is rgb
    assert resized(rgb, (28, 56)).shape == (56, 28, 3)
