# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The scheduler: batches, turns, cancellation, deadlines, failures and its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from roborefer_ros.cancellation import Cancellation
from roborefer_ros.errors import (
    CanceledError,
    DeadlineExceededError,
    ModelFailedError,
    QueueFullError,
    RoboReferError,
    ShuttingDownError,
    UnknownError,
)
from roborefer_ros.inference.model import Completion, Outcome, Request
from roborefer_ros.server.clients import Client
from roborefer_ros.server.metrics import Metrics
from roborefer_ros.server.scheduler import Scheduler

ANN, BOB = Client("10.0.0.1"), Client("10.0.0.2")
LONG_S = 60.0


class GatedModel:
    """Answers each prompt with itself once the gate is open; notes its batches."""

    name = "gated"
    uses_depth = False
    can_sample = True

    def __init__(self, max_batch: int = 4) -> None:
        self.max_batch = max_batch
        self.gate = threading.Event()
        self.batches: list[list[str]] = []
        self.failures: dict[str, Exception] = {}
        self.closed = 0

    def complete(self, requests: Sequence[Request]) -> Iterator[tuple[int, Outcome]]:
        """See ``Model.complete``."""
        self.batches.append([request.prompt for request in requests])
        while not self.gate.wait(0.005):
            if all(request.cancellation.cancelled() for request in requests):
                break
        for index, request in reversed(list(enumerate(requests))):
            failure = self.failures.get(request.prompt)
            if isinstance(failure, RoboReferError):
                yield index, failure
                continue
            if failure is not None:
                raise failure
            try:
                request.cancellation.check()
            except RoboReferError as error:
                yield index, error
                continue
            yield index, Completion(request.prompt)

    def close(self) -> None:
        """Count."""
        self.closed += 1


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.002)


@pytest.fixture
def model() -> GatedModel:
    return GatedModel()


@pytest.fixture
def scheduler(model: GatedModel) -> Iterator[Scheduler]:
    opened = Scheduler(model, max_queued=8, batch_wait_s=0.0, metrics=Metrics())
    yield opened
    model.gate.set()
    opened.close()


def texts(completions: Sequence[Completion]) -> list[str]:
    return [completion.text for completion in completions]


def busy(scheduler: Scheduler) -> None:
    """Keep the model occupied, so that what follows has to wait."""
    scheduler.submit(BOB, [Request("first")])
    wait_until(lambda: scheduler.running == 1)


def test_requests_of_a_job_come_back_in_their_order(
    scheduler: Scheduler, model: GatedModel
) -> None:
    model.gate.set()
    job = scheduler.submit(ANN, [Request("a"), Request("b"), Request("c")])
    assert texts(job.result.result(LONG_S)) == ["a", "b", "c"]
    assert model.batches == [["a", "b", "c"]]
    wait_until(lambda: scheduler.running == 0)


def test_what_waits_is_answered_together_as_far_as_it_fits(
    scheduler: Scheduler, model: GatedModel
) -> None:
    busy(scheduler)
    jobs = [
        scheduler.submit(ANN, [Request(f"{name}{row}") for row in range(rows)])
        for name, rows in (("a", 3), ("b", 2), ("c", 2), ("d", 1))
    ]
    assert (scheduler.queued, scheduler.running) == (4, 1)
    model.gate.set()
    for job in jobs:
        job.result.result(LONG_S)
    assert model.batches == [["first"], ["a0", "a1", "a2"], ["b0", "b1", "c0", "c1"], ["d0"]]


def test_a_job_larger_than_a_batch_is_answered_alone(
    scheduler: Scheduler, model: GatedModel
) -> None:
    model.gate.set()
    job = scheduler.submit(ANN, [Request(str(row)) for row in range(6)])
    assert len(job.result.result(LONG_S)) == 6


def test_peers_take_turns(model: GatedModel) -> None:
    model.max_batch = 1
    scheduler = Scheduler(model, max_queued=16, batch_wait_s=0.0, metrics=Metrics())
    busy(scheduler)
    jobs = [scheduler.submit(ANN, [Request(f"ann{n}")]) for n in range(3)]
    jobs.append(scheduler.submit(BOB, [Request("bob")]))
    model.gate.set()
    for job in jobs:
        job.result.result(LONG_S)
    assert [batch[0] for batch in model.batches] == ["first", "ann0", "bob", "ann1", "ann2"]
    scheduler.close()


def test_a_cancelled_job_leaves_the_queue(scheduler: Scheduler, model: GatedModel) -> None:
    busy(scheduler)
    job = scheduler.submit(ANN, [Request("a")])
    scheduler.cancel(job)
    assert scheduler.queued == 0
    assert job.is_cancelled
    with pytest.raises(CanceledError, match="went away"):
        job.result.result(LONG_S)
    model.gate.set()
    wait_until(lambda: scheduler.running == 0)
    assert model.batches == [["first"]]


def test_a_cancelled_job_stops_the_model(scheduler: Scheduler, model: GatedModel) -> None:
    job = scheduler.submit(ANN, [Request("a"), Request("b")])
    wait_until(lambda: scheduler.running == 1)
    scheduler.cancel(job)  # the gate stays closed: only the cancellation ends the batch
    wait_until(lambda: scheduler.running == 0)


def test_a_deadline_that_passes_in_the_queue_never_reaches_the_model(
    scheduler: Scheduler, model: GatedModel
) -> None:
    busy(scheduler)
    past = Cancellation(deadline=time.monotonic() - 1.0)
    job = scheduler.submit(ANN, [Request("late", cancellation=past)])
    model.gate.set()
    with pytest.raises(DeadlineExceededError, match="in the queue"):
        job.result.result(LONG_S)
    assert ["late"] not in model.batches


def test_an_error_of_one_request_ends_its_job_alone(
    scheduler: Scheduler, model: GatedModel
) -> None:
    model.failures["b"] = ModelFailedError("broken")
    model.gate.set()
    bad, good = (
        scheduler.submit(client, [Request(name) for name in names])
        for client, names in ((ANN, "ab"), (BOB, "cd"))
    )
    assert texts(good.result.result(LONG_S)) == ["c", "d"]
    with pytest.raises(ModelFailedError):
        bad.result.result(LONG_S)


def test_what_a_model_raised_is_not_repeated_to_clients(
    scheduler: Scheduler, model: GatedModel, caplog: pytest.LogCaptureFixture
) -> None:
    model.gate.set()
    hidden = ModelFailedError("the model failed: ValueError: secret")
    hidden.__cause__ = ValueError("secret")
    model.failures |= {"numbered": hidden, "raised": ValueError("secret")}
    with pytest.raises(ModelFailedError) as failed:
        scheduler.submit(ANN, [Request("numbered")]).result.result(LONG_S)
    with pytest.raises(UnknownError):
        scheduler.submit(ANN, [Request("raised")]).result.result(LONG_S)
    assert "secret" not in str(failed.value)
    assert "secret" not in caplog.text
    assert "ValueError" in caplog.text
    assert texts(scheduler.submit(ANN, [Request("next")]).result.result(LONG_S)) == ["next"]
    assert scheduler.alive


def test_a_full_queue_refuses(scheduler: Scheduler) -> None:
    busy(scheduler)
    with pytest.raises(QueueFullError):
        for _ in range(9):
            scheduler.submit(ANN, [Request("a")])
    with pytest.raises(QueueFullError):
        scheduler.check_capacity(ANN)
    scheduler.check_capacity(Client("10.0.0.3"))  # a peer with nothing waiting still fits


def test_closing_tells_all_that_wait_and_frees_the_model(model: GatedModel) -> None:
    scheduler = Scheduler(model, max_queued=8, batch_wait_s=0.0, metrics=Metrics())
    busy(scheduler)
    job = scheduler.submit(ANN, [Request("a")])
    scheduler.close()
    with pytest.raises(ShuttingDownError):
        job.result.result(0)
    with pytest.raises(ShuttingDownError):
        scheduler.submit(ANN, [Request("b")])
    assert not scheduler.alive
    assert model.closed == 1


def test_several_workers_call_the_model_at_the_same_time(model: GatedModel) -> None:
    model.max_batch = 1
    scheduler = Scheduler(model, max_queued=8, batch_wait_s=0.0, metrics=Metrics(), workers=3)
    jobs = [scheduler.submit(ANN, [Request(str(n))]) for n in range(3)]
    wait_until(lambda: scheduler.running == 3)
    model.gate.set()
    assert [texts(job.result.result(LONG_S)) for job in jobs] == [["0"], ["1"], ["2"]]
    scheduler.close()
