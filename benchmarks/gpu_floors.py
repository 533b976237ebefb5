# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The least time that an answer can take on a GPU: its multiplications, and its weights read once.

Towers and prefill are bound by the GPU's multiplications, decoding by reading the language model's
weights once a pass.  Peaks are those of the data sheets: dense 16 bit with float32 sums.
"""

from __future__ import annotations

from benchmarks.model_stages import (
    ANSWER_TOKENS,
    DRAFTED_PASSES,
    TEXT_TOKENS,
    Machine,
    prefill_flops,
    tower_flops,
)
from roborefer_ros.models.roborefer.modeling import RoboRefer

#: a part of the device's name -> its peaks; the first that fits counts
PEAKS: dict[str, Machine] = {
    "H200": Machine(989e12, 4.8e12),
    "H100 PCIe": Machine(756e12, 2.0e12),
    "H100": Machine(989e12, 3.35e12),
    "A100": Machine(312e12, 2.0e12),
    "L40S": Machine(362e12, 864e9),
    "4090": Machine(165e12, 1.008e12),
    "Orin": Machine(42.5e12, 204.8e9),
}

#: data sheets that every table is printed beside
SHOWN = ("H100", "H200", "4090", "Orin")


def machine_of(device_name: str, measured: Machine) -> Machine:
    """Peaks of a device by its name; what was measured where the name is not known."""
    return next((peak for part, peak in PEAKS.items() if part in device_name), measured)


def language_weights(network: RoboRefer) -> int:
    """Numbers that a pass of the language model reads: a tied head is counted once."""
    count = sum(p.numel() for p in network.llm.parameters())
    if not network.config.llm.tie_word_embeddings:
        count -= network.llm.model.embed_tokens.weight.numel()
    return count


def new_frame_ms(network: RoboRefer, tiles: int, tokens: int, machine: Machine) -> float:
    """Floor of an answer about a new frame, with the template's drafts.

    Args:
        network: Network; only its shapes count.
        tiles: Tiles of RGB and depth together.
        tokens: Rows of the whole prompt.
        machine: Peaks.
    """
    flops = tiles * tower_flops(network) + prefill_flops(network, tokens)
    reading = (DRAFTED_PASSES - 1) * 2 * language_weights(network) / machine.bytes_per_s
    return 1e3 * (flops / machine.flops_per_s + reading)


def same_frame_ms(network: RoboRefer, machine: Machine) -> float:
    """Floor of a further question about a frame: its words, then the answer."""
    weights_s = 2 * language_weights(network) / machine.bytes_per_s
    words_s = prefill_flops(network, TEXT_TOKENS) / machine.flops_per_s
    return 1e3 * (max(words_s, weights_s) + (DRAFTED_PASSES - 1) * weights_s)


def token_by_token_ms(network: RoboRefer, machine: Machine) -> float:
    """Floor of decoding alone where nothing is drafted."""
    return 1e3 * (ANSWER_TOKENS - 1) * 2 * language_weights(network) / machine.bytes_per_s
