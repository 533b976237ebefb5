# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer serve --ray``: the same server in front of replicas of the model on Ray Serve.

The HTTP side (guard, limits, fair queue, page) stays in this process; only requests to the model
travel.  A replica holds the model and batches what reaches it.  When a replica dies, its requests
go to another one: a request has no side effect, and its client gets one reply.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from roborefer_ros.cancellation import Cancellation
from roborefer_ros.errors import (
    BackendUnreachableError,
    CanceledError,
    ConfigurationError,
    DeadlineExceededError,
    DependencyMissingError,
    RoboReferError,
)
from roborefer_ros.files import read_yaml
from roborefer_ros.inference.model import Completion, Outcome, Request
from roborefer_ros.inference.options import ModelOptions
from roborefer_ros.pointing.families import Family
from roborefer_ros.pointing.pointer import Pointer
from roborefer_ros.private_ray import ONE_MACHINE, prepare_ray
from roborefer_ros.server.clients import Client
from roborefer_ros.types import Think

APPLICATION = "roborefer"

#: pause between two looks for the client's leaving and the deadline of a request, seconds
_POLL_S = 0.05

#: replicas that a request is given to, should one after the other die under it
_ATTEMPTS = 5

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RayOptions:
    """What the YAML file says.

    Attributes:
        address: Address of a running cluster (``auto``, ``ray://host:port``); empty starts one
            here.
        concurrency: Requests in flight from this front; the others wait in its fair queue.
        deployment: Options of Ray Serve's deployment: ``num_replicas`` or
            ``autoscaling_config``, ``max_ongoing_requests``, ``ray_actor_options`` ...
    """

    address: str = ""
    concurrency: int = 32
    deployment: dict[str, Any] = field(default_factory=dict)


def read_options(path: Path) -> RayOptions:
    """Read the YAML file.

    Raises:
        ConfigurationError: It cannot be read, or holds other keys.
    """
    try:
        values = read_yaml(path) or {}
        options = RayOptions(**values)
    except (ConfigurationError, TypeError) as error:
        raise ConfigurationError(
            f"{path} is not a configuration for --ray ({error}); it may hold address, concurrency "
            "and deployment, see docs/server.md"
        ) from error
    if not isinstance(options.deployment, dict) or options.concurrency < 1:
        raise ConfigurationError(f"{path}: deployment must be a mapping, concurrency at least 1")
    return options


def _listen_on_loopback() -> None:
    """Keep a replica's server for calls between deployments off the network.

    Ray Serve binds it to all interfaces, asks for no token there and unpickles what it is sent.
    There is no option for it (Ray 2.60); in a cluster of one machine nobody else calls it.
    """
    from ray.serve._private import replica

    bind = getattr(replica, "add_port_to_grpc_server", None)
    if bind is not None:
        replica.add_port_to_grpc_server = lambda server, address: bind(
            server, address.replace("[::]", "127.0.0.1")
        )


@dataclass(frozen=True)
class ReplicaFacts:
    """What the front must know about a replica's model.

    Attributes:
        name: Name of the model for clients.
        uses_depth: Whether depth pictures change its answers.
        can_sample: Whether temperature and seed are heeded.
        family: What it is asked about an instruction, and how its text is read.
        samples: Number of sampled answers that its confidence comes from.
        learned_to_reason: Whether the checkpoint says that it was trained to reason.
    """

    name: str
    uses_depth: bool
    can_sample: bool
    family: Family
    samples: int
    learned_to_reason: bool


class Replica:
    """The model in a process of Ray's: loads it once, batches what arrives.

    Args:
        options: What the model is opened with.
        max_queued: Greatest number of requests that may wait here.
        batch_wait_s: Wait of a batch's first request for others, seconds.
    """

    def __init__(self, options: ModelOptions, max_queued: int, batch_wait_s: float) -> None:
        from roborefer_ros.pointing.factory import open_pointer
        from roborefer_ros.server.metrics import Metrics
        from roborefer_ros.server.scheduler import Scheduler

        if os.environ.get(ONE_MACHINE) == "0":
            _listen_on_loopback()
        self._pointer = open_pointer(options)
        self._scheduler = Scheduler(
            self._pointer.model,
            max_queued=max_queued,
            batch_wait_s=batch_wait_s,
            metrics=Metrics(),
        )

    def facts(self) -> ReplicaFacts:
        """What the front must know about the model."""
        model, pointer = self._pointer.model, self._pointer
        return ReplicaFacts(
            model.name,
            model.uses_depth,
            model.can_sample,
            pointer.family(),
            pointer.samples,
            pointer.learned_to_reason,
        )

    async def complete(self, request: Request, left_s: float | None) -> Outcome:
        """One request; numbered errors are returned, since Ray would wrap raised ones.

        Args:
            request: Request without its caller's cancellation and listener.
            left_s: Time until the deadline, seconds; None without one.  Another process has
                another clock.
        """
        deadline = None if left_s is None else time.monotonic() + left_s
        job = None
        try:
            own = replace(request, cancellation=Cancellation(deadline))
            job = self._scheduler.submit(Client("front"), [own])
            (completion,) = await asyncio.wrap_future(job.result)
            return completion
        except RoboReferError as error:
            return error
        finally:  # also when Ray cancels the task
            if job is not None:
                self._scheduler.cancel(job)

    def check_health(self) -> None:
        """Ray replaces a replica whose model's thread has died."""
        if not self._scheduler.alive:
            raise RuntimeError("the model's thread has ended")


class RayModel:
    """A model whose requests go to replicas; ``complete`` may be called from several threads.

    Args:
        options: What the YAML file says.
        model: What each replica opens its model with.
        max_queued: Greatest number of requests that may wait in a replica.
        batch_wait_s: Wait of a replica's first request of a batch for others, seconds.

    Raises:
        DependencyMissingError: Ray is not installed.
    """

    max_batch = 1  # the replicas batch

    def __init__(
        self, options: RayOptions, model: ModelOptions, *, max_queued: int, batch_wait_s: float
    ) -> None:
        self._owns_cluster = not options.address
        prepare_ray(self._owns_cluster)
        try:
            import ray
            from ray import serve
        except ImportError as error:
            raise DependencyMissingError(
                f"--ray needs Ray Serve ({error}); pip install 'roborefer_ros[ray]'"
            ) from error
        self._ray = ray
        where: dict[str, Any] = (
            {"include_dashboard": False} if self._owns_cluster else {"address": options.address}
        )
        ray.init(log_to_driver=False, configure_logging=False, **where)
        # Ray's HTTP proxy stays off; requests come through this package's guard.
        serve.start(proxy_location="Disabled")
        deployment: Any = serve.deployment(
            **{"max_ongoing_requests": 16, "health_check_period_s": 5.0, **options.deployment}
        )(Replica)
        self._serve = serve
        bound = deployment.bind(model, max_queued, batch_wait_s)
        self._handle = serve.run(bound, name=APPLICATION)
        self.facts: ReplicaFacts = self._handle.facts.remote().result(timeout_s=600)
        self.name = self.facts.name
        self.uses_depth = self.facts.uses_depth
        self.can_sample = self.facts.can_sample
        self._closing = threading.Event()

    def complete(self, requests: Sequence[Request]) -> Iterator[tuple[int, Outcome]]:
        """See ``Model.complete``; the requests of one call are on their way at the same time."""
        sent = [self._send(request) for request in requests]
        for index, (request, response) in enumerate(zip(requests, sent, strict=True)):
            outcome: Outcome
            try:
                outcome = self._received(request, response)
            except RoboReferError as error:
                outcome = error
            if request.on_text is not None and isinstance(outcome, Completion):
                request.on_text(outcome.text)  # at once: words are not streamed between processes
            yield index, outcome

    def close(self) -> None:
        """See ``Model.close``."""
        self._closing.set()
        if self._owns_cluster:
            self._serve.shutdown()
            self._ray.shutdown()

    def _send(self, request: Request) -> Any:
        """A request on its way; what belongs to this process alone stays."""
        deadline = request.cancellation.deadline
        left_s = None if deadline is None else deadline - time.monotonic()
        travelling = replace(request, cancellation=Cancellation(), on_text=None)
        return self._handle.complete.remote(travelling, left_s)

    def _received(self, request: Request, response: Any) -> Outcome:
        from ray.exceptions import RayError
        from ray.serve.exceptions import RayServeException

        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._waited(request, response)
            except (RayError, RayServeException) as error:
                # A replica died or its node went away: another one, or its successor, answers.
                _logger.warning(
                    "a replica was lost (%s), attempt %d of %d",
                    type(error).__name__,
                    attempt,
                    _ATTEMPTS,
                )
                time.sleep(0.1 * attempt)
                response = self._send(request)
        raise BackendUnreachableError(
            f"{_ATTEMPTS} replicas of the model died under this request; see Ray's logs"
        )

    def _waited(self, request: Request, response: Any) -> Outcome:
        while True:
            try:
                outcome: Outcome = response.result(timeout_s=_POLL_S)
                return outcome
            except TimeoutError:
                pass
            try:
                if self._closing.is_set():
                    raise CanceledError("the server shuts down")
                request.cancellation.check()
            except CanceledError:
                response.cancel()
                raise
            except DeadlineExceededError as error:
                response.cancel()
                raise DeadlineExceededError(
                    "the deadline passed while the model answered; allow a longer timeout, or "
                    "add replicas"
                ) from error


def open_ray_pointer(
    options: RayOptions,
    model: ModelOptions,
    *,
    max_queued: int,
    batch_wait_s: float,
    think: Think = Think.AUTO,
) -> Pointer:
    """Start the replicas and point with them; see ``RayModel``."""
    replicas = RayModel(options, model, max_queued=max_queued, batch_wait_s=batch_wait_s)
    facts = replicas.facts
    pointer = Pointer(replicas, facts.family, facts.samples)
    pointer.think, pointer.learned_to_reason = think, facts.learned_to_reason
    return pointer
