# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Opening a vision-language model of transformers from files that nobody vouches for.

A hub id becomes a folder first, so that the same checks hold for both.  transformers never opens
the weights itself: they come through ``lazy_weights``.  No code of a checkpoint is run, and its
chat template only in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, GenerationConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from roborefer_ros.errors import (
    CheckpointInvalidError,
    CheckpointNotFoundError,
    ModelOutOfMemoryError,
    RoboReferError,
)
from roborefer_ros.files import MIB, read_json
from roborefer_ros.models.chat_template import PromptFrame, prompt_frame
from roborefer_ros.models.hub import is_hub_id, snapshot
from roborefer_ros.models.lazy_weights import lazy_weights
from roborefer_ros.models.roborefer.configuration import check_numbers
from roborefer_ros.models.roborefer.tokenizing import check_files, check_writes

#: files of a repository that are used; others hold the same weights once more
_FILES = ("*.json", "*.txt", "*.jinja", "*.model", "*.safetensors")
_NOT_USED = ("*/*", "consolidated*")

#: where transformers looks for further templates
_TEMPLATES = "additional_chat_templates"

#: what a checkpoint's generation_config.json may decide; it must not sample or penalise
_KEPT_GENERATION = (
    "eos_token_id",
    "pad_token_id",
    "bos_token_id",
    "decoder_start_token_id",
    "forced_bos_token_id",
)


def resolve_folder(source: str, revision: str | None) -> Path:
    """The checkpoint's folder, its files looked at.

    Args:
        source: Folder or hub id.
        revision: Of a hub id.

    Raises:
        CheckpointNotFoundError: there is no such folder, or the hub cannot be reached.
        CheckpointInvalidError: ``config.json`` is missing; a file is no regular file, a Git LFS
            pointer, too large, broken or nested too deep; or a size that no network has.
    """
    folder = Path(source).expanduser()
    if not folder.is_dir():
        if not is_hub_id(source):
            raise CheckpointNotFoundError(
                f"there is no folder {source}; give a folder of transformers or a hub id such as "
                "Qwen/Qwen3-VL-2B-Instruct"
            )
        folder = snapshot(source, revision, _FILES, ignored=_NOT_USED)
    config_file = folder / "config.json"
    if not config_file.exists():
        raise CheckpointInvalidError(f"{source} has no config.json; download the checkpoint whole")
    for place in (folder, folder / _TEMPLATES):
        if place.is_dir():
            check_files(place)
    values = read_json(config_file, 16 * MIB, CheckpointInvalidError)
    if not isinstance(values, dict):
        raise CheckpointInvalidError(f"{config_file} is not a JSON object")
    check_numbers(values, config_file)
    return folder


def load_config(folder: Path) -> Any:
    """The configuration, as transformers reads it."""
    return guarded(
        folder,
        lambda: AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False),
    )


def load_model(folder: Path, config: Any, device: torch.device, dtype: str) -> Any:
    """The network with its weights.

    Args:
        folder: As ``resolve_folder`` gave it.
        config: As ``load_config`` gave it.
        device: Where the weights go.
        dtype: ``auto`` (bfloat16 on CUDA, float32 on CPU), ``float32``, ``float16``, ``bfloat16``.

    Raises:
        CheckpointInvalidError: weights are missing, of another shape, not finite or all zero, or
            their files are damaged or change.
        ModelOutOfMemoryError
    """
    if dtype == "auto":
        dtype = "bfloat16" if device.type == "cuda" else "float32"
    kind: torch.dtype = getattr(torch, dtype)
    return guarded(folder, lambda: _load_model(folder, config, device, kind))


def _load_model(folder: Path, config: Any, device: torch.device, dtype: torch.dtype) -> Any:
    mapping: Any = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    if type(config) not in mapping:
        raise CheckpointInvalidError(
            f"{folder}: a model of type {config.model_type!r} does not answer to images with text "
            f"in transformers {transformers.__version__}"
        )
    model_class = mapping[type(config)]
    with lazy_weights(folder) as weights:
        model, report = model_class.from_pretrained(
            None,
            config=config,
            state_dict=weights,
            dtype=dtype,
            trust_remote_code=False,
            output_loading_info=True,
        )
    missing = sorted(report["missing_keys"])
    if missing:
        raise CheckpointInvalidError(
            f"{folder} lacks {len(missing)} of the model's weights, e.g. {missing[0]}; download "
            "it again"
        )
    if dtype == torch.float16:
        _check_range(model, folder)
    return model.to(device).eval()


def _check_range(model: torch.nn.Module, folder: Path) -> None:
    """Weights of a wider type may be infinite in float16."""
    for name, weight in model.named_parameters():
        if not torch.isfinite(weight).all():
            raise CheckpointInvalidError(
                f"{folder}: {name} holds values that are not finite in {weight.dtype}; use "
                "bfloat16 or float32"
            )


def load_frame(processor: Any, folder: Path) -> PromptFrame:
    """What the chat template puts around an image and an instruction.

    Raises:
        CheckpointInvalidError: there is none, or it cannot be rendered within the limits.
    """
    template = getattr(processor, "chat_template", None)
    if isinstance(template, dict):
        template = template.get("default")
    if not isinstance(template, str) or not template:
        raise CheckpointInvalidError(
            f"{folder} has no chat template (chat_template.jinja); download it whole"
        )
    try:
        return prompt_frame(template, [{"type": "image"}], **processor.tokenizer.special_tokens_map)
    except CheckpointInvalidError as error:
        raise CheckpointInvalidError(f"{folder}: {error}") from error


def check_tokenizer(tokenizer: Any, model: Any, folder: Path) -> None:
    """Refuse a tokenizer that is not this model's.

    Raises:
        CheckpointInvalidError
    """
    rows = getattr(model.get_input_embeddings(), "num_embeddings", None)
    check_writes(tokenizer, rows if isinstance(rows, int) else None, folder)


def plain_generation(folder: Path, model: Any, tokenizer: Any) -> GenerationConfig:
    """Greedy unless asked otherwise: only the checkpoint's token ids are kept.

    ``generate`` fills what its caller leaves unset from the model's own configuration, which
    for most checkpoints samples and penalises repetition.
    """
    kept = {name: getattr(model.generation_config, name, None) for name in _KEPT_GENERATION}
    path = folder / "generation_config.json"
    if path.exists():
        stored = read_json(path, MIB, CheckpointInvalidError)
        stored = stored if isinstance(stored, dict) else {}
        kept.update({name: stored[name] for name in _KEPT_GENERATION if name in stored})
    for name, value in kept.items():
        if not (value is None or _is_token(value) or (isinstance(value, list) and value)):
            raise CheckpointInvalidError(f"{path}: {name} is {value!r:.80}, which is no token id")
        if isinstance(value, list) and not all(map(_is_token, value)):
            raise CheckpointInvalidError(f"{path}: {name} is {value!r:.80}, which are no token ids")
    if kept["eos_token_id"] is None:
        kept["eos_token_id"] = tokenizer.eos_token_id
    if kept["pad_token_id"] is None:
        stop = kept["eos_token_id"]
        kept["pad_token_id"] = stop[0] if isinstance(stop, (list, tuple)) else stop
    return GenerationConfig(**{name: value for name, value in kept.items() if value is not None})


def _is_token(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**31


def guarded(source: str | Path, load: Callable[[], Any]) -> Any:
    """Run a loading step; what it raises becomes a numbered error."""
    try:
        return load()
    except RoboReferError:
        raise
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise ModelOutOfMemoryError(
            f"memory ran out while loading {source}; use a smaller model or dtype bfloat16"
        ) from error
    except Exception as error:  # transformers raises whatever happened in it
        said = " ".join(str(error).split())[:300]
        raise CheckpointInvalidError(
            f"{source} cannot be loaded by transformers {transformers.__version__} "
            f"({type(error).__name__}: {said})"
        ) from error
