# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Several questions about one image in one sequence, none seeing another.

A sequence is the shared prefix (system text and media) followed by the questions, each
with its answer.  Every question attends to the prefix and to itself only, and its
positions continue from the prefix's end, so that each is computed exactly as if it were
asked alone, while the media are encoded once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

IGNORE = -100

#: answer tokens up to the first digit that says where: "[(", "0", ".", digit.  The rest of an
#: answer follows from it, so where to look must be known by then.
_UNDECIDED = 4


@dataclass(frozen=True)
class Segment:
    """Token ids of one question's turn and of its answer (with the closing token).

    ``cell`` is the number of the image row that shows the answer's point, or IGNORE.
    """

    question: tuple[int, ...]
    answer: tuple[int, ...]
    cell: int = IGNORE


@dataclass(frozen=True)
class PackedBatch:
    """Packed questions of several images.

    Attributes:
        input_ids: ``[B, L]`` of the questions and answers, without the prefix.
        labels: ``[B, L]``; position i holds the token that i must predict, or IGNORE.
        weights: ``[B, L]`` float weight of each label.
        cells: ``[B, L]`` the segment's ``cell`` where the answer is still open, else IGNORE.
        position_ids: ``[B, P + L]``.
        mask: ``[B, 1, P + L, P + L]`` bool, True = may attend.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor
    cells: torch.Tensor
    position_ids: torch.Tensor
    mask: torch.Tensor


def pack(
    batch: Sequence[Sequence[Segment]],
    prefix_length: int,
    pad_id: int,
    digit_weights: Mapping[int, Sequence[float]] | None = None,
) -> PackedBatch:
    """Pack the segments of each image behind a prefix of ``prefix_length`` rows.

    Args:
        batch: Segments of each image.
        prefix_length: rows of the spliced prefix, equal for all images.
        pad_id: fills up shorter sequences.
        digit_weights: answer length -> weight of each of its tokens; 1.0 where absent.
    """
    lengths = [sum(len(s.question) + len(s.answer) for s in segments) for segments in batch]
    longest = max(lengths)
    count, total = len(batch), prefix_length + longest
    ids = torch.full((count, longest), pad_id, dtype=torch.long)
    labels = torch.full((count, longest), IGNORE, dtype=torch.long)
    weights = torch.zeros((count, longest))
    cells = torch.full((count, longest), IGNORE, dtype=torch.long)
    positions = torch.zeros((count, total), dtype=torch.long)
    positions[:, :prefix_length] = torch.arange(prefix_length)
    owner = torch.full((count, total), -1, dtype=torch.long)
    owner[:, :prefix_length] = 0
    for row, segments in enumerate(batch):
        start = 0
        for number, segment in enumerate(segments, start=1):
            tokens = (*segment.question, *segment.answer)
            end, answer_start = start + len(tokens), start + len(segment.question)
            ids[row, start:end] = torch.tensor(tokens)
            labels[row, answer_start - 1 : end - 1] = torch.tensor(segment.answer)
            wanted = (digit_weights or {}).get(len(segment.answer), [1.0] * len(segment.answer))
            weights[row, answer_start - 1 : end - 1] = torch.tensor(wanted)
            cells[row, answer_start - 1 : min(answer_start - 1 + _UNDECIDED, end - 1)] = (
                segment.cell
            )
            span = slice(prefix_length + start, prefix_length + end)
            positions[row, span] = prefix_length + torch.arange(len(tokens))
            owner[row, span] = number
            start = end
    causal = torch.ones(total, total, dtype=torch.bool).tril()
    same = owner[:, :, None] == owner[:, None, :]
    to_prefix = (owner == 0)[:, None, :]
    # Padding has no owner to share with anybody but padding, so no row is left empty.
    mask = causal & (same | to_prefix)
    return PackedBatch(ids, labels, weights, cells, positions, mask[:, None])
