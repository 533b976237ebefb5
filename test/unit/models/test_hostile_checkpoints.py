# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that hang, change, or hold what is no weight end in an error while they load."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from roborefer_ros.errors import CheckpointInvalidError
from roborefer_ros.models.chat_template import PromptFrame, is_plain, prompt_frame
from roborefer_ros.models.roborefer.checkpoint import load_roborefer, save_roborefer
from roborefer_ros.models.safetensors_file import SafetensorsFile
from roborefer_ros.training.tabletop.tokenizer import CHAT_TEMPLATE

Copy = Callable[[str], Path]
Edit = Callable[..., None]


def refused(folder: Path, message: str) -> None:
    with pytest.raises(CheckpointInvalidError, match=message):
        load_roborefer(folder)


@pytest.mark.parametrize(
    "name",
    ["config.json", "llm/config.json", "llm/model.safetensors", "vision_tower/model.safetensors",
     "llm/tokenizer.json", "llm/tokenizer_config.json", "llm/model.safetensors.index.json",
     "llm/merges.txt", "llm/added_tokens.json", "llm/chat_template.jinja"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["pipe", "device", "directory"])
def test_only_regular_files_are_opened(copy_of: Copy, name: str, kind: str) -> None:
    path = copy_of("2b") / name
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif name.endswith((".json", ".safetensors")) and "added" not in name:
        path.mkdir()
    else:
        return
    with pytest.raises(CheckpointInvalidError):
        load_roborefer(path.parents[len(Path(name).parts) - 1])


@pytest.mark.parametrize("name", ["llm/model.safetensors", "llm/tokenizer.json", "config.json"])
def test_pointers_of_git_lfs_are_named(copy_of: Copy, name: str) -> None:
    folder = copy_of("2b")
    (folder / name).write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 1000\n"
    )
    refused(folder, "Git LFS pointer.*git lfs pull")


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("vision_tower/config.json", {"num_hidden_layers": 1_000_000}),
        ("llm/config.json", {"num_hidden_layers": 1_000_000}),
        ("llm/config.json", {"hidden_size": 10**12}),
        ("llm/config.json", {"vocab_size": 10**10}),
        ("depth_tower/config.json", {"image_size": 10**7}),
        ("vision_tower/config.json", {"num_attention_heads": 1e300}),
        ("llm/config.json", {"rope_scaling": {"num_layers": 10**9}}),
        ("llm/config.json", {"layer_types": ["full_attention"] * 200_000}),
        ("config.json", {"image_aspect_ratio": "dynamic_s2", "s2_scales": "56,560000000"}),
    ],
)
def test_sizes_that_no_network_has_are_refused_before_it_is_built(
    copy_of: Copy, edit: Edit, file: str, values: dict[str, Any]
) -> None:
    folder = copy_of("2b")
    edit(folder / file, **values)
    refused(folder, r"config\.json")


def test_json_that_is_nested_without_end(copy_of: Copy) -> None:
    folder = copy_of("2b")
    (folder / "llm/tokenizer_config.json").write_text('{"a":' * 90 + "1" + "}" * 90)
    refused(folder, "nested deeper")


# --- weights ---------------------------------------------------------------------------


def spoil(file: Path, key: str, value: float) -> None:
    content = load_file(file)
    content[key] = torch.full_like(content[key], value)
    save_file(content, file)


@pytest.mark.parametrize(
    ("value", "message"),
    [(float("nan"), "not finite"), (float("-inf"), "not finite"), (0.0, "zero")],
)
@pytest.mark.parametrize("part", ["llm", "vision_tower", "mm_projector"])
def test_weights_that_no_training_leaves(
    copy_of: Copy, part: str, value: float, message: str
) -> None:
    folder = copy_of("2b")
    file = folder / part / "model.safetensors"
    key = next(k for k in sorted(load_file(file)) if k.endswith("weight"))
    spoil(file, key, value)
    refused(folder, f"model.safetensors: {key}.*{message}")


def test_a_bias_may_be_zero(copy_of: Copy) -> None:
    folder = copy_of("2b")
    file = folder / "mm_projector" / "model.safetensors"
    spoil(file, "layers.5.bias", 0.0)
    load_roborefer(folder)


def test_weights_that_overflow_in_the_type_that_was_asked_for(copy_of: Copy) -> None:
    folder = copy_of("2b")
    spoil(folder / "mm_projector" / "model.safetensors", "layers.5.bias", 1e6)
    load_roborefer(folder, dtype="bfloat16")
    with pytest.raises(CheckpointInvalidError, match="float16"):
        load_roborefer(folder, dtype="float16")


def test_a_file_that_shrinks_after_it_was_opened_is_an_error_and_no_signal(copy_of: Copy) -> None:
    path = copy_of("2b") / "llm/model.safetensors"
    with SafetensorsFile(path) as file:
        os.truncate(path, path.stat().st_size // 2)
        with pytest.raises(CheckpointInvalidError, match="changed or cut off while"):
            for name in file.tensors:
                file.read(name)


def test_a_file_that_is_written_or_replaced_while_it_is_read_is_an_error(copy_of: Copy) -> None:
    path = copy_of("2b") / "llm/model.safetensors"
    with SafetensorsFile(path) as file:
        other = path.with_suffix(".new")
        shutil.copy(path, other)
        other.replace(path)
        with pytest.raises(CheckpointInvalidError, match="changed"):
            file.check_unchanged()
    with SafetensorsFile(path) as file:
        file.check_unchanged()
        os.utime(path, (1, 1))
        with pytest.raises(CheckpointInvalidError, match="changed"):
            file.check_unchanged()


def header(path: Path, entries: dict[str, Any], body: bytes = b"\0" * 8) -> None:
    text = json.dumps(entries).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 12]},
        {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]},
        {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
        {"dtype": "F32", "shape": [2**61, 2**61], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [True, 2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": 2, "data_offsets": [0, 8]},
        {"dtype": "F32", "data_offsets": [0, 8]},
        {"dtype": ["F32"], "shape": [2], "data_offsets": [0, 4]},
        [1, 2],
    ],
)
def test_headers_that_lie(tmp_path: Path, entry: Any) -> None:
    header(tmp_path / "x.safetensors", {"a": entry})
    with pytest.raises(CheckpointInvalidError, match="damaged"):
        SafetensorsFile(tmp_path / "x.safetensors")


def test_our_reader_agrees_with_the_library(tmp_path: Path) -> None:
    kinds = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8)
    tensors = {str(k): torch.arange(12).reshape(3, 4).to(k) for k in kinds}
    tensors |= {"empty": torch.zeros(0, 3), "scalar": torch.tensor(3.5)}
    save_file(tensors, tmp_path / "x.safetensors", metadata={"format": "pt"})
    with SafetensorsFile(tmp_path / "x.safetensors") as file:
        assert set(file.tensors) == set(tensors)
        for name, tensor in load_file(tmp_path / "x.safetensors").items():
            got = file.read(name)
            assert got.dtype == tensor.dtype
            assert torch.equal(got, tensor)


def test_stray_files_beside_the_weights_are_not_read(copy_of: Copy) -> None:
    folder = copy_of("2b")
    weights = load_file(folder / "llm/model.safetensors")
    zeros = {k: torch.zeros_like(v) for k, v in weights.items()}
    for name in ("zz_ema.safetensors", "adapter_model.safetensors", "aa.safetensors"):
        save_file(zeros, folder / "llm" / name)
    model, _ = load_roborefer(folder)
    key = "model.embed_tokens.weight"
    assert torch.equal(model.llm.state_dict()[key], weights[key].float())


@pytest.mark.parametrize("name", ["model-ema.safetensors", "model_fp16.safetensors"])
@pytest.mark.parametrize("with_index", [True, False])
def test_a_weight_in_two_files_is_refused(copy_of: Copy, name: str, with_index: bool) -> None:
    folder = copy_of("2b") / "llm"
    weights = load_file(folder / "model.safetensors")
    if with_index:
        index = {"weight_map": dict.fromkeys(weights, "model.safetensors")}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    save_file({"model.norm.weight": weights["model.norm.weight"]}, folder / name)
    refused(
        folder.parent, rf"model.norm.weight is in model\.safetensors and in {name}|is in {name}"
    )


# --- tokenizer -------------------------------------------------------------------------


def test_no_tokenizer(copy_of: Copy) -> None:
    folder = copy_of("2b")
    (folder / "llm/tokenizer.json").unlink()
    for name in ("vocab.json", "merges.txt"):
        (folder / "llm" / name).unlink(missing_ok=True)
    refused(folder, r"tokenizer\.json.*vocab\.json and merges\.txt")


def test_vocabulary_without_merges(copy_of: Copy) -> None:
    folder = copy_of("2b")
    content = json.loads((folder / "llm/tokenizer.json").read_text())
    (folder / "llm/tokenizer.json").unlink()
    (folder / "llm/vocab.json").write_text(json.dumps(content["model"]["vocab"]))
    (folder / "llm/merges.txt").unlink(missing_ok=True)
    refused(folder, r"merges\.txt missing")


def shrink(vocabulary: dict[str, int]) -> dict[str, int]:
    return {token: number for token, number in vocabulary.items() if number < 280}


def without_digits(vocabulary: dict[str, int]) -> dict[str, int]:
    return {f"{token}x" if token.isdigit() else token: n for token, n in vocabulary.items()}


def longer(vocabulary: dict[str, int]) -> dict[str, int]:
    top = max(vocabulary.values())
    return vocabulary | {f"word{n}": top + 1000 + n for n in range(200)}


@pytest.mark.parametrize("change", [shrink, without_digits, longer])
def test_a_vocabulary_that_is_not_the_models(
    copy_of: Copy, change: Callable[[dict[str, int]], dict[str, int]]
) -> None:
    folder = copy_of("2b")
    path = folder / "llm/tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["vocab"] = change(content["model"]["vocab"])
    kept = content["model"]["vocab"]
    content["model"]["merges"] = [
        m for m in content["model"]["merges"]
        if "".join(m if isinstance(m, list) else m.split(" ")) in kept
        and all(part in kept for part in (m if isinstance(m, list) else m.split(" ")))
    ]  # fmt: skip
    path.write_text(json.dumps(content))
    refused(folder, "tokenizer")


# --- chat template ---------------------------------------------------------------------

ENDLESS = (
    "{% for i in range(99999) %}{% for j in range(99999) %}{% for k in range(99999) %}"
    "{% endfor %}{% endfor %}{% endfor %}"
)


@pytest.mark.parametrize(
    "template",
    [
        ENDLESS,
        "{% set n = namespace(s='x' * 1000) %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}"
        "{% endfor %}{{ n.s }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ messages }}{{ messages }}",
        "hello",
        "{% if",
        "{{ ''.__class__.__mro__ }}{{ messages[0].content }}{{ cycler.__init__.__globals__.os }}",
    ],
)
def test_templates_that_cannot_be_used(copy_of: Copy, edit: Edit, template: str) -> None:
    folder = copy_of("2b")
    (folder / "llm/chat_template.jinja").unlink(missing_ok=True)
    edit(folder / "llm/tokenizer_config.json", chat_template=template)
    refused(folder, "template")


def test_a_frame_is_what_transformers_renders(copy_of: Copy) -> None:
    frame = prompt_frame(CHAT_TEMPLATE)
    assert frame == PromptFrame(
        "<|im_start|>system\nYou are a helpful assistant<|im_end|>\n<|im_start|>user\n",
        "<|im_end|>\n<|im_start|>assistant\n",
    )
    _, processor = load_roborefer(copy_of("2b"))
    text = processor.tokenizer.apply_chat_template(
        [{"role": "user", "content": "the mug"}], add_generation_prompt=True, tokenize=False
    )
    assert prompt_frame(processor.tokenizer.chat_template).around("the mug") == text


def test_plain_templates_are_told_from_programs() -> None:
    assert is_plain(CHAT_TEMPLATE)
    for template in (ENDLESS, "{{ 'x' * 10 }}", "{% for m in x %}{% endfor %}", "{% if",
                     "{% for m in messages %}{% for n in messages %}{% endfor %}{% endfor %}",
                     "{{ messages | center(1000000000) }}", "{{ '%9999999d' % 1 }}"):  # fmt: skip
        assert not is_plain(template)


# --- saving ----------------------------------------------------------------------------


def test_saving_replaces_a_checkpoint_whole(
    copy_of: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, processor = load_roborefer(copy_of("2b"), keep_unused=True)
    target = tmp_path / "out"
    save_roborefer(model, processor.tokenizer, target)
    (target / "llm" / "model-ema.safetensors").write_bytes(b"stale")
    before = (target / "llm" / "model.safetensors").read_bytes()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("roborefer_ros.models.roborefer.checkpoint.save_file", full)
        with pytest.raises(OSError, match="No space"):
            save_roborefer(model, processor.tokenizer, target)
    assert (target / "llm" / "model.safetensors").read_bytes() == before
    save_roborefer(model, processor.tokenizer, target)
    assert not (target / "llm" / "model-ema.safetensors").exists()
    load_roborefer(target)
