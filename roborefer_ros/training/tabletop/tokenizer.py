# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A small tokenizer of Qwen2's kind for small networks.

Byte-level BPE with Qwen2's pre-tokenisation (every digit a token of its own), Qwen2's
special tokens and those of RoboRefer, learned from the training text.  The request for the
answer format (``POINT_SUFFIX``), the same 80 words in every question, is one added
token: a large model reads it, a small one need only know that it is there.  The reference's
``use_api.py`` writes it with two blanks where its benchmark has one, and with none before it:
an alias that means the same, see ``share_request``.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers as pre
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from roborefer_ros.pointing.prompts import POINT_SUFFIX
from roborefer_ros.training.data.rows import REASONING_SUFFIX

#: in the order of Qwen2 and of the reference (ids follow the learned vocabulary)
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "[BOS]",
    "[PAD]",
    "<vila/sentinel>",
    "<image>",
    "<vila/video>",
    "<depth>",
)

#: the ways that clients write the request; all mean what the first one does
REQUESTS = (POINT_SUFFIX, POINT_SUFFIX.replace("], where", "],  where"))

#: asks a small network for its steps before the answer; behind the request for points
THINK_REQUEST = REASONING_SUFFIX

#: Qwen2's pre-tokenisation (tokenizer.json of Qwen/Qwen2-1.5B)
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

#: renders the reference's prompt: a default system message without a full stop
CHAT_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant<|im_end|>\n' }}"
    "{% endif %}"
    "{% for message in messages if message['content'] is not none %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def train_tokenizer(
    texts: Iterable[str], vocab_size: int = 640, model_max_length: int = 4096
) -> PreTrainedTokenizerFast:
    """Learn a tokenizer from text.

    Args:
        texts: questions and answers.
        vocab_size: learned entries (at least the 256 bytes), without the special tokens.
        model_max_length: the longest sequence the network is meant for.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre.Sequence(
        [
            pre.Split(Regex(QWEN2_SPLIT), behavior="isolated"),
            pre.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    # The words of the chat template occur once in every prompt; a few repeats teach them.
    frame = ["system\nYou are a helpful assistant\n", "user\n\n", "assistant\n"] * 200
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=pre.ByteLevel.alphabet(),
        min_frequency=5,
        show_progress=False,
    )
    tokenizer.train_from_iterator([*texts, *frame], trainer)
    tokenizer.add_special_tokens(
        [AddedToken(t, normalized=False, special=True) for t in SPECIAL_TOKENS]
    )
    requests = (*REQUESTS, THINK_REQUEST)
    tokenizer.add_tokens([AddedToken(r, lstrip=True, normalized=False) for r in requests])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="[BOS]",
        eos_token="<|im_end|>",
        pad_token="[PAD]",
        padding_side="right",
        model_max_length=model_max_length,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


@torch.no_grad()
def share_request(embeddings: torch.Tensor, tokenizer: PreTrainedTokenizerFast) -> None:
    """Give every way of writing the request the embedding of the first, which was trained.

    Args:
        embeddings: ``[vocabulary, width]``, written.
        tokenizer: Tokenizer of ``train_tokenizer``.
    """
    trained, *others = (tokenizer.convert_tokens_to_ids(request) for request in REQUESTS)
    embeddings[others] = embeddings[trained].clone()
