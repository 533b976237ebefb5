# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Loading a model in a thread of its own, so that nobody has to wait for it who need not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Closeable(Protocol):
    """What can be loaded."""

    def close(self) -> None:
        """Free it."""


T = TypeVar("T", bound=Closeable)


class BackgroundLoad(Generic[T]):
    """A load that is under way.

    It cannot be interrupted, but it can be abandoned: then what it brings is closed at once.
    """

    def __init__(self, load: Callable[[], T]) -> None:
        """Begin.

        Args:
            load: Brings the model; may raise.
        """
        self._load = load
        self._condition = threading.Condition()
        self._value: T | None = None
        self._error: BaseException | None = None
        self._done = self._abandoned = False
        self._thread = threading.Thread(target=self._run, name="roborefer_load", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        value, failure = None, None
        try:
            value = self._load()
        except BaseException as error:
            failure = error
        with self._condition:
            self._done = True
            unwanted, self._error = self._abandoned, failure
            if not unwanted:
                self._value = value
            self._condition.notify_all()
        if unwanted and value is not None:
            value.close()

    def wait(self) -> T | None:
        """Wait until it is there.

        Returns:
            What was loaded; None where the load was abandoned meanwhile.

        Raises:
            Exception: what the load raised.
        """
        with self._condition:
            self._condition.wait_for(lambda: self._done or self._abandoned)
            if self._abandoned:
                return None
        self._thread.join()
        with self._condition:
            if self._error is not None:
                raise self._error
            # From here on it is the caller's to close.
            value, self._value = self._value, None
            return value

    def abandon(self) -> None:
        """Let nobody wait for it any more."""
        with self._condition:
            self._abandoned = True
            value, self._value = self._value, None
            self._condition.notify_all()
        if value is not None:
            value.close()

    @property
    def is_running(self) -> bool:
        """Whether its thread still works."""
        return self._thread.is_alive()
