# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""RefSpatial and data of its kind: names, mixtures, rows, order and pictures; no model, no GPU."""
