# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""RoboRefer as the reference runs it: a plain eager loop of transformers, for comparison.

Every question tiles its pictures with PIL on the CPU, runs both towers through all their layers,
splices, and calls ``generate`` with transformers' growing cache, one token after the other.
Nothing is kept between questions.  It runs on the network object that this project runs, so that
both compute with the same weights, in the same type, on the same device.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoTokenizer, GenerationConfig, Qwen2ForCausalLM, SiglipVisionModel

from roborefer_ros.models.roborefer.configuration import RoboReferConfig
from roborefer_ros.models.roborefer.modeling import Projector, RoboRefer
from roborefer_ros.models.roborefer.processing import (
    RoboReferInputs,
    RoboReferProcessor,
    TiledPictures,
    normalise_placeholders,
    without_placeholders,
)
from roborefer_ros.models.roborefer.tiling import dynamic_s2_tiles, dynamic_tiles

Pixels = npt.NDArray[np.uint8]

#: the float that the reference multiplies with
_RESCALE = 0.00392156862745098


@dataclass(frozen=True)
class ReferenceAnswer:
    """What the loop said, and how long each stage took.

    Attributes:
        ids: New tokens.
        stages_s: Seconds of ``preprocess``, ``towers``, ``prefill`` and ``decode``.
    """

    ids: list[int]
    stages_s: dict[str, float]

    @property
    def total_s(self) -> float:
        """Seconds from the pictures to the last token."""
        return sum(self.stages_s.values())


def open_the_references_way(folder: Path) -> tuple[RoboRefer, RoboReferProcessor]:
    """Open a checkpoint on the CPU in float32 with transformers' own ``from_pretrained``.

    Args:
        folder: Checkpoint in the official layout.
    """
    config = RoboReferConfig.from_folder(folder)
    with torch.device("meta"):
        network = RoboRefer(config)
    opened: Any = Qwen2ForCausalLM.from_pretrained(
        folder / "llm", dtype=torch.float32, trust_remote_code=False
    )
    network.llm = opened
    for name in ("vision_tower", "depth_tower"):
        tower: Any = SiglipVisionModel.from_pretrained(
            folder / name, dtype=torch.float32, trust_remote_code=False
        )
        setattr(network, name, tower)
    for name in ("mm_projector", "depth_projector"):
        weights: dict[str, torch.Tensor] = {}
        for path in sorted((folder / name).glob("*.safetensors")):
            weights |= load_file(path)
        getattr(network, name).load_state_dict(weights, assign=True)
    tokenizer = AutoTokenizer.from_pretrained(folder / "llm", trust_remote_code=False)
    network.float().eval().requires_grad_(False)
    return network, RoboReferProcessor(tokenizer, config)


class ReferenceLoop:
    """Answers one question at a time, the reference's way.

    Args:
        network: Network, opened with all layers of its towers (``keep_unused=True``).
        processor: Its tokenizer and image side.
    """

    def __init__(self, network: RoboRefer, processor: RoboReferProcessor) -> None:
        if not network.is_complete:
            raise ValueError("open the checkpoint with keep_unused=True: the reference runs all")
        self.network = network
        self.processor = processor

    @torch.inference_mode()
    def answer(
        self,
        text: str,
        images: Sequence[Pixels],
        depths: Sequence[Pixels] = (),
        *,
        tokens: int = 15,
        forced: bool = True,
    ) -> ReferenceAnswer:
        """Answer one question.

        Args:
            text: Prompt.
            images: ``[H, W, 3]`` pictures.
            depths: ``[H, W]`` depth pictures, near = bright.
            tokens: Greatest number of new tokens.
            forced: Whether exactly that many are generated, whatever they are.
        """
        marks = [self._now()]
        inputs = self._inputs(text, images, depths)
        marks.append(self._now())
        network = self.network
        image_rows = self._encoded(
            network.vision_tower,
            network.mm_projector,
            inputs.image_pixel_values,
            inputs.image_block_sizes,
        )
        depth_rows = []
        if depths:
            assert network.depth_projector is not None
            depth_rows = self._encoded(
                network.depth_tower if network.depth_tower is not None else network.vision_tower,
                network.depth_projector,
                inputs.depth_pixel_values,
                inputs.depth_block_sizes,
            )
        marks.append(self._now())
        embeds = network.splice(
            inputs.input_ids, image_rows, depth_rows, **self.processor.splice_ids
        )
        firsts: list[float] = []
        ids = self._generated(embeds, tokens, forced, firsts)
        marks += [firsts[0], self._now()]
        names = ("preprocess", "towers", "prefill", "decode")
        durations = (b - a for a, b in zip(marks, marks[1:], strict=False))
        return ReferenceAnswer(ids, dict(zip(names, durations, strict=True)))

    def _generated(
        self, embeds: torch.Tensor, tokens: int, forced: bool, firsts: list[float]
    ) -> list[int]:
        """Tokens of ``generate``; notes when the first one was there."""
        stop = list(self.processor.stop_ids)
        config: Any = GenerationConfig(
            max_new_tokens=tokens,
            min_new_tokens=tokens if forced else None,
            do_sample=False,
            repetition_penalty=1.0,
            eos_token_id=None if forced else stop,
            pad_token_id=stop[0],
        )

        def note(_: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            """Run for each token, with its logits; the first call ends the prefill."""
            if not firsts:
                firsts.append(self._now())
            return scores

        generate: Any = self.network.llm.generate
        ids = generate(
            inputs_embeds=embeds[None],
            attention_mask=torch.ones((1, len(embeds)), dtype=torch.long, device=embeds.device),
            generation_config=config,
            logits_processor=[note],
        )
        new: list[int] = ids[0].tolist()
        return [token for token in new if forced or token not in stop]

    def _inputs(
        self, text: str, images: Sequence[Pixels], depths: Sequence[Pixels]
    ) -> RoboReferInputs:
        """Ids and pixels, each picture resized and normalised on the CPU."""
        processor = self.processor
        content = "<image>" * len(images) + "<depth>" * len(depths) + without_placeholders(text)
        own, other = self._tiled(images), self._tiled(depths)
        content = processor.expand(normalise_placeholders(content), own, other)
        return RoboReferInputs(
            input_ids=processor.prompt_ids(content),
            image_pixel_values=own.pixel_values,
            depth_pixel_values=other.pixel_values,
            image_block_sizes=own.block_sizes,
            depth_block_sizes=other.block_sizes,
        )

    def _tiled(self, pictures: Sequence[Pixels]) -> TiledPictures:
        config = self.processor.config
        tiles, counts, blocks = [], [], []
        for picture in pictures:
            image = Image.fromarray(picture).convert("RGB")
            if config.image_aspect_ratio == "dynamic":
                own = dynamic_tiles(image, config.min_tiles, config.max_tiles, config.tile_size)
            else:
                own, block = dynamic_s2_tiles(
                    image, config.s2_scales, config.max_tiles, config.tile_size
                )
                blocks.append(block)
            tiles += own
            counts.append(len(own))
        if not tiles:
            return TiledPictures()
        values = []
        for tile in tiles:  # one image processor call a tile, in float64, as the reference does
            scaled = (tile.astype(np.float64) * _RESCALE).astype(np.float32)
            normal = (scaled - np.float32(0.5)) / np.float32(0.5)
            values.append(torch.from_numpy(np.ascontiguousarray(normal.transpose(2, 0, 1))))
        return TiledPictures(tuple(counts), torch.stack(values).half(), blocks)

    def _encoded(
        self,
        tower: SiglipVisionModel,
        projector: Projector,
        pixels: torch.Tensor | None,
        block_sizes: Sequence[tuple[int, int]],
    ) -> list[torch.Tensor]:
        """Rows per placeholder, from a tower that is run to its end."""
        assert pixels is not None
        network = self.network
        output: Any = tower(pixels.to(network.device, network.dtype), output_hidden_states=True)
        features = output.hidden_states[network.config.select_layer]
        return network.project(projector, features, block_sizes)

    def _now(self) -> float:
        if self.network.device.type == "cuda":
            torch.cuda.synchronize(self.network.device)
        return time.perf_counter()
