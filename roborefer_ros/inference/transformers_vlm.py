# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Vision-language models of the transformers library, in this process.

Whatever ``AutoModelForImageTextToText`` loads: Qwen3-VL, Qwen2.5-VL, Molmo2, Gemma 4, InternVL,
Florence-2, PaliGemma and their fine-tunes.  Code that a checkpoint brings along is never run,
weights are read from safetensors only.
"""

from __future__ import annotations

import functools
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

from roborefer_ros.errors import InvalidGoalError
from roborefer_ros.inference.device import resolve_device
from roborefer_ros.inference.model import Completion, Outcome, Request, side_by_side
from roborefer_ros.inference.options import ModelOptions
from roborefer_ros.inference.spec import count, positive_int, read_options
from roborefer_ros.inference.vlm_loading import (
    check_tokenizer,
    guarded,
    load_config,
    load_frame,
    load_model,
    plain_generation,
    resolve_folder,
)
from roborefer_ros.inference.vlm_processor import load_processor

_READERS: dict[str, Callable[[str], Any]] = {
    "family": str,
    "revision": str,
    "samples": count,
    "max_tokens": positive_int,
}


@dataclass(frozen=True)
class PromptFraming:
    """What stands around a prompt.

    Attributes:
        uses_chat_template: Whether the checkpoint's template frames the prompt; else it goes to
            the processor as it is.
        image_token: What stands before a prompt without a template.
        own_tokens: Text whose special tokens may stand in a prompt; all others are taken out.
    """

    uses_chat_template: bool = True
    image_token: str = ""
    own_tokens: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose files have been looked at, before its weights are loaded.

    Attributes:
        place: Folder or hub id, as it was given.
        options: Options of the spec; ``family`` and ``samples`` are for whoever points.
        folder: Local folder.
        config: Configuration.
    """

    place: str
    options: dict[str, Any]
    folder: Path
    config: Any

    @property
    def model_type(self) -> str:
        """Name of the architecture in transformers."""
        return str(self.config.model_type)

    @classmethod
    def of(cls, source: str) -> Checkpoint:
        """Find a checkpoint.

        Args:
            source: Folder or hub id, perhaps with options: ``?family=NAME&revision=R&samples=K``.

        Raises:
            InvalidPointerSpecError: Unknown option.
            CheckpointNotFoundError, CheckpointInvalidError, DependencyMissingError
        """
        place, _, query = source.partition("?")
        options = read_options(query, _READERS)
        folder = resolve_folder(place, options.get("revision"))
        return cls(place, options, folder, load_config(folder))


class TransformersModel:
    """A vision-language model of the transformers library.

    Args:
        options: What is opened, and where it runs.
        checkpoint: Checkpoint that the spec names.
        framing: What stands around its prompts.

    Raises:
        CheckpointInvalidError, ModelOutOfMemoryError, DependencyMissingError, ModelFailedError
    """

    uses_depth = False
    can_sample = True
    max_batch = 1

    def __init__(
        self,
        options: ModelOptions,
        checkpoint: Checkpoint,
        framing: PromptFraming = PromptFraming(),
    ) -> None:
        self.name = options.name or options.spec
        self.max_new_tokens = checkpoint.options.get("max_tokens", options.max_new_tokens)
        self._device = torch.device(resolve_device(options.device))
        self._framing = framing
        folder, config = checkpoint.folder, checkpoint.config
        self.processor = guarded(folder, lambda: load_processor(folder, config))
        self.frame = load_frame(self.processor, folder) if framing.uses_chat_template else None
        self.network = load_model(folder, config, self._device, options.dtype)
        check_tokenizer(self.processor.tokenizer, self.network, folder)
        self.generation = plain_generation(folder, self.network, self.processor.tokenizer)
        self.network.generation_config = self.generation

    def complete(self, requests: Sequence[Request]) -> Iterator[tuple[int, Outcome]]:
        """See ``Model.complete``; cancellation is looked at between tokens."""
        return side_by_side(requests, self._one, self.name)

    def close(self) -> None:
        """Free the weights."""
        self.network = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def inputs(self, request: Request) -> tuple[dict[str, torch.Tensor], tuple[int, int]]:
        """The network's inputs, and ``(width, height)`` of the image that it sees."""
        picture = Image.fromarray(np.ascontiguousarray(request.images[0].pixels))
        text = self._harmless(request.prompt)
        text = self.frame.around(text) if self.frame else self._framing.image_token + text
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

        Those that the request for points itself needs stay.
        """
        tokenizer, own = self.processor.tokenizer, self._framing.own_tokens
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
        sampling = request.sampling
        decode = functools.partial(
            self.processor.tokenizer.decode, skip_special_tokens=sampling.skip_special_tokens
        )
        progress = _Progress(
            decode,
            request.cancellation.check,
            request.on_text or (lambda _: None),
            self._stop_ids(),
        )
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
            decode(progress.ids),
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
