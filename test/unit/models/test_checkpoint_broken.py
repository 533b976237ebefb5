# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Broken checkpoints are refused, and the message says what is wrong and where."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks import model_load
from roborefer_ros.errors import (
    CheckpointInvalidError,
    CheckpointNotFoundError,
    ModelOutOfMemoryError,
)
from roborefer_ros.models.roborefer.checkpoint import load_roborefer

GOLDEN = Path(__file__).resolve().parents[2] / "data" / "golden"

PARTS = ["llm", "vision_tower", "mm_projector", "depth_tower", "depth_projector"]

Copy = Callable[[str], Path]
Edit = Callable[..., None]


def refused(folder: Path) -> str:
    with pytest.raises(CheckpointInvalidError) as caught:
        load_roborefer(folder)
    return str(caught.value)


def change(folder: Path, **tensors: torch.Tensor | None) -> None:
    """Replace or remove tensors; ``__`` stands for a dot."""
    file = folder / "model.safetensors"
    content = load_file(file)
    for name, tensor in tensors.items():
        key = name.replace("__", ".")
        assert key in content
        del content[key]
        if tensor is not None:
            content[key] = tensor
    save_file(content, file)


def test_no_folder(tmp_path: Path) -> None:
    for source in (tmp_path / "nothing", "./nothing", "nothing"):
        with pytest.raises(CheckpointNotFoundError, match="nothing"):
            load_roborefer(source)
    with pytest.raises(CheckpointNotFoundError, match=r"config\.json is missing"):
        load_roborefer(tmp_path)


@pytest.mark.parametrize("part", PARTS)
def test_missing_part(copy_of: Copy, part: str) -> None:
    folder = copy_of("2b")
    shutil.rmtree(folder / part)
    assert part in refused(folder)


def test_part_that_lies_nowhere(copy_of: Copy, edit: Edit) -> None:
    folder = copy_of("2b")
    shutil.rmtree(folder / "llm")
    edit(folder / "config.json", llm_cfg="/home/someone/llm")
    message = refused(folder)
    assert "/home/someone/llm" in message
    assert str(folder / "llm") in message


@pytest.mark.parametrize("part", PARTS)
def test_missing_weights(copy_of: Copy, part: str) -> None:
    folder = copy_of("8b")
    (folder / part / "model.safetensors").unlink()
    message = refused(folder)
    assert part in message
    assert "holds no .safetensors" in message


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("size", [0, 5, 100, -10])
def test_truncated_file(copy_of: Copy, part: str, size: int) -> None:
    file = copy_of("2b") / part / "model.safetensors"
    os.truncate(file, size if size >= 0 else file.stat().st_size + size)
    message = refused(file.parents[1])
    assert str(file) in message
    assert "cut off" in message


def test_header_of_garbage(copy_of: Copy) -> None:
    file = copy_of("2b") / "llm/model.safetensors"
    content = bytearray(file.read_bytes())
    content[:8] = b"\xff" * 8  # a header of 2^64 - 1 bytes
    file.write_bytes(content)
    assert "damaged" in refused(file.parents[1])


def test_wrong_shape(copy_of: Copy) -> None:
    folder = copy_of("2b")
    change(folder / "mm_projector", layers__5__weight=torch.zeros(64, 95))
    message = refused(folder)
    assert "mm_projector" in message
    assert "layers.5.weight" in message
    assert "[64, 95]" in message
    assert "[64, 96]" in message


def test_weights_of_another_size(copy_of: Copy, edit: Edit) -> None:
    folder = copy_of("8b")
    edit(folder / "llm/config.json", hidden_size=128)
    assert "128" in refused(folder)


def test_missing_tensor(copy_of: Copy) -> None:
    folder = copy_of("8b")
    change(folder / "llm", lm_head__weight=None)
    message = refused(folder)
    assert "1 of 39 weights are missing" in message
    assert "lm_head.weight" in message


def test_quantised_weights(copy_of: Copy) -> None:
    folder = copy_of("2b")
    shape = (96, 288)
    change(folder / "depth_projector", layers__2__weight=torch.zeros(shape, dtype=torch.int8))
    assert "I8" in refused(folder)


def test_index_that_names_a_missing_file(copy_of: Copy) -> None:
    folder = copy_of("2b")
    index = folder / "llm/model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-00002-of-00002.safetensors"}}))
    assert "model-00002-of-00002.safetensors" in refused(folder)
    for text in ("{", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": {}}}'):
        index.write_text(text)
        assert "index" in refused(folder)


# --- pickles ---------------------------------------------------------------------------


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("exploded",))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.safetensors"])
def test_pickles_are_never_read(
    copy_of: Copy, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = copy_of("2b")
    (folder / "llm/model.safetensors").unlink()
    (folder / "llm" / name).write_bytes(pickle.dumps(_Bomb()))
    message = refused(folder)
    assert ("pickle" in message) or ("damaged" in message)
    assert not (tmp_path / "exploded").exists()


# --- configuration ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "values", "part_of_message"),
    [
        ("config.json", {"image_aspect_ratio": "pad"}, "'pad'"),
        ("config.json", {"llm_cfg": None}, "llm_cfg"),
        ("config.json", {"mm_vision_select_layer": -9}, "-9"),
        ("config.json", {"mm_vision_select_layer": "last"}, "'last'"),
        ("config.json", {"mm_vision_select_feature": "patch"}, "'patch'"),
        ("config.json", {"mm_vision_select_feature": None}, "select_feature"),
        ("config.json", {"max_tiles": [1]}, "max_tiles"),
        ("config.json", {"s2_scales": "448;896"}, "448;896"),
        ("config.json", {"s2_scales": "112,200"}, "200"),
        ("llm/config.json", {"hidden_size": "wide"}, "llm/config.json"),
        ("llm/config.json", {"architectures": ["Other"], "model_type": "gemma"}, "gemma"),
        ("vision_tower/config.json", {"architectures": None, "model_type": None}, "siglip"),
        ("mm_projector/config.json", {"mm_projector_type": "linear"}, "'linear'"),
        ("mm_projector/config.json", {"mm_projector_type": None}, "projector type None"),
        ("mm_projector/config.json", {"mm_projector_type": [1]}, "[1]"),
        ("config.json", {"max_tiles": float("inf")}, "max_tiles"),
        ("config.json", {"max_tiles": float("nan")}, "max_tiles"),
        ("config.json", {"max_tiles": 10**9}, "1000000000"),
        ("config.json", {"max_tiles": 0}, "max_tiles"),
        ("config.json", {"min_tiles": -1}, "min_tiles"),
        ("config.json", {"s2_resize_output_to_scale_idx": 7}, "is 7"),
        ("llm/config.json", {"architectures": 3, "model_type": "gemma"}, "gemma"),
        ("llm/config.json", {"num_key_value_heads": 0}, "ZeroDivisionError"),
        ("llm/config.json", {"hidden_act": "x"}, "KeyError"),
        ("llm/config.json", {"vocab_size": -1}, "negative"),
        ("vision_tower/config.json", {"num_attention_heads": 3}, "divisible"),
        ("vision_tower/config.json", {"image_size": []}, "vision_tower"),
    ],
)
def test_unsupported_configuration(
    copy_of: Copy, edit: Edit, file: str, values: dict[str, Any], part_of_message: str
) -> None:
    folder = copy_of("8b")
    edit(folder / file, **values)
    assert part_of_message in refused(folder)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"max_tiles": ' + b"1" * 5000 + b"}"],
    ids=["empty", "cut", "list", "utf-16", "deep", "digits"],
)
def test_configuration_that_is_no_json_object(copy_of: Copy, text: bytes) -> None:
    folder = copy_of("2b")
    (folder / "config.json").write_bytes(text)
    assert "config.json" in refused(folder)


def test_tokenizer(copy_of: Copy, edit: Edit) -> None:
    folder = copy_of("2b")
    edit(folder / "llm/tokenizer_config.json", chat_template=None)
    assert "chat template" in refused(folder)
    (folder / "llm/tokenizer.json").write_text("{")
    assert "tokenizer" in refused(folder)


def test_code_beside_the_tokenizer_is_not_run(
    copy_of: Copy, edit: Edit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = copy_of("2b")
    (folder / "llm/evil.py").write_text("import os; os.mkdir('exploded')\nclass T: pass\n")
    edit(
        folder / "llm/tokenizer_config.json",
        auto_map={"AutoTokenizer": ["evil.T", "evil.T"]},
        tokenizer_class="EvilTokenizer",
    )
    try:
        load_roborefer(folder)  # through the class that transformers knows, or not at all
    except CheckpointInvalidError as error:
        assert "tokenizer" in str(error)
    assert not (tmp_path / "exploded").exists()


# --- memory ----------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads Linux's /proc")
def test_opening_needs_little_more_than_the_weights(tmp_path: Path) -> None:
    # The worst case: stored in a wider type than it is kept in.
    model_load.write_synthetic(tmp_path, "small", torch.float32)
    for dtype, size in (("bfloat16", 2), ("float32", 4)):
        opening = model_load.measure(tmp_path, dtype=dtype)
        assert opening.weight_bytes > 1.2e8 * size
        assert 0.9 < opening.ram_ratio < 1.2


def test_out_of_memory_has_its_own_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*_: object) -> None:
        torch.empty(2**60, dtype=torch.uint8)  # what a device that is full does

    monkeypatch.setattr("roborefer_ros.models.roborefer.checkpoint.fill_part", fill)
    with pytest.raises(ModelOutOfMemoryError, match="do not fit on cpu"):
        load_roborefer(GOLDEN / "tiny-2b-style")
