# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Where scenes come from: simulation, folders, CA-1M captures, detections."""
