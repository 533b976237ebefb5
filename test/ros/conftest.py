# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Isolation for tests that run ROS 2: a domain, a context and joined threads for each test."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from roborefer_ros.ros_compat.environment import prepare_environment, tune_allocator

#: set by `make test`: there, ROS is installed, and skipping its tests would hide a broken build
REQUIRE_ROS = os.environ.get("ROBOREFER_REQUIRE_ROS") == "1"
#: domains above use ports that Linux may hand out to others
LAST_SAFE_DOMAIN = 101


def _missing() -> str | None:
    try:
        importlib.import_module("rclpy")
    except ImportError as error:
        return f"ROS 2 is not available ({error}); make setup, then . scripts/env.sh"
    try:
        importlib.import_module("roborefer_ros.nodes.interfaces")
    except ImportError as error:
        return str(error)
    return None


_REASON = _missing()
if _REASON and REQUIRE_ROS:
    pytest.exit(_REASON, returncode=1)
# Test modules here import rclpy at their top, so they are not even collected without it.
collect_ignore_glob = ["test_*.py"] if _REASON else []


def pytest_report_header() -> str | None:
    """Say why nothing of this folder runs."""
    return f"test/ros is skipped: {_REASON}" if _REASON else None


@pytest.fixture(scope="session", autouse=True)
def ros_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Shared-memory transport, this machine only, logs that go away."""
    patch = pytest.MonkeyPatch()
    for name, value in prepare_environment(dict(os.environ)).items():
        patch.setenv(name, value)
    patch.setenv("ROS_LOG_DIR", str(tmp_path_factory.mktemp("ros_log")))
    patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    tune_allocator()
    yield
    patch.undo()


@pytest.fixture
def ros_domain_id(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A domain that no other test on this machine uses; in ROS_DOMAIN_ID for child processes."""
    start = 1 + os.getpid() % LAST_SAFE_DOMAIN
    for offset in range(LAST_SAFE_DOMAIN):
        domain = 1 + (start + offset) % LAST_SAFE_DOMAIN
        path = Path(tempfile.gettempdir()) / f"roborefer-test-domain-{domain}.lock"
        with open(path, "a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
            yield domain
            return
    pytest.fail(f"all {LAST_SAFE_DOMAIN} ROS domains are taken by other tests")


class RosTest:
    """Makes nodes in one context, spins them in the background and ends all of it in order."""

    def __init__(self, domain_id: int) -> None:
        import rclpy
        from rclpy.context import Context

        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain_id)
        self._nodes: list[Any] = []
        self._spinning: list[tuple[Any, threading.Thread]] = []

    def create_node(self, name: str, node_class: Any = None, **kwargs: Any) -> Any:
        """A node of this test's context; destroyed at its end."""
        from rclpy.node import Node

        node = (node_class or Node)(name, context=self.context, **kwargs)
        self._nodes.append(node)
        return node

    def spin(self, *nodes: Any, executor: Any = None, threads: int = 1) -> Any:
        """Spin nodes in the background until the end of the test; returns the executor."""
        from rclpy.executors import MultiThreadedExecutor, SingleThreadedExecutor

        if executor is None:
            executor = (
                SingleThreadedExecutor(context=self.context)
                if threads == 1
                else MultiThreadedExecutor(threads, context=self.context)
            )
        for node in nodes:
            executor.add_node(node)
        thread = threading.Thread(target=self._spin, args=(executor,), name="spin", daemon=True)
        thread.start()
        self._spinning.append((executor, thread))
        return executor

    @staticmethod
    def _spin(executor: Any) -> None:
        from rclpy.executors import ExternalShutdownException, ShutdownException

        with contextlib.suppress(ExternalShutdownException, ShutdownException):
            executor.spin()

    def close(self) -> None:
        """Stop executors, join their threads (one left over aborts Python at exit), end nodes."""
        alive = []
        for executor, thread in reversed(self._spinning):
            executor.shutdown(timeout_sec=5.0)
            thread.join(5.0)
            alive += [thread.name] if thread.is_alive() else []
        for node in reversed(self._nodes):
            node.destroy_node()
        self.context.try_shutdown()
        assert not alive, "an executor's thread did not end within 5 s"


@pytest.fixture
def ros(ros_domain_id: int) -> Iterator[RosTest]:
    """A context of its own on a free domain: ``ros.create_node(name)``, ``ros.spin(node)``."""
    test = RosTest(ros_domain_id)
    yield test
    test.close()
