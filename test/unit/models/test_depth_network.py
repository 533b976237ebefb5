# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""One text names the depth network everywhere; what is used is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from roborefer_ros.errors import CheckpointNotFoundError, ConfigurationError
from roborefer_ros.models.depth_network import (
    SIZES,
    DepthNetworkSource,
    open_depth_network,
    parse_depth_network,
)

TINY = Path(__file__).resolve().parents[2] / "data" / "depth_anything" / "tiny.pth"
LARGE = "depth-anything/Depth-Anything-V2-Large-hf"
SMALL = "depth-anything/Depth-Anything-V2-Small-hf"


def test_auto_is_the_references_network_on_a_gpu_and_the_small_one_else() -> None:
    for spec in ("auto", "", " auto "):
        assert parse_depth_network(spec, has_gpu=True).source == LARGE
        assert parse_depth_network(spec, has_gpu=False).source == SMALL
        assert "GPU" in parse_depth_network(spec).reason


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ("base", DepthNetworkSource(SIZES["base"])),
        ("large@0123abc", DepthNetworkSource(LARGE, "0123abc")),
        ("small?input_size=392", DepthNetworkSource(SMALL, None, 392)),
        ("me/my-depth", DepthNetworkSource("me/my-depth")),
        ("me/my-depth@refs/pr/1", DepthNetworkSource("me/my-depth", "refs/pr/1")),
        ("me/my-depth?revision=v2&input_size=70", DepthNetworkSource("me/my-depth", "v2", 70)),
        ("/no/such/folder", DepthNetworkSource("/no/such/folder")),
        ("weights.pth", DepthNetworkSource("weights.pth")),
    ],
)
def test_forms(spec: str, wanted: DepthNetworkSource) -> None:
    assert parse_depth_network(spec) == wanted


def test_a_folder_whose_name_holds_an_at_sign_is_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "depth@home?x=1"
    folder.mkdir()
    assert parse_depth_network(str(folder)) == DepthNetworkSource(str(folder))


@pytest.mark.parametrize(
    "spec", ["huge", "small@", "small?size=3", "small?input_size=1", "small?input_size=9999",
             "small?input_size=x", "a\0b", "x" * 5000, "@main"],
)  # fmt: skip
def test_what_names_no_network_is_refused_before_anything_is_loaded(spec: str) -> None:
    with pytest.raises(ConfigurationError, match="depth network"):
        open_depth_network(spec, device="cpu")


def test_which_network_and_why_is_told() -> None:
    told: list[str] = []
    network = open_depth_network(f"{TINY}?input_size=70", "cpu", tell=told.append)
    assert told == [f"depth network: {TINY}?input_size=70"]
    assert network.input_size == 70


@pytest.mark.parametrize(
    ("spec", "line"), [("large@v2", f"hf download {LARGE} --revision v2"), ("auto", SMALL)]
)
def test_a_missing_network_names_the_line_that_fetches_it(
    spec: str, line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointNotFoundError, match="hf download .*") as caught:
        open_depth_network(spec, device="cpu")
    assert line in str(caught.value)


def test_the_type_of_the_weights_is_an_option() -> None:
    assert parse_depth_network("large?dtype=float16").dtype == "float16"
    assert parse_depth_network("large").dtype == "auto"
    with pytest.raises(ConfigurationError, match="dtype is one of auto, float32"):
        parse_depth_network("large?dtype=int3")
