# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Several questions about one image behind one prefix, none seeing another.

The shared prefix (system text and media) is followed by slots of a fixed length, each filled with
as many questions, with their answers, as fit.  Every question attends to the prefix and to itself
only, and its positions continue from the prefix's end, so that each is computed exactly as if it
were asked alone, while the media are encoded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

IGNORE = -100


@dataclass(frozen=True)
class Segment:
    """One question's turn and its answer (with the closing token).

    Attributes:
        question, answer: Token ids.
        weights: Of each answer token in the loss.
        answer_cells: ``(token, cell)``: where the network should look when it predicts that token
            of the answer; a cell is the number of a projected row of the image.
        mention_cells: ``(token, cell)``: what that token of the question names.
        kind: Of the question.
    """

    question: tuple[int, ...]
    answer: tuple[int, ...]
    weights: tuple[float, ...]
    answer_cells: tuple[tuple[int, int], ...] = ()
    mention_cells: tuple[tuple[int, int], ...] = ()
    kind: str = ""

    def __len__(self) -> int:
        return len(self.question) + len(self.answer)


@dataclass(frozen=True)
class PackedBatch:
    """Packed questions of several images: B images, S slots of L tokens, C cells.

    Attributes:
        input_ids: ``[B, S, L]``.
        labels: ``[B, S, L]``; position i holds the token that i must predict, or IGNORE.
        weights: ``[B, S, L]`` float weight of each label.
        positions: ``[B, S, L]``, counted from the prefix's end.
        mask: ``[B, S, L, L]`` bool, True = may attend.
        answer_cells, mention_cells: ``[B, S, L, C]`` bool, where to look; no cell = anywhere.
        questions: How many were packed.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    answer_cells: torch.Tensor
    mention_cells: torch.Tensor
    questions: int


def pack(
    batch: Sequence[Sequence[Segment]], *, slots: int, length: int, cells: int, pad_id: int
) -> PackedBatch:
    """Pack the segments of each image, in their order, as far as they fit.

    Args:
        batch: For each image its segments.
        slots: Slots of each image.
        length: Tokens of each slot.
        cells: Projected rows of an image.
        pad_id: Fills up the slots.
    """
    shape = (len(batch), slots, length)
    ids = torch.full(shape, pad_id, dtype=torch.long)
    labels = torch.full(shape, IGNORE, dtype=torch.long)
    weights, positions = torch.zeros(shape), torch.zeros(shape, dtype=torch.long)
    owner = torch.zeros(shape, dtype=torch.long)
    answers = torch.zeros((*shape, cells), dtype=torch.bool)
    mentions = torch.zeros((*shape, cells), dtype=torch.bool)
    packed = 0
    for row, segments in enumerate(batch):
        used = [0] * slots
        for number, segment in enumerate(segments, start=1):
            room = [n for n in range(slots) if used[n] + len(segment) <= length]
            if not room:
                continue
            slot = room[0]
            start, end = used[slot], used[slot] + len(segment)
            begin = start + len(segment.question) - 1  # predicts the answer's first token
            ids[row, slot, start:end] = torch.tensor((*segment.question, *segment.answer))
            labels[row, slot, begin : end - 1] = torch.tensor(segment.answer)
            weights[row, slot, begin : end - 1] = torch.tensor(segment.weights)
            positions[row, slot, start:end] = torch.arange(end - start)
            owner[row, slot, start:end] = number
            for token, cell in segment.answer_cells:
                answers[row, slot, begin + token, cell] = True
            for token, cell in segment.mention_cells:
                mentions[row, slot, start + token, cell] = True
            used[slot] = end
            packed += 1
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    mask = causal & (owner[..., :, None] == owner[..., None, :])
    return PackedBatch(ids, labels, weights, positions, mask, answers, mentions, packed)
