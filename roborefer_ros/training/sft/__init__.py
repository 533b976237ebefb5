# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Depth alignment and supervised fine-tuning of RoboRefer, in one process or in many."""
