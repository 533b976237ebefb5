# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Where the time of one answer goes: depth network, towers, prefill, decoding.

    python -m benchmarks.model_stages [--size small|2b|8b] [--device cuda] [--dtype bfloat16]
    python -m benchmarks.model_stages --checkpoint FOLDER --depth HUB_ID_OR_FOLDER

Beside each time stands its floor on this machine, from what the same process reaches: the
stage's multiplications at the rate of one large matrix product, and for a decoded token the
weights' bytes at the rate of a large copy.  To the right are the floors of three GPUs from
their data sheets, in 16 bit.  Weights are meaningless unless given, so the answer is cut
after a fixed number of tokens, and a draft of the template's length is always wrong: it
shows what a pass with a draft costs.
"""

from __future__ import annotations

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
from roborefer_ros.arguments import ArgumentParser
from roborefer_ros.inference.decoding import Decoder, Row
from roborefer_ros.models.depth_anything import DepthAnything, network_size
from roborefer_ros.models.roborefer.checkpoint import load_roborefer
from roborefer_ros.models.roborefer.modeling import RoboRefer
from roborefer_ros.models.roborefer.processing import RoboReferInputs, RoboReferProcessor
from roborefer_ros.pointing.prompts import roborefer_prompt

IMAGES = ("640x480", "848x480", "1280x720")

#: tokens of "[(0.512, 0.634)]" with its end, and passes for it where drafts fill the template
ANSWER_TOKENS = 15
DRAFTED_PASSES = 7

#: tokens between the pictures and the answer with Qwen2's own tokenizer, template included
TEXT_TOKENS = 120

_INSTRUCTION = "Please point to the red mug left of the green box."

#: hidden width, blocks, features, out channels, taps
_DEPTH_SIZES: dict[str, tuple[int, int, int, list[int], list[int]]] = {
    "tiny": (64, 4, 16, [16, 32, 64, 64], [1, 2, 3, 4]),
    "small": (384, 12, 64, [48, 96, 192, 384], [3, 6, 9, 12]),
    "base": (768, 12, 128, [96, 192, 384, 768], [3, 6, 9, 12]),
    "large": (1024, 24, 256, [256, 512, 1024, 1024], [5, 12, 18, 24]),
}


@dataclass(frozen=True)
class Machine:
    """What a device reaches: floating-point operations of a large product, bytes of a copy."""

    flops_per_s: float
    bytes_per_s: float


#: dense 16 bit with float32 sums, and memory
GPUS = {
    "H200": Machine(989e12, 4.8e12),
    "4090": Machine(165e12, 1.008e12),
    "Orin": Machine(42.5e12, 204.8e9),
}


@dataclass(frozen=True)
class Stage:
    """One stage for one image size.

    Attributes:
        image, stage, work: which one, and how much of it.
        median_ms: measured.
        flops: operations it cannot do without; 0 where none are counted.
        weights: how many numbers it reads at least.
        weight_bytes: of one of them here.
    """

    image: str
    stage: str
    work: str
    median_ms: float
    flops: float = 0.0
    weights: float = 0.0
    weight_bytes: int = 2

    def floor_ms(self, machine: Machine, weight_bytes: int = 2) -> float:
        """The least time on a machine; 0 where none is counted."""
        reading = self.weights * weight_bytes / machine.bytes_per_s
        return 1e3 * max(self.flops / machine.flops_per_s, reading)


def timed(call: Callable[[], Any], device: torch.device, repeats: int) -> float:
    """Median milliseconds; the first call is not counted, unless it is the only one."""
    times = []
    for _ in range(repeats + 1):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        started = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(1e3 * (time.perf_counter() - started))
    return statistics.median(times[1:] or times)


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
    repeats: int,
) -> Iterator[Stage]:
    """All stages for one image size (width, height), and their sum."""
    width, height = size
    rgb = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    name, device = f"{width}x{height}", model.device
    picture = depth(rgb)
    prompt = roborefer_prompt(instruction_of(processor, TEXT_TOKENS))
    inputs = processor(prompt, [rgb], [picture])
    net = network_size(width, height)
    ms = timed(lambda: depth(rgb), device, repeats)
    rows = [Stage(name, "depth network", f"{net[0]}x{net[1]} px", ms, depth_flops(depth, *net))]
    ms = timed(lambda: processor(prompt, [rgb], [picture]), device, repeats)
    rows.append(Stage(name, "preprocess", f"{_tiles(inputs)} tiles", ms))
    rows += _network_stages(name, model, processor, inputs, repeats)
    yield from rows
    times = {row.stage: row.median_ms for row in rows}
    until_answer = sum(row.median_ms for row in rows[:4])
    more = ANSWER_TOKENS - 1
    plain = until_answer + more * times["one more token"]
    yield Stage(name, "whole answer", f"{more} more", plain)
    drafted = until_answer + (DRAFTED_PASSES - 1) * times["one with a draft"]
    yield Stage(name, "with drafts", f"{DRAFTED_PASSES - 1} more", drafted)


def instruction_of(processor: RoboReferProcessor, tokens: int) -> str:
    """An instruction that makes a prompt without pictures as long as a real tokenizer's."""
    text = _INSTRUCTION
    while len(processor.prompt_ids(roborefer_prompt(text))) < tokens:
        text += "."
    return text


def _network_stages(
    name: str,
    model: RoboRefer,
    processor: RoboReferProcessor,
    inputs: RoboReferInputs,
    repeats: int,
) -> Iterator[Stage]:
    """Towers, prefill, and a further token, alone and with a draft."""
    device, width = model.device, next(model.parameters()).element_size()

    @torch.inference_mode()
    def encode() -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        assert inputs.image_pixel_values is not None
        assert inputs.depth_pixel_values is not None
        return (
            model.encode_images(inputs.image_pixel_values, inputs.image_block_sizes),
            model.encode_depths(inputs.depth_pixel_values, inputs.depth_block_sizes),
        )

    count, encoded = _tiles(inputs), []
    ms = timed(lambda: encoded.append(encode()), device, repeats)
    yield Stage(name, "towers", f"{count} tiles", ms, tower_flops(model) * count)
    with torch.inference_mode():
        images, depths = encoded[-1]
        embeds = model.splice(inputs.input_ids, images, depths, **processor.splice_ids)
    decoder = Decoder(model.llm, stop_ids=[])

    def read() -> None:
        list(decoder.run([Row(embeds, max_new_tokens=1)]))

    ms = timed(read, device, repeats)
    yield Stage(name, "prefill", f"{len(embeds)} tokens", ms, prefill_flops(model, len(embeds)))
    weights = sum(p.numel() for p in model.llm.parameters())  # a tied head is counted once
    if not model.config.llm.tie_word_embeddings:
        weights -= model.llm.model.embed_tokens.weight.numel()
    for stage, guesses in (("one more token", 0), ("one with a draft", 4)):
        ms = token_ms(model, embeds, guesses, repeats)
        work = f"{guesses + 1} tokens" if guesses else ""
        yield Stage(name, stage, work, ms, weights=weights, weight_bytes=width)


def token_ms(model: RoboRefer, embeds: torch.Tensor, guesses: int, repeats: int) -> float:
    """Milliseconds per decoded token after a prompt, each with that many wrong guesses."""
    wrong = [model.config.llm.vocab_size - 1] * guesses
    device, times = model.device, []
    decoder = Decoder(model.llm, stop_ids=[])
    cache = decoder.read([embeds])

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    for _ in range(repeats + 1):
        ends: list[float] = []
        row = Row(embeds, ANSWER_TOKENS, draft=lambda ids: wrong if ids else [])
        row.known = len(embeds) - 1
        list(decoder.run([row], cache, lambda *_: ends.append(now())))  # noqa: B023
        times.append(1e3 * (now() - ends[0]) / (ANSWER_TOKENS - 1))
    return statistics.median(times[1:] or times)


def depth_flops(depth: DepthAnything, width: int, height: int) -> float:
    """Operations of the depth network's transformer for one image; its head is left out."""
    c: Any = depth.network.config.backbone_config
    tokens = (width // c.patch_size) * (height // c.patch_size) + 1
    linear = 2 * tokens * (4 + 2 * c.mlp_ratio) * c.hidden_size**2
    return float(c.num_hidden_layers * (linear + 4 * tokens**2 * c.hidden_size))


def tower_flops(model: RoboRefer) -> float:
    """Operations for one tile, patch embedding and projector left out."""
    c: Any = model.config.vision
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
    head = f"{'image':<10} {'stage':<17} {'work':<12} {'ms':>9} {'floor ms':>9} {'times':>6}"
    lines = [f"this device reaches {rates}", head + "".join(f" {gpu:>8}" for gpu in GPUS)]
    for row in rows:
        floor_ms = row.floor_ms(machine, row.weight_bytes)
        floors = ""
        if floor_ms:
            floors = f" {floor_ms:>9.1f} {row.median_ms / floor_ms:>6.1f}"
            floors += "".join(f" {row.floor_ms(gpu):>8.2f}" for gpu in GPUS.values())
        lines.append(
            f"{row.image:<10} {row.stage:<17} {row.work:<12} {row.median_ms:>9.1f}{floors}"
        )
    return "\n".join(lines)


def as_json(rows: list[Stage], machine: Machine) -> str:
    """The stages for programs."""
    stages = [
        {
            **asdict(row),
            "floor_ms": row.floor_ms(machine, row.weight_bytes),
            "gpu_floors_ms": {name: row.floor_ms(gpu) for name, gpu in GPUS.items()},
        }
        for row in rows
    ]
    return json.dumps({"machine": asdict(machine), "stages": stages}, indent=1)


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = ArgumentParser(description="Time per stage of one answer")
    parser.add_argument("--size", choices=sorted(SIZES), default="small")
    parser.add_argument("--checkpoint", type=Path, help="an existing one instead")
    parser.add_argument("--depth", default="small", help="small, base, large (random), or a source")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--images", nargs="+", default=IMAGES, help="WIDTHxHEIGHT")
    parser.add_argument("--repeats", type=int, default=3, help="0: the very first call counts")
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
        rows: list[Stage] = []
        for image in arguments.images:
            width, height = (int(side) for side in image.split("x"))
            size = width, height
            rows += stages(size, model, processor, network, arguments.repeats)
    print(as_json(rows, machine) if arguments.json else report(rows, machine))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
