# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Tokenizer and configurations that transformers 4 and 5 both read.

The reference runs transformers 4.4x.  It takes ``rope_theta`` from the top of a configuration and
silently 10000 where it is missing, the chat template from ``tokenizer_config.json``, and refuses
a list under ``extra_special_tokens``, all of which transformers 5 writes elsewhere.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

#: what transformers 5 writes about the place that a tokenizer was opened from
_OF_THIS_MACHINE = ("backend", "is_local", "local_files_only", "name_or_path")

_OF_AN_ADDED_TOKEN = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write a tokenizer of Qwen2's kind.

    Args:
        tokenizer: Tokenizer to write.
        folder: Existing folder of the language model.

    Raises:
        OSError: The folder cannot be written.
    """
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    values = json.loads(path.read_text())
    extra = values.pop("extra_special_tokens", None)
    if isinstance(extra, list):
        values["additional_special_tokens"] = extra
    for key in _OF_THIS_MACHINE:
        values.pop(key, None)
    values["tokenizer_class"] = "Qwen2Tokenizer"
    values["chat_template"] = tokenizer.chat_template
    values["added_tokens_decoder"] = {
        str(number): {key: getattr(token, key) for key in _OF_AN_ADDED_TOKEN}
        for number, token in sorted(tokenizer.added_tokens_decoder.items())
    }
    write_json(path, values)
    names = ("bos_token", "eos_token", "pad_token", "additional_special_tokens")
    tokens = {name: values[name] for name in names if values.get(name)}
    write_json(folder / "special_tokens_map.json", tokens)
    # vocab.json and merges.txt, which the tokenizer in Python reads
    tokenizer.backend_tokenizer.model.save(str(folder))


def portable(config: PreTrainedConfig, architecture: str) -> dict[str, Any]:
    """The values of a configuration, with those that transformers 4 looks for.

    Args:
        config: Configuration of a part.
        architecture: Class that the weights belong to.
    """
    values: dict[str, Any] = {**config.to_dict(), "architectures": [architecture]}
    rope = values.get("rope_parameters")
    if isinstance(rope, dict) and "rope_theta" in rope:
        values["rope_theta"] = rope["rope_theta"]
        if rope.get("rope_type", "default") != "default":
            values["rope_scaling"] = {k: v for k, v in rope.items() if k != "rope_theta"}
    if values.get("dtype") is None:
        values.pop("dtype", None)
    return values


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a JSON file whose keys are sorted."""
    path.write_text(json.dumps(values, indent=2, sort_keys=True, default=str) + "\n")
