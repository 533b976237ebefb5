# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""All figures of training, one after the other: data, head, step, leaks.

    python -m benchmarks.training [--quick]

With ``--quick`` smaller sizes: whether everything runs, not what it costs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

#: module and arguments, in full and quick
RUNS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("training_data",), ("training_data", "--megabytes", "3", "--rows", "2", "--workers", "0")),
    (("training_steps", "head"), ("training_steps", "head")),
    (("training_steps", "plain"), ("training_steps", "plain", "--steps", "3")),
    (("training_steps", "soak", "--steps", "10000"), ("training_steps", "soak", "--steps", "40")),
)


def main() -> int:
    """Run the benchmarks; returns 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="small sizes")
    quick = parser.parse_args().quick
    failed = 0
    for full, small in RUNS:
        module, *arguments = small if quick else full
        print(f"--- {module} {' '.join(arguments)}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
        failed += subprocess.call(command) != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
