# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From conversations to token ids, with what each token should look at and how much it weighs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from roborefer_ros.pointing.prompts import POINT_SUFFIX, roborefer_prompt
from roborefer_ros.training.tabletop.dataset import Sample, Turn
from roborefer_ros.training.tabletop.packing import Segment
from roborefer_ros.training.tabletop.tokenizer import THINK_REQUEST

_POINT = re.compile(r"\((\d\.\d+), (\d\.\d+)\)")

#: weight of an answer's characters: the first two decimals are what the mask asks for; brackets
#: and zeros are learned at once
_DECIMALS = (1.0, 1.0, 0.2)
_LETTERS, _FIRST, _OTHERS = 0.3, 0.5, 0.1


@dataclass(frozen=True)
class Prefix:
    """The ids that every prompt begins with, cut where the media go."""

    before_image: tuple[int, ...]
    between: tuple[int, ...]
    after_depth: tuple[int, ...]
    newline: int


def segments_of(
    tokenizer: Any, samples: Sequence[Sample], grid: int
) -> tuple[list[tuple[list[Segment], list[Segment]]], Prefix]:
    """Tokenise every question exactly as at inference and cut off the common prefix.

    Args:
        tokenizer: Of the network.
        samples: Of the data set.
        grid: Rows and columns of a tile's projected features.

    Returns:
        For each sample the segments of direct answers and of those in steps; the prefix.

    Raises:
        ValueError: Prompts do not share their prefix (more than one tile an image).
    """
    maker = _Maker(tokenizer, grid)
    rows = []
    for sample in samples:
        centres = {
            item["id"]: _cell(item["pixel_centroid_normalised"], grid) for item in sample.instances
        }
        direct = [maker.segment(turn, centres) for turn in sample.turns]
        steps = [maker.segment(turn, centres, True) for turn in sample.turns if turn.steps]
        rows.append((direct, steps))
    return rows, maker.prefix


class _Maker:
    def __init__(self, tokenizer: Any, grid: int) -> None:
        self._tokenizer, self._grid = tokenizer, grid
        image_id, depth_id = (tokenizer.convert_tokens_to_ids(t) for t in ("<image>", "<depth>"))
        newline = tokenizer.encode("\n", add_special_tokens=False)[-1]
        text = self._rendered("x", "<image>\n <depth>\n\n")
        self._head, self._tail = text.split("x " + POINT_SUFFIX)
        ids, offsets = self._encode(text)
        self._cut = next(n for n, (start, _) in enumerate(offsets) if start >= len(self._head))
        image_at, depth_at = ids.index(image_id), ids.index(depth_id)
        self.prefix = Prefix(
            ids[:image_at], ids[image_at + 1 : depth_at], ids[depth_at + 1 : self._cut], newline
        )
        self._shared = ids[: self._cut]
        if self._encode(self._rendered("x", "<image>\n\n"))[0] != (
            *self.prefix.before_image, image_id, *self.prefix.after_depth, *ids[self._cut :]
        ):  # fmt: skip
            raise ValueError("the prompt without depth is not that with depth, depth left out")

    def _rendered(self, question: str, media: str) -> str:
        text: str = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": media + roborefer_prompt(question)}],
            add_generation_prompt=True,
            tokenize=False,
        )
        return text

    def _encode(self, text: str) -> tuple[tuple[int, ...], list[tuple[int, int]]]:
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return tuple(encoded["input_ids"]), list(encoded["offset_mapping"])

    def segment(self, turn: Turn, centres: dict[int, int], in_steps: bool = False) -> Segment:
        """One question with its answer, asked for directly or in steps."""
        ids, offsets = self._encode(self._head + roborefer_prompt(turn.question) + self._tail)
        if ids[: self._cut] != self._shared:
            raise ValueError(f"the prompt of {turn.question!r} does not share the prefix")
        begin = len(self._head)
        mentions = []
        for end, instances in turn.mentions:
            last = begin + end - 1
            token = next(n for n, (a, b) in enumerate(offsets) if a <= last < b)
            mentions += [(token - self._cut, centres[i]) for i in instances if i in centres]
        question = ids[self._cut :]
        if in_steps:
            # Behind the request for points, before the turn ends.
            request = self._tokenizer.convert_tokens_to_ids(THINK_REQUEST)
            place = question.index(self._tokenizer.eos_token_id)
            question = (*question[:place], request, *question[place:])
        answer = in_steps_text(turn) if in_steps else turn.answer
        answer_ids, spans = self._encode(answer)
        weights, cells = _weights(answer, spans), _looks(answer, spans, self._grid)
        return Segment(
            question,
            (*answer_ids, self._tokenizer.eos_token_id),
            (*weights, _OTHERS),
            tuple(cells),
            tuple(mentions),
            turn.kind,
        )


def in_steps_text(turn: Turn) -> str:
    """The answer in RoboRefer's form with reasoning."""
    lines = [
        f"Step {n}: [Position] [{words}]: [({x:.3f}, {y:.3f})]"
        for n, (words, (x, y)) in enumerate(turn.steps, 1)
    ]
    thoughts = "\n".join(lines)
    return f"<think>\n{thoughts}\n</think>\n<answer>{turn.answer}</answer>"


def _cell(point: Sequence[float], grid: int) -> int:
    column, row = (min(int(value * grid), grid - 1) for value in point)
    return row * grid + column


def _weights(text: str, spans: Sequence[tuple[int, int]]) -> list[float]:
    """Weight of each token: the largest of its characters."""
    of = [_LETTERS if c.isalpha() else _OTHERS for c in text]
    of[0] = _FIRST
    for match in _POINT.finditer(text):
        for group in (1, 2):
            first = match.start(group) + 2
            for n, weight in enumerate(_DECIMALS[: match.end(group) - first]):
                of[first + n] = weight
        if match.end() < len(text):  # is there another point?
            of[match.end()] = _LETTERS
    return [max(of[a:b], default=_OTHERS) for a, b in spans]


def _looks(text: str, spans: Sequence[tuple[int, int]], grid: int) -> list[tuple[int, int]]:
    """Each point's cell for the tokens up to its first decimal; the rest follows from that."""
    looks = []
    for match in _POINT.finditer(text):
        cell = _cell((float(match[1]), float(match[2])), grid)
        until = match.start(1) + 3
        looks += [(n, cell) for n, (a, b) in enumerate(spans) if b > match.start() and a < until]
    return looks
