# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The network that depth alignment starts from: NVILA with a second branch for depth."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import torch

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.models.roborefer.checkpoint import load_roborefer, save_roborefer, torch_dtype
from roborefer_ros.models.roborefer.tokenizing import fit_vocabulary


def init_depth(source: str | Path, output: Path, dtype: str = "bfloat16") -> None:
    """Write NVILA-Depth: copies of the RGB tower and projector, and the token ``<depth>``.

    The token's row of embedding and head is the mean of the others: it is never looked up, since
    the rows of a depth picture take its place.

    Args:
        source: NVILA's checkpoint, folder or hub id.
        output: Folder of the new checkpoint.
        dtype: Type that is stored.

    Raises:
        ConfigurationError: the checkpoint has a depth branch already.
        CheckpointInvalidError, CheckpointNotFoundError: it cannot be read.
        OSError: the new one cannot be written.
    """
    device = torch.device("cpu")
    kind = torch_dtype(dtype, device)
    model, processor = load_roborefer(source, device, kind, keep_unused=True)
    if model.depth_projector is not None:
        raise ConfigurationError(
            f"{source} has a depth branch already: align it with `roborefer sft --stage align`"
        )
    config = model.config
    model.config = processor.config = replace(
        config, depth=config.vision, depth_projector_type=config.projector_type, enable_depth=True
    )
    model.depth_tower = copy.deepcopy(model.vision_tower)
    model.depth_projector = copy.deepcopy(model.mm_projector)
    fit_vocabulary(model, processor.tokenizer)
    save_roborefer(model, processor.tokenizer, output, kind)
