# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Pools of processes that are safe in a program with threads."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor


def process_pool(
    workers: int, initializer: Callable[[], None] | None = None
) -> ProcessPoolExecutor:
    """A pool whose processes are started anew instead of forked.

    A forked child has the locks of its parent's threads (torch's, OpenMP's) and none of the threads
    that would release them: it can wait for ever.

    Args:
        workers: Number of processes.
        initializer: Function that each process calls first.
    """
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, initializer)
