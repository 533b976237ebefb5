# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Loading a vision-language model's processor, also where torchvision is missing.

transformers builds the processors of Qwen3-VL, Molmo2 and others only with torchvision, which
they need for videos.  Torchvision must match the build of torch, which often fails on robots
with a torch of their own; a pointer shows still images only, so those parts are left out then.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

from roborefer_ros.errors import CheckpointInvalidError, DependencyMissingError


def load_processor(folder: Path, config: Any) -> Any:
    """Load the processor of a checkpoint.

    Args:
        folder: Its files, already looked at.
        config: Its configuration, as transformers loaded it.

    Raises:
        CheckpointInvalidError: the checkpoint has no processor for images and text.
        DependencyMissingError: this one needs torchvision even for images.
        OSError, ValueError: what transformers raises for missing or broken files.
    """
    try:
        processor = AutoProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except (ImportError, ValueError) as error:
        if "torchvision" not in str(error).lower():
            raise
        processor = _without_torchvision(folder, config, error)
    if not hasattr(processor, "tokenizer") or not hasattr(processor, "image_processor"):
        raise CheckpointInvalidError(
            f"{folder} has no processor for images and text (found {type(processor).__name__}); "
            "it must hold preprocessor_config.json and the tokenizer's files"
        )
    return processor


def _without_torchvision(folder: Path, config: Any, cause: Exception) -> Any:
    """The same processor for images and text, without its video part."""
    base: Any = PROCESSOR_MAPPING.get(type(config), None)
    if base is None:
        raise _torchvision_missing(folder) from cause

    class ImageOnlyProcessor(base):
        """Accepts that there is no video processor."""

        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            if argument is None:
                return type(None)
            if argument_name == "image_processor" and isinstance(argument, torch.nn.Module):
                return type(argument)
            return super().check_argument_for_proper_class(argument_name, argument)

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        parts = {
            "image_processor": _image_processor(folder, config),
            "tokenizer": tokenizer,
            "chat_template": getattr(tokenizer, "chat_template", None),
        }
        if "video_processor" in base.get_attributes():
            parts["video_processor"] = None
        return ImageOnlyProcessor(**parts)
    except (ImportError, TypeError, AttributeError) as error:
        raise _torchvision_missing(folder) from error


def _image_processor(folder: Path, config: Any) -> Any:
    if config.model_type == "molmo2":
        return _molmo2_image_processor().from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    return AutoImageProcessor.from_pretrained(
        folder, backend="pil", local_files_only=True, trust_remote_code=False
    )


def _molmo2_image_processor() -> Any:
    """Molmo2's image processor with torch's own resizing.

    Of torchvision it uses ``resize`` without antialiasing, which calls torch's ``interpolate``
    with these very arguments, and ``normalize``.
    """
    from transformers.models.molmo2.image_processing_molmo2 import Molmo2ImageProcessor

    class TorchMolmo2ImageProcessor(Molmo2ImageProcessor):
        """See the function."""

        def resize(  # type: ignore[override]
            self, image: Any, size: Any, resample: Any = None, **_: Any
        ) -> Any:
            return functional.interpolate(
                image, size=[size.height, size.width], mode="bilinear", align_corners=False
            )

        def rescale_and_normalize(
            self,
            images: Any,
            do_rescale: bool,
            rescale_factor: float,
            do_normalize: bool,
            image_mean: Any,
            image_std: Any,
        ) -> Any:
            images = images.float() * (rescale_factor if do_rescale else 1.0)
            if not do_normalize:
                return images
            mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (image_mean, image_std))
            return (images - mean) / std

    TorchMolmo2ImageProcessor.__name__ = Molmo2ImageProcessor.__name__
    return TorchMolmo2ImageProcessor


def _torchvision_missing(folder: Path) -> DependencyMissingError:
    return DependencyMissingError(
        f"{folder} needs torchvision; pip install 'roborefer_ros[vlm]', with a torchvision that "
        "matches your build of torch"
    )
