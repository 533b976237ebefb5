# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From an instruction and an image to normalised 2D points, by any of several models."""
