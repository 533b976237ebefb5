# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Many clients, one model: a fair queue, micro-batches, one worker thread."""

from __future__ import annotations

import concurrent.futures
import logging
import threading
import time
import traceback
from dataclasses import dataclass, field

from roborefer_ros.errors import (
    CanceledError,
    DeadlineExceededError,
    RoboReferError,
    ShuttingDownError,
    UnknownError,
)
from roborefer_ros.server.clients import Client
from roborefer_ros.server.engine import Engine, EngineAnswer, Query
from roborefer_ros.server.fair_queue import FairQueue
from roborefer_ros.server.metrics import Metrics

_logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Job:
    """A query in the queue or in the model.

    Attributes:
        client: who asks; peers take turns, and their clients.
        query: what is asked.
        result: its outcome; holds an ``EngineAnswer`` or raises a numbered error.
        queued_s: how long it waited, once it is running.
    """

    client: Client
    query: Query
    result: concurrent.futures.Future[EngineAnswer] = field(
        default_factory=concurrent.futures.Future
    )
    created: float = field(default_factory=time.monotonic)
    queued_s: float = 0.0

    def settle(self, outcome: EngineAnswer | RoboReferError) -> None:
        """Set the outcome, unless there is one."""
        try:
            if isinstance(outcome, RoboReferError):
                self.result.set_exception(outcome)
            else:
                self.result.set_result(outcome)
        except concurrent.futures.InvalidStateError:
            pass


class Scheduler:
    """Runs an engine in a thread of its own, or in as many as its ``workers`` says.

    Args:
        engine: the model; only the worker threads call it.
        max_queued: jobs that may wait.
        batch_wait_s: how long the first job of a batch waits for others.
        metrics: counts what happens.
    """

    def __init__(
        self, engine: Engine, *, max_queued: int, batch_wait_s: float, metrics: Metrics
    ) -> None:
        self.engine = engine
        self._batch_wait_s = batch_wait_s
        self.metrics = metrics
        self._queue: FairQueue[Job] = FairQueue(max_queued)
        self._changed = threading.Condition()
        self._running: set[Job] = set()
        self._closing = False
        self._batch_s = 0.0  # running mean of a batch's duration
        self._threads = [
            threading.Thread(target=self._work, name=f"roborefer-model-{number}", daemon=True)
            for number in range(getattr(engine, "workers", 1))
        ]
        for thread in self._threads:
            thread.start()

    def check_capacity(self, client: Client) -> None:
        """Refuse before pictures are decoded what ``submit`` would refuse afterwards.

        Raises:
            QueueFullError, ShuttingDownError
        """
        with self._changed:
            if self._closing:
                raise ShuttingDownError("the server is shutting down; ask another one")
            self._queue.check_capacity(client)

    def submit(self, client: Client, query: Query) -> Job:
        """Queue a query.

        Raises:
            QueueFullError, ShuttingDownError
        """
        job = Job(client, query)
        with self._changed:
            if self._closing:
                raise ShuttingDownError("the server is shutting down; ask another one")
            self._queue.put(client, job)
            self.metrics.queued.set(len(self._queue))
            self._changed.notify()
        return job

    def cancel(self, job: Job) -> None:
        """Nobody waits for the job any longer: take it out of the queue or stop the model."""
        job.query.cancel.set()
        with self._changed:
            if self._queue.remove(job.client, job):
                self.metrics.queued.set(len(self._queue))
        job.settle(CanceledError("the client went away"))

    @property
    def alive(self) -> bool:
        """Whether the worker threads run."""
        return not self._closing and all(thread.is_alive() for thread in self._threads)

    def estimated_wait_s(self) -> float:
        """About how long a new job would wait, seconds."""
        at_once = max(1, self.engine.max_batch) * len(self._threads)
        batches = len(self._queue) / at_once + 1.0
        return batches * self._batch_s

    def abort(self) -> None:
        """Give up what waits or runs (their clients are told that the server shuts down)."""
        reason = ShuttingDownError("the server shuts down and could not complete this in time")
        with self._changed:
            jobs = [*self._running]
            while (job := self._queue.get()) is not None:
                jobs.append(job)
            self.metrics.queued.set(0)
        for job in jobs:
            job.query.cancel.set()
            job.settle(reason)

    def close(self) -> None:
        """Answer what is running, give up what waits, end the thread, free the model."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self.abort()
        end = time.monotonic() + 10.0
        for thread in self._threads:
            thread.join(timeout=max(0.0, end - time.monotonic()))
        if not any(thread.is_alive() for thread in self._threads):
            self.engine.close()

    def _work(self) -> None:
        while (jobs := self._next_batch()) is not None:
            self.metrics.batch_size.observe(len(jobs))
            started = time.perf_counter()
            try:
                self.engine.answer(
                    [job.query for job in jobs],
                    lambda index, outcome, jobs=jobs: jobs[index].settle(outcome),  # type: ignore[misc]
                )
            except Exception as error:  # a bug in an engine must not stop the server
                # Not the message: it could hold what the client sent.
                _logger.error(
                    "the model's engine failed: %s\n%s",
                    type(error).__name__,
                    "".join(traceback.format_tb(error.__traceback__)),
                )
            for job in jobs:
                job.settle(UnknownError("the model gave no answer; see the server's log"))
            took = time.perf_counter() - started
            with self._changed:
                self._running.difference_update(jobs)
                self.metrics.running.set(len(self._running))
            self._batch_s = took if not self._batch_s else 0.8 * self._batch_s + 0.2 * took

    def _next_batch(self) -> list[Job] | None:
        """Wait for jobs; None ends the thread."""
        batch: list[Job] = []
        with self._changed:
            while len(self._queue) == 0:
                if self._closing:
                    return None
                self._changed.wait()
            give_up = time.monotonic() + self._batch_wait_s
            while len(batch) < max(1, self.engine.max_batch):
                job = self._queue.get()
                if job is not None:
                    if self._starts(job):
                        batch.append(job)
                    continue
                left = give_up - time.monotonic()
                if left <= 0 or self._closing or self.engine.max_batch == 1:
                    break
                self._changed.wait(left)
            self.metrics.queued.set(len(self._queue))
            self._running.update(batch)
            self.metrics.running.set(len(self._running))
        return batch

    def _starts(self, job: Job) -> bool:
        """Whether the job is still wanted."""
        now = time.monotonic()
        job.queued_s = now - job.created
        if job.query.cancel.is_set():
            job.settle(CanceledError("the client went away"))
            return False
        if job.query.deadline is not None and now > job.query.deadline:
            job.settle(
                DeadlineExceededError(
                    f"the deadline passed after {job.queued_s:.2f} s in the queue; allow a longer "
                    "timeout, or ask when the server is less busy"
                )
            )
            return False
        self.metrics.queue_seconds.observe(job.queued_s)
        return True
