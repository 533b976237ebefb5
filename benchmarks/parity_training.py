# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Training goldens: dataset item, collated batch, spliced labels, loss; see ``parity``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from benchmarks.parity_cases import Arrays, Opened, Rows, difference, read_picture
from roborefer_ros.files import read_json
from roborefer_ros.models.roborefer.labels import (
    IGNORE,
    SplicedBatch,
    TrainingBatch,
    TrainingItem,
    collate,
    splice_batch,
    supervised_loss,
    training_item,
)
from roborefer_ros.models.roborefer.processing import RoboReferProcessor


@torch.inference_mode()
def check_training(
    folder: Path, opened: Opened, meta: dict[str, Any], arrays: Arrays, with_depth: bool
) -> Rows:
    """The samples of ``folder/train.json`` as one batch."""
    processor, tolerances = opened.processor, opened.tolerances
    samples = read_json(folder / "train.json")
    items = [read_item(processor, sample, folder, with_depth) for sample in samples]
    for number, item in enumerate(items):
        for name in ("input_ids", "labels"):
            value = getattr(item, name)
            yield f"item{number}_{name}", difference(value, arrays[f"item{number}_{name}"]), 0.0
    yield "supervised_text", float(supervised_text(processor, items) != meta["supervised_text"]), 0
    tokenizer = processor.tokenizer
    batch = collate(items, tokenizer.pad_token_id, processor.max_length)
    for name in ("input_ids", "labels", "attention_mask"):
        yield f"batch_{name}", difference(getattr(batch, name), arrays[f"batch_{name}"]), 0.0
    yield "block_sizes", float(block_sizes(batch) != golden_block_sizes(meta)), 0.0
    spliced = splice_batch(opened.model, processor, batch)
    for name in ("labels", "attention_mask"):
        yield f"spliced_{name}", difference(getattr(spliced, name), arrays[f"spliced_{name}"]), 0.0
    sums = spliced.inputs_embeds.double().sum(-1)
    # A sum over the hidden axis adds up that many differences.
    tolerance = tolerances["spliced"] * spliced.inputs_embeds.shape[-1] ** 0.5
    yield "spliced_sum", difference(sums, arrays["spliced_embed_sum"]), tolerance
    theirs = [meta["loss_fp32_eval_mean_over_batch_tokens"], *meta["loss_per_item"]]
    yield "loss", difference(losses(opened, spliced), theirs), tolerances["loss"]


def read_item(
    processor: RoboReferProcessor, sample: dict[str, Any], folder: Path, with_depth: bool
) -> TrainingItem:
    """One LLaVA-style sample with its pictures."""

    def pictures(key: str) -> list[Any]:
        names = sample.get(key, [])
        return [read_picture(folder / n) for n in ([names] if isinstance(names, str) else names)]

    depths = pictures("depth") if with_depth else []
    return training_item(processor, sample["conversations"], pictures("image"), depths)


def supervised_text(processor: RoboReferProcessor, items: list[TrainingItem]) -> list[str]:
    """What is learned, decoded."""
    return [
        processor.tokenizer.decode(item.labels[item.labels != IGNORE].tolist()) for item in items
    ]


def block_sizes(batch: TrainingBatch) -> dict[str, list[list[int]]]:
    """Of a batch, as the meta file lists them."""
    sizes = {"image": batch.image_block_sizes, "depth": batch.depth_block_sizes}
    return {kind: [list(size) for size in values] for kind, values in sizes.items()}


def golden_block_sizes(meta: dict[str, Any]) -> dict[str, list[list[int]]]:
    """The golden ones, without the gaps of samples that lack the modality."""
    config = meta.get("media_config", {})
    return {
        kind: [list(size) for size in config.get(kind, {}).get("block_sizes", []) if size]
        for kind in ("image", "depth")
    }


def losses(opened: Opened, spliced: SplicedBatch) -> list[float]:
    """Mean over the batch's tokens, then of each item."""
    device = opened.model.device
    logits = opened.model.llm(
        inputs_embeds=spliced.inputs_embeds,
        attention_mask=spliced.attention_mask.to(device),
        use_cache=False,
    ).logits.cpu()
    labels = spliced.labels
    each = [
        float(supervised_loss(logits[i : i + 1], labels[i : i + 1])) for i in range(len(labels))
    ]
    return [float(supervised_loss(logits, labels)), *each]
