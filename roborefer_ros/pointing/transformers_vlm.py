# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Vision-language models of the transformers library, in this process.

Whatever ``AutoModelForImageTextToText`` loads and a family of ``families`` describes: Qwen3-VL,
Qwen2.5-VL, Molmo2, Gemma 4, InternVL, Florence-2, PaliGemma and their fine-tunes.  Code that a
checkpoint brings along is never run, weights are read from safetensors only.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from transformers import LogitsProcessor, StoppingCriteria

from roborefer_ros.errors import (
    InvalidPointerSpecError,
    ModelFailedError,
    ModelOutOfMemoryError,
    RoboReferError,
)
from roborefer_ros.frame import Mode
from roborefer_ros.pointing.agreement import SAMPLING_TEMPERATURE, with_agreement
from roborefer_ros.pointing.families import FAMILIES, answer_from_text, family_named, family_of
from roborefer_ros.pointing.formats import ImageSize
from roborefer_ros.pointing.pointer import PointerAnswer, check_interrupts
from roborefer_ros.pointing.spec import count, positive_int, read_options
from roborefer_ros.pointing.vlm_loading import (
    check_tokenizer,
    guarded,
    load_config,
    load_frame,
    load_model,
    plain_generation,
    resolve_device,
    resolve_folder,
)
from roborefer_ros.pointing.vlm_processor import load_processor

_READERS: dict[str, Callable[[str], Any]] = {
    "family": str,
    "revision": str,
    "samples": count,
    "max_tokens": positive_int,
}


class TransformersPointer:
    """A model of the transformers library.

    Args:
        source: folder or hub id, perhaps with options: ``?family=NAME&revision=R&samples=K``.
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda``, ``cuda:1`` ...
        dtype: ``auto`` (bfloat16 on CUDA, float32 on CPU), ``float32``, ``float16``, ``bfloat16``.
        max_new_tokens: a longer answer is cut off; ``max_tokens`` in the spec wins.
        verbatim: instructions are whole texts and are asked as they are (benchmarks).

    Raises:
        InvalidPointerSpecError: unknown option, or no known family and none named.
        CheckpointNotFoundError, CheckpointInvalidError, ModelOutOfMemoryError,
        DependencyMissingError, ModelFailedError
    """

    uses_depth = False

    def __init__(
        self,
        source: str,
        *,
        device: str = "auto",
        dtype: str = "auto",
        max_new_tokens: int = 512,
        verbatim: bool = False,
    ) -> None:
        self._name = f"transformers:{source}"
        self._verbatim = verbatim
        place, _, query = source.partition("?")
        options = read_options(query, _READERS)
        self._samples: int = options.get("samples", 0)
        self._max_new_tokens: int = options.get("max_tokens", max_new_tokens)
        self._device = resolve_device(device)
        folder = resolve_folder(place, options.get("revision"))
        config = load_config(folder)
        family = (
            family_named(options["family"])
            if "family" in options
            else family_of(place, config.model_type)
        )
        if family is None:
            raise InvalidPointerSpecError(
                f"how a model of type {config.model_type!r} points is not known; name its format "
                f"with ?family=, one of {', '.join(FAMILIES)}"
            )
        self._family = family
        self._processor = guarded(folder, lambda: load_processor(folder, config))
        self._frame = load_frame(self._processor, folder) if family.uses_chat_template else None
        self._model = load_model(folder, config, self._device, dtype)
        check_tokenizer(self._processor.tokenizer, self._model, folder)
        self._generation = plain_generation(folder, self._model, self._processor.tokenizer)
        self._model.generation_config = self._generation

    @property
    def name(self) -> str:
        return self._name

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
        verbatim: bool = False,
    ) -> PointerAnswer:
        """See ``Pointer.point``; cancellation is looked at between tokens."""

        check = functools.partial(check_interrupts, deadline, cancelled)

        def ask(seed: int | None, on_text: Callable[[str], None]) -> PointerAnswer:
            check()
            return self._ask(inputs, size, seed, max_points, dict(timings), check, on_text)

        try:
            check()
            started = time.perf_counter()
            inputs, size = self._inputs(rgb, instruction, verbatim)
            timings = {"preprocess": time.perf_counter() - started}
            return with_agreement(
                ask(None, on_text),
                lambda index: ask(index, lambda _: None),
                self._samples,
                rgb.shape[1] / rgb.shape[0],
            )
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

    def close(self) -> None:
        """Free the weights."""
        self._model = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _inputs(
        self, rgb: npt.NDArray[np.uint8], instruction: str, verbatim: bool = False
    ) -> tuple[dict[str, torch.Tensor], ImageSize]:
        """The model's inputs, and ``(width, height)`` of the image that it sees."""
        picture = Image.fromarray(np.ascontiguousarray(rgb))
        text = self._harmless(instruction)
        if not (verbatim or self._verbatim):
            text = self._family.prompt(text)
        text = self._frame.around(text) if self._frame else self._family.image_token + text
        inputs = dict(self._processor(text=[text], images=[picture], return_tensors="pt"))
        inputs.pop("labels", None)
        size = picture.size
        if "image_grid_thw" in inputs:
            patch = self._processor.image_processor.patch_size
            _, rows, columns = inputs["image_grid_thw"][0].tolist()
            size = (columns * patch, rows * patch)
        dtype = self._model.dtype
        return {
            name: value.to(self._device, dtype if value.is_floating_point() else None)
            for name, value in inputs.items()
            if isinstance(value, torch.Tensor)
        }, size

    def _harmless(self, instruction: str) -> str:
        """The instruction without the tokenizer's special tokens: they are the template's."""
        tokenizer = self._processor.tokenizer
        for token in {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}:
            if token.strip():
                instruction = instruction.replace(token, " ")
        return " ".join(instruction.split())

    @torch.inference_mode()
    def _ask(
        self,
        inputs: dict[str, torch.Tensor],
        size: ImageSize,
        seed: int | None,
        max_points: int,
        timings: dict[str, float],
        check: Callable[[], None],
        on_text: Callable[[str], None],
    ) -> PointerAnswer:
        """One answer: greedy, or sampled with a seed."""
        started = time.perf_counter()
        progress = _Progress(self._decode, check, on_text, self._stop_ids())
        sampling: dict[str, Any] = {"do_sample": False}
        if seed is not None:
            sampling = {"do_sample": True, "temperature": SAMPLING_TEMPERATURE}
        devices = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            if seed is not None:
                torch.manual_seed(seed)
            self._model.generate(
                **inputs,
                max_new_tokens=self._max_new_tokens,
                logits_processor=[_KeepDistribution(progress)],
                stopping_criteria=[_Watch(progress)],
                **sampling,
            )
        timings["generate"] = time.perf_counter() - started
        return answer_from_text(
            self._family,
            self._decode(progress.ids),
            size,
            max_points=max_points,
            token_ends=progress.ends,
            logprobs=progress.logprobs,
            timings_s=timings,
        )

    def _stop_ids(self) -> set[int]:
        stop = self._generation.eos_token_id
        return set(stop) if isinstance(stop, (list, tuple)) else {stop}

    def _decode(self, ids: list[int]) -> str:
        text: str = self._processor.tokenizer.decode(
            ids, skip_special_tokens=not self._family.keeps_special_tokens
        )
        return text


@dataclass
class _Progress:
    """What has been generated so far."""

    decode: Callable[[list[int]], str]
    check: Callable[[], None]
    on_text: Callable[[str], None]
    stop_ids: set[int]
    distribution: torch.Tensor | None = None
    ids: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


class _KeepDistribution(LogitsProcessor):
    """Notes the log probabilities of the next token, before any sampling."""

    def __init__(self, progress: _Progress) -> None:
        self._progress = progress

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self._progress.distribution = torch.log_softmax(scores[0].float(), dim=-1)
        return scores


class _Watch(StoppingCriteria):
    """Called after every token: passes the text on, and stops by raising."""

    def __init__(self, progress: _Progress) -> None:
        self._progress = progress

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        progress = self._progress
        token = int(input_ids[0, -1])
        if token not in progress.stop_ids:
            assert progress.distribution is not None
            progress.ids.append(token)
            progress.logprobs.append(float(progress.distribution[token]))
            text = progress.decode(progress.ids)
            progress.ends.append(len(text))
            progress.on_text(text)
        progress.check()
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)
