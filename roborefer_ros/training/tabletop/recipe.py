# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Everything that defines a training run: the network's shape and how it is trained.

The defaults are those of the bundled demonstration network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn
from transformers import Qwen2Config, SiglipVisionConfig

from roborefer_ros.models.roborefer.configuration import RoboReferConfig, downsampling
from roborefer_ros.models.roborefer.modeling import RoboRefer
from roborefer_ros.simulation.instructions import COLOURS, SHAPES

#: share of each kind in what is asked
_SHARES = {
    "named": 0.10, "attribute": 0.05, "left_of": 0.05, "right_of": 0.05, "in_front_of": 0.04,
    "behind": 0.05, "nearest": 0.03, "farthest": 0.03, "leftmost": 0.02, "rightmost": 0.02,
    "closest_to": 0.12, "nth_from_side": 0.11, "between": 0.10, "free_beside": 0.08,
    "free_between": 0.06, "absent": 0.09, "every": 0.02,
}  # fmt: skip


Projector = Literal["mlp_downsample_3x3_fix", "mlp_downsample_2x2_fix"]


@dataclass(frozen=True)
class Recipe:
    """Sizes, schedule and seed of a run."""

    # the network: one tile, towers of SigLIP's kind, a language model of Qwen2's kind
    image_size: int = 252
    patch_size: int = 14
    vision_width: int = 128
    vision_layers: int = 5  # the last one is not used: the feature is the one before (as RoboRefer)
    depth_width: int = 64
    depth_layers: int = 3
    hidden_width: int = 160
    hidden_layers: int = 6
    attention_heads: int = 5
    key_value_heads: int = 1
    mlp_width: int = 432
    vocabulary: int = 1024
    projector: Projector = "mlp_downsample_2x2_fix"

    # the run
    seed: int = 0
    compiled: bool = True  # by torch.compile
    batch_images: int = 16
    slots: int = 3  # of questions behind each image
    slot_tokens: int = 144
    in_steps: float = 0.6  # share of the images with a question that is answered in steps
    without_depth: float = 0.3  # share of the images
    validation_images: int = 128
    learning_rate: float = 1e-3
    matrix_learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup_steps: int = 100
    cooldown: float = 0.4  # last part of the run, in which the rate falls to zero
    auxiliary_weight: float = 0.3
    grounding_weight: float = 1.0
    mention_weight: float = 1.0
    alignment_weight: float = 0.3
    mention_layers: tuple[int, ...] = (1, 2)
    grounding_layers: tuple[int, ...] = (3, 4)
    average_decay: float = 0.99  # of the weights' moving average, taken every few steps
    average_every: int = 5

    kind_shares: dict[str, float] = field(default_factory=lambda: dict(_SHARES))
    colours: tuple[str, ...] = tuple(COLOURS)
    shapes: tuple[str, ...] = tuple(SHAPES)

    @property
    def block(self) -> int:
        """Patches along each side that the projector joins into one row."""
        return downsampling(self.projector)

    @property
    def projected_grid(self) -> int:
        """Rows and columns of a tile's features behind the projector."""
        return math.ceil(self.image_size / self.patch_size / self.block)

    @property
    def rows_per_tile(self) -> int:
        """Rows that the projector makes of one tile."""
        return self.projected_grid**2

    def learning_rate_factor(self, done: float, step: int) -> float:
        """Linear warm-up, constant, then linear to zero over the cooldown."""
        warm = min(1.0, (step + 1) / self.warmup_steps)
        return warm * min(1.0, max(0.0, (1.0 - done) / self.cooldown))

    def optimisers(self, module: nn.Module) -> list[torch.optim.Optimizer]:
        """Muon for the matrices inside the layers, AdamW for everything else."""
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in module.named_parameters():
            inside = "layers" in name and parameter.ndim == 2
            (matrices if inside else others).append(parameter)
        muon = torch.optim.Muon(
            matrices,
            lr=self.matrix_learning_rate,
            weight_decay=self.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )
        adamw = torch.optim.AdamW(
            others, lr=self.learning_rate, betas=(0.9, 0.98), weight_decay=0.0
        )
        for optimiser in (muon, adamw):
            for group in optimiser.param_groups:
                group["base_lr"] = group["lr"]
        return [muon, adamw]


def build_network(recipe: Recipe, tokenizer: Any) -> RoboRefer:
    """A network of the recipe's shape with random weights."""
    head_width = recipe.hidden_width // recipe.attention_heads

    def tower(width: int, layers: int) -> SiglipVisionConfig:
        return SiglipVisionConfig(
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=max(1, width // head_width),
            image_size=recipe.image_size,
            patch_size=recipe.patch_size,
            vision_use_head=False,
        )

    llm = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden_width,
        intermediate_size=recipe.mlp_width,
        num_hidden_layers=recipe.hidden_layers,
        num_attention_heads=recipe.attention_heads,
        num_key_value_heads=recipe.key_value_heads,
        max_position_embeddings=tokenizer.model_max_length,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = RoboReferConfig(
        llm=llm,
        vision=tower(recipe.vision_width, recipe.vision_layers),
        depth=tower(recipe.depth_width, recipe.depth_layers),
        projector_type=recipe.projector,
        depth_projector_type=recipe.projector,
        max_tiles=1,
    )
    return RoboRefer(config)
