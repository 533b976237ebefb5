# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Everything that defines a training run: the network's shape and how it is trained.

The defaults are those of the bundled demonstration network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from transformers import Qwen2Config, SiglipVisionConfig

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.models.roborefer.configuration import RoboReferConfig, downsampling
from roborefer_ros.models.roborefer.modeling import RoboRefer
from roborefer_ros.simulation.instructions import COLOURS, SHAPES
from roborefer_ros.training.sft.recipe import SftRecipe

#: share of each kind in what is asked
_SHARES = {
    "named": 0.10, "attribute": 0.05, "left_of": 0.05, "right_of": 0.05, "in_front_of": 0.04,
    "behind": 0.05, "nearest": 0.03, "farthest": 0.03, "leftmost": 0.02, "rightmost": 0.02,
    "closest_to": 0.12, "nth_from_side": 0.11, "between": 0.10, "free_beside": 0.08,
    "free_between": 0.06, "absent": 0.09, "every": 0.02,
}  # fmt: skip


Projector = Literal["mlp_downsample_3x3_fix", "mlp_downsample_2x2_fix"]

#: values of ``SftRecipe`` that this objective cannot change
_KNOWN_ONLY: dict[str, Any] = {
    "parallel": "ddp", "held_out": 0.0, "eval_mixture": "", "parts": (), "lora_rank": 0,
    "mixture": "", "packing": False, "think": "none", "max_tiles": 0, "tiling": "dynamic",
}  # fmt: skip


@dataclass(frozen=True)
class TabletopRecipe(SftRecipe):
    """A recipe of ``roborefer sft`` with what only the bundled network needs.

    A row is an image with as many of its questions as fit.

    Attributes:
        image_size, patch_size: Sides of the one tile and of a patch, pixels.
        vision_width, depth_width: Channels of the towers.
        vision_layers, depth_layers: Layers of the towers; the last one is not used, as in
            RoboRefer.
        hidden_width, hidden_layers, attention_heads, key_value_heads, mlp_width: Of the language
            model.
        vocabulary: Learned entries of the tokenizer.
        projector: Patches that are joined to one row.
        compiled: Whether towers and language model are compiled by ``torch.compile``.
        slots, slot_tokens: Rows of questions behind each image, and their length.
        in_steps: Share of the images with a question that is answered in steps.
        without_depth: Share of the images whose depth is not shown.
        validation_images: First images of the data, whose loss is taken and which are not trained
            on.
        auxiliary_weight, grounding_weight, mention_weight, alignment_weight: Of the losses beside
            that of the answers.
        mention_layers, grounding_layers: Layers with a head that is told where to look.
        kind_shares: Kind of question -> share in what is asked.
        colours, shapes: Names of what patches show.
    """

    objective: str = "tabletop"
    seed: int = 0
    learning_rate: float = 1e-3
    optimizer: Literal["adamw", "muon"] = "muon"
    weight_decay: float = 0.05
    beta2: float = 0.98
    warmup: float = 0.02
    schedule: Literal["cosine", "trapezoid"] = "trapezoid"
    average_decay: float = 0.99
    average_every: int = 5
    global_batch: int = 16
    device_batch: int = 16
    max_steps: int = 6000
    precision: Literal["auto", "bf16", "fp32"] = "bf16"
    parallel: Literal["auto", "ddp", "fsdp"] = "ddp"
    gradient_checkpointing: bool = False
    workers: int = 0
    save_every: int = 500
    log_every: int = 20
    eval_every: int = 500

    image_size: int = 252
    patch_size: int = 14
    vision_width: int = 128
    vision_layers: int = 5
    depth_width: int = 64
    depth_layers: int = 3
    hidden_width: int = 160
    hidden_layers: int = 6
    attention_heads: int = 5
    key_value_heads: int = 1
    mlp_width: int = 432
    vocabulary: int = 1024
    projector: Projector = "mlp_downsample_2x2_fix"
    compiled: bool = True
    slots: int = 3
    slot_tokens: int = 144
    in_steps: float = 0.6
    without_depth: float = 0.3
    validation_images: int = 128
    auxiliary_weight: float = 0.3
    grounding_weight: float = 1.0
    mention_weight: float = 1.0
    alignment_weight: float = 0.3
    mention_layers: tuple[int, ...] = (1, 2)
    grounding_layers: tuple[int, ...] = (3, 4)
    kind_shares: dict[str, float] = field(default_factory=lambda: dict(_SHARES))
    colours: tuple[str, ...] = tuple(COLOURS)
    shapes: tuple[str, ...] = tuple(SHAPES)

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, known in _KNOWN_ONLY.items():
            if getattr(self, key) != known:
                raise ConfigurationError(
                    f"{key} is {getattr(self, key)!r}; objective tabletop knows {known!r} only"
                )

    @property
    def is_evaluated(self) -> bool:
        """Whether there is something to evaluate: the loss of validation images always is."""
        return True

    @property
    def loss_weights(self) -> dict[str, float]:
        """Weight of each loss beside that of the answers."""
        return {
            "patches": self.auxiliary_weight,
            "grounding": self.grounding_weight,
            "mentions": self.mention_weight,
            "alignment": self.alignment_weight,
        }

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


def build_network(recipe: TabletopRecipe, tokenizer: Any) -> RoboRefer:
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
