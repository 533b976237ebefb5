# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Waiting for SIGINT or SIGTERM, however many of them come and whichever thread gets them."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable


class StopRequest:
    """What ``threading.Event`` would be, for handlers of signals.

    Event's lock is not re-entrant: a second signal whose handler interrupts the first one's
    ``set()``, or the main thread within ``wait()``, waits for itself for ever.  And a lock wakes
    its waiter for a signal only if the kernel gave it to that very thread.  ``timeout``, launch
    and a terminal's Ctrl-C send two at once, so both happen.  A pipe has neither trouble.
    """

    def __init__(self) -> None:
        self._read_fd, self._write_fd = os.pipe()
        # A signal must not wait for space in the pipe; one byte in it is enough.
        os.set_blocking(self._write_fd, False)
        self._is_set = False

    def on_signals(self, numbers: Iterable[int]) -> None:
        """Let signals ask to stop; in the main thread only."""
        signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, lambda *_: self.set())

    def set(self) -> None:
        """Ask to stop; from any thread or handler."""
        self._is_set = True
        with contextlib.suppress(BlockingIOError):
            os.write(self._write_fd, b"\0")

    def is_set(self) -> bool:
        """Whether anybody asked."""
        return self._is_set

    def wait(self) -> None:
        """Until somebody asks."""
        while not self._is_set:
            # Handlers run once the wakeup byte has been read, before the next look at the flag.
            os.read(self._read_fd, 512)


def end_at_once_on_signals() -> None:
    """End the process with 0 on SIGINT and SIGTERM while there is nothing to clean up yet."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))
