# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Bodies that work as they stand, for the OpenAPI document.

The pictures have 8x6 pixels: something red on a table, and their depth in millimetres.
"""

from __future__ import annotations

from typing import Any

from roborefer_ros.pointing.prompts import POINT_SUFFIX

_RGB = (
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAGCAIAAABxZ0isAAAAJElEQVQI12Pct34aAzbAxIADoEhwVU4CIgI6WJA539rz"
    "CNsBACnhBia8bM7dAAAAAElFTkSuQmCC"
)
_DEPTH = (
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAGEAAAAACL/lxkAAAAIElEQVQI12Nk2cCAApgYGHAI/L/y/wpWFSwwBqMODjMA"
    "H54EldOfvaAAAAAASUVORK5CYII="
)

QUERY: list[Any] = [
    {
        "image_url": [_RGB],
        "depth_url": [],
        "enable_depth": 0,
        "text": f"Please point out the red mug. {POINT_SUFFIX}",
    }
]

POINT: list[Any] = [
    {"image": _RGB, "instruction": "the red mug left of the box"},
    {
        "image": _RGB,
        "instruction": "the free space in front of the red mug",
        "depth": {"data": _DEPTH, "encoding": "png16", "unit_m": 0.001},
        "intrinsics": {"fx": 7.7, "fy": 7.7, "cx": 3.5, "cy": 2.5},
        "mode": "free_space",
        "up": [0.0, -1.0, 0.0],
        "min_confidence": 0.5,
        "region": [0.0, 0.25, 1.0, 1.0],
        "max_points": 1,
        "timeout_s": 30.0,
    },
]

POINT_REPLY: list[Any] = [
    {
        "points": [
            {
                "x": 0.625,
                "y": 0.5,
                "u": 4.5,
                "v": 2.5,
                "confidence": 0.85,
                "model_confidence": 0.91,
                "geometry_confidence": 0.88,
                "flags": ["DEMO_MODEL"],
                "position": {
                    "xyz_m": [0.117, 0.0, 0.9],
                    "orientation_xyzw": [0.0, -0.7071, 0.0, 0.7071],
                    "covariance": [
                        *(4e-6, 0, 0, 0, 0, 0),
                        *(0, 4e-6, 0, 0, 0, 0),
                        *(0, 0, 9e-6, 0, 0, 0),
                        *(0, 0, 0, 0.03, 0, 0),
                        *(0, 0, 0, 0, 0.03, 0),
                        *(0, 0, 0, 0, 0, 0.03),
                    ],
                },
                "error": None,
            }
        ],
        "rejected_points": [],
        "answer": "[(0.625, 0.500)]",
        "mode": "object",
        "mode_reason": "no words of placing",
        "warnings": ["DEMO_MODEL"],
        "error": None,
        "model": "roborefer:demo",
        "width": 8,
        "height": 6,
        "timings_s": {"decode_image": 0.001, "model": 0.21, "lift": 0.002},
    }
]

CHAT: list[Any] = [
    {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_RGB}"}},
                    {"type": "text", "text": f"Please point out the red mug. {POINT_SUFFIX}"},
                ],
            }
        ],
        "max_tokens": 64,
        "temperature": 0,
    }
]
