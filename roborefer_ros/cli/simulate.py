# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer simulate``: training data with ``--out``, a benchmark with ``--benchmark``."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    missing = [name for name in ("open3d", "tqdm") if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"roborefer simulate needs {' and '.join(missing)}: pip install 'roborefer_ros[sim]'",
            file=sys.stderr,
        )
        return 1
    if any(argument.partition("=")[0] == "--benchmark" for argument in arguments):
        from roborefer_ros.evaluation.simulated import main as benchmark

        return benchmark(arguments)
    from roborefer_ros.simulation.dataset import main as dataset

    return dataset(arguments)
