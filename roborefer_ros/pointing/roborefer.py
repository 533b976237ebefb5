# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""RoboRefer behind the Pointer protocol."""

from __future__ import annotations

import functools
import importlib.resources
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from roborefer_ros.errors import (
    CheckpointNotFoundError,
    ModelFailedError,
    ModelOutOfMemoryError,
    RoboReferError,
)
from roborefer_ros.frame import Mode
from roborefer_ros.models.roborefer.checkpoint import load_roborefer
from roborefer_ros.models.roborefer.decoding import Generated, generate
from roborefer_ros.models.roborefer.processing import DEPTH, IMAGE, RoboReferInputs
from roborefer_ros.pointing.answers import parse_tuples, point_confidences, split_reasoning
from roborefer_ros.pointing.pointer import PointerAnswer, check_interrupts
from roborefer_ros.pointing.prompts import roborefer_prompt

#: the name of the network that comes with the package
DEMO = "demo"


class RoboReferPointer:
    """A loaded RoboRefer checkpoint.

    Args:
        source: folder or hub id; ``demo`` is the bundled demonstration network.
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda``, ``cuda:1`` ...
        dtype: ``auto`` (bfloat16 on CUDA, float32 on CPU), ``float32``, ``float16``, ``bfloat16``.
        use_depth: show the model the depth picture, where it has a depth branch.
        max_new_tokens: a longer answer is cut off.
        revision: of a hub id.

    Raises:
        CheckpointNotFoundError, CheckpointInvalidError, ModelOutOfMemoryError
    """

    def __init__(
        self,
        source: str,
        *,
        device: str = "auto",
        dtype: str = "auto",
        use_depth: bool = True,
        max_new_tokens: int = 512,
        revision: str | None = None,
    ) -> None:
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise ModelFailedError(
                f"device {device!r} was asked for, but torch sees no CUDA GPU; use device:=cpu "
                "or install a CUDA build of torch (`roborefer doctor` shows what torch sees)"
            )
        folder = demo_folder() if source == DEMO else source
        self._name = f"roborefer:{source}"
        self.model, self.processor = load_roborefer(folder, device, dtype, revision)
        self._use_depth = use_depth and self.model.config.has_depth
        self._max_new_tokens = max_new_tokens
        tokenizer = self.processor.tokenizer
        self._image_id, self._depth_id, self._stop_id = tokenizer.convert_tokens_to_ids(
            [IMAGE, DEPTH, "<|im_end|>"]
        )
        self._newline_id = tokenizer.encode("\n", add_special_tokens=False)[-1]

    @property
    def name(self) -> str:
        return self._name

    @property
    def uses_depth(self) -> bool:
        return self._use_depth

    def point(
        self,
        rgb: npt.NDArray[np.uint8],
        relative_depth: npt.NDArray[np.uint8] | None,
        instruction: str,
        mode: Mode = Mode.AUTO,
        *,
        max_points: int = 0,
        deadline: float | None = None,
        cancelled: Callable[[], bool] = lambda: False,
        on_text: Callable[[str], None] = lambda _: None,
    ) -> PointerAnswer:
        """See ``Pointer.point``."""

        check = functools.partial(check_interrupts, deadline, cancelled)

        timings: dict[str, float] = {}
        ends: list[int] = []

        def on_token(ids: list[int]) -> None:
            text = self._decode(ids)
            ends.append(len(text))
            on_text(text)

        depths = [relative_depth] if self._use_depth and relative_depth is not None else []
        try:
            check()
            generated = self._generate(rgb, depths, instruction, timings, check, on_token)
        except RoboReferError:
            raise
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            raise ModelOutOfMemoryError(
                "the GPU ran out of memory while answering; close other programs on it, use "
                "dtype bfloat16 or a smaller model"
            ) from error
        except Exception as error:
            raise ModelFailedError(f"the model failed: {type(error).__name__}: {error}") from error
        text = self._decode(list(generated.ids))
        return self._answer(text, generated, ends, timings, max_points)

    def close(self) -> None:
        """Free the weights."""
        del self.model
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _generate(
        self,
        rgb: npt.NDArray[np.uint8],
        depths: list[npt.NDArray[np.uint8]],
        instruction: str,
        timings: dict[str, float],
        check: Callable[[], None],
        on_token: Callable[[list[int]], None],
    ) -> Generated:
        """Preprocess, encode, splice and decode; fills in the timings of each stage."""
        started = time.perf_counter()

        def lap(stage: str) -> None:
            nonlocal started
            if self.model.device.type == "cuda":
                torch.cuda.synchronize(self.model.device)
            now = time.perf_counter()
            timings[stage] = now - started
            started = now

        inputs = self.processor(roborefer_prompt(instruction), [rgb], depths)
        lap("preprocess")
        embeds = self._embeds(inputs, check)
        lap("encode")
        generated = generate(
            self.model.llm,
            embeds,
            stop_ids=[self._stop_id],
            max_new_tokens=self._max_new_tokens,
            check=check,
            on_token=on_token,
            on_prefill=lambda: lap("prefill"),
        )
        lap("decode")
        return generated

    @torch.inference_mode()
    def _embeds(self, inputs: RoboReferInputs, check: Callable[[], None]) -> torch.Tensor:
        images, depths = [], []
        if inputs.image_pixel_values is not None:
            images = self.model.encode_images(inputs.image_pixel_values, inputs.image_block_sizes)
            check()
        if inputs.depth_pixel_values is not None:
            depths = self.model.encode_depths(inputs.depth_pixel_values, inputs.depth_block_sizes)
            check()
        return self.model.splice(
            inputs.input_ids,
            images,
            depths,
            image_token_id=self._image_id,
            depth_token_id=self._depth_id,
            newline_token_id=self._newline_id,
        )

    def _decode(self, ids: list[int]) -> str:
        text: str = self.processor.tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def _answer(
        self,
        text: str,
        generated: Generated,
        ends: list[int],
        timings: dict[str, float],
        max_points: int,
    ) -> PointerAnswer:
        try:
            matches = parse_tuples(text)
        except RoboReferError as error:
            error.answer = text.strip()
            raise
        if max_points:
            matches = matches[:max_points]
        return PointerAnswer(
            text=text.strip(),
            points=tuple(m.point for m in matches),
            confidences=point_confidences(matches, ends, generated.logprobs),
            token_logprobs=np.asarray(generated.logprobs, np.float32),
            timings_s=timings,
            reasoning=split_reasoning(text)[0],
        )


def demo_folder() -> Path:
    """Where the bundled demonstration network lies.

    Raises:
        CheckpointNotFoundError: this installation does not have it.
    """
    folder = Path(str(importlib.resources.files("roborefer_ros") / "demo_brain"))
    if not (folder / "config.json").exists():
        raise CheckpointNotFoundError(
            f"the bundled network is missing from {folder}; reinstall the package, or give a "
            "checkpoint: roborefer:<folder or hub id>"
        )
    return folder
