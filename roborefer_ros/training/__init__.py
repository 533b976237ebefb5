# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Training the RoboRefer network on LLaVA-style RGB-D conversations."""
