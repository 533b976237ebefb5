# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Reading and writing checkpoints in the official folder layout.

    config.json, llm/, vision_tower/, mm_projector/, depth_tower/, depth_projector/

Only safetensors are read, one tensor at a time straight to its device and type, so that
opening needs little more memory than the weights themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from roborefer_ros.errors import (
    CheckpointInvalidError,
    CheckpointNotFoundError,
    ModelOutOfMemoryError,
)
from roborefer_ros.files import replaced_folder
from roborefer_ros.models.hub import snapshot
from roborefer_ros.models.roborefer.configuration import PARTS, RoboReferConfig, part_folders
from roborefer_ros.models.roborefer.export import portable, save_tokenizer, write_json
from roborefer_ros.models.roborefer.modeling import RoboRefer
from roborefer_ros.models.roborefer.processing import RoboReferProcessor
from roborefer_ros.models.roborefer.tokenizing import fit_vocabulary, load_tokenizer
from roborefer_ros.models.roborefer.weights import TOWER_PREFIX, fill_part, plan_part

_DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


def load_roborefer(
    source: str | Path,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype = "auto",
    revision: str | None = None,
    keep_unused: bool = False,
) -> tuple[RoboRefer, RoboReferProcessor]:
    """Open a checkpoint for inference.

    Args:
        source: folder, or hub id such as ``Zhoues/RoboRefer-2B-SFT``.
        device: Device that holds the weights.
        dtype: ``float32``, ``float16``, ``bfloat16``, or ``auto`` (float32 on CPU, else
            bfloat16; the reference computes in float16).
        revision: Revision of the hub repository.
        keep_unused: also read the towers' layers that are never computed, so that
            ``save_roborefer`` can write a complete checkpoint again.

    Raises:
        CheckpointNotFoundError: no such folder, or the hub cannot be reached.
        CheckpointInvalidError: a part is missing, of the wrong shape, cut off or a pickle.
        ModelOutOfMemoryError: the weights do not fit on the device.
    """
    folder = resolve_folder(source, revision)
    config, folders = RoboReferConfig.from_folder(folder), part_folders(folder)
    target, kind = torch.device(device), torch_dtype(dtype, torch.device(device))
    model = _without_weights(config, folder)
    tokenizer = load_tokenizer(folders["llm"], config.llm.vocab_size)
    processor = RoboReferProcessor(tokenizer, config)
    if not keep_unused:
        model.drop_unused_layers()
    parts = dict(model.named_children())
    tied = config.llm.tie_word_embeddings
    try:
        _fill(parts, folders, tied, target, kind)
        if tied:
            model.llm.lm_head.weight = model.llm.model.embed_tokens.weight
        _restore_buffers(model, config, target)
        fit_vocabulary(model, tokenizer)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise ModelOutOfMemoryError(
            f"the weights of {source} do not fit on {device} as {kind}; free memory, or use a "
            "smaller type or model"
        ) from error
    return model.eval().requires_grad_(False), processor


def _fill(
    parts: dict[str, torch.nn.Module],
    folders: dict[str, Path],
    tied: bool,
    device: torch.device,
    dtype: torch.dtype,
) -> None:
    """All headers first, so that a broken checkpoint is refused at once; then the weights."""
    with ExitStack() as stack:
        plans = {}
        for name, part in parts.items():
            plans[name] = plan_part(part, folders[name], tied)
            stack.callback(plans[name].close)
        for name, part in parts.items():
            fill_part(part, plans[name], device, dtype)


def _without_weights(config: RoboReferConfig, folder: Path) -> RoboRefer:
    try:
        with torch.device("meta"):
            return RoboRefer(config)
    except Exception as error:  # impossible dimensions fail anywhere in torch and transformers
        raise CheckpointInvalidError(
            f"no network can be made of the config.json files in {folder} "
            f"({type(error).__name__}: {error}); copy them from the original checkpoint"
        ) from error


def _is_out_of_memory(error: Exception) -> bool:
    """CUDA has a class for it, the CPU only a text."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return "can't allocate memory" in str(error) or "not enough memory" in str(error)


#: token ids that the generation configuration repeats
_ENDS = ("bos_token_id", "eos_token_id", "pad_token_id")


def save_roborefer(
    model: RoboRefer, tokenizer: Any, folder: Path, dtype: torch.dtype = torch.bfloat16
) -> None:
    """Write the official layout, ready for ``load_roborefer`` (and the reference).

    The folder is made beside its place and renamed when it is complete: an interruption leaves
    the checkpoint that was there, or the new one.

    Raises:
        ValueError: the network was opened without the layers that it does not use.
        OSError: the folder cannot be written.
    """
    with replaced_folder(folder) as partial:
        _write(model, tokenizer, partial, dtype)


def _write(model: RoboRefer, tokenizer: Any, folder: Path, dtype: torch.dtype) -> None:
    if not model.is_complete:
        raise ValueError("open the checkpoint with keep_unused=True to write it again")
    config = model.config
    write_configs(config, folder)
    for name, part in model.named_children():
        write_part(config, name, part.state_dict(), folder, dtype)
    save_tokenizer(tokenizer, folder / "llm")


def write_part(
    config: RoboReferConfig,
    name: str,
    weights: Mapping[str, torch.Tensor],
    folder: Path,
    dtype: torch.dtype,
) -> None:
    """Write the weights of a part into its folder, which ``write_configs`` has made.

    Args:
        config: Of the network.
        name: Of the part, e.g. ``vision_tower``.
        weights: Its state dictionary.
        folder: Of the checkpoint.
        dtype: Type that is stored.

    Raises:
        OSError: the file cannot be written.
    """
    prefix = TOWER_PREFIX if name.endswith("tower") else ""
    skip = {"lm_head.weight"} if name == "llm" and config.llm.tie_word_embeddings else set()
    tensors = {
        prefix + key: value.detach().to("cpu", dtype).contiguous()
        for key, value in weights.items()
        if key not in skip and value.is_floating_point()
    }
    save_file(tensors, folder / name / "model.safetensors", metadata={"format": "pt"})


def write_configs(config: RoboReferConfig, folder: Path) -> None:
    """Make the folders of the official layout with their JSON files, without any weights."""
    folder.mkdir(parents=True, exist_ok=True)
    top = config.top_level()
    write_json(folder / "config.json", top)
    for name in (part for part, key in PARTS.items() if key in top):
        (folder / name).mkdir(exist_ok=True)
        write_json(folder / name / "config.json", _part_config(name, config))
        if name.endswith("tower"):
            write_json(folder / name / "preprocessor_config.json", _preprocessor(config))
    ends = {key: getattr(config.llm, key, None) for key in _ENDS}
    write_json(folder / "llm" / "generation_config.json", {"do_sample": False, **ends})


def resolve_folder(source: str | Path, revision: str | None = None) -> Path:
    """The folder with ``config.json``: the given one, its ``model/``, or the hub's snapshot.

    Raises:
        CheckpointNotFoundError
    """
    folder = Path(source).expanduser()
    if not folder.is_dir():
        if folder.is_absolute() or str(source).startswith(".") or str(source).count("/") != 1:
            raise CheckpointNotFoundError(
                f"there is no checkpoint folder {str(source)!r}; give a folder in RoboRefer's "
                "layout or a hub id such as Zhoues/RoboRefer-2B-SFT"
            )
        folder = snapshot(str(source), revision, ["*.json", "*.txt", "*.safetensors", "*.jinja"])
    return folder / "model" if (folder / "model").is_dir() else folder


def torch_dtype(name: str | torch.dtype, device: torch.device) -> torch.dtype:
    """The torch type of a ``dtype`` parameter.

    Raises:
        CheckpointInvalidError: unknown name.
    """
    if isinstance(name, torch.dtype):
        return name
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    if name not in _DTYPES:
        raise CheckpointInvalidError(f"dtype {name!r} is none of auto, {', '.join(_DTYPES)}")
    return _DTYPES[name]


def _restore_buffers(model: RoboRefer, config: RoboReferConfig, device: torch.device) -> None:
    """Compute the buffers that no checkpoint stores (rotary frequencies, position ids)."""
    model.llm.model.rotary_emb = type(model.llm.model.rotary_emb)(config.llm).to(device)
    for tower in (model.vision_tower, model.depth_tower):
        if tower is not None:
            count = tower.embeddings.num_positions
            tower.embeddings.register_buffer(
                "position_ids", torch.arange(count, device=device)[None], persistent=False
            )


def _part_config(name: str, config: RoboReferConfig) -> dict[str, Any]:
    if name == "llm":
        return portable(config.llm, "Qwen2ForCausalLM")
    if name.endswith("tower"):
        tower = config.vision if name == "vision_tower" else config.depth
        assert tower is not None
        return portable(tower, "SiglipVisionModel")
    kind = config.projector_type if name == "mm_projector" else config.depth_projector_type
    return {
        "architectures": ["MultimodalProjector"],
        "mm_projector_type": kind,
        "model_type": "v2l_projector",
    }


def _preprocessor(config: RoboReferConfig) -> dict[str, Any]:
    side = config.tile_size
    return {
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "image_processor_type": "SiglipImageProcessor",
        "resample": 3,
        "rescale_factor": 0.00392156862745098,
        "size": {"height": side, "width": side},
    }
