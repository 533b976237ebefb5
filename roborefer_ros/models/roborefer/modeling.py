# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The RoboRefer network on transformers' SigLIP and Qwen2.

Two SigLIP towers (RGB, depth) with a projector each turn tiles into rows that replace the
media placeholders of the prompt; a Qwen2 language model reads the result.  There is no
fusion layer: depth is a second sequence of rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional
from transformers import Qwen2ForCausalLM, SiglipVisionConfig, SiglipVisionModel

from roborefer_ros.models.roborefer.configuration import RoboReferConfig, downsampling


class Projector(nn.Module):
    """Groups k x k patches into one row and maps it to the language model's width.

    k = 3 (``mlp_downsample_3x3_fix``): LayerNorm, Linear to 3C, GELU, LayerNorm, Linear,
    GELU, Linear.  k = 2 (``mlp_downsample``): LayerNorm, Linear, GELU, Linear.  The GELUs
    are exact, unlike those of SigLIP.
    """

    def __init__(self, kind: str, channels: int, hidden: int) -> None:
        super().__init__()
        self.block = downsampling(kind)
        wide = self.block**2 * channels
        if self.block == 3:
            tail: list[nn.Module] = [
                nn.Linear(wide, 3 * channels),
                nn.GELU(),
                nn.LayerNorm(3 * channels),
                nn.Linear(3 * channels, hidden),
                nn.GELU(),
                nn.Linear(hidden, hidden),
            ]
        else:
            tail = [nn.Linear(wide, hidden), nn.GELU(), nn.Linear(hidden, hidden)]
        # Element 0 is the (weightless) grouping in the official numbering of the weights.
        self.layers = nn.Sequential(nn.Identity(), nn.LayerNorm(wide), *tail)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """``[n, H*H, C]`` patch features to ``[n, ceil(H/k)**2, hidden]`` rows."""
        projected: torch.Tensor = self.layers(group_patches(features, self.block))
        return projected


def group_patches(features: torch.Tensor, block: int) -> torch.Tensor:
    """``[n, H*H, C]`` to ``[n, ceil(H/k)**2, k*k*C]``, zero-padded at the bottom and the right."""
    count, tokens, channels = features.shape
    side = int(tokens**0.5)
    grid = features.reshape(count, side, side, channels)
    missing = -side % block
    if missing:
        grid = functional.pad(grid, (0, 0, 0, missing, 0, missing))
    blocks = (side + missing) // block
    grid = grid.reshape(count, blocks, block, blocks, block, channels).transpose(2, 3)
    return grid.reshape(count, blocks * blocks, block * block * channels)


class RoboRefer(nn.Module):
    """Language model, towers and projectors, with random weights until loaded."""

    def __init__(self, config: RoboReferConfig) -> None:
        super().__init__()
        self.config = config
        self.llm = Qwen2ForCausalLM(config.llm)
        self.vision_tower = SiglipVisionModel(config.vision)
        channels, hidden = config.vision.hidden_size * config.scale_count, config.llm.hidden_size
        self.mm_projector = Projector(config.projector_type, channels, hidden)
        self.depth_tower: SiglipVisionModel | None = None
        self.depth_projector: Projector | None = None
        if config.depth is not None:
            self.depth_tower = SiglipVisionModel(config.depth)
        if config.depth_projector_type is not None:
            tower_config: SiglipVisionConfig = config.depth or config.vision
            channels = tower_config.hidden_size * config.scale_count
            self.depth_projector = Projector(config.depth_projector_type, channels, hidden)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the weights."""
        return next(self.parameters()).dtype

    @property
    def is_complete(self) -> bool:
        """Whether all layers are there, those that are never computed, too."""
        towers = [t for t in (self.vision_tower, self.depth_tower) if t is not None]
        return all(len(t.encoder.layers) == t.config.num_hidden_layers for t in towers)

    def drop_unused_layers(self) -> None:
        """Remove the towers' layers (and the norm) after the selected hidden state."""
        for tower in (self.vision_tower, self.depth_tower):
            if tower is not None:
                used = self.config.used_layers(tower.config)
                tower.encoder.layers = tower.encoder.layers[:used]
                tower.post_layernorm = nn.Identity()  # type: ignore[assignment]

    def tower_features(self, tower: SiglipVisionModel, pixel_values: torch.Tensor) -> torch.Tensor:
        """``[T, 3, S, S]`` to the selected hidden state ``[T, N, C]``.

        The layers after the selected one, and the final norm, are not computed.
        """
        hidden = tower.embeddings(pixel_values)
        for layer in tower.encoder.layers[: self.config.used_layers(tower.config)]:
            output = layer(hidden, attention_mask=None)
            hidden = output[0] if isinstance(output, tuple) else output
        assert isinstance(hidden, torch.Tensor)
        return hidden

    def encode_images(
        self, pixel_values: torch.Tensor, block_sizes: Sequence[tuple[int, int]] = ()
    ) -> list[torch.Tensor]:
        """Rows per placeholder.

        Args:
            pixel_values: ``[T, 3, S, S]`` tiles of all images.
            block_sizes: 8B mode: ``(rows, columns)`` of each image's last grid.

        Returns:
            2B mode: one ``[rows, hidden]`` per tile; 8B mode: one per image.
        """
        return self._encode(self.vision_tower, self.mm_projector, pixel_values, block_sizes)

    def encode_depths(
        self, pixel_values: torch.Tensor, block_sizes: Sequence[tuple[int, int]] = ()
    ) -> list[torch.Tensor]:
        """Likewise for depth pictures; through the RGB tower where there is no depth tower.

        Raises:
            ValueError: this checkpoint has no depth branch.
        """
        if self.depth_projector is None:
            raise ValueError("this checkpoint has no depth branch; ask it without depth")
        tower = self.depth_tower if self.depth_tower is not None else self.vision_tower
        return self._encode(tower, self.depth_projector, pixel_values, block_sizes)

    def _encode(
        self,
        tower: SiglipVisionModel,
        projector: Projector,
        pixel_values: torch.Tensor,
        block_sizes: Sequence[tuple[int, int]],
    ) -> list[torch.Tensor]:
        features = self.tower_features(tower, pixel_values.to(self.device, self.dtype))
        return self.project(projector, features, block_sizes)

    def project(
        self,
        projector: Projector,
        features: torch.Tensor,
        block_sizes: Sequence[tuple[int, int]] = (),
    ) -> list[torch.Tensor]:
        """Rows per placeholder from a tower's selected hidden state.

        Args:
            projector: Projector of the tower.
            features: ``[T, N, C]`` of all tiles.
            block_sizes: 8B mode: ``(rows, columns)`` of each picture's last grid.

        Returns:
            2B mode: one ``[rows, hidden]`` per tile; 8B mode: one per picture.
        """
        if self.config.image_aspect_ratio == "dynamic":
            return list(projector(features))
        return self._multi_scale(features, projector, block_sizes)

    def _multi_scale(
        self,
        features: torch.Tensor,
        projector: Projector,
        block_sizes: Sequence[tuple[int, int]],
    ) -> list[torch.Tensor]:
        """Resample all scales to one grid, join their channels, project block by block."""
        config, side = self.config, int(features.shape[1] ** 0.5)
        blocks, grids_out, start = [], [], 0
        for rows, columns in block_sizes:
            grids = [(s // config.tile_size,) * 2 for s in config.s2_scales[:-1]]
            grids.append((rows, columns))
            maps = []
            for r, c in grids:
                maps.append(mosaic(features[start : start + r * c], r, c, side))
                start += r * c
            target = maps[config.s2_resize_output_to_scale_idx].shape[:2]
            joined = torch.cat([resample(m, (target[0], target[1])) for m in maps], dim=-1)
            blocks.append(cut_blocks(joined, side))
            grids_out.append(grids[config.s2_resize_output_to_scale_idx])
        projected = projector(torch.cat(blocks))
        result, start = [], 0
        for block, (rows, columns) in zip(blocks, grids_out, strict=True):
            own = projected[start : start + len(block)]
            start += len(block)
            whole = mosaic(own, rows, columns, int(own.shape[1] ** 0.5))
            result.append(whole.flatten(0, 1))
        return result

    def splice(
        self,
        input_ids: torch.Tensor,
        image_embeds: Sequence[torch.Tensor],
        depth_embeds: Sequence[torch.Tensor],
        *,
        image_token_id: int,
        depth_token_id: int,
        newline_token_id: int,
        max_length: int | None = None,
    ) -> torch.Tensor:
        """Replace each placeholder by its rows and the embedding of a newline.

        Args:
            input_ids: ``[N]`` ids of the prompt.
            image_embeds: ``[rows, hidden]`` of each image placeholder, in order.
            depth_embeds: ``[rows, hidden]`` of each depth placeholder, in order.
            image_token_id: Id of the image placeholder.
            depth_token_id: Id of the depth placeholder.
            newline_token_id: Id of the newline that follows a medium.
            max_length: Greatest length of the result; the rest is cut off.

        Returns:
            ``[M, hidden]``.

        Raises:
            ValueError: more or fewer placeholders than media.
        """
        embed = self.llm.get_input_embeddings()
        ids = input_ids.to(self.device)
        newline = embed(torch.tensor([newline_token_id], device=self.device))
        queues = {image_token_id: list(image_embeds), depth_token_id: list(depth_embeds)}
        is_media = (ids == image_token_id) | (ids == depth_token_id)
        pieces, start = [], 0
        for position in is_media.nonzero().flatten().tolist():
            queue = queues[int(ids[position])]
            if not queue:
                raise ValueError("the prompt has more media placeholders than media were given")
            pieces += [embed(ids[start:position]), queue.pop(0), newline]
            start = position + 1
        pieces.append(embed(ids[start:]))
        if any(queues.values()):
            raise ValueError("more media were given than the prompt has placeholders")
        return torch.cat(pieces)[:max_length]


def mosaic(tiles: torch.Tensor, rows: int, columns: int, side: int) -> torch.Tensor:
    """``[rows*columns, side*side, C]`` tiles, row by row, to one ``[H, W, C]`` map."""
    channels = tiles.shape[-1]
    grid = tiles.reshape(rows, columns, side, side, channels).transpose(1, 2)
    return grid.reshape(rows * side, columns * side, channels)


def cut_blocks(image: torch.Tensor, side: int) -> torch.Tensor:
    """The inverse of ``mosaic``."""
    height, width, channels = image.shape
    rows, columns = height // side, width // side
    grid = image.reshape(rows, side, columns, side, channels).transpose(1, 2)
    return grid.reshape(rows * columns, side * side, channels)


def resample(image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """``[H, W, C]`` to another size by area averaging, computed in float32."""
    channels_first = image.permute(2, 0, 1)[None].float()
    resized = functional.interpolate(channels_first, size=size, mode="area")
    return resized[0].permute(1, 2, 0).to(image.dtype)
