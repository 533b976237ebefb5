# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Decoding of strangers' pictures in processes that can be ended.

Decoders are C code that nothing interrupts, and a small file can keep one busy for minutes.  So
each works in a process of its own, with a limit of processor time and of memory, and is killed
with the request it works for.  Peers take turns, and none holds all processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import mmap
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from typing import Any

import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import (
    ERRORS_BY_CODE,
    CanceledError,
    InvalidImageError,
    RoboReferError,
)
from roborefer_ros.inference.model import Picture
from roborefer_ros.server.memory_budget import Reservation
from roborefer_ros.types import DepthImage

#: how often a waiting thread looks whether its picture is still wanted, seconds
_POLL_S = 0.05

#: parts of names of environment variables that hold secrets; a decoder needs none
_SECRETS = ("KEY", "TOKEN", "SECRET", "PASSWORD")

_logger = logging.getLogger(__name__)


class Worker:
    """One decoding process, started again when it has ended; used by one thread at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    def start(self) -> None:
        """Start the process, unless it runs."""
        if self._process is not None and self._process.poll() is None:
            return
        self.end()
        ours, theirs = socket.socketpair()
        environment = {
            name: value
            for name, value in os.environ.items()
            if not any(part in name.upper() for part in _SECRETS)
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "roborefer_ros.server.decode_worker", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # the terminal's Ctrl+C is for the server
            env={**environment, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        theirs.close()
        self._connection = Connection(ours.detach())

    def end(self) -> int:
        """Kill the process; returns its exit status."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is None:
            return 0
        self._process.kill()
        status = self._process.wait()
        self._process = None
        return status

    def decode(
        self, task: dict[str, Any], data: bytes, share: Reservation, wanted: Callable[[], bool]
    ) -> tuple[npt.NDArray[Any], bytes]:
        """Decode one file.

        Args:
            task: What ``decode_worker`` is told.
            data: The file.
            share: Memory of the request.
            wanted: Polled while waiting; False ends the process.

        Returns:
            The pixels and the picture's digest.

        Raises:
            RoboReferError: What the decoder says about the file, or the budget about its size.
            InvalidImageError: The process died of the file.
            CanceledError: The picture is not wanted any longer.
        """
        self.start()
        assert self._connection is not None
        refused: RoboReferError | None = None
        reserved = 0
        try:
            self._connection.send_bytes(json.dumps({**task}).encode())
            self._connection.send_bytes(data)
            while True:
                reply = self._reply(wanted)
                if "reserve" in reply:
                    try:
                        share.take(reply["reserve"])
                        reserved += reply["reserve"]
                        self._connection.send_bytes(b"go")
                    except RoboReferError as error:
                        refused = error
                        self._connection.send_bytes(b"no")
                    continue
                break
            if "code" in reply:
                raise refused or ERRORS_BY_CODE[reply["code"]](reply["message"])
            pixels = _received(self._connection, reply)
        except (EOFError, OSError) as error:
            raise self._died(task) from error
        share.give(max(0, reserved - pixels.nbytes))
        return pixels, bytes.fromhex(reply["digest"])

    def _reply(self, wanted: Callable[[], bool]) -> dict[str, Any]:
        assert self._connection is not None
        while not self._connection.poll(_POLL_S):
            if not wanted():
                self.end()
                self.start()
                raise CanceledError("the client went away, or its time was over")
        reply: dict[str, Any] = json.loads(self._connection.recv_bytes())
        return reply

    def _died(self, task: dict[str, Any]) -> RoboReferError:
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5.0)
        status = self.end()
        self.start()
        if status == -signal.SIGXCPU:
            return InvalidImageError(
                f"{task['what']} took more than {task['cpu_s']} s of processor time to decode; "
                "save it again without progressive scans, or smaller"
            )
        _logger.warning("a decoder ended with status %d", status)
        return InvalidImageError(
            f"{task['what']} cannot be decoded: the decoder ended over it; save it again"
        )


class Decoder:
    """Decodes the pictures of one request.

    Args:
        worker: The process.
        share: Memory of the request.
        max_pixels: Of one picture.
        cpu_s: Processor time for one picture, whole seconds.
        wanted: Polled; False ends the work.
    """

    def __init__(
        self,
        worker: Worker,
        share: Reservation,
        max_pixels: int,
        cpu_s: int,
        wanted: Callable[[], bool],
    ) -> None:
        self.share = share
        self.max_pixels = max_pixels
        self._worker = worker
        self._cpu_s = cpu_s
        self._wanted = wanted

    def rgb(self, data: bytes, what: str) -> Picture:
        """As ``pictures.decode_rgb``."""
        return Picture(*self._decode("rgb", data, what))

    def grey(self, data: bytes) -> Picture:
        """As ``pictures.decode_relative_depth``."""
        return Picture(*self._decode("grey", data, "the depth picture"))

    def depth(self, data: bytes, unit_m: float) -> DepthImage:
        """As ``pictures.decode_depth_png``."""
        raw, _ = self._decode("depth", data, "the depth image", unit_m)
        return DepthImage(raw, unit_m)

    def _decode(
        self, kind: str, data: bytes, what: str, unit_m: float = 0.001
    ) -> tuple[npt.NDArray[Any], bytes]:
        if not self._wanted():
            raise CanceledError("the client went away, or its time was over")
        task = {
            "kind": kind,
            "what": what,
            "unit_m": unit_m,
            "max_pixels": self.max_pixels,
            "cpu_s": self._cpu_s,
        }
        return self._worker.decode(task, data, self.share, self._wanted)


class DecodePool:
    """Decoding processes, and whose turn it is; ``turn`` belongs to one event loop.

    Args:
        size: Processes; one peer holds at most all but one of them.
        max_pixels: Of one picture.
        cpu_s: Processor time for one picture, whole seconds.
    """

    def __init__(self, size: int, max_pixels: int, cpu_s: int) -> None:
        self.size = size
        self._max_pixels = max_pixels
        self._cpu_s = cpu_s
        self._workers: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._all = [Worker() for _ in range(size)]
        for worker in self._all:
            worker.start()
            self._workers.put(worker)
        self._turns = Turns(size, max(1, size - 1))

    @contextlib.asynccontextmanager
    async def turn(self, peer: str) -> AsyncIterator[None]:
        """Wait for a process to be free for a peer."""
        await self._turns.acquire(peer)
        try:
            yield
        finally:
            self._turns.release(peer)

    @contextlib.contextmanager
    def decoder(self, share: Reservation, given_up: threading.Event) -> Iterator[Decoder]:
        """A decoder for one request, in a thread that holds a turn."""
        worker = self._workers.get()
        try:
            yield Decoder(
                worker, share, self._max_pixels, self._cpu_s, lambda: not given_up.is_set()
            )
        finally:
            self._workers.put(worker)

    def close(self) -> None:
        """End the processes."""
        for worker in self._all:
            worker.end()


class Turns:
    """Places that peers take in turn, none of them more than a part.

    Args:
        places: In all.
        per_peer: Of one peer.
    """

    def __init__(self, places: int, per_peer: int) -> None:
        self._free = places
        self._per_peer = per_peer
        self._busy: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    async def acquire(self, peer: str) -> None:
        """Wait for a place."""
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(peer, deque()).append(place)
        self._give()
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.release(peer)
            raise

    def release(self, peer: str) -> None:
        """Give a place back."""
        self._free += 1
        self._busy[peer] -= 1
        if not self._busy[peer]:
            del self._busy[peer]
        self._give()

    def _give(self) -> None:
        while self._free:
            peer = next((p for p in self._waiting if self._busy[p] < self._per_peer), None)
            if peer is None:
                return
            places = self._waiting.pop(peer)
            place = places.popleft()
            if places:
                self._waiting[peer] = places  # behind the others
            if place.done():
                continue  # it waits no longer
            self._free -= 1
            self._busy[peer] += 1
            place.set_result(None)


def _received(connection: Connection, reply: dict[str, Any]) -> npt.NDArray[Any]:
    """The pixels that a worker hands over; their memory is shared, changes stay here."""
    file = recv_handle(connection)
    try:
        shape, dtype = tuple(reply["shape"]), np.dtype(reply["dtype"])
        size = int(np.prod(shape)) * dtype.itemsize
        memory = mmap.mmap(file, size, access=mmap.ACCESS_COPY)
        return np.frombuffer(memory, dtype, count=size // dtype.itemsize).reshape(shape)
    finally:
        os.close(file)
