# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A process that decodes pictures: what it is given may cost time, memory or its life.

Started by ``decoding.Worker`` with one socket.  For each picture it receives a line of JSON and
the file, asks for the memory, and hands the pixels back as a file in memory.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import resource
import signal
import sys
import time
import warnings
from multiprocessing.connection import Connection
from multiprocessing.reduction import send_handle
from typing import Any

import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import CanceledError, InvalidImageError, RoboReferError
from roborefer_ros.server import pictures

#: what a decoder may take beside the memory it asked for
_SLACK_BYTES = 96 * 1024 * 1024


def main() -> int:
    """Decode until the other side closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server's end is this process' end
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.filterwarnings("ignore", module="PIL")
    connection = Connection(int(sys.argv[1]))
    try:
        while True:
            task = json.loads(connection.recv_bytes())
            _answer(connection, task, connection.recv_bytes())
    except (EOFError, OSError):
        return 0


def _answer(connection: Connection, task: dict[str, Any], data: bytes) -> None:
    try:
        reply, pixels = _decode(connection, task, data)
    except RoboReferError as error:
        _send(connection, {"code": error.code, "message": str(error)})
        return
    except MemoryError:
        message = f"{task['what']} needs more memory than its size explains"
        _send(connection, {"code": InvalidImageError.code, "message": message})
        return
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
    file = os.memfd_create("picture")
    try:
        os.truncate(file, max(1, pixels.nbytes))
        with mmap.mmap(file, max(1, pixels.nbytes)) as memory:
            memory[: pixels.nbytes] = (
                pixels.tobytes() if pixels.nbytes < 1 else pixels.data.cast("B")
            )
        _send(connection, reply)
        send_handle(connection, file, os.getppid())
    finally:
        os.close(file)


def _decode(
    connection: Connection, task: dict[str, Any], data: bytes
) -> tuple[dict[str, Any], npt.NDArray[Any]]:
    # Processor time: it does not pass faster on a busy machine.  Beyond it the kernel ends us.
    used_s = math.ceil(time.process_time())
    resource.setrlimit(resource.RLIMIT_CPU, (used_s + task["cpu_s"], resource.RLIM_INFINITY))

    def reserve(size_bytes: int) -> None:
        _send(connection, {"reserve": size_bytes})
        if connection.recv_bytes() != b"go":
            raise CanceledError("the picture is not wanted any longer")
        _limit_memory(size_bytes)

    if task["kind"] == "depth":
        depth = pictures.decode_depth_png(data, task["unit_m"], task["max_pixels"], reserve)
        raw = np.ascontiguousarray(depth.raw)
        return {"shape": raw.shape, "dtype": str(raw.dtype), "digest": ""}, raw
    decode = pictures.decode_rgb if task["kind"] == "rgb" else pictures.decode_relative_depth
    picture = decode(data, task["max_pixels"], task["what"], reserve)
    facts = {"shape": picture.pixels.shape, "dtype": "uint8", "digest": picture.digest.hex()}
    return facts, picture.pixels


def _limit_memory(size_bytes: int) -> None:
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(
        resource.RLIMIT_AS, (used + size_bytes + _SLACK_BYTES, resource.RLIM_INFINITY)
    )


def _send(connection: Connection, value: dict[str, Any]) -> None:
    connection.send_bytes(json.dumps(value).encode())


if __name__ == "__main__":
    sys.exit(main())
