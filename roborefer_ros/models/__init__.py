# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The networks, as their authors specified them; nothing here knows what pointing is."""
