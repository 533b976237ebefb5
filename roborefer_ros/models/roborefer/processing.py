# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From text, images and depth pictures to the tensors of one query."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from roborefer_ros.models.chat_template import ChatTemplate
from roborefer_ros.models.roborefer.configuration import RoboReferConfig
from roborefer_ros.models.roborefer.device_resize import tile_on_device
from roborefer_ros.models.roborefer.tiling import (
    Tile,
    closest_grid,
    dynamic_s2_tiles,
    dynamic_tiles,
    pixel_values,
    resize,
    s2_grid,
)

__all__ = [
    "RoboReferInputs",
    "RoboReferProcessor",
    "TiledPictures",
    "expand_placeholders",
    "resize",
]

IMAGE, VIDEO, DEPTH = "<image>", "<vila/video>", "<depth>"
PLACEHOLDERS = (IMAGE, VIDEO, DEPTH)

Picture = npt.NDArray[np.uint8]
BlockSizes = list[tuple[int, int]]


@dataclass(frozen=True)
class Depth:
    """Marks a picture of a prompt as depth: ``[H, W]`` or ``[H, W, 3]`` uint8, near = bright."""

    picture: Picture


@dataclass(frozen=True)
class TiledPictures:
    """The pictures of one modality, cut into tiles.

    Attributes:
        counts: tiles of each picture.
        pixel_values: ``[T, 3, S, S]`` of all of them, or None without pictures.
        block_sizes: ``(rows, columns)`` of each picture's last grid in 8B mode, else empty.
    """

    counts: tuple[int, ...] = ()
    pixel_values: torch.Tensor | None = None
    block_sizes: BlockSizes = field(default_factory=list)


@dataclass(frozen=True)
class RoboReferInputs:
    """The tensors of one query.

    Attributes:
        input_ids: ``[N]`` long; one id per media placeholder.
        image_pixel_values: ``[T, 3, S, S]`` float16, or None without images.
        depth_pixel_values: likewise for depth.
        image_block_sizes, depth_block_sizes: ``(rows, columns)`` per image in 8B mode, else empty.
    """

    input_ids: torch.Tensor
    image_pixel_values: torch.Tensor | None = None
    depth_pixel_values: torch.Tensor | None = None
    image_block_sizes: BlockSizes = field(default_factory=list)
    depth_block_sizes: BlockSizes = field(default_factory=list)


class RoboReferProcessor:
    """Tokeniser and image side of a checkpoint.

    Args:
        tokenizer: the checkpoint's Qwen2 tokenizer with the media tokens added.
        config: Configuration of the same checkpoint.

    Raises:
        CheckpointInvalidError: the tokenizer's chat template cannot be used.
    """

    def __init__(self, tokenizer: Any, config: RoboReferConfig) -> None:
        self.tokenizer = tokenizer
        self.config = config
        self._template = ChatTemplate(tokenizer)

    def __call__(
        self, text: str, images: Sequence[Picture] = (), depths: Sequence[Picture] = ()
    ) -> RoboReferInputs:
        """Images first, then depths, then the text, as the reference's server orders them."""
        return self.from_parts([*images, *(Depth(d) for d in depths), text])

    def from_parts(self, parts: Sequence[str | Picture | Depth]) -> RoboReferInputs:
        """Build a query from text, images and ``Depth`` pictures in any order."""
        content, media = "", {IMAGE: [], DEPTH: []}  # type: tuple[str, dict[str, list[Picture]]]
        for part in parts:
            if isinstance(part, str):
                content += without_placeholders(part)
            else:
                kind = DEPTH if isinstance(part, Depth) else IMAGE
                content += kind
                media[kind].append(part.picture if isinstance(part, Depth) else part)
        images, depths = self.tile(media[IMAGE]), self.tile(media[DEPTH])
        content = self.expand(normalise_placeholders(content), images, depths)
        return RoboReferInputs(
            input_ids=self.prompt_ids(content),
            image_pixel_values=images.pixel_values,
            depth_pixel_values=depths.pixel_values,
            image_block_sizes=images.block_sizes,
            depth_block_sizes=depths.block_sizes,
        )

    def prompt_ids(self, content: str) -> torch.Tensor:
        """Token ids of one user message with the default system message, ready to be answered."""
        messages = [{"role": "user", "content": content}]
        return torch.tensor(self.chat_ids(messages, add_generation_prompt=True))

    def chat_ids(
        self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = False
    ) -> list[int]:
        """Token ids of a conversation in the checkpoint's own template; contents are stripped."""
        text = self._template.text(
            [{"role": m["role"], "content": m["content"].strip()} for m in messages],
            add_generation_prompt,
        )
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def expand(self, content: str, images: TiledPictures, depths: TiledPictures) -> str:
        """In 2B mode each placeholder becomes one per tile; otherwise nothing changes."""
        if self.config.image_aspect_ratio == "dynamic":
            content = expand_placeholders(content, IMAGE, images.counts)
            content = expand_placeholders(content, DEPTH, depths.counts)
        return content

    def tile_on(self, picture: Picture, device: torch.device) -> TiledPictures:
        """The tiles of one picture, made on a device: the same values as those of ``tile``.

        Args:
            picture: ``[H, W]`` or ``[H, W, 3]`` uint8.
            device: Where the tiles are made, and stay.

        Raises:
            ValueError: The picture is not uint8 with one or three channels.
        """
        three_channels(picture[:1, :1])  # checks the type and the channels
        config = self.config
        height, width = picture.shape[:2]
        if config.image_aspect_ratio == "dynamic":
            grid = closest_grid(width, height, config.min_tiles, config.max_tiles, config.tile_size)
            grids = [grid] if grid == (1, 1) else [grid, (1, 1)]
            block_sizes = []
        else:
            last = s2_grid(width, height, config.s2_scales, config.max_tiles, config.tile_size)
            sides = [scale // config.tile_size for scale in config.s2_scales[:-1]]
            grids = [*((side, side) for side in sides), last]
            block_sizes = [(last[1], last[0])]
        values = tile_on_device(picture, grids, config.tile_size, device)
        return TiledPictures((len(values),), values, block_sizes)

    def tile(self, pictures: Sequence[Picture], half: bool = True) -> TiledPictures:
        """Cut ``[H, W]`` or ``[H, W, 3]`` uint8 pictures as the checkpoint asks for.

        ``half``: float16 pixel values (inference) or float32 ones (training).
        """
        config = self.config
        tiles: list[Tile] = []
        counts, block_sizes = [], []
        for picture in pictures:
            image = Image.fromarray(three_channels(picture))
            if config.image_aspect_ratio == "dynamic":
                own = dynamic_tiles(image, config.min_tiles, config.max_tiles, config.tile_size)
            else:
                own, block_size = dynamic_s2_tiles(
                    image, config.s2_scales, config.max_tiles, config.tile_size
                )
                block_sizes.append(block_size)
            tiles += own
            counts.append(len(own))
        pixels = pixel_values(tiles, half) if tiles else None
        return TiledPictures(tuple(counts), pixels, block_sizes)

    @property
    def max_length(self) -> int:
        """Rows of a prompt and its answer together: the tokenizer's ``model_max_length``."""
        return min(int(self.tokenizer.model_max_length), 2**31)  # 1e30 stands for "none"

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """What ends an answer: the template's ``<|im_end|>`` and the tokenizer's own end."""
        end = self.tokenizer.convert_tokens_to_ids("<|im_end|>")
        own = self.tokenizer.eos_token_id
        return (end,) if own is None or own == end else (end, own)

    @property
    def splice_ids(self) -> dict[str, int]:
        """The token ids that ``RoboRefer.splice`` asks for; -1 for a token that is not there."""
        vocabulary = self.tokenizer.get_vocab()
        image, depth = (vocabulary.get(token, -1) for token in (IMAGE, DEPTH))
        newline = self.tokenizer.encode("\n", add_special_tokens=False)[-1]
        return {"image_token_id": image, "depth_token_id": depth, "newline_token_id": newline}


def three_channels(picture: Picture) -> Picture:
    """Replicate a one-channel picture; the reference fails on those.

    Raises:
        ValueError: not uint8 with one or three channels.
    """
    picture = np.asarray(picture)
    if picture.dtype == np.uint8 and picture.ndim == 2:
        return np.repeat(picture[..., None], 3, axis=2)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(
            f"a picture must be uint8 [H, W] or [H, W, 3], not {picture.dtype} {picture.shape}"
        )
    return picture


def without_placeholders(text: str) -> str:
    """Remove media placeholders that a user typed; only such a text is stripped.

    Taking one out may leave another (``<im<image>age>``), so it is repeated.
    """
    while any(placeholder in text for placeholder in PLACEHOLDERS):
        for placeholder in PLACEHOLDERS:
            text = text.replace(placeholder, "")
        text = text.strip()
    return text


def normalise_placeholders(content: str) -> str:
    """Bring paired images and depths to the front; leave anything else alone."""
    pairs = content.count(DEPTH)
    if pairs == 0 or content.count(IMAGE) != pairs:
        return content
    text = re.sub(r"(?:<image>|<depth>)\n?", "", content).strip("\n")
    return f"{IMAGE} {DEPTH}\n" * pairs + text


def expand_placeholders(content: str, placeholder: str, tile_counts: Sequence[int]) -> str:
    """Repeat each placeholder, with a newline, once per tile of its picture (2B mode)."""
    counts = iter(tile_counts)
    return re.sub(re.escape(placeholder), lambda _: f"{placeholder}\n" * next(counts), content)
