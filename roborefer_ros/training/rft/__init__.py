# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Reinforcement fine-tuning: rewards, rollouts and the GRPO loop."""
