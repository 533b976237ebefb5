# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Opening models of other families: files that change, lie or never end; the hub's cache."""

from __future__ import annotations

import gc
import json
import os
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from safetensors.torch import load_file, save_file
from tiny_checkpoints import asked, save_florence2, save_molmo2, save_paligemma, save_qwen
from transformers import AutoTokenizer

from roborefer_ros.errors import CheckpointInvalidError, CheckpointNotFoundError
from roborefer_ros.models.lazy_weights import LazyTensor, lazy_weights
from roborefer_ros.pointing.factory import open_pointer
from roborefer_ros.pointing.pointer import Pointer

Make = Callable[[], Path]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vlm") / "qwen"
    save_qwen(folder, "3")
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(original, tmp_path / "qwen"))


def opened(source: str | Path, **options: Any) -> Pointer:
    return open_pointer(f"transformers:{source}", device="cpu", **options)


def refused(folder: Path, message: str, **options: Any) -> None:
    with pytest.raises(CheckpointInvalidError, match=message) as caught:
        opened(folder, **options)
    assert len(str(caught.value)) < 700


# --- weights ---------------------------------------------------------------------------


def test_weights_are_those_of_the_file(original: Path) -> None:
    stored = load_file(original / "model.safetensors")
    loaded = opened(original).model.network.state_dict()
    same = [name for name in stored if name in loaded]
    assert len(same) > 20
    for name in same:
        assert torch.equal(loaded[name], stored[name])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: os.truncate(path, path.stat().st_size // 2),
        lambda path: os.utime(path, (1, 1)),
        lambda path: shutil.copy(path, f"{path}.new") and os.replace(f"{path}.new", path),
    ],
    ids=["truncated", "written to", "replaced"],
)
def test_weights_that_change_while_they_load_are_an_error_and_no_signal(
    folder: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None]
) -> None:
    read = LazyTensor.__getitem__
    done: list[bool] = []

    def read_later(self: LazyTensor, index: Any) -> torch.Tensor:
        if not done:
            done.append(True)
            spoil(folder / "model.safetensors")
        return read(self, index)

    monkeypatch.setattr(LazyTensor, "__getitem__", read_later)
    refused(folder, "was changed or cut off while it was read")
    assert done


def edit_weight(folder: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> str:
    path = folder / "model.safetensors"
    weights = load_file(path)
    name = next(n for n in sorted(weights) if "mlp" in n and n.endswith("weight"))
    weights[name] = change(weights[name])
    save_file(weights, path, metadata={"format": "pt"})
    return name


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(folder: Path, value: float) -> None:
    def change(weight: torch.Tensor) -> torch.Tensor:
        weight[0, 0] = value
        return weight

    name = edit_weight(folder, change)
    refused(folder, f"{name} holds values that are not finite")


def test_a_matrix_of_zeros(folder: Path) -> None:
    name = edit_weight(folder, torch.zeros_like)
    refused(folder, f"{name} is zero throughout")


def test_weights_beyond_the_range_of_float16(folder: Path) -> None:
    edit_weight(folder, lambda weight: weight * 1e30)
    opened(folder, dtype="bfloat16")
    refused(folder, "not finite in torch.float16", dtype="float16")


def test_a_weight_of_another_shape(folder: Path) -> None:
    edit_weight(folder, lambda weight: weight[:-1].contiguous())
    refused(folder, "cannot be loaded")


def test_pickles_beside_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    refused(folder, "pytorch_model.bin is a pickle")


def test_stored_tensors_are_freed_when_they_were_converted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights stored in bfloat16 and used in float32 are not all held in both types at once."""
    path = folder / "model.safetensors"
    weights = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(path).items()}
    save_file(weights, path, metadata={"format": "pt"})
    read = LazyTensor.__getitem__
    alive: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
    most: list[int] = []

    def counted(self: LazyTensor, index: Any) -> torch.Tensor:
        tensor = read(self, index)
        alive.add(tensor)
        most.append(len(alive))
        return tensor

    monkeypatch.setattr(LazyTensor, "__getitem__", counted)
    opened(folder)
    gc.collect()
    assert len(most) == len(weights)
    assert max(most) <= 8  # read by up to four threads


def test_an_error_of_the_block_is_passed_on(original: Path) -> None:
    with pytest.raises(KeyError), lazy_weights(original) as weights:
        weights["none"]


# --- other files -----------------------------------------------------------------------


def test_a_pipe_among_the_further_templates(folder: Path) -> None:
    (folder / "additional_chat_templates").mkdir()
    os.mkfifo(folder / "additional_chat_templates/tool.jinja")
    refused(folder, "tool.jinja is a named pipe")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"eos_token_id": "stop"}, "no token id"),
        ({"eos_token_id": []}, "no token id"),
        ({"pad_token_id": -5}, "no token id"),
        ({"eos_token_id": [1, "2"]}, "no token ids"),
    ],
)
def test_generation_configs_that_name_no_tokens(
    folder: Path, values: dict[str, Any], message: str
) -> None:
    (folder / "generation_config.json").write_text(json.dumps(values))
    refused(folder, message)


def test_a_checkpoint_without_a_generation_config(folder: Path) -> None:
    (folder / "generation_config.json").unlink()
    pointer = opened(folder)
    assert pointer.model.generation.eos_token_id == pointer.model.processor.tokenizer.eos_token_id


def test_a_tokenizer_with_more_tokens_than_the_embedding_has_rows(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    tokenizer.add_tokens([f"<extra{i}>" for i in range(500)])
    tokenizer.save_pretrained(folder)
    refused(folder, "belongs to another model")


def test_a_tokenizer_without_digits(folder: Path) -> None:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    for digit in "0123456789":
        del content["model"]["vocab"][digit]
    path.write_text(json.dumps(content))
    refused(folder, "cannot write")


# --- chat template ---------------------------------------------------------------------


def test_a_template_without_end_is_refused_when_it_is_opened(folder: Path) -> None:
    loops = "".join(f"{{% for {name} in range(99999) %}}" for name in "abc")
    (folder / "chat_template.jinja").write_text(loops + "{% endfor %}" * 3)
    refused(folder, "does not come to an end")


def test_a_template_that_drops_the_question(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m.role }}{% endfor %}")
    refused(folder, "exactly once")


@pytest.mark.parametrize(
    "save", [lambda f: save_qwen(f, "3"), lambda f: save_qwen(f, "2_5"), save_molmo2]
)
def test_prompts_are_those_that_the_processor_renders(
    tmp_path: Path, save: Callable[[Path], None]
) -> None:
    save(tmp_path / "model")
    pointer = opened(tmp_path / "model")
    content = [{"type": "image"}, {"type": "text", "text": "{{ the }} mug"}]
    expected = pointer.model.processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    assert pointer.model.frame is not None
    assert pointer.model.frame.around("{{ the }} mug") == expected


@pytest.mark.parametrize("save", [save_paligemma, save_florence2])
def test_families_without_a_template_need_none(
    tmp_path: Path, save: Callable[[Path], None]
) -> None:
    save(tmp_path / "model")
    assert opened(tmp_path / "model").model.frame is None


# --- the hub ---------------------------------------------------------------------------


@pytest.fixture
def cached(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of blobs of ``own/qwen`` in a cache of the hub; there is no network."""
    constants = pytest.importorskip("huggingface_hub.constants")
    repository = tmp_path / "hub/models--own--qwen"
    snapshot, blobs = repository / "snapshots" / ("0" * 40), repository / "blobs"
    for place in (snapshot, blobs, repository / "refs"):
        place.mkdir(parents=True)
    (repository / "refs/main").write_text("0" * 40)
    for file in folder.iterdir():
        file.rename(blobs / file.name)
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(
        "huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path / "hub")
    )
    return blobs


def test_a_model_of_the_hub_is_opened_from_the_cache(cached: Path) -> None:
    pointer = opened("own/qwen")
    assert pointer.name == "transformers:own/qwen"
    inputs, _ = pointer.model.inputs(asked(pointer, "the mug"))
    assert inputs["input_ids"].numel() > 20


def test_files_of_the_hub_are_checked_like_those_of_a_folder(cached: Path) -> None:
    (cached / "tokenizer.json").unlink()
    os.mkfifo(cached / "tokenizer.json")
    with pytest.raises(CheckpointInvalidError, match=r"tokenizer\.json is a named pipe"):
        opened("own/qwen")


def test_models_that_are_nowhere(cached: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match="own/none is neither a folder nor reach"):
        opened("own/none")
    with pytest.raises(CheckpointNotFoundError, match="neither a folder nor reach"):
        opened("own/qwen?revision=v2")
