# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the processes of all nodes share: their command line, and an end that comes in time."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from roborefer_ros.arguments import USAGE_ERROR


def start_ros(name: str, args: Sequence[str] | None, *, own_signals: bool = False) -> int | None:
    """Read the command line and call ``rclpy.init``.

    Args:
        name: Name of the executable, for messages.
        args: Command line without the executable; None takes that of the process.
        own_signals: Whether the caller handles SIGINT and SIGTERM itself.

    Returns:
        None, or the exit status of a process that is to end now.
    """
    import rclpy
    from rclpy.signals import SignalHandlerOptions
    from rclpy.utilities import remove_ros_args

    arguments = list(sys.argv[1:] if args is None else args)
    usage = (
        f"usage: {name} [--ros-args -p NAME:=VALUE --params-file FILE -r FROM:=TO "
        "--log-level LEVEL ...]"
    )
    if {"-h", "--help"} & set(arguments):
        print(usage)
        return 0
    handlers = SignalHandlerOptions.NO if own_signals else None
    try:
        # The first one counts as the executable.
        own = remove_ros_args([name, *arguments])[1:]
        if own:
            return _wrong(name, f"unknown argument {own[0]!r}; {usage}")
        rclpy.init(args=[name, *arguments], signal_handler_options=handlers)
    except Exception as error:  # of rcl, in several classes
        rclpy.try_shutdown()
        return _wrong(name, _first_reason(error))
    return None


def spin_through_failures(spin: Callable[[], None], log: Any) -> None:
    """Spin until the context is shut down; a callback that raises is logged, and spinning goes on.

    rclpy itself raises in a callback of its own, for instance where a time on /clock is negative.

    Args:
        spin: Call that spins, and returns or raises rclpy's exceptions of a shutdown.
        log: Logger of the node.
    """
    from rclpy.exceptions import ROSInterruptException
    from rclpy.executors import ExternalShutdownException, ShutdownException

    while True:
        try:
            return spin()
        except (ExternalShutdownException, ShutdownException, ROSInterruptException):
            return None
        except Exception:
            log.error(f"a callback failed:\n{traceback.format_exc()}", throttle_duration_sec=5.0)


def cannot_start(name: str, error: Exception) -> int:
    """Say in one line why a node could not be made; returns the exit status.

    That is 2 where a parameter has a value that it cannot have, as for any wrong argument, else 1.
    """
    from rclpy.exceptions import ParameterException

    from roborefer_ros.errors import ConfigurationError

    print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
    is_usage = isinstance(error, (ConfigurationError, ParameterException, ValueError))
    return USAGE_ERROR if is_usage else 1


def _wrong(name: str, reason: str) -> int:
    print(f"{name}: {reason}", file=sys.stderr)
    return USAGE_ERROR


def _first_reason(error: Exception) -> str:
    """One line of what rcl says, without the places in its sources."""
    text = " ".join(str(error).split())
    if text.startswith("["):  # rclpy's UnknownROSArgsError holds the bare list
        return f"unknown ROS arguments: {text.strip('[]')}"
    return text.partition(", at /")[0] or type(error).__name__


def end_by_force_after(seconds: float, name: str) -> None:
    """End the process, with status 0, if it has not ended by then: it was asked to."""

    def end() -> None:
        print(f"{name}: did not end within {seconds:g} s; ended by force", file=sys.stderr)
        end_now()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def end_now() -> None:
    """End the process without waiting for threads that nobody can interrupt."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
