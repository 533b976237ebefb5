# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Devices, and what an exhausted memory looks like."""

from __future__ import annotations

from roborefer_ros.errors import ModelFailedError, ModelOutOfMemoryError, RoboReferError


def resolve_device(device: str) -> str:
    """The device that ``auto`` stands for; others as they are.

    Raises:
        ModelFailedError: CUDA was asked for and torch sees none.
    """
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ModelFailedError(
            f"device {device!r} was asked for, but torch sees no CUDA GPU; use device:=cpu "
            "or install a CUDA build of torch (`roborefer doctor` shows what torch sees)"
        )
    return device


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was used up, on the GPU or the CPU."""
    # torch raises a plain RuntimeError when the memory of the CPU is used up.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "not enough memory" in str(error)
        or "can't allocate memory" in str(error)
    )


def numbered(error: Exception, advice: str) -> RoboReferError:
    """The numbered error for what a model raised.

    Args:
        error: Whatever was raised.
        advice: What the user can do when memory has run out.
    """
    if isinstance(error, RoboReferError):
        return error
    if is_out_of_memory(error):
        return ModelOutOfMemoryError(f"there was not enough memory to answer; {advice}")
    failure = ModelFailedError(f"the model failed: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure
