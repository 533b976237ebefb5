# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Makes the helpers of this folder importable for the tests below it."""
