# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Vision-language models of the transformers library, in this process.

Whatever ``AutoModelForImageTextToText`` loads and a family of ``families`` describes: Qwen3-VL,
Qwen2.5-VL, Molmo2, Gemma 4, InternVL, Florence-2, PaliGemma and their fine-tunes.  Code that a
checkpoint brings along is never run, weights are read from safetensors only.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import LogitsProcessor, StoppingCriteria

from roborefer_ros.errors import (
    InvalidGoalError,
    InvalidPointerSpecError,
)
from roborefer_ros.inference.device import resolve_device
from roborefer_ros.inference.model import Completion, Outcome, Request, one_by_one
from roborefer_ros.pointing.families import (
    FAMILIES,
    Family,
    family_named,
    family_of,
)
from roborefer_ros.pointing.formats import ImageSize
from roborefer_ros.pointing.model_pointer import ModelPointer
from roborefer_ros.pointing.spec import count, positive_int, read_options
from roborefer_ros.pointing.vlm_loading import (
    check_tokenizer,
    guarded,
    load_config,
    load_frame,
    load_model,
    plain_generation,
    resolve_folder,
)
from roborefer_ros.pointing.vlm_processor import load_processor

_READERS: dict[str, Callable[[str], Any]] = {
    "family": str,
    "revision": str,
    "samples": count,
    "max_tokens": positive_int,
}


class TransformersPointer(ModelPointer):
    """A model of the transformers library, pointing in the way of its family.

    Args:
        source: Folder or hub id, perhaps with options: ``?family=NAME&revision=R&samples=K``.
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda``, ``cuda:1`` ...
        dtype: ``auto`` (bfloat16 on CUDA, float32 on CPU), ``float32``, ``float16``, ``bfloat16``.
        max_new_tokens: Greatest length of an answer, tokens; ``max_tokens`` in the spec wins.

    Raises:
        InvalidPointerSpecError: Unknown option, or no known family and none named.
        CheckpointNotFoundError, CheckpointInvalidError, ModelOutOfMemoryError,
        DependencyMissingError, ModelFailedError
    """

    model: TransformersModel

    def __init__(
        self,
        source: str,
        *,
        device: str = "auto",
        dtype: str = "auto",
        max_new_tokens: int = 512,
    ) -> None:
        place, _, query = source.partition("?")
        options = read_options(query, _READERS)
        where = torch.device(resolve_device(device))
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
        model = TransformersModel(
            f"transformers:{source}",
            folder,
            config,
            family,
            device=where,
            dtype=dtype,
            max_new_tokens=options.get("max_tokens", max_new_tokens),
        )
        super().__init__(model, family, options.get("samples", 0))


class TransformersModel:
    """A vision-language model of the transformers library.

    Args:
        name: Spec string it was opened from.
        folder: Checkpoint.
        config: Its configuration.
        family: How its prompts are framed, and whether special tokens stay in its text.
        device: Where it runs.
        dtype: As in ``TransformersPointer``.
        max_new_tokens: Greatest length of an answer, tokens.

    Raises:
        CheckpointInvalidError, ModelOutOfMemoryError, DependencyMissingError
    """

    uses_depth = False
    can_sample = True
    max_batch = 1

    def __init__(
        self,
        name: str,
        folder: Path,
        config: Any,
        family: Family,
        *,
        device: torch.device,
        dtype: str,
        max_new_tokens: int,
    ) -> None:
        self.name = name
        self.max_new_tokens = max_new_tokens
        self._device = device
        self._family = family
        self.processor = guarded(folder, lambda: load_processor(folder, config))
        self.frame = load_frame(self.processor, folder) if family.uses_chat_template else None
        self.network = load_model(folder, config, device, dtype)
        check_tokenizer(self.processor.tokenizer, self.network, folder)
        self.generation = plain_generation(folder, self.network, self.processor.tokenizer)
        self.network.generation_config = self.generation

    def complete(self, requests: Sequence[Request]) -> Iterator[tuple[int, Outcome]]:
        """See ``Model.complete``; cancellation is looked at between tokens."""
        return one_by_one(requests, self._one, self.name)

    def close(self) -> None:
        """Free the weights."""
        self.network = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def inputs(self, request: Request) -> tuple[dict[str, torch.Tensor], ImageSize]:
        """The network's inputs, and ``(width, height)`` of the image that it sees."""
        picture = Image.fromarray(np.ascontiguousarray(request.images[0].pixels))
        text = self._harmless(request.prompt)
        text = self.frame.around(text) if self.frame else self._family.image_token + text
        inputs = dict(self.processor(text=[text], images=[picture], return_tensors="pt"))
        inputs.pop("labels", None)
        size = picture.size
        if "image_grid_thw" in inputs:
            patch = self.processor.image_processor.patch_size
            _, rows, columns = inputs["image_grid_thw"][0].tolist()
            size = (columns * patch, rows * patch)
        dtype = self.network.dtype
        return {
            name: value.to(self._device, dtype if value.is_floating_point() else None)
            for name, value in inputs.items()
            if isinstance(value, torch.Tensor)
        }, size

    def _harmless(self, prompt: str) -> str:
        """The prompt without the tokenizer's special tokens: they are the template's.

        Those that the family's own request holds stay.
        """
        tokenizer, own = self.processor.tokenizer, self._family.prompt("")
        tokens = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}
        foreign = [re.escape(token) for token in tokens if token.strip() and token not in own]
        if foreign:
            longest_first = "|".join(sorted(foreign, key=len, reverse=True))
            pattern = re.compile(rf"(?:(?:{longest_first})\s*)+")
            while pattern.search(prompt):  # taking one out may leave another
                prompt = pattern.sub(" ", prompt)
        return prompt

    @torch.inference_mode()
    def _one(self, request: Request) -> Completion:
        started = time.perf_counter()
        if request.depths:
            raise InvalidGoalError(f"{self.name} has no depth branch; ask it without depth")
        inputs, size = self.inputs(request)
        prepared = time.perf_counter()
        progress = _Progress(
            self._decode,
            request.cancellation.check,
            request.on_text or (lambda _: None),
            self._stop_ids(),
        )
        sampling = request.sampling
        limit = min(sampling.max_tokens or self.max_new_tokens, self.max_new_tokens)
        chosen: dict[str, Any] = {"do_sample": False}
        if sampling.temperature > 0.0:
            chosen = {"do_sample": True, "temperature": sampling.temperature}
        devices = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            if sampling.temperature > 0.0:
                seed = sampling.seed
                torch.manual_seed(secrets.randbits(63) if seed is None else seed)
            self.network.generate(
                **inputs,
                max_new_tokens=limit,
                logits_processor=[_KeepDistribution(progress)],
                stopping_criteria=[_Watch(progress)],
                **chosen,
            )
        return Completion(
            self._decode(progress.ids),
            token_logprobs=tuple(progress.logprobs),
            token_ends=tuple(progress.ends),
            finish_reason="length" if len(progress.ids) >= limit else "stop",
            completion_tokens=len(progress.ids),
            timings_s={
                "preprocess": prepared - started,
                "generate": time.perf_counter() - prepared,
            },
            image_size=size,
        )

    def _stop_ids(self) -> set[int]:
        stop = self.generation.eos_token_id
        return set(stop) if isinstance(stop, (list, tuple)) else {stop}

    def _decode(self, ids: list[int]) -> str:
        text: str = self.processor.tokenizer.decode(
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
