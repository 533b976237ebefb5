# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Where the time of one answer goes: depth network, towers, prefill, decoding.

    python -m benchmarks.model_stages [--size small|2b|8b] [--device cuda] [--dtype bfloat16]
    python -m benchmarks.model_stages --checkpoint FOLDER --depth HUB_ID_OR_FOLDER

Beside each time stands its floor on this machine, from what the same process reaches: the
stage's multiplications at the rate of one large matrix product, and for a decoded token the
weights' bytes at the rate of a large copy.  Weights are meaningless unless given, so the
answer is cut after a fixed number of tokens.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

from benchmarks.model_synthetic import SIZES, write_synthetic
from roborefer_ros.models.depth_anything import DepthAnything, network_size
from roborefer_ros.models.roborefer.checkpoint import load_roborefer
from roborefer_ros.models.roborefer.decoding import generate
from roborefer_ros.models.roborefer.modeling import RoboRefer
from roborefer_ros.models.roborefer.processing import RoboReferInputs, RoboReferProcessor
from roborefer_ros.pointing.prompts import roborefer_prompt

IMAGES = ("640x480", "848x480", "1280x720")

#: tokens of "[(0.512, 0.634)]" with its end
ANSWER_TOKENS = 15

_INSTRUCTION = "Please point to the red mug left of the green box."

#: hidden width, blocks, features, out channels, taps
_DEPTH_SIZES: dict[str, tuple[int, int, int, list[int], list[int]]] = {
    "small": (384, 12, 64, [48, 96, 192, 384], [3, 6, 9, 12]),
    "base": (768, 12, 128, [96, 192, 384, 768], [3, 6, 9, 12]),
    "large": (1024, 24, 256, [256, 512, 1024, 1024], [5, 12, 18, 24]),
}


@dataclass(frozen=True)
class Stage:
    """One stage for one image size; ``floor_ms`` is 0 where none is computed."""

    image: str
    stage: str
    work: str
    median_ms: float
    floor_ms: float


@dataclass(frozen=True)
class Machine:
    """What the device reaches: multiply-adds of a large product, bytes of a large copy."""

    flops_per_s: float
    bytes_per_s: float


def timed(call: Callable[[], Any], device: torch.device, repeats: int) -> float:
    """Median milliseconds; the first call is not counted."""
    times = []
    for _ in range(repeats + 1):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        started = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(1e3 * (time.perf_counter() - started))
    return statistics.median(times[1:])


def measure_machine(device: torch.device, dtype: torch.dtype) -> Machine:
    """The rates that the floors are computed with."""
    side = 8192 if device.type == "cuda" else 1024
    a = torch.randn(side, side, device=device, dtype=dtype)
    product_ms = timed(lambda: a @ a, device, 5)
    big = torch.empty(2**28 if device.type == "cuda" else 2**26, dtype=torch.uint8, device=device)
    target = torch.empty_like(big)
    copy_ms = timed(lambda: target.copy_(big), device, 5)
    return Machine(2e3 * side**3 / product_ms, 2e3 * big.numel() / copy_ms)


def stages(
    size: tuple[int, int],
    model: RoboRefer,
    processor: RoboReferProcessor,
    depth: DepthAnything,
    machine: Machine,
    repeats: int,
) -> Iterator[Stage]:
    """All stages for one image size (width, height)."""
    width, height = size
    rgb = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    name, device = f"{width}x{height}", model.device
    net_width, net_height = network_size(width, height)
    work = f"{net_width}x{net_height} px"
    yield Stage(name, "depth network", work, timed(lambda: depth(rgb), device, repeats), 0.0)
    picture, prompt = depth(rgb), roborefer_prompt(_INSTRUCTION)
    inputs = processor(prompt, [rgb], [picture])
    ms = timed(lambda: processor(prompt, [rgb], [picture]), device, repeats)
    yield Stage(name, "preprocess", f"{_tiles(inputs)} tiles", ms, 0.0)
    yield from _network_stages(name, model, processor, inputs, machine, repeats)


def _network_stages(
    name: str,
    model: RoboRefer,
    processor: RoboReferProcessor,
    inputs: RoboReferInputs,
    machine: Machine,
    repeats: int,
) -> Iterator[Stage]:
    device = model.device

    @torch.inference_mode()
    def encode() -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        assert inputs.image_pixel_values is not None and inputs.depth_pixel_values is not None
        return (
            model.encode_images(inputs.image_pixel_values, inputs.image_block_sizes),
            model.encode_depths(inputs.depth_pixel_values, inputs.depth_block_sizes),
        )

    floor = 1e3 * tower_flops(model) * _tiles(inputs) / machine.flops_per_s
    yield Stage(name, "towers", f"{_tiles(inputs)} tiles", timed(encode, device, repeats), floor)
    with torch.inference_mode():
        embeds = model.splice(inputs.input_ids, *encode(), **processor.splice_ids)

    def answer(tokens: int) -> Callable[[], Any]:
        return lambda: generate(model.llm, embeds, stop_ids=[], max_new_tokens=tokens)

    prefill = timed(answer(1), device, repeats)
    floor = 1e3 * prefill_flops(model, len(embeds)) / machine.flops_per_s
    yield Stage(name, "prefill", f"{len(embeds)} tokens", prefill, floor)
    whole = timed(answer(ANSWER_TOKENS), device, repeats)
    each = (whole - prefill) / (ANSWER_TOKENS - 1)
    read = sum(p.nbytes for p in model.llm.parameters())  # a tied head is counted once
    if not model.config.llm.tie_word_embeddings:
        read -= model.llm.model.embed_tokens.weight.nbytes
    yield Stage(name, "one more token", "", each, 1e3 * read / machine.bytes_per_s)


def tower_flops(model: RoboRefer) -> float:
    """Operations for one tile, patch embedding and projector left out."""
    c = model.config.vision
    tokens = (c.image_size // c.patch_size) ** 2
    linear = 2 * tokens * (4 * c.hidden_size**2 + 2 * c.hidden_size * c.intermediate_size)
    attention = 4 * tokens**2 * c.hidden_size
    return float(model.config.used_layers(c) * (linear + attention))


def prefill_flops(model: RoboRefer, tokens: int) -> float:
    """Operations for a prompt; the head sees one position only."""
    layers = sum(p.numel() for p in model.llm.model.layers.parameters())
    c = model.config.llm
    attention = c.num_hidden_layers * 2 * tokens**2 * c.hidden_size  # causal: half of it
    return float(2 * tokens * layers + attention)


def _tiles(inputs: RoboReferInputs) -> int:
    values = (inputs.image_pixel_values, inputs.depth_pixel_values)
    return sum(len(v) for v in values if v is not None)


def write_depth_network(folder: Path, size: str) -> Path:
    """A Depth-Anything-V2 of true shape with random weights."""
    hidden, blocks, features, channels, taps = _DEPTH_SIZES[size]
    backbone_class: Any = Dinov2Config
    backbone = backbone_class(
        hidden_size=hidden,
        num_hidden_layers=blocks,
        num_attention_heads=hidden // 64,
        image_size=518,
        patch_size=14,
        out_indices=taps,
        reshape_hidden_states=False,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=hidden,
        neck_hidden_sizes=channels,
        fusion_hidden_size=features,
    )
    torch.manual_seed(0)
    DepthAnythingForDepthEstimation(config).save_pretrained(folder)
    return folder


def report(rows: list[Stage], machine: Machine) -> str:
    """The stages as a table."""
    rates = f"{machine.flops_per_s / 1e12:.2f} TFLOP/s, {machine.bytes_per_s / 1e9:.0f} GB/s"
    lines = [f"this device reaches {rates}"]
    lines.append(f"{'image':<10} {'stage':<15} {'work':<14} {'ms':>9} {'floor ms':>9} {'times':>6}")
    for row in rows:
        floor = f"{row.floor_ms:>9.1f} {row.median_ms / row.floor_ms:>6.1f}" if row.floor_ms else ""
        lines.append(
            f"{row.image:<10} {row.stage:<15} {row.work:<14} {row.median_ms:>9.1f} {floor}"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(description="Time per stage of one answer")
    parser.add_argument("--size", choices=sorted(SIZES), default="small")
    parser.add_argument("--checkpoint", type=Path, help="an existing one instead")
    parser.add_argument("--depth", default="small", help="small, base, large (random), or a source")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--images", nargs="+", default=IMAGES, help="WIDTHxHEIGHT")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        folder, depth = arguments.checkpoint or Path(temporary) / "vlm", arguments.depth
        if arguments.checkpoint is None:
            print(f"writing a {arguments.size} checkpoint to {folder} ...", file=sys.stderr)
            write_synthetic(folder, arguments.size)
        if depth in _DEPTH_SIZES:
            depth = write_depth_network(Path(temporary) / "depth", depth)
        model, processor = load_roborefer(folder, arguments.device, arguments.dtype)
        network = DepthAnything(depth, arguments.device, arguments.dtype)
        machine = measure_machine(model.device, model.dtype)
        rows = []
        for image in arguments.images:
            width, height = (int(side) for side in image.split("x"))
            size = width, height
            rows += stages(size, model, processor, network, machine, arguments.repeats)
    if arguments.json:
        print(json.dumps({"machine": asdict(machine), "stages": [asdict(r) for r in rows]}))
    else:
        print(report(rows, machine))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
