# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The families of pointing models: what each is asked and how it answers.

The table follows docs/models.md.  A family is found by name (``family=`` in a spec), by the
model's name (fine-tunes share their base's ``model_type`` but not its format), or by
``model_type`` of the checkpoint's configuration.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import InvalidPointerSpecError, RoboReferError
from roborefer_ros.inference.model import Completion
from roborefer_ros.pointing import formats, prompts
from roborefer_ros.pointing.answers import (
    MAX_ANSWER_CHARACTERS,
    point_confidences,
    split_reasoning,
)
from roborefer_ros.pointing.confidence import place_confidences
from roborefer_ros.pointing.prediction import Prediction
from roborefer_ros.pointing.reasoning import read_steps


@dataclass(frozen=True)
class Family:
    """One row of the table.

    Attributes:
        name: as in ``family=``.
        prompt: from the instruction to the text that the model is asked.
        parse: from the model's text and the size of the image it saw to points.
        keeps_special_tokens: its points are special tokens, which must survive decoding.
        uses_chat_template: else the prompt goes to the processor as it is.
        image_token: what stands before such a prompt.
        reasoning: asks for reasoning steps, behind the prompt; empty where that is not learned.
        prepare: Maker of the picture that is sent, ``[H, W, 3]`` uint8 from the same, where points
            are pixels and the model does not tell the size that it sees; None sends it as it is.
    """

    name: str
    prompt: Callable[[str], str]
    parse: formats.Parser
    keeps_special_tokens: bool = False
    uses_chat_template: bool = True
    image_token: str = ""
    reasoning: str = ""
    prepare: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]] | None = None


_ROWS = (
    Family(
        "tuples",
        prompts.roborefer_prompt,
        formats.parse_unit_tuples,
        reasoning=prompts.REASONING_SUFFIX,
    ),
    Family("robobrain2.5", prompts.robobrain_2_5_prompt, formats.parse_thousand_tuples),
    Family("robobrain2.0", prompts.robobrain_2_0_prompt, formats.parse_pixels),
    Family("qwen2.5-vl", prompts.json_prompt, formats.parse_pixels),
    Family("qwen3-vl", prompts.json_prompt, formats.parse_thousand_json),
    Family("gemini", prompts.gemini_prompt, formats.parse_gemini_json),
    Family("molmo", prompts.molmo_prompt, formats.parse_molmo),
    Family("molmo2", prompts.molmo_prompt, formats.parse_molmo2),
    Family("rex-omni", prompts.bins_prompt, formats.parse_bins, keeps_special_tokens=True),
    Family(
        "florence2",
        prompts.florence_prompt,
        formats.parse_florence,
        keeps_special_tokens=True,
        uses_chat_template=False,
    ),
    Family(
        "paligemma",
        prompts.paligemma_prompt,
        formats.parse_paligemma,
        keeps_special_tokens=True,
        uses_chat_template=False,
        image_token="<image>",
    ),
    Family("moondream", prompts.phrase_prompt, formats.parse_moondream),
)

#: name -> family
FAMILIES: dict[str, Family] = {family.name: family for family in _ROWS}

#: no model at all: the instruction itself holds the points
ECHO = Family("echo", prompts.bare_prompt, formats.parse_echo)

#: a model's name -> family; the first pattern that is found counts
_BY_NAME: tuple[tuple[str, str], ...] = (
    (r"robobrain[-_ ]?2[._]5|robotracer", "robobrain2.5"),
    (r"robobrain[-_ ]?2(?:[._]0)?|mimo", "robobrain2.0"),
    (r"rex-?omni|locateanything", "rex-omni"),
    (r"roborefer|robopoint|pelican|magma|internvl", "tuples"),
    (r"embodied-r1[._]5|unifolm|sparc|cosmos-?(?:reason-?)?[23]", "qwen3-vl"),
    (r"qwen[-_]?2[._]?5?[-_]?vl", "qwen2.5-vl"),
    (r"qwen[-_]?(?:3|4)", "qwen3-vl"),
    (r"gemma-?4", "qwen3-vl"),
    (r"gemini", "gemini"),
    (r"molmo-?(?:2|er)", "molmo2"),
    (r"molmo", "molmo"),
    (r"florence", "florence2"),
    (r"paligemma", "paligemma"),
    (r"moondream", "moondream"),
)

#: ``model_type`` of transformers -> family
_BY_MODEL_TYPE: dict[str, str] = {
    "qwen2_5_vl": "qwen2.5-vl",
    "qwen2_vl": "qwen2.5-vl",
    "qwen3_vl": "qwen3-vl",
    "qwen3_vl_moe": "qwen3-vl",
    "qwen3_5": "qwen3-vl",
    "qwen3_5_moe": "qwen3-vl",
    "gemma4": "qwen3-vl",
    "gemma4_unified": "qwen3-vl",
    "cosmos3_edge": "qwen3-vl",
    "cosmos3_omni": "qwen3-vl",
    "molmo": "molmo",
    "molmo2": "molmo2",
    "florence2": "florence2",
    "paligemma": "paligemma",
    "internvl": "tuples",
    "llava": "tuples",
}


def family_named(name: str) -> Family:
    """The family of that name.

    Raises:
        InvalidPointerSpecError: there is none.
    """
    if name not in FAMILIES:
        raise InvalidPointerSpecError(
            f"there is no model family {name!r}; known are {', '.join(FAMILIES)}"
        )
    return FAMILIES[name]


def family_of(model_name: str, model_type: str = "") -> Family | None:
    """The family of a model, from its name or its ``model_type``; None when neither is known."""
    tail = model_name.rstrip("/").rpartition("/")[2].lower()
    for pattern, family in _BY_NAME:
        if re.search(pattern, tail):
            return FAMILIES[family]
    return FAMILIES.get(_BY_MODEL_TYPE.get(model_type, ""))


def thoughts_of(text: str, reasoning: str = "") -> str:
    """Everything that a model thought.

    Args:
        text: Its whole text.
        reasoning: Thoughts that came apart from the text.
    """
    own = split_reasoning(text[:MAX_ANSWER_CHARACTERS])[0]
    parts = (reasoning.strip()[:MAX_ANSWER_CHARACTERS], own)
    return "\n".join(part for part in parts if part)


def prediction_from_text(
    family: Family, completion: Completion, size: formats.ImageSize, max_points: int = 0
) -> Prediction:
    """Read the points of a completion.

    Args:
        family: How the model answers.
        completion: What it said; its ``image_size`` wins over ``size``.
        size: ``(width, height)`` of the image that it was asked about, pixels.
        max_points: Greatest number of points that are kept; 0 keeps all.

    Raises:
        NoPointInAnswerError, PointOutsideImageError: With the text as ``answer``.
    """
    text, logprobs = completion.text, completion.token_logprobs
    thoughts = thoughts_of(text, completion.reasoning)
    try:
        matches = family.parse(text, completion.image_size or size)
    except RoboReferError as error:
        error.answer = text.strip()
        raise
    if max_points:
        matches = matches[:max_points]
    confidences: tuple[float, ...] = ()
    if completion.digit_probabilities:
        confidences = place_confidences(
            text, matches, completion.token_ends, logprobs, completion.digit_probabilities
        )
    elif logprobs:
        confidences = point_confidences(matches, completion.token_ends, logprobs)
    return Prediction(
        text=text.strip(),
        points=tuple(match.point for match in matches),
        confidences=confidences,
        token_logprobs=np.asarray(logprobs, np.float32) if logprobs else None,
        timings_s=completion.timings_s,
        reasoning=thoughts,
        steps=read_steps(thoughts),
        model=completion.model,
        depth_used=completion.depth_used,
    )
