# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of spatial pointing: reading, running, scoring, reporting."""
