# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The loss of a batch: answers of packed questions, and what the network should see on the way."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from roborefer_ros.models.roborefer.modeling import RoboRefer
from roborefer_ros.training.tabletop.alignment import WordAlignment
from roborefer_ros.training.tabletop.auxiliary import PatchHeads, PatchLabels
from roborefer_ros.training.tabletop.grounding import grounding_loss
from roborefer_ros.training.tabletop.loader import Batch
from roborefer_ros.training.tabletop.packed_decoder import packed_decoder
from roborefer_ros.training.tabletop.packing import IGNORE
from roborefer_ros.training.tabletop.recipe import TabletopRecipe
from roborefer_ros.training.tabletop.segments import Prefix


class TabletopLosses(nn.Module):
    """The network with its auxiliary heads; ``forward`` gives the losses of a batch."""

    def __init__(
        self, model: RoboRefer, tokenizer: Any, prefix: Prefix, recipe: TabletopRecipe
    ) -> None:
        super().__init__()
        self.model = model
        self.prefix = prefix
        colours, shapes = len(recipe.colours), len(recipe.shapes)
        self.image_heads = PatchHeads(recipe.vision_width, colours, shapes)
        self.depth_heads = PatchHeads(recipe.depth_width, colours, shapes)
        self.row_heads = PatchHeads(recipe.hidden_width, colours, shapes)
        self.alignment = WordAlignment(tokenizer, recipe.colours, recipe.shapes)
        self._block = recipe.block
        self._grounded = [(layer, 1) for layer in recipe.mention_layers]
        self._grounded += [(layer, 0) for layer in recipe.grounding_layers]
        self._mentions = len(recipe.mention_layers)
        rows = recipe.rows_per_tile
        before, between, after = (
            len(p) for p in (prefix.before_image, prefix.between, prefix.after_depth)
        )
        self.prefix_length = before + between + after + 2 * (rows + 1)
        self._hidden = (before + rows + 1, before + 2 * (rows + 1) + between)
        image = torch.arange(rows) + before
        depth = torch.arange(rows) + self._hidden[0] + between
        self.register_buffer("_rows", torch.stack([image, depth]), persistent=False)
        self.decoder: Any = packed_decoder
        self.towers: Any = self._towers

    def compile_passes(self) -> None:
        """Compile towers and language model: a minute or two, and several times faster then."""
        self.decoder = torch.compile(packed_decoder, dynamic=False)
        self.towers = torch.compile(self._towers, dynamic=False)

    def _towers(self, rgb: torch.Tensor, depth: torch.Tensor) -> tuple[torch.Tensor, ...]:
        model = self.model
        assert model.depth_tower is not None
        assert model.depth_projector is not None
        image = model.tower_features(model.vision_tower, rgb)
        form = model.tower_features(model.depth_tower, depth)
        return image, form, model.mm_projector(image), model.depth_projector(form)

    def forward(
        self, batch: Batch, device: torch.device, settled: bool = True
    ) -> dict[str, torch.Tensor]:
        """Return the losses ``answer`` (weighted), ``patches``, ``mentions``, ``grounding``, ...

        Until the auxiliary heads have ``settled``, they learn and the network does not from them.
        """
        image, form, rows, depth_rows = self.towers(batch.rgb.to(device), batch.depth.to(device))
        patches, packed = _to(batch.patches, device), _to(batch.packed, device)
        auxiliary = self._auxiliary(image, form, rows, patches, settled)
        embed = self.model.llm.get_input_embeddings()
        prefix_mask, slot_mask, positions = self._masks(batch.without_depth.to(device), packed.mask)
        last = positions[:, -1, None, None] + 1
        hidden, scores = self.decoder(
            self.model.llm.model,
            self._prefix(rows, depth_rows),
            embed(packed.input_ids),
            positions,
            packed.positions + last,
            prefix_mask,
            slot_mask.flatten(0, 1)[:, None],
            tuple(self._grounded),
        )
        wanted = packed.labels != IGNORE
        logits = self.model.llm.lm_head(hidden[wanted]).float()
        entropy = functional.cross_entropy(logits, packed.labels[wanted], reduction="none")
        weights = packed.weights[wanted]
        assert isinstance(self._rows, torch.Tensor)
        looks = [packed.mention_cells] * self._mentions
        looks += [packed.answer_cells] * (len(scores) - self._mentions)
        grounding = [
            grounding_loss(s, slot_mask, cells, self._rows)
            for s, cells in zip(scores, looks, strict=True)
        ]
        return {
            "answer": (entropy * weights).sum() / weights.sum(),
            "patches": auxiliary,
            "mentions": torch.stack(grounding[: self._mentions]).mean(),
            "grounding": torch.stack(grounding[self._mentions :]).mean(),
            "alignment": self.alignment.loss(rows, patches, embed),
        }

    def _auxiliary(
        self,
        image: torch.Tensor,
        form: torch.Tensor,
        rows: torch.Tensor,
        patches: PatchLabels,
        settled: bool,
    ) -> torch.Tensor:
        if not settled:
            image, form, rows = image.detach(), form.detach(), rows.detach()
        blocks = patches.of_blocks(self._block)
        total = self.image_heads.loss(image, patches) + self.row_heads.loss(rows, blocks)
        # Colour cannot be seen in depth: only its shape and centre read-outs are trained usefully,
        # the colour head merely learns the prior.
        return total + 0.3 * self.depth_heads.loss(form, patches)

    def _masks(
        self, without_depth: torch.Tensor, slots: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Masks ``[B, 1, P, P]`` and ``[B, S, L, P + L]`` and the prefix's positions ``[B, P]``.

        An image without depth has the same rows; those of its depth are seen by nobody and take
        no position.
        """
        length, device = self.prefix_length, without_depth.device
        seen = torch.ones(len(without_depth), length, dtype=torch.bool, device=device)
        seen[without_depth, self._hidden[0] : self._hidden[1]] = False
        positions = (seen.long().cumsum(-1) - 1).clamp(min=0)
        causal = torch.ones(length, length, dtype=torch.bool, device=device).tril()
        itself = torch.eye(length, dtype=torch.bool, device=device)
        prefix = (causal & seen[:, None]) | itself
        before = seen[:, None, None].expand(-1, slots.shape[1], slots.shape[2], -1)
        return prefix[:, None], torch.cat([before, slots], -1), positions

    def _prefix(self, image: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
        """Splice ``[B, rows, H]`` media into the prefix, each followed by a newline row."""
        embed = self.model.llm.get_input_embeddings()

        def text(ids: tuple[int, ...]) -> torch.Tensor:
            rows = embed(torch.tensor(ids, dtype=torch.long, device=image.device))
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
    moved = {
        name: value.to(device) if isinstance(value, torch.Tensor) else value
        for name, value in vars(values).items()
    }
    return type(values)(**moved)
