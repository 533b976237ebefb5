# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``python -m roborefer_ros.cli``, where the console script is not installed."""

import sys

from roborefer_ros.cli import main

if __name__ == "__main__":
    sys.exit(main())
