# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A simulated arm that picks and places what instructions name; needs the extra ``[arm]``."""
