# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer serve --ray``: the same server in front of replicas of the model on Ray Serve.

The HTTP side (gate, limits, fair queue, page) stays in this process; only queries travel.  A
replica holds the model and batches what reaches it.  When a replica dies, its queries go to
another one: a query has no side effect, and its client gets one reply.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from roborefer_ros.errors import (
    BackendUnreachableError,
    CanceledError,
    ConfigurationError,
    DeadlineExceededError,
    DependencyMissingError,
    RoboReferError,
)
from roborefer_ros.files import read_yaml
from roborefer_ros.server.clients import Client
from roborefer_ros.server.engine import Done, EngineAnswer, Query

APPLICATION = "roborefer"

#: how often a waiting query looks for its client's leaving and its deadline, seconds
_POLL_S = 0.05

#: a query is given to so many replicas, should one after the other die under it
_ATTEMPTS = 5

#: of a query: another process has another clock, and cannot call or be told by this one
_STAYS_HERE = {"deadline", "cancel", "on_text"}

_logger = logging.getLogger(__name__)


#: "0": a cluster of this machine alone, on the loopback
_ONE_MACHINE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


@dataclass(frozen=True)
class RayOptions:
    """What the YAML file says.

    Attributes:
        address: of a running cluster (``auto``, ``ray://host:port``); empty starts one here.
        concurrency: queries in flight from this front; the others wait in its fair queue.
        deployment: options of Ray Serve's deployment: ``num_replicas`` or
            ``autoscaling_config``, ``max_ongoing_requests``, ``ray_actor_options`` ...
    """

    address: str = ""
    concurrency: int = 32
    deployment: dict[str, Any] = field(default_factory=dict)


def read_options(path: Path) -> RayOptions:
    """Read the YAML file.

    Raises:
        ConfigurationError: it cannot be read, or holds other keys.
    """
    try:
        values = read_yaml(path) or {}
        options = RayOptions(**values)
    except (ConfigurationError, TypeError) as error:
        raise ConfigurationError(
            f"{path} is no configuration for --ray ({error}); it may hold address, concurrency "
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


class Replica:
    """The model in a process of Ray's: loads it once, batches what arrives.

    Args:
        arguments: of ``roborefer serve``; what concerns the model is used.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        from roborefer_ros.server.engine_factory import open_engine
        from roborefer_ros.server.metrics import Metrics
        from roborefer_ros.server.options import parse_arguments
        from roborefer_ros.server.scheduler import Scheduler

        if os.environ.get(_ONE_MACHINE) == "0":
            _listen_on_loopback()
        options = parse_arguments(arguments)
        self._scheduler = Scheduler(
            open_engine(options),
            max_queued=options.max_queue,
            batch_wait_s=options.batch_wait_ms / 1000.0,
            metrics=Metrics(),
        )

    def facts(self) -> dict[str, Any]:
        """What the front must know about the model."""
        engine = self._scheduler.engine
        names = ("name", "uses_depth", "can_sample")
        return {**{name: getattr(engine, name) for name in names}, "pid": os.getpid()}

    async def answer(
        self, values: dict[str, Any], left_s: float | None
    ) -> EngineAnswer | RoboReferError:
        """One query; numbered errors are returned, since Ray would wrap raised ones."""
        deadline = None if left_s is None else time.monotonic() + left_s
        job = None
        try:
            job = self._scheduler.submit(Client("front"), Query(**values, deadline=deadline))
            return await asyncio.wrap_future(job.result)
        except RoboReferError as error:
            return error
        finally:  # also when Ray cancels the task
            if job is not None:
                self._scheduler.cancel(job)

    def check_health(self) -> None:
        """Ray replaces a replica whose model's thread has died."""
        if not self._scheduler.alive:
            raise RuntimeError("the model's thread has ended")


class RayEngine:
    """Sends each query to a replica.  ``answer`` may be called from several threads.

    Args:
        options: of the YAML file.
        arguments: of ``roborefer serve``, for the replicas.

    Raises:
        DependencyMissingError: Ray is not installed.
    """

    max_batch = 1  # the replicas batch

    def __init__(self, options: RayOptions, arguments: Sequence[str]) -> None:
        # Before the import, which reads them.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        self._owns_cluster = not options.address
        if self._owns_cluster:
            # A cluster of one machine, as Ray makes it by default on macOS and Windows: all of its
            # services and exporters listen on the loopback.  Elsewhere only this variable tells.
            os.environ.setdefault(_ONE_MACHINE, "0")
            # Other users of this machine lack the token.
            os.environ.setdefault("RAY_AUTH_MODE", "token")
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        try:
            import ray
            from ray import serve
        except ImportError as error:
            raise DependencyMissingError(
                f"--ray needs Ray Serve ({error}); pip install 'roborefer_ros[ray]'"
            ) from error
        self._ray = ray
        self.workers = options.concurrency
        where: dict[str, Any] = (
            {"include_dashboard": False} if self._owns_cluster else {"address": options.address}
        )
        ray.init(log_to_driver=False, configure_logging=False, **where)
        # Ray's HTTP proxy stays off; requests come through this package's gate.
        serve.start(proxy_location="Disabled")
        deployment: Any = serve.deployment(
            **{"max_ongoing_requests": 16, "health_check_period_s": 5.0, **options.deployment}
        )(Replica)
        self._serve = serve
        self._handle = serve.run(deployment.bind(list(arguments)), name=APPLICATION)
        facts = self._handle.facts.remote().result(timeout_s=600)
        self.name: str = facts["name"]
        self.uses_depth: bool = facts["uses_depth"]
        self.can_sample: bool = facts["can_sample"]
        self._closing = threading.Event()

    def answer(self, queries: Sequence[Query], done: Done) -> None:
        """See ``Engine.answer``."""
        for index, query in enumerate(queries):
            try:
                outcome: EngineAnswer | RoboReferError = self._one(query)
            except RoboReferError as error:
                outcome = error
            if query.on_text is not None and isinstance(outcome, EngineAnswer):
                query.on_text(outcome.text)  # at once: words are not streamed between processes
            done(index, outcome)

    def close(self) -> None:
        """See ``Engine.close``."""
        self._closing.set()
        if self._owns_cluster:
            self._serve.shutdown()
            self._ray.shutdown()

    def _one(self, query: Query) -> EngineAnswer | RoboReferError:
        from ray.exceptions import RayError
        from ray.serve.exceptions import RayServeException

        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._send(query)
            except (RayError, RayServeException) as error:
                # A replica died or its node went away: another one, or its successor, answers.
                _logger.warning(
                    "a replica was lost (%s), attempt %d of %d",
                    type(error).__name__,
                    attempt,
                    _ATTEMPTS,
                )
                time.sleep(0.1 * attempt)
        raise BackendUnreachableError(
            f"{_ATTEMPTS} replicas of the model died under this query; see Ray's logs"
        )

    def _send(self, query: Query) -> EngineAnswer | RoboReferError:
        left_s = None if query.deadline is None else query.deadline - time.monotonic()
        response = self._handle.answer.remote(_fields(query), left_s)
        while True:
            try:
                outcome: EngineAnswer | RoboReferError = response.result(timeout_s=_POLL_S)
                return outcome
            except TimeoutError:
                pass
            if query.cancel.is_set() or self._closing.is_set():
                response.cancel()
                raise CanceledError("the client went away while the model answered")
            if query.deadline is not None and time.monotonic() > query.deadline:
                response.cancel()
                raise DeadlineExceededError(
                    "the deadline passed while the model answered; allow a longer timeout, or "
                    "add replicas"
                )


def _fields(query: Query) -> dict[str, Any]:
    """What of a query travels to another process: all of it but what belongs to this one."""
    names = {field.name for field in fields(Query)} - _STAYS_HERE
    return {name: getattr(query, name) for name in names}
