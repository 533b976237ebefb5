# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer doctor``: what is installed and set up, what is not, and the line that mends it."""
