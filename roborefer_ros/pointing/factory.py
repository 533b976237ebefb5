# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Opening a pointer: the model that a spec names, and the family in whose way it points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from roborefer_ros.cancellation import Cancellation
from roborefer_ros.errors import DependencyMissingError, InvalidPointerSpecError
from roborefer_ros.inference.options import ModelOptions
from roborefer_ros.pointing.families import ECHO, FAMILIES, Family, family_named, family_of
from roborefer_ros.pointing.formats import parse_pixels
from roborefer_ros.pointing.images import on_qwen_grid
from roborefer_ros.pointing.pointer import Pointer
from roborefer_ros.types import Think


def _roborefer(options: ModelOptions) -> Pointer:
    try:
        from roborefer_ros.inference.loading import (
            learned_to_reason,
            open_roborefer,
            roborefer_folder,
            roborefer_options,
        )
    except ImportError as error:
        raise DependencyMissingError(
            f"the RoboRefer model needs torch and transformers ({error}); install them with "
            "`pip install roborefer_ros[model]`"
        ) from error
    samples = roborefer_options(options.source).get("samples", 0)
    pointer = Pointer(open_roborefer(options), FAMILIES["tuples"], samples)
    pointer.learned_to_reason = learned_to_reason(roborefer_folder(options))
    return pointer


def _transformers(options: ModelOptions) -> Pointer:
    try:
        from roborefer_ros.inference.transformers_vlm import (
            Checkpoint,
            PromptFraming,
            TransformersModel,
        )
    except ImportError as error:
        raise DependencyMissingError(
            f"models in this process need torch, transformers and a torchvision that matches torch "
            f"({error}); pip install 'roborefer_ros[vlm]'"
        ) from error
    checkpoint = Checkpoint.of(options.source)
    named = checkpoint.options.get("family")
    family = family_named(named) if named else family_of(checkpoint.place, checkpoint.model_type)
    if family is None:
        raise InvalidPointerSpecError(
            f"how a model of type {checkpoint.model_type!r} points is not known; name its format "
            f"with ?family=, one of {', '.join(FAMILIES)}"
        )
    framing = PromptFraming(family.uses_chat_template, family.image_token, family.prompt(""))
    model = TransformersModel(options, checkpoint, framing)
    return Pointer(model, family, checkpoint.options.get("samples", 0))


def _openai(options: ModelOptions) -> Pointer:
    from roborefer_ros.inference.openai_http import OpenAIModel

    model = OpenAIModel(options)
    named = family_named(model.options["family"]) if "family" in model.options else None

    def family(cancellation: Cancellation) -> Family:
        # Unknown names get RoboRefer's prompt, which says in full what is wanted.
        found = named or family_of(model.model_name(cancellation)) or FAMILIES["tuples"]
        if found.parse is parse_pixels:
            # The server does not tell the size of the picture that its model sees.
            return replace(found, prepare=on_qwen_grid)
        return found

    return Pointer(model, family, model.options.get("samples", 0))


def _roborefer_http(options: ModelOptions) -> Pointer:
    from roborefer_ros.inference.roborefer_http import RoboReferHttpModel

    return Pointer(RoboReferHttpModel(options), FAMILIES["tuples"])


def _echo(options: ModelOptions) -> Pointer:
    from roborefer_ros.inference.echo import EchoModel

    if options.source:
        raise InvalidPointerSpecError(f"'echo' takes no source, not {options.source!r}")
    return Pointer(EchoModel(), ECHO)


#: scheme of the spec string -> opener
_OPENERS: dict[str, Callable[[ModelOptions], Pointer]] = {
    "roborefer": _roborefer,
    "transformers": _transformers,
    "openai": _openai,
    "roborefer-http": _roborefer_http,
    "echo": _echo,
}


def open_pointer(
    model: str | ModelOptions, *, think: Think = Think.AUTO, **options: Any
) -> Pointer:
    """Open a pointing model.

    Args:
        model: Spec or all options.  ``roborefer:<folder or hub id>`` is a RoboRefer checkpoint,
            ``roborefer:demo`` the bundled network; ``echo`` answers with the points that the
            instruction itself holds; see docs/models.md.
        think: Whether the model is asked to reason where a request does not say it; AUTO asks
            those for it that say that they were trained to.
        **options: Fields of ``ModelOptions``, such as ``device`` or ``max_new_tokens``.

    Raises:
        InvalidPointerSpecError: Unknown form.
        DependencyMissingError: A package of the backend is not installed.
        RoboReferError: What the backend raises when it cannot open.
    """
    if isinstance(model, str):
        model = ModelOptions(model)
    opened = replace(model, **options)
    if opened.scheme not in _OPENERS or (not opened.source and opened.scheme != "echo"):
        raise InvalidPointerSpecError(
            f"{opened.spec!r} names no model; known forms: roborefer:<folder or hub id> (e.g. "
            "roborefer:demo or roborefer:Zhoues/RoboRefer-2B-SFT), transformers:<folder or hub "
            "id>, openai://host[:port]/v1?model=NAME, roborefer-http://host[:port], echo"
        )
    pointer = _OPENERS[opened.scheme](opened)
    pointer.think = think
    return pointer
