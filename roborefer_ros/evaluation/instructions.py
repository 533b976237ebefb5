# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The whole text that a model is asked, in the words of the reference's runner.

``test_benchmark.py`` of Zhoues/RoboRefer has one phrasing for each of four families, built from
the question's ``object`` or ``prompt``, and asks everything else ``prompt + " " + suffix``.
Families that it does not know (Florence-2, PaliGemma, Moondream ...) are asked as the node does.
"""

from __future__ import annotations

from collections.abc import Callable

from roborefer_ros.evaluation.questions import BenchmarkQuestion
from roborefer_ros.pointing.families import Family
from roborefer_ros.pointing.prompts import POINT_SUFFIX, phrase

#: question, family -> the text
Instruction = Callable[[BenchmarkQuestion, Family], str]

#: families of ``roborefer_ros.pointing`` -> the reference's phrasing; ``thing`` is a noun phrase
_PHRASINGS = {
    "molmo": "Locate several points of {thing}.",
    "molmo2": "Locate several points of {thing}.",
    "robobrain2.0": "{prompt} Please provide its 2D coordinates.",
    "robobrain2.5": "{prompt} Please provide its 2D coordinates.",
    "gemini": "Locate one point of {thing}.",
    "qwen2.5-vl": "Locate {thing} in this image and output the point coordinates in JSON format.",
    "qwen3-vl": "Locate {thing} in this image and output the point coordinates in JSON format.",
}


def reference_instruction(question: BenchmarkQuestion, family: Family) -> str:
    """As the reference's runner asks."""
    if not question.wants_point:
        return _word(question)
    if family.name == "tuples":
        return f"{question.prompt} {question.suffix or POINT_SUFFIX}"
    phrasing = _PHRASINGS.get(family.name)
    if phrasing is None:
        return family.prompt(question.prompt)
    # Where2Place names no object; what its prompt speaks of stands for it.
    thing = question.object_name or phrase(question.prompt)
    # Not str.format on the question's own words: they may hold braces.
    slot, words = ("{thing}", thing) if "{thing}" in phrasing else ("{prompt}", question.prompt)
    return phrasing.replace(slot, words)


def family_instruction(question: BenchmarkQuestion, family: Family) -> str:
    """As the node asks a model of the family."""
    if not question.wants_point:
        return _word(question)
    if family.name == "tuples":
        return f"{question.prompt} {question.suffix or POINT_SUFFIX}"
    return family.prompt(question.prompt)


def _word(question: BenchmarkQuestion) -> str:
    return f"{question.prompt} {question.suffix}".strip()


#: values of ``--prompts``
PROMPTS: dict[str, Instruction] = {"reference": reference_instruction, "family": family_instruction}
