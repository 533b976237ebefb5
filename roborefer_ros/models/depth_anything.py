# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Depth-Anything-V2 (arXiv 2406.09414): relative inverse depth from one RGB image.

RoboRefer's depth encoder was trained on its output as an 8-bit picture, near = bright.
Input size, resampling and scaling are those of the authors' code, which RoboRefer's own
server runs; the network is transformers'.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation

from roborefer_ros.errors import (
    CheckpointInvalidError,
    CheckpointNotFoundError,
    InvalidImageError,
    ModelFailedError,
    ModelOutOfMemoryError,
)
from roborefer_ros.files import MIB, read_json
from roborefer_ros.models.depth_anything_weights import read_original
from roborefer_ros.models.depth_direction import drawn_rooms, looks_metric
from roborefer_ros.models.depth_network import SIZES
from roborefer_ros.models.hub import is_hub_id, snapshot
from roborefer_ros.models.roborefer.checkpoint import torch_dtype
from roborefer_ros.models.roborefer.configuration import check_numbers
from roborefer_ros.models.roborefer.weights import read_weights

#: Apache-2.0; Base and Large are better and CC BY-NC 4.0
DEFAULT_SOURCE = "depth-anything/Depth-Anything-V2-Small-hf"

#: longer side over shorter side; panoramas have 4, and time and memory grow with its square
MOST_ASPECT = 8

_PATCH = 14
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class DepthAnything:
    """A loaded Depth-Anything-V2 network.

    Args:
        source: hub id or folder in transformers' layout (``...-hf``), or the authors' ``.pth``.
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda``, ``cuda:1`` ...
        dtype: ``auto`` and ``float32`` (as the reference), ``float16`` or ``bfloat16``.
        input_size: pixels of the shorter side in the network.
        revision: Revision of a hub id.

    Attributes:
        label: source, revision and input size in one line.

    Raises:
        CheckpointNotFoundError: no such folder or file, or the hub cannot be reached.
        CheckpointInvalidError: broken weights, another network, or a file with code in it.
        ModelOutOfMemoryError, ModelFailedError
    """

    def __init__(
        self,
        source: str | Path = DEFAULT_SOURCE,
        device: str = "auto",
        dtype: str = "auto",
        input_size: int = 518,
        revision: str | None = None,
    ) -> None:
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise ModelFailedError(
                f"device {device!r} was asked for, but torch sees no CUDA GPU; use device:=cpu "
                "or install a CUDA build of torch"
            )
        if input_size < _PATCH:
            raise ValueError(f"input_size is {input_size} pixels, less than one patch ({_PATCH})")
        self.source = str(source)
        size = f"?input_size={input_size}" if input_size != 518 else ""
        self.label = f"{source}{f'@{revision}' if revision else ''}{size}"
        self.input_size = input_size
        self._device = torch.device(device)
        kind = torch.float32 if dtype == "auto" else torch_dtype(dtype, self._device)
        self._dtype = kind
        self._stream: Any = None
        network = _open(source, revision)
        _use_reference_positions(network.backbone.embeddings)
        try:
            self.network = network.to(self._device, kind).eval().requires_grad_(False)
            if kind != torch.float32 and self._device.type == "cuda":
                # The layout that tensor cores convolve in; the head is convolutions throughout.
                self.network = self.network.to(memory_format=torch.channels_last)
        except torch.OutOfMemoryError as error:
            raise ModelOutOfMemoryError(
                f"the depth network {source} does not fit on {device}; free GPU memory, or set "
                "depth_source to 'sensor'"
            ) from error
        if str(source) not in SIZES.values():
            self._refuse_metric()

    def _refuse_metric(self) -> None:
        """Weights that nothing names as metric show it."""
        pictures, depths = drawn_rooms()
        pixels = (torch.from_numpy(pictures) / 255.0 - torch.tensor(_MEAN)) / torch.tensor(_STD)
        pixels = pixels.permute(0, 3, 1, 2).to(self._device, self._dtype)
        if looks_metric(self.network, pixels, depths):
            raise CheckpointInvalidError(
                f"{self.source} answers as a metric network does, for which far is large: what is "
                "near in three drawn rooms lies below zero, and below what is far; RoboRefer needs "
                f"relative inverse depth: use {DEFAULT_SOURCE}"
            )

    def __call__(self, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The depth picture that RoboRefer sees.

        Args:
            rgb: ``[H, W, 3]`` uint8.

        Returns:
            ``[H, W]`` uint8 relative inverse depth, near = bright, 0 to 255 in each image; all
            zero where the network sees no depth at all.

        Raises:
            InvalidImageError: The picture is far longer than wide, or the reverse.
            ModelOutOfMemoryError, ModelFailedError
        """
        if self._device.type == "cpu":
            return to_8_bit(self.inverse_depth(rgb))
        picture: npt.NDArray[np.uint8] = self._estimate(rgb, to_8_bit_on_device)
        return picture

    def inverse_depth(self, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """``[H, W]`` float32, not negative, of no unit: larger is nearer.

        Args:
            rgb: ``[H, W, 3]`` uint8.

        Raises:
            ValueError: The picture is not ``[H, W, 3]`` uint8.
            InvalidImageError: The picture is far longer than wide, or the reverse.
            ModelOutOfMemoryError, ModelFailedError
        """
        depth: npt.NDArray[np.float32] = self._estimate(rgb, lambda depth: depth)
        return depth

    @torch.inference_mode()
    def _estimate(
        self, rgb: npt.NDArray[np.uint8], finish: Callable[[torch.Tensor], torch.Tensor]
    ) -> npt.NDArray[Any]:
        """Inverse depth of a picture, finished on the device and brought to the host.

        On a GPU in a stream of its own: the language model need not wait for it, nor it for the
        language model, where both are asked by different threads.
        """
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.size == 0:
            raise ValueError(f"an image must be uint8 [H, W, 3], not {rgb.dtype} {rgb.shape}")
        pixels = torch.from_numpy(network_input(rgb, self.input_size))
        try:
            with self._own_stream():
                inputs = pixels.to(self._device, self._dtype)
                if self._dtype != torch.float32 and self._device.type == "cuda":
                    inputs = inputs.contiguous(memory_format=torch.channels_last)
                small = self.network(inputs).predicted_depth
                whole = functional.interpolate(
                    small[:, None].float(), rgb.shape[:2], mode="bilinear", align_corners=True
                )[0, 0]
                is_finite = torch.isfinite(whole).all()
                finished: npt.NDArray[Any] = finish(whole).cpu().numpy()
                if not bool(is_finite):
                    raise ModelFailedError(
                        f"the depth network gave values that are not finite in {self._dtype}; use "
                        "float32"
                    )
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            raise ModelOutOfMemoryError(
                f"the GPU ran out of memory in the depth network at {tuple(pixels.shape[2:])} "
                "pixels; use a smaller depth network or input_size, or depth_source 'sensor'"
            ) from error
        return finished

    def _own_stream(self) -> Any:
        if self._device.type != "cuda":
            return nullcontext()
        if self._stream is None:
            self._stream = torch.cuda.Stream(self._device)
            # The weights were written by the stream that was current when they were loaded.
            torch.cuda.synchronize(self._device)
        return torch.cuda.stream(self._stream)

    def close(self) -> None:
        """Free the weights."""
        del self.network
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def network_size(width: int, height: int, input_size: int = 518) -> tuple[int, int]:
    """``(width, height)`` in the network: the shorter side is ``input_size``, both multiples of 14.

    Each side is rounded to the nearest multiple, or up where that would fall below
    ``input_size``.
    """
    scale = max(input_size / height, input_size / width)

    def side(length: int) -> int:
        patches = scale * length / _PATCH
        rounded = int(np.round(patches)) * _PATCH
        return rounded if rounded >= input_size else int(np.ceil(patches)) * _PATCH

    return side(width), side(height)


def network_input(rgb: npt.NDArray[np.uint8], input_size: int = 518) -> npt.NDArray[np.float32]:
    """``[1, 3, h, w]``: resized in float64 by OpenCV's cubic, then normalised, as the authors."""
    size = network_size(rgb.shape[1], rgb.shape[0], input_size)
    if max(rgb.shape[:2]) > MOST_ASPECT * min(rgb.shape[:2]):
        raise InvalidImageError(
            f"a picture of {rgb.shape[1]}x{rgb.shape[0]} pixels is too long and narrow for the "
            f"depth network: its shorter side becomes {input_size} pixels, the other "
            f"{max(size)}; one side may be at most {MOST_ASPECT} times the other. Crop it, or show "
            "the model the camera's depth"
        )
    resized = cv2.resize(rgb / 255.0, size, interpolation=cv2.INTER_CUBIC)
    normalised = (resized - _MEAN) / _STD
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)[None], dtype=np.float32)


def to_8_bit(depth: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
    """Scale to 0..255 by minimum and maximum, cut off (not rounded) as the reference.

    The reference divides by zero on a flat map; here that is all zero.
    """
    low, high = depth.min(), depth.max()
    if not high > low:
        return np.zeros(depth.shape, np.uint8)
    picture: npt.NDArray[np.uint8] = ((depth - low) / (high - low) * 255.0).astype(np.uint8)
    return picture


def to_8_bit_on_device(depth: torch.Tensor) -> torch.Tensor:
    """``to_8_bit`` on a device, where one byte a pixel is left to be brought to the host."""
    low, high = depth.amin(), depth.amax()
    span = high - low
    scaled = (depth - low) / torch.where(span > 0, span, torch.ones_like(span)) * 255.0
    return scaled.to(torch.uint8)


def _open(source: str | Path, revision: str | None) -> Any:
    path = Path(source).expanduser()
    if "metric" in path.name.lower():
        raise CheckpointInvalidError(
            f"{source} is, by its name, a metric network, where far is large; RoboRefer needs "
            f"relative inverse depth: use {DEFAULT_SOURCE}"
        )
    if path.suffix in (".pth", ".pt"):
        config, weights = read_original(path)
        return _from_pretrained(None, str(path), config=config, state_dict=weights)
    if not path.is_dir() and not is_hub_id(str(source)):
        raise CheckpointNotFoundError(
            f"there is no depth network {str(source)!r}; give a hub id such as {DEFAULT_SOURCE}, "
            "a folder of transformers, or a .pth file of the authors"
        )
    if not path.is_dir():
        path = snapshot(
            str(source),
            revision,
            ["config.json", "model*.safetensors*"],
            what="the depth network ",
            otherwise="download it elsewhere and give the folder, or set depth_source to 'sensor'",
        )
    return _from_folder(path, str(source))


def _from_folder(folder: Path, source: str) -> Any:
    """A network in transformers' layout; its files are read within limits and never mapped."""
    config_file = folder / "config.json"
    values = read_json(config_file, 16 * MIB, CheckpointInvalidError)
    if not isinstance(values, dict) or values.get("model_type") != "depth_anything":
        raise CheckpointInvalidError(f"{config_file} does not describe Depth-Anything")
    check_numbers(values, config_file)
    weights = read_weights(folder)
    try:
        config = DepthAnythingConfig.from_dict(values)
    except Exception as error:  # the classes that transformers raises vary
        raise CheckpointInvalidError(
            f"{config_file} does not describe a network: {_first_line(error)}"
        ) from error
    return _from_pretrained(None, source, config=config, state_dict=weights)


def _from_pretrained(name: str | None, source: str, **options: Any) -> Any:
    """Open through transformers; no weight may be missing."""
    loader: Any = DepthAnythingForDepthEstimation
    try:
        network, info = loader.from_pretrained(
            name,
            dtype=torch.float32,
            trust_remote_code=False,
            output_loading_info=True,
            **options,
        )
    except Exception as error:  # impossible dimensions fail anywhere in torch and transformers
        raise CheckpointInvalidError(
            f"{source} cannot be read as Depth-Anything-V2: {_first_line(error)}"
        ) from error
    broken = sorted({*info["missing_keys"], *(str(k) for k in info.get("mismatched_keys", ()))})
    if broken:
        raise CheckpointInvalidError(
            f"{source}: {len(broken)} weights of the depth network are missing or of another "
            f"shape, the first is {broken[0]}"
        )
    kind, largest = network.config.depth_estimation_type, network.config.max_depth
    if kind != "relative" or largest not in (None, 1):
        raise CheckpointInvalidError(
            f"{source} estimates {kind} depth (max_depth {largest}), where far is large; RoboRefer "
            f"needs relative inverse depth: use {DEFAULT_SOURCE}"
        )
    return network


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _use_reference_positions(embeddings: Any) -> None:
    """Interpolate position embeddings as the authors do.

    They add 0.1 to the size before dividing, once a guard against rounding, which shifts the
    samples a little; the networks were trained so.  transformers divides exactly.
    """

    def interpolate(_tokens: torch.Tensor, height: int, width: int) -> torch.Tensor:
        table: torch.Tensor = embeddings.position_embeddings
        side = int((table.shape[1] - 1) ** 0.5)
        rows, columns = height // _PATCH, width // _PATCH
        if rows == columns == side:
            return table
        grid = table[:, 1:].float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
        scale = ((rows + 0.1) / side, (columns + 0.1) / side)
        resized = functional.interpolate(grid, scale_factor=scale, mode="bicubic")
        patches = resized.permute(0, 2, 3, 1).flatten(1, 2).to(table.dtype)
        return torch.cat((table[:, :1], patches), dim=1)

    embeddings.interpolate_pos_encoding = interpolate
