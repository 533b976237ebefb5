# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Questions with answers from scenes of boxes: the data engine behind ``roborefer datagen``."""
