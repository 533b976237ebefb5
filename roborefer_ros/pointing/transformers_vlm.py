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
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers
from PIL import Image
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    GenerationConfig,
    LogitsProcessor,
    StoppingCriteria,
)

from roborefer_ros.errors import (
    CheckpointInvalidError,
    CheckpointNotFoundError,
    InvalidPointerSpecError,
    ModelFailedError,
    ModelOutOfMemoryError,
    RoboReferError,
)
from roborefer_ros.files import read_json
from roborefer_ros.frame import Mode
from roborefer_ros.models.roborefer.configuration import check_numbers
from roborefer_ros.models.roborefer.tokenizing import check_files
from roborefer_ros.models.safetensors_file import SafetensorsFile
from roborefer_ros.pointing.agreement import SAMPLING_TEMPERATURE, with_agreement
from roborefer_ros.pointing.families import FAMILIES, answer_from_text, family_named, family_of
from roborefer_ros.pointing.formats import ImageSize
from roborefer_ros.pointing.pointer import PointerAnswer, check_interrupts
from roborefer_ros.pointing.spec import count, positive_int, read_options
from roborefer_ros.pointing.vlm_processor import load_processor

_READERS: dict[str, Callable[[str], Any]] = {
    "family": str,
    "revision": str,
    "samples": count,
    "max_tokens": positive_int,
}

#: what a checkpoint's generation_config.json may decide; it must not sample or penalise
_KEPT_GENERATION = (
    "eos_token_id",
    "pad_token_id",
    "bos_token_id",
    "decoder_start_token_id",
    "forced_bos_token_id",
)


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
        self._device = _resolve_device(device)
        hub = {"revision": options["revision"]} if "revision" in options else {}
        config = _load_config(place, hub)
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
        self._processor = _guarded(place, lambda: load_processor(place, config, **hub))
        if family.uses_chat_template and not getattr(self._processor, "chat_template", None):
            raise CheckpointInvalidError(
                f"{place} has no chat template (chat_template.jinja); download it whole"
            )
        self._model = _guarded(place, lambda: _load_model(place, self._device, dtype, hub))
        self._generation = _plain_generation(self._model, self._processor.tokenizer)
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
        if self._family.uses_chat_template:
            content = [{"type": "image"}, {"type": "text", "text": text}]
            text = self._processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
            )
        else:
            text = self._family.image_token + text
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


def _resolve_device(device: str) -> torch.device:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ModelFailedError(
            f"device {device!r} was asked for, but torch sees no CUDA GPU; use device:=cpu or "
            "install a CUDA build of torch (`roborefer doctor` shows what torch sees)"
        )
    return torch.device(device)


def _load_config(source: str, hub: dict[str, Any]) -> Any:
    if source.startswith((".", "/", "~")) and not Path(source).expanduser().is_dir():
        raise CheckpointNotFoundError(f"there is no folder {source}")
    if Path(source).is_dir() and not (Path(source) / "config.json").is_file():
        raise CheckpointInvalidError(f"{source} has no config.json; download the checkpoint whole")
    if Path(source).is_dir():
        check_files(Path(source))
        for file in sorted(Path(source).glob("*.safetensors")):
            SafetensorsFile(file).close()  # headers: damaged, cut off, a Git LFS pointer
        config_file = Path(source) / "config.json"
        check_numbers(read_json(config_file, refusal=CheckpointInvalidError), config_file)
    return _guarded(
        source, lambda: AutoConfig.from_pretrained(source, trust_remote_code=False, **hub)
    )


def _load_model(source: str, device: torch.device, dtype: str, hub: dict[str, Any]) -> Any:
    if dtype == "auto":
        dtype = "bfloat16" if device.type == "cuda" else "float32"
    auto_model: Any = AutoModelForImageTextToText
    model, report = auto_model.from_pretrained(
        source,
        dtype=getattr(torch, dtype),
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
        **hub,
    )
    missing = sorted(report["missing_keys"])
    if missing:
        raise CheckpointInvalidError(
            f"{source} lacks {len(missing)} of the model's weights, e.g. {missing[0]}; download "
            "it again"
        )
    return model.to(device).eval()


def _guarded(source: str, load: Callable[[], Any]) -> Any:
    """Run a loading step; what it raises becomes a numbered error."""
    try:
        return load()
    except RoboReferError:
        raise
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise ModelOutOfMemoryError(
            f"memory ran out while loading {source}; use a smaller model or dtype bfloat16"
        ) from error
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        # A folder is there, so that its content is to blame; a hub id may not exist at all.
        if isinstance(error, OSError) and not Path(source).is_dir():
            raise CheckpointNotFoundError(
                f"{source} is neither a folder nor a model that can be fetched ({said})"
            ) from error
        raise CheckpointInvalidError(
            f"{source} cannot be loaded by transformers {transformers.__version__} "
            f"({type(error).__name__}: {said})"
        ) from error


def _plain_generation(model: Any, tokenizer: Any) -> GenerationConfig:
    """Greedy unless asked otherwise: only the checkpoint's token ids are kept.

    ``generate`` fills what its caller leaves unset from the model's own configuration, which
    for most checkpoints samples and penalises repetition.
    """
    stored = model.generation_config
    kept = {name: getattr(stored, name, None) for name in _KEPT_GENERATION}
    if kept["eos_token_id"] is None:
        kept["eos_token_id"] = tokenizer.eos_token_id
    if kept["pad_token_id"] is None:
        stop = kept["eos_token_id"]
        kept["pad_token_id"] = stop[0] if isinstance(stop, (list, tuple)) else stop
    return GenerationConfig(**{name: value for name, value in kept.items() if value is not None})
