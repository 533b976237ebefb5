# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Labelling one's own pictures on a local page: rows that training reads as they are."""
