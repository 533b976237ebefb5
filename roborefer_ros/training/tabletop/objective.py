# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The loss of a batch: answers of packed questions, and what each patch shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from roborefer_ros.models.roborefer.modeling import RoboRefer
from roborefer_ros.pointing.answers import parse_tuples
from roborefer_ros.pointing.prompts import roborefer_prompt
from roborefer_ros.training.tabletop.alignment import WordAlignment
from roborefer_ros.training.tabletop.auxiliary import PatchHeads
from roborefer_ros.training.tabletop.dataset import Sample
from roborefer_ros.training.tabletop.grounding import AttentionGrounding
from roborefer_ros.training.tabletop.loader import Batch
from roborefer_ros.training.tabletop.packing import IGNORE, Segment
from roborefer_ros.training.tabletop.recipe import Recipe


@dataclass(frozen=True)
class Prefix:
    """The ids that every prompt begins with, cut where the media go."""

    before_image: tuple[int, ...]
    between: tuple[int, ...]
    after_depth: tuple[int, ...]
    newline: int


def segments_of(
    tokenizer: Any, samples: Sequence[Sample], grid: int
) -> tuple[list[list[Segment]], Prefix]:
    """Tokenise every question exactly as at inference and cut off the common prefix.

    Args:
        tokenizer: Tokenizer of the network.
        samples: Samples of the data set.
        grid: rows and columns of a tile's projected features.

    Raises:
        ValueError: prompts do not share their prefix (more than one tile an image).
    """
    image_id, depth_id = (tokenizer.convert_tokens_to_ids(t) for t in ("<image>", "<depth>"))
    newline = tokenizer.encode("\n", add_special_tokens=False)[-1]
    known: dict[str, tuple[int, ...]] = {}

    def prompt(question: str) -> tuple[int, ...]:
        if question not in known:
            content = f"<image>\n <depth>\n\n{roborefer_prompt(question)}"
            text = tokenizer.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
            )
            known[question] = tuple(tokenizer.encode(text, add_special_tokens=False))
        return known[question]

    first = prompt(samples[0].turns[0].question)
    cut = first.index(depth_id) + 2  # the double newline after <depth> is one token or two
    if tokenizer.decode([first[cut - 1]]) == "\n":
        cut += 1
    end_of_turn = tokenizer.eos_token_id
    segments = []
    for sample in samples:
        row = []
        for turn in sample.turns:
            ids = prompt(turn.question)
            if ids[:cut] != first[:cut]:
                raise ValueError(f"the prompt of {turn.question!r} does not share the prefix")
            answer = tuple(tokenizer.encode(turn.answer, add_special_tokens=False))
            row.append(Segment(ids[cut:], (*answer, end_of_turn), _cell(turn.answer, grid)))
        segments.append(row)
    image_at, depth_at = first.index(image_id), first.index(depth_id)
    prefix = Prefix(
        first[:image_at], first[image_at + 1 : depth_at], first[depth_at + 1 : cut], newline
    )
    return segments, prefix


def _cell(answer: str, grid: int) -> int:
    """Which projected row of a tile shows the first point of an answer."""
    x, y = parse_tuples(answer)[0].point
    column, row = (min(int(value * grid), grid - 1) for value in (x, y))
    return row * grid + column


class Objective(nn.Module):
    """The network with its auxiliary heads; ``forward`` gives the losses of a batch."""

    def __init__(self, model: RoboRefer, tokenizer: Any, prefix: Prefix, recipe: Recipe) -> None:
        super().__init__()
        self.model = model
        self.prefix = prefix
        colours, shapes = len(recipe.colours), len(recipe.shapes)
        self.image_heads = PatchHeads(recipe.vision_width, colours, shapes)
        self.depth_heads = PatchHeads(recipe.depth_width, colours, shapes)
        self.alignment = WordAlignment(tokenizer, recipe.colours, recipe.shapes)
        texts = sum(len(p) for p in (prefix.before_image, prefix.between, prefix.after_depth))
        self.prefix_length = texts + 2 * (recipe.rows_per_tile + 1)
        self.grounding = AttentionGrounding(
            [model.llm.model.layers[number] for number in recipe.grounding_layers]
        )

    def forward(self, batch: Batch, device: torch.device) -> dict[str, torch.Tensor]:
        """Return the losses ``answer`` (weighted), ``patches``, ``grounding``, ``alignment``."""
        model = self.model
        assert model.depth_tower is not None
        assert model.depth_projector is not None
        image = model.tower_features(model.vision_tower, batch.rgb.to(device))
        depth = model.tower_features(model.depth_tower, batch.depth.to(device))
        patches = _to(batch.patches, device)
        auxiliary = self.image_heads.loss(image, patches)
        # Colour cannot be seen in depth: only its shape and centre read-outs are trained usefully,
        # the colour head merely learns the prior.
        auxiliary = auxiliary + 0.3 * self.depth_heads.loss(depth, patches)
        rows = model.mm_projector(image)
        prefix = self._prefix(rows, model.depth_projector(depth))
        packed = _to(batch.packed, device)
        embed = model.llm.get_input_embeddings()
        with self.grounding.recording():
            hidden = model.llm.model(
                inputs_embeds=torch.cat([prefix, embed(packed.input_ids)], dim=1),
                attention_mask=packed.mask,
                position_ids=packed.position_ids,
                use_cache=False,
            ).last_hidden_state[:, self.prefix_length :]
        wanted = packed.labels != IGNORE
        logits = model.llm.lm_head(hidden[wanted]).float()
        entropy = functional.cross_entropy(logits, packed.labels[wanted], reduction="none")
        weights = packed.weights[wanted]
        grounding = self.grounding.loss(
            packed.mask, packed.cells, self.prefix_length, len(self.prefix.before_image)
        )
        return {
            "answer": (entropy * weights).sum() / weights.sum(),
            "patches": auxiliary,
            "grounding": grounding,
            "alignment": self.alignment.loss(rows, patches, embed),
        }

    def _prefix(self, image: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
        """Splice ``[B, rows, H]`` media into the prefix, each followed by a newline row."""
        embed = self.model.llm.get_input_embeddings()

        def text(ids: tuple[int, ...]) -> torch.Tensor:
            rows = embed(torch.tensor(ids, device=image.device))
            return rows.to(image.dtype).expand(len(image), -1, -1)

        prefix, newline = self.prefix, (self.prefix.newline,)
        return torch.cat(
            [
                *(text(prefix.before_image), image, text(newline)),
                *(text(prefix.between), depth, text(newline), text(prefix.after_depth)),
            ],
            dim=1,
        )


def _to(values: Any, device: torch.device) -> Any:
    """A copy of a dataclass of tensors on the device."""
    return type(values)(**{name: value.to(device) for name, value in vars(values).items()})
