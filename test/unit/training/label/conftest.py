# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures, one of them with metric depth beside it."""
    own = tmp_path / "own"
    (own / "shelf").mkdir(parents=True)
    rgb = np.full((60, 80, 3), (150, 175, 190), np.uint8)
    cv2.imwrite(str(own / "table.jpg"), rgb)
    cv2.imwrite(str(own / "shelf" / "left.png"), rgb)
    depth = np.full((60, 80), 1200, np.uint16)
    depth[20:40, 20:40] = 600
    cv2.imwrite(str(own / "table_depth.png"), depth)
    return own
