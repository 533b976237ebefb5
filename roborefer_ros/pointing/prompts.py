# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What each model family is asked.

The words come from the families' model cards, papers and benchmark runners (RefSpatial-Bench's
card and evaluation scripts, arXiv 2506.04308); docs/models.md lists them.
"""

from __future__ import annotations

import re

#: the request for points that RoboRefer was trained and is benchmarked with; keep verbatim
POINT_SUFFIX = (
    "Your answer should be formatted as a list of tuples, i.e. [(x1, y1)], where each tuple "
    "contains the x and y coordinates of a point satisfying the conditions above. The "
    "coordinates should be between 0 and 1, indicating the normalized pixel locations of the "
    "points in the image."
)

#: asks for the key steps of RoboRefer's reinforcement fine-tuning and for an answer in tags; what
#: SFT learns with ``think: append`` and `roborefer rft` rewards
REASONING_SUFFIX = (
    "First write your reasoning between <think> and </think>, with each key step on a line of its "
    "own as [Position], [Orientation] or [Size], then [object]: value. "
    "Then write the point between <answer> and </answer>."
)

#: RoboBrain 2.0 was trained with these words, yet answers in pixels
_ROBOBRAIN_2_0_SUFFIX = (
    "Your answer should be formatted as a list of tuples, i.e. [(x1, y1), (x2, y2), ...], where "
    "each tuple contains the x and y coordinates of a point satisfying the conditions above. "
    "The coordinates should indicate the normalized pixel locations of the points in the image."
)

_ROBOBRAIN_2_5_SUFFIX = (
    "Please provide its 2D coordinates. Your answer should be formatted as a tuple, i.e. "
    "[(x, y)], where the tuple contains the x and y coordinates of a point satisfying the "
    "conditions above."
)

_GEMINI_SUFFIX = (
    'The answer should follow the json format: [{"point": <point>, "label": <label1>}, ...]. '
    "The points are in [y, x] format normalized to 0-1000."
)

_JSON_SUFFIX = (
    "Output the point coordinates in JSON format.\nFor example:\n"
    '[\n{"point_2d": [x, y], "label": "point_1"}\n]'
)

#: "pick up the mug": the words before the thing itself
_VERB = re.compile(
    r"(?:please )?(?:(?:point(?: out| to| at)*|pick(?: up)?|locate|find|identify|mark|show(?: me)?|"
    r"grasp|grab|select|detect|choose)) +(?:to +|at +)?",
    re.IGNORECASE,
)


def roborefer_prompt(instruction: str) -> str:
    """The instruction, one space, the suffix (RefSpatial-Bench's form)."""
    return f"{instruction} {POINT_SUFFIX}"


def robobrain_2_0_prompt(instruction: str) -> str:
    """RoboBrain 2.0's pointing task."""
    return f"{sentence(instruction)} {_ROBOBRAIN_2_0_SUFFIX}"


def robobrain_2_5_prompt(instruction: str) -> str:
    """RoboBrain 2.5's pointing task."""
    return f"{sentence(instruction)} {_ROBOBRAIN_2_5_SUFFIX}"


def json_prompt(instruction: str) -> str:
    """Qwen's grounding request."""
    return f"{sentence(request(instruction))} {_JSON_SUFFIX}"


def gemini_prompt(instruction: str) -> str:
    """Gemini Robotics-ER's pointing request."""
    return f"{sentence(request(instruction))} {_GEMINI_SUFFIX}"


def molmo_prompt(instruction: str) -> str:
    """Molmo points when it is told to."""
    return sentence(request(instruction))


def florence_prompt(instruction: str) -> str:
    """Florence-2's task token and the thing."""
    return f"<OPEN_VOCABULARY_DETECTION>{phrase(instruction)}"


def paligemma_prompt(instruction: str) -> str:
    """PaliGemma's detection prefix and the thing."""
    return f"detect {phrase(instruction)}"


def bins_prompt(instruction: str) -> str:
    """Rex-Omni's pointing task."""
    return f"Point to {phrase(instruction)}."


def bare_prompt(instruction: str) -> str:
    """The instruction as it is."""
    return instruction


def phrase_prompt(instruction: str) -> str:
    """The thing alone, for models whose point skill takes a noun phrase (Moondream)."""
    return phrase(instruction)


def request(instruction: str) -> str:
    """The instruction as a request: "the red mug" becomes "Point to the red mug"."""
    return instruction if _VERB.match(instruction) else f"Point to {instruction}"


def phrase(instruction: str) -> str:
    """The thing that an instruction names: "Pick up the red mug." becomes "the red mug"."""
    match = _VERB.match(instruction)
    rest = instruction[match.end() :] if match else instruction
    return rest.rstrip(" .!?") or instruction


def sentence(text: str) -> str:
    """The text with a full stop at its end, unless it ends with a mark."""
    return text if text.endswith((".", "!", "?", ":")) else f"{text}."
