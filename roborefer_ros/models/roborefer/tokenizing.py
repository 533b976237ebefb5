# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Opening a checkpoint's tokenizer, and making sure that it is the one of its language model.

transformers makes a tokenizer of whatever is in a folder, of nothing but a few added tokens, too;
the model would then be asked in tokens that mean something else.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from roborefer_ros.errors import CheckpointInvalidError
from roborefer_ros.files import MIB, open_regular, parse_json, read_bytes, read_text
from roborefer_ros.models.roborefer.labels import SENTINEL
from roborefer_ros.models.roborefer.modeling import RoboRefer
from roborefer_ros.models.roborefer.processing import DEPTH, IMAGE, VIDEO

#: larger than any published file of a tokenizer
_FILE_LIMIT = 256 * MIB

#: files in a checkpoint's folder: many shards, many steps of training; never this many
_MOST_FILES = 10_000

#: A prompt in small: words, digits, brackets, line feeds.
_SAMPLE = "Point to the 2 mugs.\n[(0.123, 0.456), (0.789, 0.000)]"

#: Embeddings are padded to a multiple of 64 to 512 rows: Qwen2's has 151,936 for 151,646 tokens.
_MOST_PADDING, _MOST_PADDING_ROWS = 0.02, 128

#: media tokens that a checkpoint of NVILA lacks and that are added, and some more
_MOST_ADDED = 32


def check_files(folder: Path) -> None:
    """Refuse what a library would open and wait for, or read for ever.

    Args:
        folder: Given to ``from_pretrained`` next.

    Raises:
        CheckpointInvalidError: a file is no regular file, a Git LFS pointer, or too large; or a
            JSON file is broken or nested too deep.
    """
    with os.scandir(folder) as entries:
        listed = [
            entry.name
            for _, entry in zip(range(_MOST_FILES + 1), entries, strict=False)
            if not entry.is_dir() or Path(entry.name).suffix in (".json", ".txt", ".jinja")
        ]
    names = sorted(listed)
    if len(names) > _MOST_FILES:
        raise CheckpointInvalidError(f"{folder} holds more than {_MOST_FILES} files")
    for name in names:
        path = folder / name
        if path.suffix == ".json":
            text = read_text(path, _FILE_LIMIT, CheckpointInvalidError)
            parse_json(text, path, CheckpointInvalidError)
        elif path.suffix in (".txt", ".jinja", ".model"):
            read_bytes(path, _FILE_LIMIT, CheckpointInvalidError)
        else:
            open_regular(path, CheckpointInvalidError).close()


def load_tokenizer(folder: Path, rows: int) -> Any:
    """The tokenizer of a language model.

    Args:
        folder: Holds ``tokenizer.json``, or ``vocab.json`` and ``merges.txt``.
        rows: Of the model's embedding.

    Raises:
        CheckpointInvalidError: it is missing, broken, or not this model's.
    """
    check_files(folder)
    if not (folder / "tokenizer.json").exists():
        absent = [name for name in ("vocab.json", "merges.txt") if not (folder / name).exists()]
        if absent:
            raise CheckpointInvalidError(
                f"{folder} has neither tokenizer.json nor both vocab.json and merges.txt "
                f"({' and '.join(absent)} missing); copy the tokenizer's files from the original "
                "checkpoint"
            )
    try:
        # Without a plain "no", transformers asks on the terminal whether to run a folder's code.
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # tokenizers raises bare Exception
        raise CheckpointInvalidError(
            f"the tokenizer in {folder} cannot be read: {error}"
        ) from error
    if not tokenizer.chat_template:
        raise CheckpointInvalidError(f"the tokenizer in {folder} has no chat template")
    if "<|im_end|>" not in tokenizer.get_vocab():
        raise CheckpointInvalidError(f"the tokenizer in {folder} lacks <|im_end|>, the stop token")
    _check_vocabulary(tokenizer, rows, folder)
    return tokenizer


def _check_vocabulary(tokenizer: Any, rows: int, folder: Path) -> None:
    size = len(tokenizer)
    if size < rows - max(_MOST_PADDING * rows, _MOST_PADDING_ROWS):
        raise CheckpointInvalidError(
            f"the tokenizer in {folder} has {size} tokens, the model's embedding {rows} rows: the "
            "tokenizer is incomplete or another model's; copy its files from the original "
            "checkpoint"
        )
    if size > rows + _MOST_ADDED:
        raise CheckpointInvalidError(
            f"the tokenizer in {folder} has {size} tokens, more than the {rows} rows of the "
            "model's embedding: it belongs to another model"
        )
    ids = tokenizer.encode(_SAMPLE, add_special_tokens=False)
    if not ids or max(ids) >= size or tokenizer.decode(ids) != _SAMPLE:
        raise CheckpointInvalidError(
            f"the tokenizer in {folder} cannot write {_SAMPLE!r}: its vocabulary is incomplete or "
            "another model's; copy its files from the original checkpoint"
        )


def check_writes(tokenizer: Any, rows: int | None, folder: Path) -> None:
    """Make sure that a tokenizer of any family can write prompts for a model.

    Args:
        tokenizer: Of transformers.
        rows: Of the model's embedding; None where that cannot be told.
        folder: Where it was read, for the message.

    Raises:
        CheckpointInvalidError: it cannot write words and digits, or has more tokens than rows.
    """
    ids = tokenizer.encode(_SAMPLE, add_special_tokens=False)
    most = rows if rows is not None else max([0, *ids]) + 1
    if len(tokenizer) > most + _MOST_ADDED and rows is not None:
        raise CheckpointInvalidError(
            f"the tokenizer in {folder} has {len(tokenizer)} tokens, more than the {rows} rows of "
            "the model's embedding: it belongs to another model"
        )
    written = tokenizer.decode(ids) if ids and max(ids) < most else ""
    # Some put a space before the first word, or write without capitals.
    if "".join(written.split()).lower() != "".join(_SAMPLE.split()).lower():
        raise CheckpointInvalidError(
            f"the tokenizer in {folder} cannot write {_SAMPLE!r}: its vocabulary is incomplete or "
            "another model's; copy its files from the original checkpoint"
        )


def fit_vocabulary(model: RoboRefer, tokenizer: Any) -> None:
    """Add missing media tokens; make the embedding as long as the tokenizer, as the reference."""
    vocabulary = tokenizer.get_vocab()
    wanted = (SENTINEL, IMAGE, VIDEO, *((DEPTH,) if model.config.enable_depth else ()))
    missing = [token for token in wanted if token not in vocabulary]
    if missing:
        tokenizer.add_tokens(missing, special_tokens=True)
    size = model.llm.model.embed_tokens.num_embeddings
    if len(tokenizer) == size:
        return
    model.llm.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    # The rows of new tokens are never read as input; as outputs, the mean never wins.
    for layer in (model.llm.get_input_embeddings(), model.llm.get_output_embeddings()):
        weight = layer.weight
        assert isinstance(weight, torch.Tensor)
        with torch.no_grad():
            weight[size:] = weight[:size].mean(0, dtype=torch.float32).to(weight.dtype)
