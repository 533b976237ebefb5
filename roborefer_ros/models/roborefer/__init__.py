# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The RoboRefer network (arXiv 2506.04308): NVILA with a depth branch."""
