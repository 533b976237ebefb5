# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the soak counts: requests by their end, and what processes hold on to."""

from __future__ import annotations

import collections
import threading
from dataclasses import dataclass

import psutil

#: growth between the first and the last third that is called a leak
RSS_GROWTH_RATIO, THREAD_GROWTH, HANDLE_GROWTH = 0.15, 8, 16


class Tally:
    """Counts of one kind of request, from any thread; keeps the first texts of what was wrong."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []

    def count(self, end: str) -> None:
        """Count one request that ended like this."""
        with self._lock:
            self.counts["sent"] += 1
            self.counts[end] += 1

    def fault(self, text: str) -> None:
        """Count one request that ended as it must not."""
        self.count("wrong")
        with self._lock:
            if len(self.wrong) < 10:
                self.wrong.append(text)

    def lines(self, title: str) -> list[str]:
        """The counts as text."""
        ends = ", ".join(f"{n} {end}" for end, n in sorted(self.counts.items()) if end != "sent")
        return [f"{title}: {self.counts['sent']} sent: {ends}", *(f"  {w}" for w in self.wrong)]


@dataclass(frozen=True)
class Holdings:
    """What a process holds.

    Attributes:
        rss_mb: Resident memory, megabytes.
        threads: Number of threads.
        handles: Number of open files and sockets.
    """

    rss_mb: float
    threads: int
    handles: int

    @classmethod
    def of(cls, pid: int) -> Holdings:
        """Those of a process and its children at this moment."""
        parent = psutil.Process(pid)
        family = [parent, *parent.children(recursive=True)]
        rss, threads, handles = 0.0, 0, 0
        for process in family:
            try:
                rss += process.memory_info().rss / 1e6
                threads += process.num_threads()
                handles += process.num_fds()
            except psutil.NoSuchProcess:  # a child that ended meanwhile
                continue
        return cls(rss, threads, handles)

    def leaked_since(self, before: Holdings) -> list[str]:
        """What grew more than caches and allocators explain."""
        found = []
        if self.rss_mb > before.rss_mb * (1.0 + RSS_GROWTH_RATIO):
            found.append(f"memory {before.rss_mb:.0f} -> {self.rss_mb:.0f} MB")
        if self.threads > before.threads + THREAD_GROWTH:
            found.append(f"threads {before.threads} -> {self.threads}")
        if self.handles > before.handles + HANDLE_GROWTH:
            found.append(f"handles {before.handles} -> {self.handles}")
        return found

    def __str__(self) -> str:
        return f"{self.rss_mb:.0f} MB, {self.threads} threads, {self.handles} handles"
