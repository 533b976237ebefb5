# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Begin with another network's weights, as far as the shapes allow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from roborefer_ros.models.roborefer.checkpoint import load_roborefer
from roborefer_ros.models.roborefer.modeling import RoboRefer
from roborefer_ros.training.tabletop.tokenizer import REQUESTS

#: where a layer that the other network lacks is put in: it begins as the identity
_NEW_LAYER_AT = 1


@torch.no_grad()
def start_from(folder: Path, model: RoboRefer, tokenizer: Any) -> list[str]:
    """Copy what fits from a checkpoint; returns the names of the parameters that keep chance.

    Embeddings go by the words of the tokens: a new token begins as the mean of those that the
    other tokenizer makes of its text.  Layers that the language model has more begin as the
    identity.
    """
    other, processor = load_roborefer(folder, keep_unused=True)
    words = processor.tokenizer
    theirs = {name: value.float() for name, value in other.state_dict().items()}
    more = len(model.llm.model.layers) - len(other.llm.model.layers)
    kept = []
    for name, value in model.state_dict().items():
        if name.endswith(("embed_tokens.weight", "lm_head.weight")):
            _copy_embeddings(value, theirs[name], tokenizer, words)
            continue
        source = _renumbered(name, more)
        if source is None:
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                value.zero_()
            kept.append(name)
        elif source in theirs and theirs[source].shape == value.shape:
            value.copy_(theirs[source])
        else:
            kept.append(name)
    return kept


def _renumbered(name: str, more: int) -> str | None:
    """The other network's name of a parameter; None in a layer that it lacks."""
    start = "llm.model.layers."
    if more <= 0 or not name.startswith(start):
        return name
    number, rest = name[len(start) :].split(".", 1)
    if _NEW_LAYER_AT <= int(number) < _NEW_LAYER_AT + more:
        return None
    old = int(number) if int(number) < _NEW_LAYER_AT else int(number) - more
    return f"{start}{old}.{rest}"


def _copy_embeddings(value: torch.Tensor, source: torch.Tensor, new: Any, old: Any) -> None:
    known = old.get_vocab()
    for token, place in new.get_vocab().items():
        if token in known:
            value[place] = source[known[token]]
            continue
        text = new.decode([place]) if token not in REQUESTS else token
        pieces = old.encode(text, add_special_tokens=False)
        if pieces:
            value[place] = source[pieces].mean(0)
