# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Tiny checkpoints of other families, built from their configurations with random weights.

Random weights point at nothing.  To prove the way from image to points, a model is taught one
sentence by heart (a few seconds); that shows that processor, generation, decoding and parser fit
together, and nothing about accuracy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from roborefer_ros.inference.model import Picture, Request

#: the picture that every model is taught with: 64x48, not square
PICTURE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
INSTRUCTION = "the mug"

QWEN_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{m.role}}\n{% for c in m.content %}"
    "{% if c.type=='image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{c.text}}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MOLMO_TEMPLATE = (
    "{% for m in messages %}{% for c in m.content %}{% if c.type=='image' %}<|image|>{% endif %}"
    "{% endfor %}<|im_start|>{{m.role}}\n{% for c in m.content %}{% if c.type=='text' %}{{c.text}}"
    "{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN_TOKENS = ["<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
QWEN_TOKENS += ["<|video_pad|>"]
MOLMO_TOKENS = ["<|im_start|>", "<|image|>", "<|video|>", "<im_patch>", "<im_col>", "<im_start>"]
MOLMO_TOKENS += ["<low_res_im_start>", "<frame_start>", "<im_end>", "<frame_end>", "<im_low>"]

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 4096,
}


def tokenizer(
    special: list[str] | dict[str, str], template: str | None, **names: str
) -> PreTrainedTokenizerFast:
    """Bytes as tokens, and the family's special ones."""
    vocabulary = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    result = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=special,
        **names,
    )
    result.chat_template = template
    return result


def save_qwen(folder: Path, version: str) -> None:
    """Qwen3-VL (``"3"``) or Qwen2.5-VL (``"2_5"``)."""
    import transformers
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    words = tokenizer(QWEN_TOKENS, QWEN_TEMPLATE)
    words.save_pretrained(folder)
    patch = 16 if version == "3" else 14
    cell = (2 * patch) ** 2
    Qwen2VLImageProcessorPil(
        patch_size=patch,
        temporal_patch_size=2,
        merge_size=2,
        size={"shortest_edge": 2 * cell, "longest_edge": 16 * cell},
    ).save_pretrained(folder)
    ids = {
        name: words.convert_tokens_to_ids(token)
        for name, token in {
            "image_token_id": "<|image_pad|>",
            "video_token_id": "<|video_pad|>",
            "vision_start_token_id": "<|vision_start|>",
            "vision_end_token_id": "<|vision_end|>",
        }.items()
    }
    rope = {"rope_type": "default", "mrope_section": [4, 2, 2], "rope_theta": 1e4}
    text = {**TEXT, "vocab_size": len(words), "head_dim": 16, "rope_parameters": rope}
    vision: dict[str, Any] = {"depth": 2, "hidden_size": 32, "intermediate_size": 64}
    vision |= {"num_heads": 2, "out_hidden_size": 32, "patch_size": patch}
    vision |= {"spatial_merge_size": 2, "temporal_patch_size": 2}
    if version == "3":
        vision |= {"num_position_embeddings": 64, "deepstack_visual_indexes": [0]}
        config = transformers.Qwen3VLConfig(text_config=text, vision_config=vision, **ids)
        model = transformers.Qwen3VLForConditionalGeneration(config)
    else:
        vision |= {"window_size": 56, "fullatt_block_indexes": [1]}
        config = transformers.Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids)
        model = transformers.Qwen2_5_VLForConditionalGeneration(config)
    # What real checkpoints store: it samples, and must not be followed.
    model.generation_config.update(do_sample=True, temperature=0.7, repetition_penalty=1.5)
    model.generation_config.eos_token_id = [words.eos_token_id, words.pad_token_id]
    model.save_pretrained(folder)


def save_molmo2(folder: Path) -> None:
    """Molmo 2."""
    from transformers import Molmo2Config, Molmo2ForConditionalGeneration
    from transformers.models.molmo2.image_processing_molmo2 import Molmo2ImageProcessor

    words = tokenizer(MOLMO_TOKENS, MOLMO_TEMPLATE)
    words.save_pretrained(folder)
    Molmo2ImageProcessor(
        size={"height": 28, "width": 28}, patch_size=7, max_crops=2, overlap_margins=[1, 1]
    ).save_pretrained(folder)
    ids = {
        name: words.convert_tokens_to_ids(token)
        for name, token in {
            "image_start_token_id": "<im_start>",
            "low_res_image_start_token_id": "<low_res_im_start>",
            "image_end_token_id": "<im_end>",
            "image_patch_id": "<im_patch>",
            "frame_start_token_id": "<frame_start>",
            "frame_end_token_id": "<frame_end>",
        }.items()
    }
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16}
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, **heads}
    adapter = {"hidden_size": 32, "intermediate_size": 64, "text_hidden_size": 32, **heads}
    config = Molmo2Config(
        text_config={
            **TEXT,
            "head_dim": 16,
            "vocab_size": len(words),
            "additional_vocab_size": 8,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
        },
        vision_config={**vision, "image_size": [28, 28], "patch_size": 7},
        adapter_config={**adapter, "vision_feature_layer": [1, 0]},
        **ids,
    )
    Molmo2ForConditionalGeneration(config).save_pretrained(folder)


def save_paligemma(folder: Path) -> None:
    """PaliGemma."""
    import transformers
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    words = tokenizer(["<image>", *(f"<loc{i:04d}>" for i in range(1024))], None, bos_token="<bos>")
    images = SiglipImageProcessorPil(size={"height": 28, "width": 28})
    images.image_seq_length = 4
    transformers.PaliGemmaProcessor(images, words).save_pretrained(folder)
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    text = {**TEXT, "model_type": "gemma", "head_dim": 16, "vocab_size": len(words)}
    vision = {"model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 64}
    vision |= {"num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28}
    config = transformers.PaliGemmaConfig(
        text_config={**text, **{name: getattr(words, name) for name in names}},
        vision_config={**vision, "patch_size": 14, "vision_use_head": False},
        image_token_index=words.convert_tokens_to_ids("<image>"),
        projection_dim=32,
    )
    transformers.PaliGemmaForConditionalGeneration(config).save_pretrained(folder)


def save_florence2(folder: Path) -> None:
    """Florence-2: an encoder and a decoder."""
    import transformers
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    words = tokenizer({"image_token": "<image>"}, None, bos_token="<s>", sep_token="</s>")
    words.add_tokens([f"<loc_{i}>" for i in range(1000)])
    images = CLIPImageProcessorPil(size={"height": 64, "width": 64}, do_center_crop=False)
    images.image_seq_length = 5
    transformers.Florence2Processor(images, words).save_pretrained(folder)
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    text: dict[str, Any] = {name: getattr(words, name) for name in names}
    text |= {"model_type": "bart", "d_model": 32, "vocab_size": len(words)}
    text |= {"decoder_start_token_id": words.eos_token_id, "forced_eos_token_id": None}
    for part in ("encoder", "decoder"):
        text |= {f"{part}_layers": 2, f"{part}_ffn_dim": 64, f"{part}_attention_heads": 2}
    config = transformers.Florence2Config(
        text_config=text,
        vision_config={
            "depths": (1, 1, 1, 1),
            "embed_dim": (8, 16, 16, 32),
            "num_heads": (1, 2, 2, 4),
            "num_groups": (1, 2, 2, 4),
            "window_size": 2,
            "projection_dim": 32,
        },
        image_token_id=words.convert_tokens_to_ids("<image>"),
    )
    model = transformers.Florence2ForConditionalGeneration(config)
    model.generation_config.update(num_beams=3, no_repeat_ngram_size=3)  # as released
    model.generation_config.decoder_start_token_id = words.eos_token_id
    model.save_pretrained(folder)


def asked(pointer: Any, instruction: str) -> Request:
    """What the pointer's model is asked about the picture."""
    return pointer.requests(Request(instruction, (Picture.of(PICTURE),)))[0]


def teach(pointer: Any, answer: str, steps: int = 150) -> None:
    """Train a loaded pointer's model until it answers the one question by heart."""
    torch.manual_seed(0)
    model, words = pointer.model.network, pointer.model.processor.tokenizer
    inputs, _ = pointer.model.inputs(asked(pointer, INSTRUCTION))
    said = words(answer, add_special_tokens=False, return_tensors="pt").input_ids
    said = torch.cat([said, torch.tensor([[words.eos_token_id]])], dim=1)
    batch = (
        lesson(inputs, said) if not model.config.is_encoder_decoder else {**inputs, "labels": said}
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for _ in range(steps):
        loss = model(**batch).loss
        if loss.item() < 0.01:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


def lesson(inputs: dict[str, torch.Tensor], said: torch.Tensor) -> dict[str, torch.Tensor]:
    """The question with the answer appended, of which only the answer is to be learnt."""
    asked = inputs["input_ids"]
    ids = torch.cat([asked, said], dim=1)
    labels = ids.clone()
    labels[:, : asked.shape[1]] = -100
    batch = {**inputs, "input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    for name, kind in (("mm_token_type_ids", 0), ("token_type_ids", 1)):  # text; PaliGemma's suffix
        if name in batch:
            kinds = torch.full_like(said, kind, dtype=batch[name].dtype)
            batch[name] = torch.cat([batch[name], kinds], dim=1)
    return batch
