# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""RoboRefer behind the Pointer protocol."""

from __future__ import annotations

import functools
import importlib.resources
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from roborefer_ros.errors import (
    CheckpointNotFoundError,
    InstructionTooLongError,
    ModelFailedError,
    ModelOutOfMemoryError,
    RoboReferError,
)
from roborefer_ros.frame import Mode
from roborefer_ros.models.roborefer.checkpoint import load_roborefer
from roborefer_ros.models.roborefer.decoding import Generated, PromptCache, generate
from roborefer_ros.models.roborefer.drafts import AnswerTemplate
from roborefer_ros.models.roborefer.processing import RoboReferInputs
from roborefer_ros.pointing.agreement import SAMPLING_TEMPERATURE, with_agreement
from roborefer_ros.pointing.answers import parse_tuples, split_reasoning
from roborefer_ros.pointing.confidence import DIGITS, place_confidences
from roborefer_ros.pointing.pointer import PointerAnswer, check_interrupts
from roborefer_ros.pointing.prompts import roborefer_prompt
from roborefer_ros.pointing.spec import count, parse_bool, positive_int, read_options

_READERS: dict[str, Callable[[str], Any]] = {
    "revision": str,
    "samples": count,
    "max_tokens": positive_int,
    "reuse": parse_bool,
}

Picture = npt.NDArray[np.uint8]

#: the name of the network that comes with the package
DEMO = "demo"


@dataclass(frozen=True)
class _Seen:
    """The pictures of the last question as the language model gets them.

    Attributes:
        pictures: RGB, and depth where it was shown.
        rows: per placeholder, of the RGB picture and of the depth picture.
    """

    pictures: tuple[Picture, ...]
    rows: tuple[list[torch.Tensor], list[torch.Tensor]]

    def holds(self, pictures: tuple[Picture, ...]) -> bool:
        """Whether these are the same pictures, pixel by pixel."""
        same_number = len(pictures) == len(self.pictures)
        return same_number and all(map(np.array_equal, pictures, self.pictures))


class RoboReferPointer:
    """A loaded RoboRefer checkpoint.

    A second question about the same pictures reads its words only: the towers' output and the
    language model's keys and values of the last question are kept (``reuse``).

    Args:
        source: folder or hub id; ``demo`` is the bundled demonstration network.  Options may
            follow: ``?samples=K&revision=R&max_tokens=N&reuse=false``.
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda``, ``cuda:1`` ...
        dtype: ``auto`` (bfloat16 on CUDA, float32 on CPU), ``float32``, ``float16``, ``bfloat16``.
        use_depth: show the model the depth picture, where it has a depth branch.
        max_new_tokens: a longer answer is cut off; ``max_tokens`` in the spec wins.
        revision: of a hub id; that in the spec wins.

    Attributes:
        model, processor: the checkpoint.
        max_new_tokens, samples, reuse: as given, or as the spec says.

    Raises:
        InvalidPointerSpecError: unknown option.
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
        self._name = f"roborefer:{source}"
        place, _, query = source.partition("?")
        options = read_options(query, _READERS)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise ModelFailedError(
                f"device {device!r} was asked for, but torch sees no CUDA GPU; use device:=cpu "
                "or install a CUDA build of torch (`roborefer doctor` shows what torch sees)"
            )
        folder = demo_folder() if place == DEMO else place
        revision = options.get("revision", revision)
        self.model, self.processor = load_roborefer(folder, device, dtype, revision)
        self._use_depth = use_depth and self.model.config.has_depth
        self.max_new_tokens: int = options.get("max_tokens", max_new_tokens)
        self.samples: int = options.get("samples", 0)
        self.reuse: bool = options.get("reuse", True)
        self._draft = AnswerTemplate(self.processor.tokenizer)
        self._digit_ids = self.processor.tokenizer.convert_tokens_to_ids(list(DIGITS))
        self._prompts = PromptCache()
        self._seen: _Seen | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def uses_depth(self) -> bool:
        return self._use_depth

    def point(
        self,
        rgb: Picture,
        relative_depth: Picture | None,
        instruction: str,
        mode: Mode = Mode.AUTO,
        *,
        max_points: int = 0,
        deadline: float | None = None,
        cancelled: Callable[[], bool] = lambda: False,
        on_text: Callable[[str], None] = lambda _: None,
        verbatim: bool = False,
    ) -> PointerAnswer:
        """See ``Pointer.point``.

        Raises:
            InstructionTooLongError: the prompt does not fit into the model's context.
        """

        check = functools.partial(check_interrupts, deadline, cancelled)

        def ask(seed: int | None, on_text: Callable[[str], None]) -> PointerAnswer:
            return self._ask(embeds, seed, max_points, dict(timings), check, on_text)

        depth = relative_depth if self._use_depth else None
        timings: dict[str, float] = {}
        try:
            check()
            text = instruction if verbatim else roborefer_prompt(instruction)
            embeds = self._prompt(rgb, depth, text, timings, check)
            answer = with_agreement(
                ask(None, on_text),
                lambda index: ask(index, lambda _: None),
                self.samples,
                rgb.shape[1] / rgb.shape[0],
            )
        except RoboReferError:
            raise
        except torch.OutOfMemoryError as error:
            self._forget()
            torch.cuda.empty_cache()
            raise ModelOutOfMemoryError(
                "the GPU ran out of memory while answering; close other programs on it, use "
                "dtype bfloat16 or a smaller model"
            ) from error
        except Exception as error:
            raise ModelFailedError(f"the model failed: {type(error).__name__}: {error}") from error
        finally:
            if not self.reuse:
                self._forget()
        return answer

    def close(self) -> None:
        """Free the weights."""
        self._forget()
        del self.model
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _forget(self) -> None:
        self._prompts.clear()
        self._seen = None

    @torch.inference_mode()
    def _prompt(
        self,
        rgb: Picture,
        depth: Picture | None,
        text: str,
        timings: dict[str, float],
        check: Callable[[], None],
    ) -> torch.Tensor:
        """``[N, hidden]`` of the spliced prompt; fills in the timings of its stages."""
        lap = self._stopwatch(timings)
        pictures = (rgb,) if depth is None else (rgb, depth)
        seen = self._seen if self._seen is not None and self._seen.holds(pictures) else None
        inputs = self.processor(text, [rgb], list(pictures[1:]))
        lap("preprocess")
        if seen is None:
            self._seen = None  # its memory is free before the new rows are made
            seen = _Seen(tuple(p.copy() for p in pictures), self._encode(inputs, check))
            self._seen = seen
        images, depths = seen.rows
        embeds = self.model.splice(inputs.input_ids, images, depths, **self.processor.splice_ids)
        lap("encode")
        if len(embeds) >= self.processor.max_length:
            raise InstructionTooLongError(
                f"pictures and instruction take {len(embeds)} rows of the model's context, which "
                f"has {self.processor.max_length} for the answer, too; say the instruction shorter"
            )
        return embeds

    def _encode(
        self, inputs: RoboReferInputs, check: Callable[[], None]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        images, depths = [], []
        if inputs.image_pixel_values is not None:
            images = self.model.encode_images(inputs.image_pixel_values, inputs.image_block_sizes)
            check()
        if inputs.depth_pixel_values is not None:
            depths = self.model.encode_depths(inputs.depth_pixel_values, inputs.depth_block_sizes)
            check()
        return images, depths

    def _ask(
        self,
        embeds: torch.Tensor,
        seed: int | None,
        max_points: int,
        timings: dict[str, float],
        check: Callable[[], None],
        on_text: Callable[[str], None],
    ) -> PointerAnswer:
        """One answer: greedy, or sampled with a seed."""
        lap = self._stopwatch(timings)
        ends: list[int] = []

        def on_token(ids: list[int]) -> None:
            text = self._decode(ids)
            ends.append(len(text))
            on_text(text)

        generated = generate(
            self.model.llm,
            embeds,
            stop_ids=self.processor.stop_ids,
            max_new_tokens=min(self.max_new_tokens, self.processor.max_length - len(embeds)),
            check=check,
            on_token=on_token,
            on_prefill=lambda: lap("prefill"),
            draft=self._draft,
            watched_ids=self._digit_ids,
            prompts=self._prompts,
            temperature=0.0 if seed is None else SAMPLING_TEMPERATURE,
            random=None if seed is None else torch.Generator().manual_seed(seed),
        )
        lap("decode")
        return self._answer(self._decode(list(generated.ids)), generated, ends, timings, max_points)

    def _stopwatch(self, timings: dict[str, float]) -> Callable[[str], None]:
        """Notes the seconds since the last call under a stage's name."""
        started = time.perf_counter()

        def lap(stage: str) -> None:
            nonlocal started
            if self.model.device.type == "cuda":
                torch.cuda.synchronize(self.model.device)
            now = time.perf_counter()
            timings[stage] = now - started
            started = now

        return lap

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
            confidences=place_confidences(
                text, matches, ends, generated.logprobs, generated.watched.tolist()
            ),
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
