# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Many clients, one model: a fair queue, micro-batches, one worker thread."""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace

from roborefer_ros.cancellation import Cancellation
from roborefer_ros.errors import (
    CanceledError,
    DeadlineExceededError,
    RoboReferError,
    ShuttingDownError,
    UnknownError,
)
from roborefer_ros.inference.model import Completion, Model, Outcome, Request
from roborefer_ros.server.clients import Client
from roborefer_ros.server.fair_queue import FairQueue
from roborefer_ros.server.metrics import Metrics
from roborefer_ros.server.replies import public_error

_logger = logging.getLogger(__name__)


class Job:
    """Requests of one client that are answered together, in the queue or in the model.

    Args:
        client: Client that asks; peers take turns, and their clients.
        requests: At least one; all have the deadline of the first.

    Attributes:
        requests: Those, which end as well when the job is cancelled.
        result: Completions in the order of the requests, or the numbered error of one of them.
        queued_s: Wait for the model, seconds; known once it is running.
    """

    def __init__(self, client: Client, requests: Sequence[Request]) -> None:
        self.client = client
        self.deadline = requests[0].cancellation.deadline
        self._cancelled = threading.Event()
        cancellation = Cancellation(
            self.deadline,
            self._cancelled.is_set,
            "the client went away while the model answered",
        )
        self.requests = [replace(request, cancellation=cancellation) for request in requests]
        self.result: concurrent.futures.Future[list[Completion]] = concurrent.futures.Future()
        self.queued_s = 0.0
        self._created = time.monotonic()
        self._completions: dict[int, Completion] = {}

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody waits for the result any longer."""
        return self._cancelled.is_set()

    def receive(self, place: int, outcome: Outcome) -> None:
        """Take the outcome of one request; the job ends with the last one or with an error."""
        if isinstance(outcome, RoboReferError):
            self.fail(public_error(outcome))
            return
        self._completions[place] = outcome
        if len(self._completions) == len(self.requests):
            ordered = [self._completions[place] for place in range(len(self.requests))]
            self._settle(lambda: self.result.set_result(ordered))

    def fail(self, error: RoboReferError) -> None:
        """End the job and what the model still does for it; nothing happens if it has ended."""
        self._cancelled.set()
        self._settle(lambda: self.result.set_exception(error))

    def starts(self) -> bool:
        """Whether the job is still wanted when the model is free for it; else it ends."""
        now = time.monotonic()
        self.queued_s = now - self._created
        if self.is_cancelled:
            self.fail(CanceledError("the client went away"))
            return False
        if self.deadline is not None and now > self.deadline:
            self.fail(
                DeadlineExceededError(
                    f"the deadline passed after {self.queued_s:.2f} s in the queue; allow a longer "
                    "timeout, or ask when the server is less busy"
                )
            )
            return False
        return True

    @staticmethod
    def _settle(set_outcome: Callable[[], None]) -> None:
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            set_outcome()


class Scheduler:
    """Runs a model in a thread of its own, or in several.

    Args:
        model: Model that answers; only the worker threads call it.
        max_queued: Greatest number of jobs that may wait.
        batch_wait_s: Wait of a batch's first job for others, seconds.
        metrics: Counters of what happens.
        workers: Number of threads that call the model, each with a batch of its own.
    """

    def __init__(
        self,
        model: Model,
        *,
        max_queued: int,
        batch_wait_s: float,
        metrics: Metrics,
        workers: int = 1,
    ) -> None:
        self.model = model
        self.metrics = metrics
        self._batch_wait_s = batch_wait_s
        self._queue: FairQueue[Job] = FairQueue(max_queued)
        self._changed = threading.Condition()
        self._running: set[Job] = set()
        self._closing = False
        self._batch_s = 0.0  # running mean of a batch's duration
        self._threads = [
            threading.Thread(target=self._run_worker, name=f"roborefer-model-{number}", daemon=True)
            for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def queued(self) -> int:
        """Number of jobs that wait for the model."""
        return len(self._queue)

    @property
    def running(self) -> int:
        """Number of jobs in the model."""
        return len(self._running)

    @property
    def alive(self) -> bool:
        """Whether the worker threads run."""
        return not self._closing and all(thread.is_alive() for thread in self._threads)

    def check_capacity(self, client: Client) -> None:
        """Refuse before pictures are decoded what ``submit`` would refuse afterwards.

        Raises:
            QueueFullError, ShuttingDownError
        """
        with self._changed:
            self._check_open()
            self._queue.check_capacity(client)

    def submit(self, client: Client, requests: Sequence[Request]) -> Job:
        """Queue requests that are answered together.

        Args:
            client: Client that asks.
            requests: At least one; the deadline of the first holds for all.

        Raises:
            QueueFullError, ShuttingDownError
        """
        job = Job(client, requests)
        with self._changed:
            self._check_open()
            self._queue.put(client, job)
            self.metrics.queued.set(len(self._queue))
            self._changed.notify()
        return job

    def cancel(self, job: Job) -> None:
        """End a job that nobody waits for: take it out of the queue or stop the model."""
        with self._changed:
            if self._queue.remove(job.client, job):
                self.metrics.queued.set(len(self._queue))
        job.fail(CanceledError("the client went away"))

    def estimated_wait_s(self) -> float:
        """About how long a new job would wait, seconds."""
        at_once = max(1, self.model.max_batch) * len(self._threads)
        batches = len(self._queue) / at_once + 1.0
        return batches * self._batch_s

    def abort(self) -> None:
        """Give up what waits or runs (their clients are told that the server shuts down)."""
        with self._changed:
            jobs = [*self._running]
            while (job := self._queue.get()) is not None:
                jobs.append(job)
            self.metrics.queued.set(0)
        for job in jobs:
            job.fail(ShuttingDownError("the server shuts down and could not complete this in time"))

    def close(self) -> None:
        """Answer what is running, give up what waits, end the threads, free the model."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self.abort()
        end = time.monotonic() + 10.0
        for thread in self._threads:
            thread.join(timeout=max(0.0, end - time.monotonic()))
        if not any(thread.is_alive() for thread in self._threads):
            self.model.close()

    def _check_open(self) -> None:
        if self._closing:
            raise ShuttingDownError("the server is shutting down; ask another one")

    def _run_worker(self) -> None:
        while (jobs := self._next_batch()) is not None:
            self.metrics.batch_size.observe(len(jobs))
            started = time.perf_counter()
            rows = [(job, place) for job in jobs for place in range(len(job.requests))]
            try:
                for row, outcome in self.model.complete([job.requests[p] for job, p in rows]):
                    job, place = rows[row]
                    job.receive(place, outcome)
            except Exception as error:  # a bug in a model must not stop the server
                # Not the message: it could hold what the client sent.
                _logger.error(
                    "the model failed: %s\n%s",
                    type(error).__name__,
                    "".join(traceback.format_tb(error.__traceback__)),
                )
            for job in jobs:
                job.fail(UnknownError("the model gave no answer; see the server's log"))
            duration_s = time.perf_counter() - started
            with self._changed:
                self._running.difference_update(jobs)
                self.metrics.running.set(len(self._running))
            self._batch_s = (
                duration_s if not self._batch_s else 0.8 * self._batch_s + 0.2 * duration_s
            )

    def _next_batch(self) -> list[Job] | None:
        """Wait for jobs; None ends the thread."""
        batch: list[Job] = []
        left = max(1, self.model.max_batch)  # requests that still fit
        with self._changed:
            while len(self._queue) == 0:
                if self._closing:
                    return None
                self._changed.wait()
            give_up = time.monotonic() + self._batch_wait_s
            while left > 0:
                job = self._queue.first()
                if job is not None:
                    if batch and len(job.requests) > left:
                        break
                    self._queue.get()
                    if job.starts():
                        self.metrics.queue_seconds.observe(job.queued_s)
                        batch.append(job)
                        left -= len(job.requests)
                    continue
                wait_s = give_up - time.monotonic()
                if wait_s <= 0 or self._closing or self.model.max_batch == 1:
                    break
                self._changed.wait(wait_s)
            self.metrics.queued.set(len(self._queue))
            self._running.update(batch)
            self.metrics.running.set(len(self._running))
        return batch
