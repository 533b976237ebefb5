# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The same network in every layout that checkpoints come in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks import parity_cases
from roborefer_ros.errors import CheckpointNotFoundError
from roborefer_ros.models.roborefer.checkpoint import load_roborefer, save_roborefer
from roborefer_ros.models.roborefer.modeling import RoboRefer
from roborefer_ros.models.roborefer.processing import RoboReferProcessor

GOLDEN = Path(__file__).resolve().parents[2] / "data" / "golden"

Copy = Callable[[str], Path]
Edit = Callable[..., None]


def answer(model: RoboRefer, processor: RoboReferProcessor, depth: bool = True) -> torch.Tensor:
    """Logits after a fixed question about fixed pictures."""
    rgb = parity_cases.read_picture(GOLDEN / "inputs/rgb3.png")
    depths = [parity_cases.read_picture(GOLDEN / "inputs/dep3.png")] if depth else []
    inputs = processor("Point to the cup.", [rgb], depths)
    with torch.inference_mode():
        images = model.encode_images(inputs.image_pixel_values, inputs.image_block_sizes)
        rows = []
        if depth:
            rows = model.encode_depths(inputs.depth_pixel_values, inputs.depth_block_sizes)
        embeds = model.splice(inputs.input_ids, images, rows, **processor.splice_ids)
        return model.llm(inputs_embeds=embeds[None], use_cache=False).logits[0, -1]


@pytest.fixture(scope="module")
def expected() -> dict[str, torch.Tensor]:
    return {m: answer(*load_roborefer(GOLDEN / f"tiny-{m}-style")) for m in ("2b", "8b")}


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


# --- where things lie ------------------------------------------------------------------


def test_model_sub_folder(copy_of: Copy, tmp_path: Path, expected: dict[str, Any]) -> None:
    shutil.move(str(copy_of("2b")), tmp_path / "output" / "model")
    (tmp_path / "output/trainer_state.json").write_text("{}")
    assert torch.equal(answer(*load_roborefer(tmp_path / "output")), expected["2b"])


def test_absolute_paths_of_the_training_machine_are_ignored(
    copy_of: Copy, edit: Edit, expected: dict[str, Any]
) -> None:
    folder = copy_of("8b")
    elsewhere = {f"{part}_cfg": f"/home/someone/out/{part}" for part in ("llm", "vision_tower")}
    edit(folder / "config.json", _name_or_path="/a", resume_path="/b", **elsewhere)
    edit(folder / "llm/config.json", _name_or_path="/nowhere/llm")
    assert torch.equal(answer(*load_roborefer(folder)), expected["8b"])


def test_a_part_outside_the_folder(
    copy_of: Copy, edit: Edit, tmp_path: Path, expected: dict[str, Any]
) -> None:
    folder = copy_of("2b")
    shutil.move(str(folder / "llm"), tmp_path / "some-qwen")
    edit(folder / "config.json", llm_cfg=str(tmp_path / "some-qwen"))
    assert torch.equal(answer(*load_roborefer(folder)), expected["2b"])


@pytest.mark.parametrize("part", ["llm", "vision_tower", "depth_tower"])
def test_attention_kernels_of_the_training_machine_are_ignored(
    copy_of: Copy, edit: Edit, part: str, expected: dict[str, Any]
) -> None:
    folder = copy_of("2b")
    stored = dict.fromkeys(("attn_implementation", "_attn_implementation"), "flash_attention_2")
    edit(folder / part / "config.json", _attn_implementation_autoset=True, **stored)
    assert torch.equal(answer(*load_roborefer(folder)), expected["2b"])


def test_content_of_the_part_entries_does_not_matter(
    copy_of: Copy, edit: Edit, expected: dict[str, Any]
) -> None:
    folder = copy_of("2b")
    edit(folder / "config.json", llm_cfg={}, depth_tower_cfg={}, depth_projector_cfg={})
    assert torch.equal(answer(*load_roborefer(folder)), expected["2b"])


def test_shards_with_an_index(copy_of: Copy, expected: dict[str, Any]) -> None:
    folder = copy_of("8b") / "llm"
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    weight_map = {}
    for number, keys in enumerate((sorted(tensors)[::2], sorted(tensors)[1::2])):
        name = f"model-0000{number + 1}-of-00002.safetensors"
        save_file({k: tensors[k] for k in keys}, folder / name)
        weight_map.update(dict.fromkeys(keys, name))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    # A file that the index does not name, as after a second download, is not read.
    save_file({"model.norm.weight": torch.zeros(64)}, folder / "old.safetensors")
    assert torch.equal(answer(*load_roborefer(folder.parent)), expected["8b"])


def test_hub_ids_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointNotFoundError, match="Zhoues/no-such-model"):
        load_roborefer("Zhoues/no-such-model", revision="main")


# --- tokenizer and vocabulary ----------------------------------------------------------


@pytest.mark.parametrize("mode", ["2b", "8b"])
def test_without_tokenizer_json(copy_of: Copy, mode: str, expected: dict[str, Any]) -> None:
    folder = copy_of(mode)
    (folder / "llm/tokenizer.json").unlink()
    _, with_it = load_roborefer(GOLDEN / f"tiny-{mode}-style")
    model, without = load_roborefer(folder)
    assert len(without.tokenizer) == len(with_it.tokenizer) == 460
    for text in (
        "<image>\n <depth>\n\nWhere is it?\n\n [(0.12, 0.5)]",
        "a  b\n\n\nDone's. Éñ 漢字 12",
    ):
        assert torch.equal(without.prompt_ids(text), with_it.prompt_ids(text))
    assert torch.equal(answer(model, without), expected[mode])


def remove_depth_token(folder: Path, edit: Edit) -> None:
    """As in an NVILA base: tokenizer and embedding are one shorter."""
    llm = folder / "llm"
    (llm / "tokenizer.json").unlink()
    config = json.loads((llm / "tokenizer_config.json").read_text())
    del config["added_tokens_decoder"]["459"]
    config["additional_special_tokens"].remove("<depth>")
    (llm / "tokenizer_config.json").write_text(json.dumps(config))
    edit(llm / "added_tokens.json", **{"<depth>": None})
    special = json.loads((llm / "special_tokens_map.json").read_text())
    special["additional_special_tokens"].remove("<depth>")
    (llm / "special_tokens_map.json").write_text(json.dumps(special))
    edit(llm / "config.json", vocab_size=459)

    def shorten(tensors: dict[str, torch.Tensor]) -> None:
        for key in set(tensors) & {"model.embed_tokens.weight", "lm_head.weight"}:
            tensors[key] = tensors[key][:459].clone()

    change_weights(llm, shorten)


@pytest.mark.parametrize("mode", ["2b", "8b"])
def test_missing_depth_token_is_added(
    copy_of: Copy, edit: Edit, mode: str, expected: dict[str, Any]
) -> None:
    folder = copy_of(mode)
    remove_depth_token(folder, edit)
    model, processor = load_roborefer(folder)
    assert processor.splice_ids["depth_token_id"] == 459
    assert model.llm.get_input_embeddings().num_embeddings == 460
    is_tied = model.llm.lm_head.weight is model.llm.model.embed_tokens.weight
    assert is_tied == (mode == "2b")
    got = answer(model, processor)
    assert torch.allclose(got[:459], expected[mode][:459], atol=1e-5)
    assert got[459] < got.max()
    assert "<depth>" not in processor.tokenizer.decode([459], skip_special_tokens=True)
    assert "<|im_end|>" not in processor.tokenizer.decode([453], skip_special_tokens=True)


def test_without_depth_branch_no_depth_token_is_added(copy_of: Copy, edit: Edit) -> None:
    folder = copy_of("2b")
    remove_depth_token(folder, edit)
    for part in ("depth_tower", "depth_projector"):
        shutil.rmtree(folder / part)
    edit(
        folder / "config.json",
        depth_tower_cfg=None,
        depth_projector_cfg=None,
        enable_depth=False,
    )
    model, processor = load_roborefer(folder)
    assert processor.splice_ids["depth_token_id"] == -1
    assert len(processor.tokenizer) == model.llm.lm_head.out_features == 459
    reference = answer(*load_roborefer(GOLDEN / "tiny-2b-style"), depth=False)
    assert torch.allclose(answer(model, processor, depth=False), reference[:459], atol=1e-5)


@pytest.mark.parametrize("mode", ["2b", "8b"])
def test_longer_embedding_is_cut_to_the_tokenizer(
    copy_of: Copy, edit: Edit, mode: str, expected: dict[str, Any]
) -> None:
    """Qwen2 pads its embedding."""
    folder = copy_of(mode)
    edit(folder / "llm/config.json", vocab_size=512)

    def lengthen(tensors: dict[str, torch.Tensor]) -> None:
        for key in set(tensors) & {"model.embed_tokens.weight", "lm_head.weight"}:
            extra = torch.full((52, 64), 9.0, dtype=tensors[key].dtype)
            tensors[key] = torch.cat([tensors[key], extra])

    change_weights(folder / "llm", lengthen)
    got = answer(*load_roborefer(folder))
    assert torch.allclose(got, expected[mode], atol=1e-5)


def test_tied_head_that_is_stored_as_well(copy_of: Copy, expected: dict[str, Any]) -> None:
    folder = copy_of("2b")

    def add(tensors: dict[str, torch.Tensor]) -> None:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()

    change_weights(folder / "llm", add)
    assert torch.equal(answer(*load_roborefer(folder)), expected["2b"])


def test_untied_head_is_used(copy_of: Copy, edit: Edit, expected: dict[str, Any]) -> None:
    folder = copy_of("2b")

    def add(tensors: dict[str, torch.Tensor]) -> None:
        tensors["lm_head.weight"] = 2 * tensors["model.embed_tokens.weight"]

    change_weights(folder / "llm", add)
    edit(folder / "llm/config.json", tie_word_embeddings=False)
    got = answer(*load_roborefer(folder))
    assert torch.allclose(got, 2 * expected["2b"], atol=1e-5)


# --- the parts -------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["2b", "8b"])
def test_depth_branch_is_the_image_branch_with_its_own_weights(copy_of: Copy, mode: str) -> None:
    folder = copy_of(mode)
    for part in ("tower", "projector"):
        image = folder / ("vision_tower" if part == "tower" else "mm_projector")
        image.rename(folder / "kept")
        (folder / f"depth_{part}").rename(image)
        (folder / "kept").rename(folder / f"depth_{part}")
    swapped, _ = load_roborefer(folder)
    model, processor = load_roborefer(GOLDEN / f"tiny-{mode}-style")
    tiles = processor.tile([parity_cases.read_picture(GOLDEN / "inputs/dep2.png")])
    for one, other in (
        (model.encode_depths, swapped.encode_images),
        (model.encode_images, swapped.encode_depths),
    ):
        ours = one(tiles.pixel_values, tiles.block_sizes)
        theirs = other(tiles.pixel_values, tiles.block_sizes)
        assert all(map(torch.equal, ours, theirs))


def test_without_depth_tower_the_rgb_tower_sees_depth(copy_of: Copy, edit: Edit) -> None:
    folder = copy_of("2b")
    shutil.rmtree(folder / "depth_tower")
    edit(folder / "config.json", depth_tower_cfg=None, use_depth_tower=False)
    model, processor = load_roborefer(folder)
    assert model.depth_tower is None
    assert model.config.has_depth
    tiles = processor.tile([parity_cases.read_picture(GOLDEN / "inputs/dep3.png")])
    features = model.tower_features(model.vision_tower, tiles.pixel_values.float())
    rows = model.encode_depths(tiles.pixel_values)
    assert torch.equal(torch.stack(rows), model.depth_projector(features))


def test_rgb_only_checkpoint(copy_of: Copy, edit: Edit) -> None:
    folder = copy_of("8b")
    for part in ("depth_tower", "depth_projector"):
        shutil.rmtree(folder / part)
    edit(
        folder / "config.json",
        depth_tower_cfg=None,
        depth_projector_cfg=None,
        enable_depth=False,
    )
    model, processor = load_roborefer(folder)
    assert not model.config.has_depth
    reference = answer(*load_roborefer(GOLDEN / "tiny-8b-style"), depth=False)
    assert torch.equal(answer(model, processor, depth=False), reference)
    with pytest.raises(ValueError, match="no depth branch"):
        answer(model, processor)


def test_unused_layer_is_neither_needed_nor_kept(copy_of: Copy, expected: dict[str, Any]) -> None:
    folder = copy_of("2b")

    def remove(tensors: dict[str, torch.Tensor]) -> None:
        for key in [k for k in tensors if "layers.3." in k or "post_layernorm" in k]:
            del tensors[key]

    change_weights(folder / "vision_tower", remove)
    model, processor = load_roborefer(folder)
    assert len(model.vision_tower.encoder.layers) == 3
    assert not any(t.is_meta for t in (*model.parameters(), *model.buffers()))
    assert torch.equal(answer(model, processor), expected["2b"])


def test_saved_checkpoint_is_the_same_network(
    copy_of: Copy, tmp_path: Path, expected: dict[str, Any]
) -> None:
    for mode in ("2b", "8b"):
        model, processor = load_roborefer(copy_of(mode), keep_unused=True)
        save_roborefer(model, processor.tokenizer, tmp_path / f"saved-{mode}")
        assert torch.equal(answer(*load_roborefer(tmp_path / f"saved-{mode}")), expected[mode])
        stored = load_file(tmp_path / f"saved-{mode}/vision_tower/model.safetensors")
        original = load_file(GOLDEN / f"tiny-{mode}-style/vision_tower/model.safetensors")
        assert set(stored) == set(original)
    trimmed, processor = load_roborefer(GOLDEN / "tiny-2b-style")
    with pytest.raises(ValueError, match="keep_unused"):
        save_roborefer(trimmed, processor.tokenizer, tmp_path / "trimmed")


def test_every_end_token_stops(copy_of: Copy, edit: Edit) -> None:
    """The template's, and the tokenizer's own where that is another."""
    _, processor = load_roborefer(GOLDEN / "tiny-2b-style")
    assert processor.stop_ids == (453,)
    folder = copy_of("2b")
    edit(folder / "llm/tokenizer_config.json", eos_token="<|endoftext|>")
    edit(folder / "llm/special_tokens_map.json", eos_token="<|endoftext|>")
    _, processor = load_roborefer(folder)
    assert processor.stop_ids == (453, 451)


def test_types(expected: dict[str, Any]) -> None:
    for name, tolerance in (("float16", 0.1), ("bfloat16", 0.8)):
        model, processor = load_roborefer(GOLDEN / "tiny-2b-style", dtype=name)
        assert {str(p.dtype) for p in model.parameters()} == {f"torch.{name}"}
        assert (answer(model, processor).float() - expected["2b"]).abs().max() < tolerance


@pytest.mark.parametrize("mode", ["2b", "8b"])
def test_saved_checkpoints_are_readable_by_the_references_transformers(
    tmp_path: Path, mode: str
) -> None:
    """What transformers 4.4x needs, and the golden checkpoints, which the reference wrote, have."""
    model, processor = load_roborefer(GOLDEN / f"tiny-{mode}-style", keep_unused=True)
    save_roborefer(model, processor.tokenizer, tmp_path / "saved")
    tokenizer = json.loads((tmp_path / "saved/llm/tokenizer_config.json").read_text())
    assert "extra_special_tokens" not in tokenizer  # a list there stops it
    assert "<depth>" in tokenizer["additional_special_tokens"]
    assert tokenizer["tokenizer_class"] == "Qwen2Tokenizer"
    assert tokenizer["chat_template"] == processor.tokenizer.chat_template
    assert not {"backend", "is_local", "local_files_only"} & set(tokenizer)
    special = json.loads((tmp_path / "saved/llm/special_tokens_map.json").read_text())
    assert special["pad_token"] == "[PAD]"
    llm = json.loads((tmp_path / "saved/llm/config.json").read_text())
    assert llm["rope_theta"] == 1e6  # else it takes 10000, and says nothing
    assert llm["rope_parameters"]["rope_theta"] == 1e6
    top = json.loads((tmp_path / "saved/config.json").read_text())
    assert top["llm_cfg"]["vocab_size"] == model.config.llm.vocab_size
    again, own = load_roborefer(tmp_path / "saved")
    assert torch.equal(answer(again, own), answer(model, processor))
    assert own.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
