# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Measurements that anyone can repeat; each module prints what it measured and how."""
