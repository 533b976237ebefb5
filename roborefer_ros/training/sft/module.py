# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""One forward pass of a stage: pictures, splicing, language model and the summed loss.

Sharded weights are gathered by hooks of ``forward`` only, so everything happens inside it.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional

from roborefer_ros.models.roborefer.labels import (
    IGNORE,
    SplicedBatch,
    TrainingBatch,
    splice_media,
)
from roborefer_ros.models.roborefer.modeling import RoboRefer
from roborefer_ros.models.roborefer.processing import BlockSizes, RoboReferProcessor


@dataclass(frozen=True)
class StageLoss:
    """What a forward pass gives.

    Attributes:
        total: Cross entropy summed over the learned tokens, scalar, float32.
        per_row: ``[B]`` the same for each row, without gradient.
        tokens: ``[B]`` learned tokens of each row.
        parts: Name -> further loss that ``total`` holds, mean of the batch, without gradient.
    """

    total: torch.Tensor
    per_row: torch.Tensor
    tokens: torch.Tensor
    parts: dict[str, torch.Tensor] = field(default_factory=dict)


class MediaModule(nn.Module):
    """A network and how its pictures are encoded; what is done with them is the subclass'.

    Args:
        model: Its weights are those that learn.
        processor: Of the same checkpoint.
        every_part: Whether both media branches run in every pass, on a black tile of weight zero
            where the batch has no such picture.  Sharded or averaged weights need it: all
            processes must take part in every exchange.
        autocast: Type of the computation under autocast; None for that of the weights.
    """

    def __init__(
        self,
        model: RoboRefer,
        processor: RoboReferProcessor,
        *,
        every_part: bool = True,
        autocast: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.processor = processor
        self.every_part = every_part
        self.autocast = autocast

    def _precision(self) -> contextlib.AbstractContextManager[object]:
        if self.autocast is None:
            return contextlib.nullcontext()
        return torch.autocast(self.model.device.type, dtype=self.autocast)

    def _encode(
        self, batch: TrainingBatch, kind: str
    ) -> tuple[list[torch.Tensor], torch.Tensor | float]:
        """Rows of the pictures of a kind, and a zero that holds its branch in the graph."""
        model = self.model
        encode = model.encode_images if kind == "image" else model.encode_depths
        pixels = batch.image_pixel_values if kind == "image" else batch.depth_pixel_values
        sizes = batch.image_block_sizes if kind == "image" else batch.depth_block_sizes
        if pixels is not None:
            return encode(pixels, sizes), 0.0
        if not self.every_part or (kind == "depth" and model.depth_projector is None):
            return [], 0.0
        rows = encode(*self._black())
        return [], 0.0 * torch.stack([r.float().sum() for r in rows]).sum()

    def _black(self) -> tuple[torch.Tensor, BlockSizes]:
        """The smallest picture that passes through a branch."""
        config = self.model.config
        side, tiles, sizes = config.tile_size, 1, []  # type: int, int, BlockSizes
        if config.image_aspect_ratio == "dynamic_s2":
            tiles += sum((scale // side) ** 2 for scale in config.s2_scales[:-1])
            sizes = [(1, 1)]
        return torch.full((tiles, 3, side, side), -1.0), sizes


class StageModule(MediaModule):
    """The network with its loss.

    Args:
        model: Its weights are those that learn.
        processor: Of the same checkpoint.
        packing: Whether the rows of a batch become one sequence.
        every_part: See ``MediaModule``.
        autocast: See ``MediaModule``.
    """

    def __init__(
        self,
        model: RoboRefer,
        processor: RoboReferProcessor,
        *,
        packing: bool = False,
        every_part: bool = True,
        autocast: torch.dtype | None = None,
    ) -> None:
        super().__init__(model, processor, every_part=every_part, autocast=autocast)
        self.packing = packing

    def forward(self, batch: TrainingBatch) -> StageLoss:
        """The loss of a batch; see ``StageLoss``."""
        with self._precision():
            # First images, then depth, then text on every process: the order of the exchanges.
            images, extra_image = self._encode(batch, "image")
            depths, extra_depth = self._encode(batch, "depth")
            spliced = splice_media(self.model, self.processor, batch, images, depths)
            loss = self._text_loss(spliced)
        return StageLoss(loss.total + extra_image + extra_depth, loss.per_row, loss.tokens)

    @staticmethod
    def weight(batch: TrainingBatch) -> float:
        """Learned tokens of a batch."""
        return float((batch.labels[:, 1:] != IGNORE).sum())

    def _text_loss(self, spliced: SplicedBatch) -> StageLoss:
        """Run the language model; its head on the positions that predict a learned token only."""
        embeds, mask = spliced.inputs_embeds, spliced.attention_mask.to(self.model.device)
        targets = functional.pad(spliced.labels[:, 1:], (0, 1), value=IGNORE).to(embeds.device)
        row = torch.arange(len(targets), device=embeds.device)[:, None].expand_as(targets)
        count = len(targets)
        language = self.model.llm.model
        if self.packing:
            positions = torch.arange(embeds.shape[1], device=embeds.device).expand_as(targets)
            embeds, targets, row = embeds[mask][None], targets[mask][None], row[mask][None]
            output = language(
                inputs_embeds=embeds, position_ids=positions[mask][None], use_cache=False
            )
        else:
            output = language(inputs_embeds=embeds, attention_mask=mask, use_cache=False)
        learned = targets != IGNORE
        logits = self.model.llm.lm_head(output.last_hidden_state[learned])
        each = functional.cross_entropy(logits.float(), targets[learned], reduction="none")
        owner = row[learned]
        per_row = torch.zeros(count, device=each.device).index_add_(0, owner, each.detach())
        return StageLoss(each.sum(), per_row, torch.bincount(owner, minlength=count))
