# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From files on the disk to training items: the golden batches, slices, skips, lengths, workers."""

from __future__ import annotations

import json
import pickle
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lookalike import make, picture, turns
from PIL import Image, PngImagePlugin

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.models.roborefer.labels import collate
from roborefer_ros.models.roborefer.processing import RoboReferProcessor
from roborefer_ros.training.data.dataset import (
    LoadedSample,
    MixtureDataset,
    ReadOptions,
    SkipTally,
)
from roborefer_ros.training.data.defects import Defect
from roborefer_ros.training.data.items import ItemDataset, fit_item, item_loader, open_processor
from roborefer_ros.training.data.mixtures import Part, expand
from roborefer_ros.training.data.pictures import PictureError, open_depth, open_rgb
from roborefer_ros.training.data.registry import DatasetSpec, open_registry
from roborefer_ros.training.data.rows import ThinkMode
from roborefer_ros.training.data.sampler import Layout, MixtureSampler

GOLDEN = Path(__file__).resolve().parents[2] / "data/golden"


@pytest.fixture(scope="module")
def processor() -> RoboReferProcessor:
    return open_processor(GOLDEN / "tiny-2b-style")


def dataset(spec: DatasetSpec, **options: Any) -> MixtureDataset:
    return MixtureDataset([Part(spec)], ReadOptions(**options))


def own(folder: Path, rows: list[dict[str, Any]], **more: Any) -> DatasetSpec:
    (folder / "own.json").write_text(json.dumps(rows))
    return DatasetSpec("own", folder / "own.json", folder, folder, **more)


# --- the reference's batches -----------------------------------------------------------


@pytest.mark.parametrize("as_list", [False, True])
def test_the_golden_batch_is_read_from_files(
    tmp_path: Path, as_list: bool, processor: RoboReferProcessor
) -> None:
    shutil.copytree(GOLDEN / "inputs", tmp_path / "in")
    rows = json.loads((tmp_path / "in/train.json").read_text())
    for row in rows if as_list else ():
        for key in ("image", "depth"):
            row[key] = row[key] if isinstance(row[key], list) else [row[key]]
    data = dataset(own(tmp_path / "in", rows))
    items = [fit_item(processor, data[i]) for i in range(3)]
    expected = np.load(GOLDEN / "arrays/tiny2b__train_rgbd.npz")
    for number, fitted in enumerate(items):
        assert fitted is not None
        np.testing.assert_array_equal(fitted.item.input_ids, expected[f"item{number}_input_ids"])
        np.testing.assert_array_equal(fitted.item.labels, expected[f"item{number}_labels"])
        assert fitted.rows == int(expected["spliced_attention_mask"][number].sum())
    batch = collate([f.item for f in items if f], processor.tokenizer.pad_token_id, 4096)
    np.testing.assert_array_equal(batch.input_ids, expected["batch_input_ids"])
    np.testing.assert_array_equal(batch.labels, expected["batch_labels"])
    np.testing.assert_array_equal(batch.attention_mask, expected["batch_attention_mask"])


# --- slices, repeats, shares, subsets --------------------------------------------------


def qa(data: MixtureDataset) -> Counter[tuple[str, str]]:
    samples = (data.sample(i) for i in range(len(data)))
    return Counter((pair.question, pair.answer) for s in samples for pair in s.row.pairs)


def conversation_rows(counts: list[int]) -> list[dict[str, Any]]:
    return [
        {"id": r, "conversations": turns(*(f"{'qa'[k % 2]}{r}.{k // 2}" for k in range(2 * count)))}
        for r, count in enumerate(counts)
    ]


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(1, 20))
def test_slices_hold_what_the_rows_held(tmp_path: Path, counts: list[int], max_turns: int) -> None:
    spec = own(tmp_path, conversation_rows(counts))
    whole, sliced = dataset(spec), dataset(spec, max_turns=max_turns)
    assert qa(sliced) == qa(whole)
    assert len(sliced) == sum(-(-count // max_turns) for count in counts)
    assert all(len(sliced.sample(i).row.pairs) <= max_turns for i in range(len(sliced)))


def test_repeats_shares_and_subsets(tmp_path: Path) -> None:
    spec = own(tmp_path, conversation_rows([1] * 10))
    (tmp_path / "slices/bad").mkdir(parents=True)
    (tmp_path / "slices/bad/own.json").write_text("[0, 3, 99]")
    options = ReadOptions(slice_folder=tmp_path / "slices")
    part = Part(spec, times=3, subset="bad", share=0.5)
    data = MixtureDataset([part, Part(spec)], options)
    assert data.lengths == [12, 10]
    rows = [data.sample(i).row_number for i in range(12)]
    assert rows == rows[:4] * 3
    assert not set(rows) & {0, 3}
    assert data.sample(12).row_number == 0
    with pytest.raises(ConfigurationError, match="--slice-folder"):
        MixtureDataset([part])


def test_shuffled_turns_change_with_the_epoch_alone(tmp_path: Path) -> None:
    data = dataset(own(tmp_path, conversation_rows([12])), shuffle_turns=True)
    first = data.sample(0).conversation
    assert data.sample(0).conversation == first
    data.epoch = 1
    assert data.sample(0).conversation != first


def test_reasoning_is_rendered_where_it_is_asked_for(tmp_path: Path) -> None:
    root = make(tmp_path / "R", rows=2)
    parts = expand("simulation_dataset", open_registry(root))
    plain = MixtureDataset(parts).sample(0)
    thinking = MixtureDataset(parts, ReadOptions(think=ThinkMode(1.0))).sample(0)
    assert "<think>" not in str(plain.conversation)
    assert all("<think>\nStep 1:" in turn["value"] for turn in thinking.conversation[1::2])


# --- the look-alike --------------------------------------------------------------------


def test_every_name_of_the_lookalike_loads_and_twins_have_no_depth(tmp_path: Path) -> None:
    root = make(tmp_path / "R", rows=3)
    registry = open_registry(root)
    for name in registry.names():
        loaded = MixtureDataset(expand(name, registry))[0]
        views = 2 if "multi_view" in name else 1
        assert len(loaded.images) == views
        assert len(loaded.depths) == (0 if name.endswith("_RGB") else views)


def test_text_alone_is_a_row(tmp_path: Path, processor: RoboReferProcessor) -> None:
    spec = own(tmp_path, [{"id": 0, "conversations": turns("Hello?", "Hi.")}], kind="llava")
    fitted = fit_item(processor, dataset(spec)[0])
    assert fitted is not None
    assert fitted.item.images.pixel_values is None


# --- defective pictures ----------------------------------------------------------------


def spoil(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "shape":
        picture(path, 3, (48, 64), depth=True)
    else:
        path.write_bytes({"empty": b"", "cut": data[:-40], "text": b"no picture"}[how])


def pictures(folder: Path, count: int = 3) -> DatasetSpec:
    rows = []
    for i in range(count):
        picture(folder / f"{i}.png", i)
        picture(folder / f"d{i}.png", i, depth=True)
        rows.append(
            {
                "id": i,
                "image": f"{i}.png",
                "depth": f"d{i}.png",
                "conversations": turns("q", f"{i}"),
            }
        )
    return own(folder, rows)


@pytest.mark.parametrize(
    ("name", "how", "defect"),
    [
        ("1.png", "missing", Defect.MISSING_PICTURE), ("1.png", "empty", Defect.EMPTY_PICTURE),
        ("1.png", "cut", Defect.BROKEN_PICTURE), ("d1.png", "cut", Defect.BROKEN_PICTURE),
        ("d1.png", "missing", Defect.MISSING_PICTURE), ("1.png", "text", Defect.BROKEN_PICTURE),
        ("d1.png", "shape", Defect.DEPTH_SHAPE),
    ],
)  # fmt: skip
def test_a_defective_picture_is_replaced_by_the_next_sample(
    tmp_path: Path, name: str, how: str, defect: Defect
) -> None:
    spec = pictures(tmp_path)
    spoil(tmp_path / name, how)
    loaded = dataset(spec, strict_shapes=True)[1]
    assert loaded.sample.row_number == 2
    assert len(loaded.skipped) == 1
    assert name in loaded.skipped[0]
    with pytest.raises(PictureError) as caught:
        dataset(spec, on_error="raise", strict_shapes=True)[1]
    assert caught.value.defect is defect


def test_the_error_of_a_picture_crosses_processes(tmp_path: Path) -> None:
    spec = pictures(tmp_path)
    spoil(tmp_path / "1.png", "empty")
    with pytest.raises(PictureError) as caught:
        dataset(spec, on_error="raise")[1]
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.defect, str(again)) == (Defect.EMPTY_PICTURE, str(caught.value))


def test_too_many_skips_end_the_run(tmp_path: Path) -> None:
    loaded = dataset(pictures(tmp_path))[0]
    tally = SkipTally(limit=0.001, grace=1000)
    tally.add(replace(loaded, skipped=("own: x is missing",)))
    with pytest.raises(ConfigurationError, match="own were skipped.*x is missing"):
        tally.add(replace(loaded, skipped=("own: x is missing",)))


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "a\0b"])
def test_a_name_that_leads_out_of_the_folder_is_no_picture(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    picture(tmp_path / "secret.png", 1)
    spec = own(tmp_path / "in", [{"image": name, "depth": name, "conversations": turns("q", "a")}])
    with pytest.raises(PictureError):
        dataset(spec, on_error="raise")[0]


def test_the_missing_separator_of_a_name_is_repaired(tmp_path: Path) -> None:
    picture(tmp_path / "42898849_77_wide_image.png", 1)
    row = {"image": "4289884977_wide_image.png", "conversations": turns("q", "a")}
    spec = replace(own(tmp_path, [row]), depth=None)
    assert len(dataset(spec, on_error="raise")[0].images) == 1


def test_a_png_with_huge_text_is_read(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("k", "x" * (PngImagePlugin.MAX_TEXT_CHUNK + 1), zip=True)
    image = Image.new("RGB", (8, 6), (1, 2, 3))
    image.save(tmp_path / "a.png", pnginfo=info)
    opened = open_rgb(tmp_path / "a.png")
    assert opened.notes == (Defect.TEXT_CHUNK,)
    assert opened.pixels[0, 0].tolist() == [1, 2, 3]


def test_depth_of_one_channel_and_sixteen_bits_is_converted_with_a_note(tmp_path: Path) -> None:
    ramp = np.linspace(500, 3000, 48).astype(np.uint16)[:, None].repeat(64, 1)
    Image.fromarray(ramp).save(tmp_path / "16.png")
    Image.fromarray((ramp // 12).astype(np.uint8)).save(tmp_path / "8.png")
    for name in ("16.png", "8.png"):
        opened = open_depth(tmp_path / name)
        assert opened.pixels.shape == (48, 64, 3)
        assert opened.notes == (Defect.DEPTH_CONVERTED,)
        assert opened.pixels[0, 0, 0] < opened.pixels[-1, 0, 0]  # never guessed to be metric
    metric = open_depth(tmp_path / "16.png", "metric").pixels
    assert metric[0, 0, 0] == 255
    assert metric[-1, 0, 0] == 0


# --- lengths ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> LoadedSample:
    folder = tmp_path_factory.mktemp("long")
    picture(folder / "a.png", 1)
    text = [f"{['question', 'answer'][k % 2]} <im<depth>age> number {k // 2}" for k in range(16)]
    row = {"image": ["a.png"], "depth": "a.png", "conversations": turns(*text)}
    return dataset(own(folder, [row]))[0]


@settings(max_examples=25, deadline=None)
@given(limit=st.integers(60, 700))
def test_cutting_drops_whole_pairs_and_never_media(
    sample: LoadedSample, processor: RoboReferProcessor, limit: int
) -> None:
    fitted = fit_item(processor, sample, limit)
    whole = fit_item(processor, sample)
    assert whole is not None
    assert whole.dropped_pairs == 0
    if fitted is None:
        return
    assert fitted.rows <= limit
    tokens = processor.splice_ids
    for kind, tiles in (("image", fitted.item.images), ("depth", fitted.item.depths)):
        placeholders = int((fitted.item.input_ids == tokens[f"{kind}_token_id"]).sum())
        assert tiles.pixel_values is not None
        assert placeholders == len(tiles.pixel_values)
    prefix = whole.item.input_ids[: len(fitted.item.input_ids)]
    assert torch.equal(fitted.item.input_ids, prefix)
    if fitted.dropped_pairs:
        again = fit_item(processor, sample, whole.rows - 1)
        assert again is not None
        assert again.dropped_pairs == 1


def test_a_row_of_which_no_pair_fits_is_dropped(
    sample: LoadedSample, processor: RoboReferProcessor
) -> None:
    assert fit_item(processor, sample, 20) is None


# --- workers ---------------------------------------------------------------------------


def test_any_number_of_workers_gives_the_same_batches(
    tmp_path: Path, processor: RoboReferProcessor
) -> None:
    root = make(tmp_path / "R", rows=4)
    data = MixtureDataset(
        expand("2D_choice_qa+simulation_dataset+3D_multi_view_qa_RGB", open_registry(root)),
        ReadOptions(shuffle_turns=True, think=ThinkMode(0.5)),
    )
    sampler = MixtureSampler(data.lengths, Layout(1, 2))
    items = ItemDataset(data, processor)
    runs = []
    for workers in (0, 2, 8):
        loader = item_loader(items, list(sampler.batches(0)), workers)
        runs.append(
            [
                (i.loaded.sample.row.id, i.fitted and i.fitted.item.input_ids.tolist())
                for batch in loader
                for i in batch
            ]
        )
    assert runs[0] == runs[1] == runs[2]
    assert len(runs[0]) == 12
