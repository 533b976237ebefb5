# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The main job on this machine: a simulated camera, the node, a client, a table, a picture."""
