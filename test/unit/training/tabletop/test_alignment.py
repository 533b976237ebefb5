# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Which words an image row should point to, and that the loss rewards just those."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from roborefer_ros.training.tabletop.alignment import WordAlignment, _presence  # noqa: E402
from roborefer_ros.training.tabletop.auxiliary import PatchLabels  # noqa: E402

COLOURS, SHAPES = ("red", "green"), ("mug", "box", "ball")
WORDS = {f" {name}": number for number, name in enumerate((*COLOURS, *SHAPES))}


class _OneTokenPerWord:
    def encode(self, text, add_special_tokens):
        assert not add_special_tokens
        return [WORDS[text]]


def test_a_row_shows_what_any_of_its_nine_patches_shows():
    classes = torch.zeros(1, 6, 6, dtype=torch.long)
    classes[0, 2, 2] = 1  # last corner of the first block
    classes[0, 0, 3] = 2  # first corner of the second
    classes[0, 2, 5] = 1
    expected = [[1, 0], [1, 1], [0, 0], [0, 0]]
    assert _presence(classes.flatten(1), 2, 4).tolist() == [expected]


@pytest.mark.parametrize(("right", "low"), [(True, True), (False, False)])
def test_rows_along_the_right_words_cost_little(right, low):
    colour = torch.zeros(1, 3, 3, dtype=torch.long)
    colour[0, 1, 1] = 1  # red
    shape = torch.zeros(1, 3, 3, dtype=torch.long)
    shape[0, 1, 1] = 2  # box
    labels = PatchLabels(
        colour.flatten(1), shape.flatten(1), torch.zeros(1, 9, 2), torch.zeros(1, 9, 2)
    )
    embedding = torch.nn.Embedding(len(WORDS), len(WORDS))
    embedding.weight.data = torch.eye(len(WORDS))
    row = torch.full((1, 1, len(WORDS)), -10.0)
    row[0, 0, [WORDS[" red"], WORDS[" box"] if right else WORDS[" mug"]]] = 10.0
    loss = WordAlignment(_OneTokenPerWord(), COLOURS, SHAPES).loss(row, labels, embedding)
    assert (loss.item() < 0.01) == low
