# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Guessing the brackets between the digits of ``[(0.412, 0.655)]``.

A point is 14 tokens of Qwen2's tokenizer, of which only the six decimals tell anything.
``AnswerTemplate`` proposes the others, the decoding loop reads them together with the digit
before and keeps what the network would have said: 7 runs of the network in place of 15, the
same answer.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

#: answers of more points are decoded token by token from there
_MAX_POINTS = 4

#: two points with other digits at every place
_EXAMPLES = ("(0.412, 0.655)", "(0.837, 0.290)")


class AnswerTemplate:
    """A draft for the decoding loop: the tokens of RoboRefer's answers, up to the next digit.

    Args:
        tokenizer: Tokenizer of the checkpoint.  One that joins digits gives no draft.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._digits = {
            ids[0]
            for ids in (tokenizer.encode(d, add_special_tokens=False) for d in "0123456789")
            if len(ids) == 1
        }
        #: answers of 1, 2, ... points; None stands for any digit
        self._forms = [
            form
            for count in range(1, _MAX_POINTS + 1)
            if (form := self._form(tokenizer, count)) is not None
        ]

    @property
    def longest(self) -> int:
        """Greatest number of tokens that are proposed at once."""
        gaps = (
            list(itertools.takewhile(lambda t: t is not None, form[at:]))
            for form in self._forms
            for at in range(len(form))
        )
        return max(map(len, gaps), default=0)

    def __call__(self, ids: Sequence[int]) -> list[int]:
        """What follows these tokens in the first form that begins with them."""
        for form in self._forms:
            if len(ids) < len(form) and all(map(self._fits, ids, form)):
                return _up_to_gap(form[len(ids) :])
        return []

    def _fits(self, token: int, place: int | None) -> bool:
        return token in self._digits if place is None else token == place

    def _form(self, tokenizer: Any, count: int) -> list[int | None] | None:
        one, other = (
            tokenizer.encode(f"[{', '.join([point] * count)}]", add_special_tokens=False)
            for point in _EXAMPLES
        )
        if len(one) != len(other):
            return None
        form = [a if a == b else None for a, b in zip(one, other, strict=True)]
        return form if form.count(None) == 6 * count else None


def _up_to_gap(form: Sequence[int | None]) -> list[int]:
    tokens: list[int] = []
    for token in form:
        if token is None:
            break
        tokens.append(token)
    return tokens
