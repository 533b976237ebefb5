# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Simulated tabletops with exact ground truth: scenes, pictures, sensor noise, instructions."""
