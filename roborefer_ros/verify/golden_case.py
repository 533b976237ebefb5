# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether this machine computes what the reference computes, in each type.

One case of a miniature checkpoint comes with the package; ``python -m benchmarks.parity`` checks
many, in a clone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from roborefer_ros.inference.decoding import generate
from roborefer_ros.models.roborefer.checkpoint import load_roborefer

FOLDER = Path(__file__).parent / "golden"

#: type -> how far its logits may be from the reference's float32 ones, which span about 10
TOLERANCES = {"float32": 1e-4, "float16": 0.1, "bfloat16": 0.8}


@dataclass(frozen=True)
class GoldenCheck:
    """One type on one device.

    Attributes:
        dtype: Type of the weights.
        difference: Largest difference of a logit.
        tolerance: Largest difference that the type explains.
        ids_agree: Whether the prompt's tokens are the reference's.
        answers_agree: Whether the greedy answer is the reference's.
    """

    dtype: str
    difference: float
    tolerance: float
    ids_agree: bool
    answers_agree: bool

    @property
    def passed(self) -> bool:
        """Whether it is the same computation; small types may break a near tie differently."""
        answers = self.answers_agree or self.dtype != "float32"
        return self.ids_agree and answers and self.difference <= self.tolerance

    def describe(self) -> str:
        """One line for a report."""
        answer = "the reference's answer" if self.answers_agree else "another answer"
        if not self.ids_agree:
            answer = "another prompt"
        return f"{self.dtype}: logits within {self.difference:.1e} ({self.tolerance:g}), {answer}"


def check_device(device: str) -> list[GoldenCheck]:
    """Compute the case on a device in float32, float16 and bfloat16.

    Raises:
        RoboReferError: The device cannot be used.
    """
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False  # which is no float32
    try:
        return [_check(device, dtype) for dtype in TOLERANCES]
    finally:
        torch.backends.cudnn.allow_tf32 = before


@torch.inference_mode()
def _check(device: str, dtype: str) -> GoldenCheck:
    arrays = dict(np.load(FOLDER / "case.npz", allow_pickle=False))
    network, processor = load_roborefer(FOLDER / "checkpoint", device, dtype)
    rgb, depth = (np.asarray(Image.open(FOLDER / name)) for name in ("rgb1.png", "dep1.png"))
    inputs = processor(json.loads((FOLDER / "prompt.json").read_text()), [rgb], [depth])
    assert inputs.image_pixel_values is not None
    assert inputs.depth_pixel_values is not None
    embeds = network.splice(
        inputs.input_ids,
        network.encode_images(inputs.image_pixel_values),
        network.encode_depths(inputs.depth_pixel_values),
        **processor.splice_ids,
    )
    wanted = torch.from_numpy(arrays["output_ids"].astype(np.int64))
    forced = network.llm.get_input_embeddings()(wanted[:-1].to(embeds.device))
    steps = network.llm(inputs_embeds=torch.cat([embeds, forced])[None], use_cache=False).logits[0]
    own = steps[len(embeds) - 1 :].float().cpu().numpy()
    difference = float(np.abs(own - arrays["step_logits"]).max())
    answer = generate(
        network.llm, embeds, stop_ids=processor.stop_ids, max_new_tokens=len(wanted)
    ).ids
    return GoldenCheck(
        dtype=dtype,
        difference=difference,
        tolerance=TOLERANCES[dtype],
        ids_agree=inputs.input_ids.tolist() == arrays["input_ids"].tolist(),
        answers_agree=answer == wanted.tolist()[: len(answer)] and len(answer) > 0,
    )
