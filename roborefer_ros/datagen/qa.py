# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""One question with its answer, and everything that is known about how it came to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from roborefer_ros.datagen.templates import DIMENSIONS

#: the files of the released data that hold each kind
CHOICE, TEMPLATE, VACANT, MULTI_VIEW, VISUAL, REASONED = (
    "choice_qa",
    "reasoning_template_qa",
    "vacant_qa",
    "multi_view_qa",
    "visual_choice_qa",
    "metadata",
)
PARTS = (CHOICE, TEMPLATE, VACANT, MULTI_VIEW, VISUAL, REASONED)


@dataclass(frozen=True)
class QA:
    """A question about one scene.

    Attributes:
        part: Which file it belongs to, one of ``PARTS``.
        form: "yes_no", "which", "which_of", "value", "fact", "point", "free" or "turn".
        relations: Names out of the 31 that it turns on.
        question: Text, without placeholders of pictures.
        answer: Text.
        option: The answer as an option that must not become too frequent; "" for open answers.
        steps: How many steps it takes, 1 to 5.
        derivation: Structure of the question, from which the answer can be worked out again.
        point: Normalised answer point; None for text.
        thinking: One step a line; "".
        key_steps: The steps as values: type, target, value.
        question_type: Sentence that names the kind of question, of reasoned ones.
    """

    part: str
    form: str
    relations: tuple[str, ...]
    question: str
    answer: str
    option: str
    steps: int
    derivation: dict[str, Any]
    point: tuple[float, float] | None = None
    thinking: str = ""
    key_steps: tuple[dict[str, Any], ...] = ()
    question_type: str = ""

    @property
    def balance_key(self) -> str:
        """Among which questions the options are balanced."""
        subject = self.relations[0]
        if self.form == "fact":
            subject = DIMENSIONS[subject]
        return f"{self.part}/{self.form}/{subject}"
