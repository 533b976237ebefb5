# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Inference goldens: pixels, towers, prompt, logits, decoded ids; see ``parity``."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.parity_cases import Arrays, Opened, Rows, difference, read_picture
from roborefer_ros.inference.decoding import Row, generate
from roborefer_ros.models.roborefer.processing import Depth, RoboReferInputs

#: greedy ids are compared where the best token leads the second by more than this
MIN_MARGIN = 1e-3


@torch.inference_mode()
def check_inference(
    inputs_folder: Path, opened: Opened, meta: dict[str, Any], arrays: Arrays
) -> Rows:
    """From the prompt's parts to the decoded ids."""
    inputs = opened.processor.from_parts(prompt_parts(meta["prompt_parts"], inputs_folder))
    yield "ids", difference(inputs.input_ids, arrays["input_ids"]), 0.0
    media: dict[str, list[torch.Tensor]] = {"image": [], "depth": []}
    for kind in media:
        for stage, value, tolerance in _check_media(kind, opened, inputs, arrays, media[kind]):
            yield stage, value, tolerance
    spliced = opened.model.splice(
        inputs.input_ids,
        media["image"],
        media["depth"],
        max_length=opened.processor.max_length,
        **opened.processor.splice_ids,
    )
    tolerances = opened.tolerances
    yield "spliced", difference(spliced, arrays["inputs_embeds"]), tolerances["spliced"]
    logits = opened.model.llm(inputs_embeds=spliced[None], use_cache=False).logits[0]
    tolerance = tolerances["logits"]
    yield "prefill_logits", difference(logits, arrays["prefill_logits"]), tolerance
    if opened.model.dtype == torch.float16 and "fp16_last_logits" in arrays:
        yield "fp16_logits", difference(logits[-1], arrays["fp16_last_logits"]), tolerance
    yield from _check_decoding(opened, spliced, meta, arrays)


def prompt_parts(parts: Sequence[Any], folder: Path) -> list[Any]:
    """The parts of a prompt with their files read."""
    result: list[Any] = []
    for part in parts:
        if isinstance(part, str):
            result.append(part)
            continue
        picture = read_picture(folder / part["file"])
        result.append(Depth(picture) if part["type"] == "Depth" else picture)
    return result


def _check_media(
    kind: str,
    opened: Opened,
    inputs: RoboReferInputs,
    arrays: Arrays,
    embeds: list[torch.Tensor],
) -> Rows:
    """Pixels, tower and projector of one modality; appends the rows per placeholder."""
    model, tolerances = opened.model, opened.tolerances
    pixels = getattr(inputs, f"{kind}_pixel_values")
    stored = {key for key in arrays if key.startswith(f"{kind}_")}
    if pixels is None:
        if stored:
            yield f"{kind}_pixels", math.inf, 0.0
        return
    # A case may leave out what is large: what it stores is judged, the spliced prompt always.
    if f"{kind}_pixel_values" in stored:
        expected = arrays[f"{kind}_pixel_values"]
        yield f"{kind}_pixels", difference(pixels, expected), 0.0
    if f"{kind}_tower_out" in stored:
        tower = model.vision_tower
        if kind == "depth" and model.depth_tower is not None:
            tower = model.depth_tower
        features = model.tower_features(tower, pixels.to(model.device, model.dtype))
        expected = arrays[f"{kind}_tower_out"]
        yield f"{kind}_tower", difference(features, expected), tolerances["tower"]
    encode = model.encode_images if kind == "image" else model.encode_depths
    embeds += encode(pixels, getattr(inputs, f"{kind}_block_sizes"))
    wanted = [arrays[f"{kind}_embeds_{i}"] for i in range(_count(arrays, f"{kind}_embeds_"))]
    if not wanted:
        return
    worst = math.inf
    if len(embeds) == len(wanted):
        # numpy's maximum keeps a NaN, Python's may drop it
        worst = float(np.max([difference(e, w) for e, w in zip(embeds, wanted, strict=True)]))
    yield f"{kind}_embeds", worst, tolerances["embeds"]


def _check_decoding(
    opened: Opened, spliced: torch.Tensor, meta: dict[str, Any], arrays: Arrays
) -> Rows:
    """Logits along the golden answer; the answer itself where no near tie decides it."""
    llm, tolerance = opened.model.llm, opened.tolerances["logits"]
    ids = torch.from_numpy(arrays["output_ids"].astype(np.int64)).to(spliced.device)
    forced = torch.cat([spliced, llm.get_input_embeddings()(ids[:-1])])
    logits = llm(inputs_embeds=forced[None], use_cache=False).logits[0, len(spliced) - 1 :]
    yield "step_logits", difference(logits, arrays["step_logits"]), tolerance
    key = "fp16_output_ids" if opened.model.dtype == torch.float16 else "output_ids"
    needed = max(MIN_MARGIN, 2 * tolerance)
    if meta.get("min_top1_top2_margin_fp32", 0.0) <= needed or key not in arrays:
        return
    stop_ids = opened.processor.stop_ids
    wanted = list(itertools.takewhile(lambda i: i not in stop_ids, arrays[key].tolist()))
    generated = generate(llm, spliced, stop_ids=stop_ids, max_new_tokens=len(arrays[key]))
    yield "greedy_ids", difference(generated.ids, wanted), 0.0
    if generated.ids == wanted:
        yield "cached_logprobs", _logprob_difference(generated, arrays), 2 * tolerance


def _logprob_difference(generated: Row, arrays: Arrays) -> float:
    """The decoder's own log probabilities, made with its cache, against the golden logits."""
    steps = torch.from_numpy(arrays["step_logits"])[: len(generated.ids)]
    expected = torch.log_softmax(steps, dim=-1)[range(len(generated.ids)), generated.ids]
    return difference(generated.logprobs, expected)


def _count(arrays: Arrays, prefix: str) -> int:
    return sum(key.startswith(prefix) for key in arrays)
