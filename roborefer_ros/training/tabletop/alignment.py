# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Image rows that speak the language model's words: a training signal, not part of the network.

The towers soon tell a red mug from a green box, but to the language model their rows are a
foreign language, and attention cannot look up "red mug" among them before it has learned it.  So
each projected image row is asked to point in the direction of the embeddings of those words that
name what it shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from roborefer_ros.training.tabletop.auxiliary import PatchLabels


class WordAlignment(nn.Module):
    """Binary cross entropy of ``row . embedding(word)`` for all colours and shapes.

    Args:
        tokenizer: Tokenizer of the language model.
        colours, shapes: class names; class k + 1 of the labels is the k-th name.
    """

    def __init__(self, tokenizer: Any, colours: Sequence[str], shapes: Sequence[str]) -> None:
        super().__init__()
        # As inside a sentence, hence the blank.
        names = [tokenizer.encode(f" {n}", add_special_tokens=False) for n in (*colours, *shapes)]
        self._colours, self._shapes = len(colours), len(shapes)
        longest = max(len(ids) for ids in names)
        padded = torch.tensor([ids + [ids[-1]] * (longest - len(ids)) for ids in names])
        self.register_buffer("ids", padded, persistent=False)

    def loss(self, rows: torch.Tensor, labels: PatchLabels, embedding: nn.Module) -> torch.Tensor:
        """Mean over rows and words, present words weighing as much as the many absent ones.

        Args:
            rows: ``[B, R, H]`` projected rows of one tile an image.
            labels: Labels of its patches, ``[B, N]`` with N a multiple of R.
            embedding: token ids -> ``[..., H]``.
        """
        present = torch.cat(
            [
                _presence(labels.colour, self._colours, rows.shape[1]),
                _presence(labels.shape, self._shapes, rows.shape[1]),
            ],
            dim=-1,
        )
        assert isinstance(self.ids, torch.Tensor)
        words = embedding(self.ids).mean(1).float()
        logits = rows.float() @ words.T
        entropy = functional.binary_cross_entropy_with_logits(logits, present, reduction="none")
        absent = 1.0 - present
        return 0.5 * (
            (entropy * present).sum() / present.sum().clamp(min=1.0)
            + (entropy * absent).sum() / absent.sum().clamp(min=1.0)
        )


def _presence(classes: torch.Tensor, count: int, rows: int) -> torch.Tensor:
    """Which of the classes 1..count a row's patches show: ``[B, N]`` -> ``[B, R, count]`` float."""
    grid = round(classes.shape[1] ** 0.5)
    side = round(rows**0.5)
    block = grid // side
    shown = functional.one_hot(classes, count + 1)[..., 1:]
    blocks = shown.reshape(-1, side, block, side, block, count)
    return blocks.amax(dim=(2, 4)).flatten(1, 2).float()
