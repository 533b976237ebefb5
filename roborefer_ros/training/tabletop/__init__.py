# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What only the bundled network needs in training: its recipe, objectives and question packing."""
