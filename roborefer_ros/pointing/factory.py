# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Opening a Pointer from a spec string."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from roborefer_ros.errors import DependencyMissingError, InvalidPointerSpecError
from roborefer_ros.pointing.model_pointer import ModelPointer
from roborefer_ros.types import Think


def _roborefer(source: str, **options: Any) -> ModelPointer:
    try:
        from roborefer_ros.pointing.roborefer import RoboReferPointer
    except ImportError as error:
        raise DependencyMissingError(
            f"the RoboRefer model needs torch and transformers ({error}); install them with "
            "`pip install roborefer_ros[model]`"
        ) from error
    return RoboReferPointer(source, **options)


def _transformers(source: str, **options: Any) -> ModelPointer:
    try:
        from roborefer_ros.pointing.transformers_vlm import TransformersPointer
    except ImportError as error:
        raise DependencyMissingError(
            f"models in this process need torch, transformers and a torchvision that matches torch "
            f"({error}); pip install 'roborefer_ros[vlm]'"
        ) from error
    return TransformersPointer(source, **options)


def _openai(source: str, **options: Any) -> ModelPointer:
    from roborefer_ros.pointing.openai_http import OpenAIPointer

    return OpenAIPointer(source, **_without_device(options))


def _roborefer_http(source: str, **options: Any) -> ModelPointer:
    from roborefer_ros.pointing.roborefer_http import RoboReferHttpPointer

    # The contract has no field for the length of the answer.
    options.pop("max_new_tokens", None)
    return RoboReferHttpPointer(source, **_without_device(options))


def _without_device(options: dict[str, Any]) -> dict[str, Any]:
    """The server chooses its device itself."""
    return {name: value for name, value in options.items() if name not in ("device", "dtype")}


def _echo(source: str, **_options: Any) -> ModelPointer:
    from roborefer_ros.pointing.echo import EchoPointer

    if source:
        raise InvalidPointerSpecError(f"'echo' takes no source, not {source!r}")
    return EchoPointer()


#: scheme of the spec string -> opener of what follows the colon
_OPENERS: dict[str, Callable[..., ModelPointer]] = {
    "roborefer": _roborefer,
    "transformers": _transformers,
    "openai": _openai,
    "roborefer-http": _roborefer_http,
    "echo": _echo,
}


def open_pointer(
    spec: str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    think: Think = Think.AUTO,
    **options: Any,
) -> ModelPointer:
    """Open a pointing model.

    Args:
        spec: ``roborefer:<folder or hub id>``; ``roborefer:demo`` is the bundled network.
            ``echo`` answers with the points that the instruction itself holds.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:<n>``.
        dtype: ``auto``, ``float32``, ``float16`` or ``bfloat16``.
        think: Whether the model is asked to reason where a request does not say it; AUTO asks
            those for it that say that they were trained to.
        **options: Options of the backend, e.g. ``max_new_tokens``.

    Raises:
        InvalidPointerSpecError: unknown form.
        DependencyMissingError: a package of the backend is not installed.
        RoboReferError: what the backend raises when it cannot open.
    """
    scheme, _, source = spec.partition(":")
    if scheme not in _OPENERS or (not source and scheme != "echo"):
        raise InvalidPointerSpecError(
            f"{spec!r} names no model; known forms: roborefer:<folder or hub id> (e.g. "
            "roborefer:demo or roborefer:Zhoues/RoboRefer-2B-SFT), transformers:<folder or hub "
            "id>, openai://host[:port]/v1?model=NAME, roborefer-http://host[:port], echo"
        )
    pointer = _OPENERS[scheme](source, device=device, dtype=dtype, **options)
    pointer.think = think
    return pointer
