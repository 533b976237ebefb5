# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The depth network computes what its authors' code computes, and refuses what it cannot read."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from roborefer_ros.errors import (
    CheckpointInvalidError,
    CheckpointNotFoundError,
    InvalidImageError,
    ModelFailedError,
)
from roborefer_ros.models.depth_anything import (
    DepthAnything,
    network_input,
    network_size,
    to_8_bit,
    to_8_bit_on_device,
)
from roborefer_ros.models.depth_anything_weights import read_original
from roborefer_ros.models.depth_direction import drawn_rooms, looks_metric

DATA = Path(__file__).resolve().parents[2] / "data" / "depth_anything"
TINY = DATA / "tiny.pth"

Arrays = dict[str, Any]


@pytest.fixture(scope="module")
def reference() -> Arrays:
    return dict(np.load(DATA / "reference.npz"))


@pytest.fixture(scope="module")
def network() -> DepthAnything:
    return DepthAnything(TINY, device="cpu", input_size=70)


@pytest.fixture(scope="module")
def hub_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network as the hub's ``-hf`` repositories store it."""
    folder = tmp_path_factory.mktemp("hub")
    config, weights = read_original(TINY)
    config.architectures = ["DepthAnythingForDepthEstimation"]
    config.save_pretrained(folder)
    tensors = {name: tensor.clone() for name, tensor in weights.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


# --- parity with the authors' code -----------------------------------------------------


def test_input_is_that_of_the_authors(reference: Arrays) -> None:
    assert np.array_equal(network_input(reference["rgb"], 70), reference["input_70"])


@pytest.mark.parametrize("size", [70, 98])
def test_depth_is_that_of_the_authors(reference: Arrays, size: int) -> None:
    network = DepthAnything(TINY, device="cpu", input_size=size)
    depth = network.inverse_depth(reference["rgb"])
    assert depth.dtype == np.float32
    assert np.abs(depth - reference[f"depth_{size}"]).max() < 5e-5  # of up to 7
    picture = network(reference["rgb"])
    difference = np.abs(picture.astype(int) - reference[f"picture_{size}"])
    assert picture.dtype == np.uint8
    assert (picture.min(), picture.max()) == (0, 255)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.002


def test_depth_at_full_size(reference: Arrays) -> None:
    depth = DepthAnything(TINY, device="cpu").inverse_depth(reference["rgb"][:60, :60])
    assert np.abs(depth - reference["depth_518_square"]).max() < 5e-5


def test_hub_format_is_the_same_network(hub_folder: Path, reference: Arrays) -> None:
    depth = DepthAnything(hub_folder, device="cpu", input_size=70).inverse_depth(reference["rgb"])
    assert np.abs(depth - reference["depth_70"]).max() < 5e-5


def test_what_transformers_saves_is_read(
    network: DepthAnything, tmp_path: Path, reference: Arrays
) -> None:
    network.network.save_pretrained(tmp_path)
    depth = DepthAnything(tmp_path, device="cpu", input_size=70).inverse_depth(reference["rgb"])
    assert np.array_equal(depth, network.inverse_depth(reference["rgb"]))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 0.02), ("bfloat16", 0.15)])
def test_small_types(reference: Arrays, dtype: str, tolerance: float) -> None:
    network = DepthAnything(TINY, device="cpu", dtype=dtype, input_size=70)
    depth = network.inverse_depth(reference["rgb"])
    spread = reference["depth_70"].max()
    assert np.abs(depth - reference["depth_70"]).max() < tolerance * spread


# --- sizes and pictures ----------------------------------------------------------------


@given(st.integers(1, 4000), st.integers(1, 4000), st.sampled_from([14, 70, 252, 518, 520]))
def test_network_size(width: int, height: int, input_size: int) -> None:
    w, h = network_size(width, height, input_size)
    assert w % 14 == h % 14 == 0
    assert min(w, h) - 14 < input_size <= min(w, h)
    assert network_size(height, width, input_size) == (h, w)


def test_known_sizes() -> None:
    assert network_size(640, 480) == (686, 518)
    assert network_size(1280, 720) == (924, 518)
    assert network_size(518, 518) == (518, 518)


def test_8_bit_scaling_cuts_off() -> None:
    depth = np.array([[2.0, 3.0], [4.0, 6.0]], np.float32)
    assert to_8_bit(depth).tolist() == [[0, 63], [127, 255]]


def test_flat_maps_are_zero() -> None:
    for value in (0.0, 3.5):
        picture = to_8_bit(np.full((3, 4), value, np.float32))
        assert picture.dtype == np.uint8
        assert not picture.any()


def test_network_that_sees_nothing(network: DepthAnything, reference: Arrays) -> None:
    dead = DepthAnything(TINY, device="cpu", input_size=70)
    dead.network.head.conv3.bias.fill_(-1e3)
    assert not dead(reference["rgb"]).any()


def test_values_that_are_not_finite(reference: Arrays) -> None:
    broken = DepthAnything(TINY, device="cpu", input_size=70)
    broken.network.head.conv3.bias.fill_(float("inf"))
    with pytest.raises(ModelFailedError, match="not finite"):
        broken(reference["rgb"])


def test_images_that_are_none(network: DepthAnything) -> None:
    for bad in (
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ):
        with pytest.raises(ValueError, match="uint8"):
            network(bad)


def test_options() -> None:
    with pytest.raises(ValueError, match="input_size"):
        DepthAnything(TINY, device="cpu", input_size=10)
    with pytest.raises(CheckpointInvalidError, match="float8"):
        DepthAnything(TINY, device="cpu", dtype="float8")
    if not torch.cuda.is_available():
        with pytest.raises(ModelFailedError, match="CUDA"):
            DepthAnything(TINY, device="cuda")


# --- sources that are broken -----------------------------------------------------------


def test_sources_that_do_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for source in (tmp_path / "none.pth", tmp_path / "none", "none", "depth-anything/no-such-hf"):
        with pytest.raises(CheckpointNotFoundError, match="no"):
            DepthAnything(source, device="cpu")


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("exploded",))


def test_code_in_a_pth_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"pretrained.cls_token": _Bomb()}, tmp_path / "zip.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(_Bomb(), protocol=2))
    for name in ("zip.pth", "plain.pth"):
        with pytest.raises(CheckpointInvalidError, match="not run|damaged"):
            DepthAnything(tmp_path / name, device="cpu")
    assert not (tmp_path / "exploded").exists()


def _without(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda weights: weights.pop(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("depth_head.scratch.output_conv1.weight"), "output_conv1"),
        (_without("pretrained.blocks.3.norm1.bias"), "norm1.bias"),
        (_without("pretrained.blocks.11.attn.qkv.weight"), "missing|Depth-Anything-V2"),
        (lambda w: w.update({"module.extra": torch.zeros(1)}), "module.extra"),
        (lambda w: w.update({"pretrained.norm.bias": torch.zeros(31)}), "shape|size"),
        (lambda w: w.update({"epoch": 3}), "not a plain table"),
        (lambda w: w.clear(), "Depth-Anything-V2"),
    ],
)
def test_pth_of_something_else(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    weights = torch.load(TINY, weights_only=True)
    change(weights)
    torch.save(weights, tmp_path / "changed.pth")
    with pytest.raises(CheckpointInvalidError, match=message):
        DepthAnything(tmp_path / "changed.pth", device="cpu")


@pytest.mark.parametrize("size", [0, 10, 1000, 300_000])
def test_truncated_pth(tmp_path: Path, size: int) -> None:
    (tmp_path / "cut.pth").write_bytes(TINY.read_bytes()[:size])
    with pytest.raises(CheckpointInvalidError, match="cut.pth"):
        DepthAnything(tmp_path / "cut.pth", device="cpu")


def copied(hub_folder: Path, target: Path) -> Path:
    for file in hub_folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def test_metric_networks_are_refused(hub_folder: Path, tmp_path: Path) -> None:
    folder = copied(hub_folder, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config |= {"depth_estimation_type": "metric", "max_depth": 20}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointInvalidError, match="metric"):
        DepthAnything(folder, device="cpu")


@pytest.mark.parametrize("defect", ["truncated", "no weights", "no config", "pickle", "config"])
def test_broken_folders(hub_folder: Path, tmp_path: Path, defect: str) -> None:
    folder = copied(hub_folder, tmp_path)
    weights = folder / "model.safetensors"
    if defect == "truncated":
        os.truncate(weights, 5000)
    elif defect == "no weights":
        weights.unlink()
    elif defect == "pickle":
        weights.unlink()
        torch.save({}, folder / "pytorch_model.bin")
    elif defect == "no config":
        (folder / "config.json").unlink()
    else:
        (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointInvalidError, match=str(tmp_path)):
        DepthAnything(folder, device="cpu")


def test_the_node_finds_it() -> None:
    """The class has the name and the arguments by which the node opens it."""
    from roborefer_ros.pipeline import DepthEstimator

    estimator: DepthEstimator = DepthAnything(TINY, device="cpu", dtype="auto")
    picture = estimator(np.zeros((28, 42, 3), np.uint8))
    assert picture.shape == (28, 42)
    assert picture.dtype == np.uint8


@pytest.mark.parametrize(
    "name", ["depth_anything_v2_metric_hypersim_vits.pth", "Depth-Anything-V2-Metric-vkitti.pth"]
)
def test_metric_weights_are_refused_by_their_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(TINY.read_bytes())
    with pytest.raises(CheckpointInvalidError, match="metric"):
        DepthAnything(tmp_path / name, device="cpu")


def test_weights_that_are_pointers_pipes_or_not_finite(hub_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "lfs.pth").write_text("version https://git-lfs.github.com/spec/v1\noid x\n")
    with pytest.raises(CheckpointInvalidError, match="git lfs pull"):
        DepthAnything(tmp_path / "lfs.pth", device="cpu")
    weights = torch.load(TINY, weights_only=True)
    weights["pretrained.norm.bias"] = torch.full_like(weights["pretrained.norm.bias"], np.nan)
    torch.save(weights, tmp_path / "nan.pth")
    with pytest.raises(CheckpointInvalidError, match="not finite"):
        DepthAnything(tmp_path / "nan.pth", device="cpu")
    (tmp_path / "set").mkdir()
    folder = copied(hub_folder, tmp_path / "set")
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")
    with pytest.raises(CheckpointInvalidError, match="named pipe"):
        DepthAnything(folder, device="cpu")


def test_a_relative_network_has_no_largest_depth(hub_folder: Path, tmp_path: Path) -> None:
    folder = copied(hub_folder, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_depth": 80}))
    with pytest.raises(CheckpointInvalidError, match="max_depth 80"):
        DepthAnything(folder, device="cpu")


class Answers(torch.nn.Module):
    """A network whose last layer says what it is given, as one with knowledge would."""

    def __init__(self, outputs: Any) -> None:
        super().__init__()
        self.outputs = torch.from_numpy(outputs)[:, None].float()
        self.head = torch.nn.ModuleDict({"conv3": torch.nn.Identity()})

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        assert pixels.shape == (3, 3, *self.outputs.shape[2:])
        said: torch.Tensor = self.head["conv3"](self.outputs)
        return said


@pytest.mark.parametrize("noise", [0.0, 0.5])
@pytest.mark.parametrize("largest", [20, 80])
def test_metric_answers_are_told_from_relative_ones(largest: int, noise: float) -> None:
    """What each kind's last layer has to say of the drawn rooms, with errors of the estimate."""
    pictures, depths = drawn_rooms()
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
    estimate = depths * np.exp(np.random.default_rng(0).normal(0, noise, depths.shape))
    share = np.clip(estimate / largest, 0.001, 0.99)
    assert looks_metric(Answers(np.log(share / (1 - share))), pixels, depths)
    for scale, shift in ((3.0, 0.0), (300.0, 0.0), (3.0, -0.05)):
        assert not looks_metric(Answers(scale / estimate + shift), pixels, depths)
    assert not looks_metric(Answers(np.zeros_like(depths)), pixels, depths)


def test_networks_that_answer_as_metric_ones_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.pth").write_bytes(TINY.read_bytes())
    path = "roborefer_ros.models.depth_anything.looks_metric"
    monkeypatch.setattr(path, lambda network, pixels, depths: pixels.shape[0] == len(depths))
    with pytest.raises(CheckpointInvalidError, match=r"net\.pth answers as a metric network"):
        DepthAnything(tmp_path / "net.pth", device="cpu")


def test_networks_of_random_weights_are_not_called_metric(tmp_path: Path) -> None:
    weights = torch.load(TINY, weights_only=True)
    for seed in range(5):
        torch.manual_seed(seed)
        for name in [n for n in weights if "depth_head" in n]:
            weights[name] = torch.randn(weights[name].shape) * 0.2
        torch.save(weights, tmp_path / "net.pth")
        DepthAnything(tmp_path / "net.pth", device="cpu")


@pytest.mark.parametrize("size", [(5000, 1), (1, 300), (3000, 40)])
def test_pictures_that_would_take_all_memory_are_refused(
    network: DepthAnything, size: tuple[int, int]
) -> None:
    width, height = size
    with pytest.raises(InvalidImageError, match="one side may be at most 8 times the other"):
        network(np.zeros((height, width, 3), np.uint8))


@pytest.mark.parametrize("seed", range(3))
def test_8_bit_scaling_is_the_same_on_a_device(seed: int) -> None:
    depth = np.random.default_rng(seed).gamma(2.0, 3.0, (40, 60)).astype(np.float32)
    assert (to_8_bit_on_device(torch.from_numpy(depth)).numpy() == to_8_bit(depth)).all()
    flat = np.full((4, 4), 2.5, np.float32)
    assert not to_8_bit_on_device(torch.from_numpy(flat)).any()


def test_half_precision_shows_the_same_picture_within_a_few_grey_levels(
    reference: Arrays,
) -> None:
    exact, half = (
        DepthAnything(TINY, "cpu", dtype, input_size=70)(reference["rgb"]).astype(int)
        for dtype in ("float32", "float16")
    )
    assert np.abs(exact - half).max() <= 2
