# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The demo's ROS 2 graph: camera and node as processes of their own, on a domain of their own."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO

from roborefer_ros.errors import RoboReferError
from roborefer_ros.ros_compat.environment import prepare_environment

#: domains above use ports that Linux may hand out to others
_DOMAINS = 101

#: lock files that are held until this process ends
_held: list[IO[str]] = []


class DemoFailedError(RoboReferError):
    """A process of the demo ended or did not come up; the message shows its last words."""


def private_environment(own_domain: bool = True) -> None:
    """Keep the demo's graph to itself; to be called before ``rclpy.init()``.

    A domain that is set already is respected, so that RViz or ros2cli can look on.

    Args:
        own_domain: apart from the other programs of this machine, too.
    """
    prepare_environment()
    if own_domain and "ROS_DOMAIN_ID" not in os.environ:
        os.environ["ROS_DOMAIN_ID"] = str(_free_domain())
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")


def _free_domain() -> int:
    """A domain that no other demo, benchmark or test of this machine uses while this process lives.

    The locks are those of the tests. Where all are taken, two graphs share a domain.
    """
    start = os.getpid() % _DOMAINS
    for offset in range(_DOMAINS):
        domain = 1 + (start + offset) % _DOMAINS
        path = Path(tempfile.gettempdir()) / f"roborefer-test-domain-{domain}.lock"
        try:
            lock = path.open("a")
        except OSError:  # of another user
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        _held.append(lock)
        return domain
    return 1 + start


class Processes:
    """Starts nodes, watches them and ends them in order."""

    def __init__(self, log_folder: Path) -> None:
        log_folder.mkdir(parents=True, exist_ok=True)
        self._logs = log_folder
        self._running: list[tuple[str, subprocess.Popen[bytes], Path]] = []

    def start(
        self,
        name: str,
        module: str,
        remappings: Mapping[str, str],
        parameters: Mapping[str, object],
        flags: tuple[str, ...] = (),
    ) -> None:
        """Start ``python -m module`` as node ``name``; its output goes to a log file."""
        command = [sys.executable, "-m", module, "--ros-args", "-r", f"__node:={name}", *flags]
        for source, target in remappings.items():
            command += ["-r", f"{source}:={target}"]
        for key, value in parameters.items():
            # rcl reads values as YAML, where a bare "on" is true and "1" a number.
            command += ["-p", f"{key}:={json.dumps(value)}"]
        path = self._logs / f"{name}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                # Ctrl-C is for the demo, which then ends its children in order.
                start_new_session=True,
            )
        self._running.append((name, process, path))

    def check(self) -> None:
        """Raise if one has ended.

        Raises:
            DemoFailedError
        """
        for name, process, path in self._running:
            if process.poll() is not None:
                raise DemoFailedError(
                    f"the process '{name}' ended with status {process.returncode}; its last "
                    f"words ({path}):\n{_tail(path)}"
                )

    def wait_for(self, what: str, condition: Callable[[], bool], timeout_s: float) -> None:
        """Poll a condition while all processes live.

        Raises:
            DemoFailedError: a process ended, or the time is over.
        """
        give_up_s = time.monotonic() + timeout_s
        while not condition():
            self.check()
            if time.monotonic() > give_up_s:
                last = "\n".join(f"{path}:\n{_tail(path)}" for _, _, path in self._running)
                raise DemoFailedError(f"{what}: not within {timeout_s:g} s\n{last}")
            time.sleep(0.05)

    def pid(self, name: str) -> int:
        """Process id of a started node."""
        return next(process.pid for known, process, _ in self._running if known == name)

    def kill(self, name: str) -> None:
        """End a process with SIGKILL, as a crash would, and forget it."""
        for entry in [entry for entry in self._running if entry[0] == name]:
            entry[1].kill()
            entry[1].wait()
            self._running.remove(entry)

    def last_words(self, name: str) -> str:
        """The end of a process's log."""
        return "\n".join(_tail(path) for known, _, path in self._running if known == name)

    def stop(self) -> None:
        """End all, the last started first; kill what does not end."""
        for _, process, _ in reversed(self._running):
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        for _, process, _ in reversed(self._running):
            try:
                process.wait(10.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _tail(path: Path, lines: int = 12) -> str:
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError as error:
        return str(error)
