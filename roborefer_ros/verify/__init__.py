# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Acceptance of a checkpoint on a machine: what it is, how it computes, what it answers."""
