# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the formats of the OpenAPI document look like, for schemathesis (SCHEMATHESIS_HOOKS)."""

from __future__ import annotations

import base64
import io

import numpy as np
import schemathesis
from hypothesis import strategies as st
from PIL import Image


def _png(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


_RNG = np.random.default_rng(0)
_IMAGES = [_png(_RNG.integers(0, 256, (6, 8, 3), np.uint8)) for _ in range(3)]
_DEPTHS = [_png(_RNG.integers(400, 9000, (6, 8)).astype(np.uint16)) for _ in range(2)]

schemathesis.openapi.format("image-base64", st.sampled_from(_IMAGES))
schemathesis.openapi.format("depth-base64", st.sampled_from(_DEPTHS))
schemathesis.openapi.format(
    "image-data-uri", st.sampled_from([f"data:image/png;base64,{image}" for image in _IMAGES])
)
