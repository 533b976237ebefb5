# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From conversations to training batches: which tokens are learned, and how they are joined.

Conversations are LLaVA-style: ``{"from": "human" | "gpt" | "system", "value": text}``.
Learned are the answers, each with its ``<|im_end|>``; everything else has the label
``IGNORE``.  The masking, with its quirk, is that of the reference (see ``mask_labels``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from roborefer_ros.models.roborefer.modeling import RoboRefer
from roborefer_ros.models.roborefer.processing import (
    DEPTH,
    IMAGE,
    BlockSizes,
    RoboReferProcessor,
    TiledPictures,
)

IGNORE = -100
SENTINEL = "<vila/sentinel>"

Conversation = Sequence[Mapping[str, str]]
Picture = npt.NDArray[np.uint8]

_ROLES = {"human": "user", "gpt": "assistant", "system": "system"}
_PLACEHOLDER = re.compile(r"(?:<image>|<vila/video>|<depth>)\n?")


@dataclass(frozen=True)
class TrainingItem:
    """One conversation: ``[N]`` ids (one per placeholder) and labels, and its pictures."""

    input_ids: torch.Tensor
    labels: torch.Tensor
    images: TiledPictures
    depths: TiledPictures


@dataclass(frozen=True)
class TrainingBatch:
    """Several items, padded on the right; the media of all of them in order.

    Attributes:
        input_ids, labels: ``[B, N]`` long.
        attention_mask: ``[B, N]`` bool, False on padding.
        image_pixel_values, depth_pixel_values: ``[T, 3, S, S]`` float32, or None without any.
        image_block_sizes, depth_block_sizes: 8B mode, one per picture.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    attention_mask: torch.Tensor
    image_pixel_values: torch.Tensor | None
    depth_pixel_values: torch.Tensor | None
    image_block_sizes: BlockSizes
    depth_block_sizes: BlockSizes


@dataclass(frozen=True)
class SplicedBatch:
    """What the language model is given: embeddings, labels and mask over the media rows, too.

    Attributes:
        inputs_embeds: ``[B, M, hidden]``, zero on padding.
        labels: ``[B, M]`` long; IGNORE on media and padding.
        attention_mask: ``[B, M]`` bool.
    """

    inputs_embeds: torch.Tensor
    labels: torch.Tensor
    attention_mask: torch.Tensor


def training_item(
    processor: RoboReferProcessor,
    conversation: Conversation,
    images: Sequence[Picture] = (),
    depths: Sequence[Picture] = (),
) -> TrainingItem:
    """One sample of the training data.

    Placeholders in the turns are dropped; the first turn gets one per picture instead,
    ``<image> <depth>`` pairs or ``<image>`` alone, each followed by a newline.  For RGB alone
    that newline is absent at inference: a mismatch of the reference that is kept.

    Args:
        processor: Processor of the checkpoint that is trained.
        conversation: the turns, the first from ``human`` (or ``system``).
        images: the sample's pictures, none for text alone.
        depths: Depth pictures, as many as images, or none.

    Raises:
        ValueError: a turn has an unknown speaker, there is no turn for the pictures, or the
            numbers of pictures differ.
    """
    if depths and len(depths) != len(images):
        raise ValueError(f"{len(images)} images but {len(depths)} depth pictures in one sample")
    tiled_images = processor.tile(images, half=False)
    tiled_depths = processor.tile(depths, half=False)
    prefix = (f"{IMAGE} {DEPTH}\n" if depths else f"{IMAGE}\n") * len(images)
    prefix = processor.expand(prefix, tiled_images, tiled_depths)
    turns = [{**turn, "value": strip_placeholders(turn["value"])} for turn in conversation]
    if prefix:
        first = next((turn for turn in turns if turn["from"] == "human"), None)
        if first is None:
            raise ValueError("the conversation has no human turn to show the pictures in")
        first["value"] = prefix + first["value"]
    ids, labels = mask_labels(processor, turns)
    return TrainingItem(torch.tensor(ids), torch.tensor(labels), tiled_images, tiled_depths)


def strip_placeholders(text: str) -> str:
    """Drop media placeholders, each with one newline after it, and blanks around the text."""
    return _PLACEHOLDER.sub("", text).strip()


def mask_labels(
    processor: RoboReferProcessor, conversation: Conversation
) -> tuple[list[int], list[int]]:
    """Ids of a conversation and, for each, the id itself where it is learned, else IGNORE.

    The conversation is matched with its template, the same turns without answers, from left
    to right; what does not match is learned.  The template goes on with a newline after an
    answer, so an answer's first newline is taken for that one: it is not learned, but the
    newline after ``<|im_end|>`` is.  The reference trains like this, so it is kept.

    Raises:
        ValueError: a turn has an unknown speaker.
    """
    ids = processor.chat_ids(_messages(conversation))
    blank = processor.chat_ids(
        [
            {"role": m["role"], "content": SENTINEL} if m["role"] == "assistant" else m
            for m in _messages(conversation)
        ]
    )
    sentinel = int(processor.tokenizer.convert_tokens_to_ids(SENTINEL))
    # A token just before the sentinel may be one that the real answer merges with.
    for tokens_before in (0, 1):
        labels = _unmatched(ids, _without_answers(blank, sentinel, tokens_before))
        if labels is not None:
            return ids, labels
    return ids, [IGNORE] * len(ids)


def collate(items: Sequence[TrainingItem], pad_id: int, max_length: int) -> TrainingBatch:
    """Pad on the right and cut at ``max_length`` ids (before the media are put in)."""
    ids = _pad([item.input_ids for item in items], pad_id)
    labels = _pad([item.labels for item in items], IGNORE)
    length = min(max_length, ids.shape[1])
    return TrainingBatch(
        input_ids=ids[:, :length],
        labels=labels[:, :length],
        attention_mask=(ids != pad_id)[:, :length],
        image_pixel_values=_join([item.images.pixel_values for item in items]),
        depth_pixel_values=_join([item.depths.pixel_values for item in items]),
        image_block_sizes=[size for item in items for size in item.images.block_sizes],
        depth_block_sizes=[size for item in items for size in item.depths.block_sizes],
    )


def splice_batch(
    model: RoboRefer, processor: RoboReferProcessor, batch: TrainingBatch
) -> SplicedBatch:
    """Encode the media of a batch and put their rows in place of the placeholders.

    Gradients flow into towers, projectors and embeddings.

    Raises:
        ValueError: more or fewer placeholders than media, e.g. after cutting.
    """
    images, depths = [], []
    if batch.image_pixel_values is not None:
        images = model.encode_images(batch.image_pixel_values, batch.image_block_sizes)
    if batch.depth_pixel_values is not None:
        depths = model.encode_depths(batch.depth_pixel_values, batch.depth_block_sizes)
    return splice_media(model, processor, batch, images, depths)


def splice_media(
    model: RoboRefer,
    processor: RoboReferProcessor,
    batch: TrainingBatch,
    images: list[torch.Tensor],
    depths: list[torch.Tensor],
) -> SplicedBatch:
    """Put the rows of encoded media in place of the placeholders.

    Args:
        model: Embeds the text.
        processor: Of the same checkpoint.
        batch: Ids, labels and mask.
        images: ``[rows, hidden]`` of each image placeholder, in order; emptied.
        depths: ``[rows, hidden]`` of each depth placeholder, in order; emptied.

    Raises:
        ValueError: more or fewer placeholders than media, e.g. after cutting.
    """
    tokens, limit = processor.splice_ids, processor.max_length
    embeds, labels = [], []
    for ids, own_labels, mask in zip(
        batch.input_ids, batch.labels, batch.attention_mask, strict=True
    ):
        ids, own_labels = ids[mask], own_labels[mask]
        queues = {}
        for kind, rows in (("image", images), ("depth", depths)):
            count = int((ids == tokens[f"{kind}_token_id"]).sum())
            queues[kind], rows[:] = rows[:count], rows[count:]
        embeds.append(
            model.splice(ids, queues["image"], queues["depth"], max_length=limit, **tokens)
        )
        lengths = {kind: [len(rows) for rows in queue] for kind, queue in queues.items()}
        labels.append(splice_labels(ids, own_labels, lengths, tokens)[:limit])
    if images or depths:
        raise ValueError(
            f"{len(images)} image and {len(depths)} depth embeddings are left over: the batch has "
            "fewer placeholders"
        )
    sizes = torch.tensor([len(e) for e in embeds])
    mask = torch.arange(int(sizes.max()))[None] < sizes[:, None]
    return SplicedBatch(_pad(embeds, 0.0), _pad(labels, IGNORE), mask)


def splice_labels(
    input_ids: torch.Tensor,
    labels: torch.Tensor,
    rows: Mapping[str, Sequence[int]],
    token_ids: Mapping[str, int],
) -> torch.Tensor:
    """Labels over the spliced sequence: IGNORE for every row of a medium and its newline.

    Args:
        input_ids: ``[N]`` ids with placeholders.
        labels: ``[N]`` ids to learn, IGNORE elsewhere.
        rows: ``image`` and ``depth``: rows of each medium, without the newline.
        token_ids: ``RoboReferProcessor.splice_ids``.
    """
    queues = {token_ids[f"{kind}_token_id"]: iter(counts) for kind, counts in rows.items()}
    repeats = [next(queues[token]) + 1 if token in queues else 1 for token in input_ids.tolist()]
    is_media = torch.tensor([token in queues for token in input_ids.tolist()], dtype=torch.bool)
    masked = labels.masked_fill(is_media, IGNORE)
    return masked.repeat_interleave(torch.tensor(repeats))


def supervised_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross entropy in float32 over the learned tokens of a batch.

    Args:
        logits: ``[B, M, vocabulary]``; position i predicts token i + 1.
        labels: ``[B, M]``.
    """
    return functional.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=IGNORE
    )


def _messages(conversation: Conversation) -> list[dict[str, str]]:
    unknown = {turn["from"] for turn in conversation} - set(_ROLES)
    if unknown:
        raise ValueError(f"a turn is from {sorted(unknown)[0]!r}; known are {sorted(_ROLES)}")
    return [{"role": _ROLES[turn["from"]], "content": turn["value"]} for turn in conversation]


def _without_answers(blank: Sequence[int], sentinel: int, tokens_before: int) -> list[int]:
    """The template: without each sentinel, the token after it and ``tokens_before`` it."""
    dropped: set[int] = set()
    for index, token in enumerate(blank):
        if token == sentinel:
            dropped.update(range(index - tokens_before, index + 2))
    return [token for index, token in enumerate(blank) if index not in dropped]


def _unmatched(ids: Sequence[int], template: Sequence[int]) -> list[int] | None:
    """Ids that differ from the next one of the template; None if it is not used up."""
    labels, position = [], 0
    for token in ids:
        if position < len(template) and token == template[position]:
            position += 1
            labels.append(IGNORE)
        else:
            labels.append(token)
    return labels if position == len(template) else None


def _pad(rows: Sequence[torch.Tensor], value: float) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value)


def _join(tensors: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    present = [tensor for tensor in tensors if tensor is not None]
    return torch.cat(present) if present else None
