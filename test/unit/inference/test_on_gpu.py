# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What only a GPU can show: captured graphs, small types, memory, streams.

``python -m benchmarks.gpu`` runs these too.  The networks are random: this proves the plumbing.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.parity import check_folder
from roborefer_ros.inference.model import (
    Completion,
    Picture,
    Request,
    SamplingParams,
    complete_all,
)
from roborefer_ros.inference.roborefer import RoboReferModel
from roborefer_ros.models.depth_anything import DepthAnything
from roborefer_ros.models.roborefer.checkpoint import load_roborefer

pytestmark = pytest.mark.gpu

DATA = Path(__file__).resolve().parents[2] / "data"


@pytest.fixture(scope="module", params=["2b", "8b"])
def checkpoint(request: pytest.FixtureRequest) -> Any:
    """A golden checkpoint in float32, where graphs and ordinary steps cannot tie differently."""
    torch.backends.cudnn.allow_tf32 = False
    return load_roborefer(DATA / "golden" / f"tiny-{request.param}-style", "cuda", "float32")


def requests(count: int, tokens: int = 12) -> list[Request]:
    random = np.random.default_rng(5)
    made = []
    for number in range(count):
        rgb = random.integers(0, 256, (40, 60, 3), dtype=np.uint8)
        depth = np.ascontiguousarray(rgb[..., 0])
        made.append(
            Request(
                f"Point to thing {number * 'again '}.",
                (Picture.of(rgb),),
                (Picture.of(depth),),
                SamplingParams(max_tokens=tokens),
            )
        )
    return made


def texts(model: RoboReferModel, asked: list[Request]) -> list[str]:
    outcomes = complete_all(model, asked)
    assert all(isinstance(o, Completion) for o in outcomes), outcomes
    return [o.text for o in outcomes if isinstance(o, Completion)]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_golden_cases_hold_on_the_gpu(dtype: str) -> None:
    checks = check_folder(DATA / "golden", "cuda", dtype)
    assert checks
    assert [f"{c.case} {c.stage} {c.difference}" for c in checks if not c.passed] == []


@pytest.mark.parametrize("count", [1, 3])
def test_captured_graphs_choose_the_tokens_of_ordinary_steps(checkpoint: Any, count: int) -> None:
    asked = requests(count)
    plain = RoboReferModel("plain", *checkpoint, max_batch=4)
    captured = RoboReferModel("captured", *checkpoint, max_batch=4, fixed_shapes=True)
    wanted = texts(plain, asked)
    assert texts(captured, asked) == wanted
    assert texts(captured, asked) == wanted  # replayed, from what is kept of the prompts


def test_a_pass_waits_for_the_device_once(checkpoint: Any) -> None:
    """Counted by torch itself, which warns of each wait in this mode."""
    model = RoboReferModel("captured", *checkpoint, fixed_shapes=True, drafts=False)
    (asked,) = requests(1, tokens=10)
    complete_all(model, [asked])
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            complete_all(model, [asked])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = [w for w in seen if "synchroniz" in str(w.message)]
    # One a token; uploads of the prompt and of each step's ids come from pageable memory.
    assert 10 <= len(waits) <= 10 + 3 * 10


def test_weights_go_to_the_device_one_by_one(tmp_path: Path) -> None:
    from benchmarks.model_load import measure
    from benchmarks.model_synthetic import write_synthetic

    write_synthetic(tmp_path, "small")
    opening = measure(tmp_path, "cuda", "bfloat16")
    assert opening.peak_device_bytes < 1.2 * opening.weight_bytes
    assert opening.peak_ram_bytes < 2**30


def test_depth_in_half_precision_is_the_same_picture_within_a_few_grey_values() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    source = DATA / "depth_anything/tiny.pth"
    exact = DepthAnything(source, "cuda", "float32")(rgb).astype(int)
    half = DepthAnything(source, "cuda", "float16")(rgb).astype(int)
    assert np.abs(exact - half).max() <= 4


def test_the_depth_network_may_run_beside_the_language_model(checkpoint: Any) -> None:
    """Two threads, as the server has them, while graphs are captured."""
    import threading

    depth = DepthAnything(DATA / "depth_anything/tiny.pth", "cuda")
    rgb = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    wanted = depth(rgb)
    pictures: list[Any] = []
    thread = threading.Thread(target=lambda: pictures.extend(depth(rgb) for _ in range(20)))
    thread.start()
    model = RoboReferModel("captured", *checkpoint, fixed_shapes=True)
    answers = [texts(model, requests(1)) for _ in range(5)]
    thread.join()
    assert len(pictures) == 20
    assert all((picture == wanted).all() for picture in pictures)
    assert all(answer == answers[0] for answer in answers)
