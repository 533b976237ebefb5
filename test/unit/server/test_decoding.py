# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Decoding in processes that can be ended, and files that only look whole."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import struct
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from roborefer_ros.errors import (
    CanceledError,
    InvalidImageError,
    QueueFullError,
    UnsupportedEncodingError,
)
from roborefer_ros.server.decoding import DecodePool, Decoder, Turns, Worker
from roborefer_ros.server.memory_budget import MemoryBudget
from roborefer_ros.server.pictures import (
    _scans,
    decode_depth_png,
    decode_relative_depth,
    decode_rgb,
)

MANY = 10**9


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    """One process for all tests; those that end it find it started again."""
    one = Worker()
    one.start()
    yield one
    one.end()


def decoder(worker: Worker, budget: MemoryBudget | None = None, **options: Any) -> Decoder:
    share = (budget or MemoryBudget(MANY)).share()
    options = {"max_pixels": MANY, "cpu_s": 60, "wanted": lambda: True, **options}
    return Decoder(worker, share, **options)


def scene(width: int = 96, height: int = 64) -> Image.Image:
    rng = np.random.default_rng(3)
    return Image.fromarray(rng.integers(0, 256, (8, 12, 3), np.uint8)).resize((width, height))


def written(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def many_scans(size: int, scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    data = written(scene(size, size), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + b"\xff\xd9"


def test_pixels_and_digests_are_those_of_this_process(worker: Worker) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    here = decoder(worker)
    for data in (
        written(scene(), "PNG"),
        written(scene(), "JPEG", exif=exif, progressive=True),
        written(scene().convert("CMYK"), "JPEG"),
        written(scene().convert("RGBA"), "WEBP", lossless=True),
        written(scene().convert("P"), "PNG"),
    ):
        there = here.rgb(data, "it")
        expected = decode_rgb(data, MANY)
        assert np.array_equal(there.pixels, expected.pixels)
        assert there.digest == expected.digest
        there.pixels[:] = 0  # whoever has it may write
        assert np.array_equal(here.grey(data).pixels, decode_relative_depth(data, MANY).pixels)
    depth = written(Image.fromarray(np.arange(96, dtype=np.uint16).reshape(8, 12) * 600), "PNG")
    assert np.array_equal(here.depth(depth, 0.001).raw, decode_depth_png(depth, 0.001, MANY).raw)


def test_jpeg_pixels_are_those_of_pillow() -> None:
    for options in ({}, {"progressive": True}, {"subsampling": 0}, {"quality": 30}):
        data = written(scene(), "JPEG", **options)
        expected = np.asarray(Image.open(io.BytesIO(data)))
        assert np.array_equal(decode_rgb(data, MANY).pixels, expected)


def test_errors_come_back_with_their_class(worker: Worker) -> None:
    with pytest.raises(UnsupportedEncodingError, match="no PNG, JPEG, WebP or BMP"):
        decoder(worker).rgb(b"GIF89a", "it")
    with pytest.raises(InvalidImageError, match="at most 100"):
        decoder(worker, max_pixels=100).rgb(written(scene(), "PNG"), "it")


def test_memory_is_asked_for_and_what_is_left_over_given_back(worker: Worker) -> None:
    budget = MemoryBudget(14 * 96 * 64)
    one = decoder(worker, budget)
    one.rgb(written(scene(), "PNG"), "it")
    assert budget.used_bytes == 3 * 96 * 64
    with pytest.raises((QueueFullError, InvalidImageError)):
        one.rgb(written(scene(), "PNG"), "it")
    assert decoder(worker).rgb(written(scene(), "PNG"), "it")  # the process goes on


def test_sixteen_bits_cost_what_they_are_counted_for(worker: Worker) -> None:
    deep = np.zeros((3000, 4000), np.uint16)
    data = written(Image.fromarray(deep), "PNG")
    budget = MemoryBudget(MANY)
    worker.end()
    decoder(worker).rgb(written(scene(), "PNG"), "it")
    before = peak_bytes(worker)
    decoder(worker, budget).rgb(data, "it")
    assert peak_bytes(worker) - before <= 16 * deep.size


def peak_bytes(worker: Worker) -> int:
    assert worker._process is not None
    with open(f"/proc/{worker._process.pid}/status") as file:
        return 1024 * next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))


class Signals:
    """A share of memory that sends the process a signal when it asks for some."""

    def __init__(self, worker: Worker, number: int) -> None:
        self.worker, self.number, self.sent = worker, number, False

    def take(self, size_bytes: int) -> None:
        assert self.worker._process is not None
        self.worker._process.send_signal(self.number)
        self.sent = True

    def give(self, size_bytes: int) -> None:
        raise AssertionError("the picture was decoded")


def test_processor_time_is_bounded(worker: Worker) -> None:
    """35 megapixels of noise in full quality; what is left of a second is not enough."""
    noise = np.random.default_rng(2).integers(0, 256, (5000, 7000, 3), np.uint8)
    slow = written(Image.fromarray(noise), "JPEG", quality=100, subsampling=0)
    with pytest.raises(InvalidImageError, match="more than 0 s of processor time"):
        decoder(worker, cpu_s=0).rgb(slow, "it")
    assert decoder(worker).rgb(written(scene(), "PNG"), "it")


def test_very_many_scans_are_refused_before_decoding() -> None:
    asked: list[int] = []
    with pytest.raises(InvalidImageError, match=r"JPEG of 3009 scans, at most 64"):
        decode_rgb(many_scans(64, 3000), MANY, reserve=asked.append)
    assert not asked
    assert _scans(written(scene(), "JPEG", progressive=True)) == 10
    assert _scans(written(scene(), "JPEG")) == 1


def test_an_unwanted_picture_ends_its_process(worker: Worker) -> None:
    worker.start()
    assert worker._process is not None
    pid, stopped = worker._process.pid, Signals(worker, signal.SIGSTOP)
    one = Decoder(worker, stopped, MANY, 60, lambda: not stopped.sent)  # type: ignore[arg-type]
    with pytest.raises(CanceledError):
        one.rgb(written(scene(), "PNG"), "it")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert decoder(worker).rgb(written(scene(), "PNG"), "it")


def test_a_decoder_that_dies_is_an_error_of_its_picture(worker: Worker) -> None:
    dies = Signals(worker, signal.SIGSEGV)
    one = Decoder(worker, dies, MANY, 60, lambda: True)  # type: ignore[arg-type]
    with pytest.raises(InvalidImageError, match="the decoder ended"):
        one.rgb(written(scene(), "PNG"), "it")
    assert decoder(worker).rgb(written(scene(), "PNG"), "it")


def test_no_secret_reaches_a_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOREFER_API_KEY", "0123456789abcdef")
    one = Worker()
    one.start()
    decoder(one).rgb(written(scene(), "PNG"), "it")
    assert one._process is not None
    with open(f"/proc/{one._process.pid}/environ", "rb") as file:
        assert b"0123456789abcdef" not in file.read()
    one.end()


def test_peers_take_turns_and_none_holds_all() -> None:
    async def run() -> list[str]:
        turns, order = Turns(2, 1), []

        async def work(peer: str) -> None:
            await turns.acquire(peer)
            order.append(peer)
            await asyncio.sleep(0)
            turns.release(peer)

        await turns.acquire("a")
        waiting = [asyncio.ensure_future(work(peer)) for peer in "aaabab"]
        for _ in range(20):
            await asyncio.sleep(0)
        assert order == ["b", "b"]  # a holds all that one peer may
        turns.release("a")
        await asyncio.gather(*waiting)
        return order

    assert asyncio.run(run()) == ["b", "b", "a", "a", "a", "a"]


def test_a_pool_ends_with_its_server() -> None:
    pool = DecodePool(2, MANY, 10)
    pids = [worker._process.pid for worker in pool._all if worker._process]
    with pool.decoder(MemoryBudget(MANY).share(), threading.Event()) as one:
        one.rgb(written(scene(), "PNG"), "it")
    pool.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


# --- damaged files ---------------------------------------------------------------------


def rebuilt(chunks: list[tuple[bytes, bytes]]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def chunks_of(data: bytes) -> list[tuple[bytes, bytes]]:
    at, found = 8, []
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def damaged() -> dict[str, bytes]:
    noise = np.random.default_rng(1).integers(0, 256, (200, 300, 3), np.uint8)
    png = written(Image.fromarray(noise), "PNG")
    chunks = chunks_of(png)
    first = next(body for kind, body in chunks if kind == b"IDAT")
    middle = len(png) // 2
    files = {
        "png cut": png[:middle],
        "png cut, with an end": rebuilt([chunks[0], (b"IDAT", first[:500]), (b"IEND", b"")]),
        "png without an end": rebuilt(chunks[:-1]),
        "png with a wrong checksum": png[:-17] + bytes([png[-17] ^ 1]) + png[-16:],
        "png with a wrong bit": png[:middle] + bytes([png[middle] ^ 1]) + png[middle + 1 :],
        "webp cut": written(Image.fromarray(noise), "WEBP")[:-100],
    }
    for name, options in {"jpeg": {}, "progressive": {"progressive": True}}.items():
        jpeg = written(Image.fromarray(noise), "JPEG", **options)
        for part in (0.3, 0.5, 0.9):
            cut = jpeg[: int(part * len(jpeg))]
            files[f"{name} cut at {part}"] = cut
            files[f"{name} cut at {part}, with an end"] = cut + b"\xff\xd9"
    cmyk = written(Image.fromarray(noise).convert("CMYK"), "JPEG")
    files["cmyk cut, with an end"] = cmyk[: len(cmyk) // 2] + b"\xff\xd9"
    return files


@pytest.mark.parametrize("name", damaged())
def test_damaged_files_are_refused(name: str) -> None:
    with pytest.raises(InvalidImageError):
        decode_rgb(damaged()[name], MANY)


def test_bytes_that_webcams_leave_before_the_end_do_no_harm() -> None:
    data = written(scene(), "JPEG")
    whole = decode_rgb(data, MANY).pixels
    assert np.array_equal(decode_rgb(data[:-2] + b"\0\x11" + data[-2:], MANY).pixels, whole)
