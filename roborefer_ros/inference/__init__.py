# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Models behind one seam: requests in, completions out, whatever runs the network."""
