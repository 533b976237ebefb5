# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From a request to a reply: decode, ask the model, lift.  Knows no route and no status."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from roborefer_ros.answer_policy import check_up
from roborefer_ros.cancellation import Cancellation
from roborefer_ros.errors import (
    CanceledError,
    DeadlineExceededError,
    DepthNetworkRequiredError,
    InvalidCameraInfoError,
    InvalidGoalError,
    SizeMismatchError,
)
from roborefer_ros.inference.model import Completion, Picture, Request, SamplingParams
from roborefer_ros.lifting import LiftingOptions
from roborefer_ros.lifting.intrinsics import check_intrinsics, implausible_intrinsics
from roborefer_ros.pipeline import DepthEstimator, check_instruction
from roborefer_ros.pointing.bundled import calibration_of
from roborefer_ros.pointing.depth_input import relative_depth_from_metric
from roborefer_ros.pointing.mode import read_instruction
from roborefer_ros.pointing.pointer import Pointer
from roborefer_ros.pointing.prompts import POINT_SUFFIX
from roborefer_ros.server import pictures
from roborefer_ros.server.clients import Client
from roborefer_ros.server.decoding import DecodePool, Decoder
from roborefer_ros.server.depth_pictures import DepthPictures
from roborefer_ros.server.located import located, read_answer, with_up
from roborefer_ros.server.memory_budget import MemoryBudget
from roborefer_ros.server.metrics import Metrics
from roborefer_ros.server.scheduler import Scheduler
from roborefer_ros.server.schemas import (
    MODES,
    DepthInput,
    DepthUsed,
    Intrinsics,
    PointReply,
    PointRequest,
    QueryRequest,
    policy_of,
)
from roborefer_ros.server.settings import Settings
from roborefer_ros.types import CameraIntrinsics, DepthImage, RGBDFrame, Think

T = TypeVar("T")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChatTurn:
    """What ``/v1/chat/completions`` asks.

    Attributes:
        text: Words of the user, the system's before them.
        images: Pictures, as base64 or data URIs.
        sampling: How tokens are chosen; the server's limit of their number holds as well.
    """

    text: str
    images: Sequence[str]
    sampling: SamplingParams


@dataclass(frozen=True)
class _PointJob:
    """What ``/v1/point`` asks the model, and what belongs to the answer.

    Attributes:
        requests: Requests of the instruction.
        size: ``(width, height)`` of the whole image, pixels.
        shown: ``(width, height)`` of what the model is shown of it, pixels.
        frame: Observation in the camera's frame; None without intrinsics.
        depth_used: Depth picture that the model is shown.
    """

    requests: Sequence[Request]
    size: tuple[int, int]
    shown: tuple[int, int]
    frame: RGBDFrame | None
    depth_used: DepthUsed


#: ends when the client has gone
Disconnected = Callable[[], Awaitable[None]]


class Service:
    """What the routes offer.

    Args:
        settings: limits.
        pointer: Model that answers, with its family.
        scheduler: Queue in front of that model.
        metrics: counts.
        depth_estimator: makes the model's depth picture from RGB, where none was sent; or None.
        lifting: thresholds of the lifting to 3D.
    """

    def __init__(
        self,
        settings: Settings,
        pointer: Pointer,
        scheduler: Scheduler,
        metrics: Metrics,
        depth_estimator: DepthEstimator | None = None,
        lifting: LiftingOptions | None = None,
    ) -> None:
        self.settings = settings
        self.pointer = pointer
        self.scheduler = scheduler
        self.metrics = metrics
        self._depths = DepthPictures(depth_estimator) if depth_estimator else None
        self._told_of_depth = False
        self._decoded = MemoryBudget(settings.limits.decoded_bytes)
        limits = settings.limits
        self._decoding = DecodePool(
            min(4, max(2, os.cpu_count() or 1)), limits.pixels, limits.cpu_s
        )
        self._lifting = lifting or LiftingOptions()
        self._calibration = calibration_of(pointer.name)
        # One thread waits for each decoding process; lifting has threads of its own.
        self._decoders = ThreadPoolExecutor(self._decoding.size, "roborefer-decode")
        self._pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1), "roborefer-lift")

    def close(self) -> None:
        """End the threads; the scheduler is its owner's."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._decoders.shutdown(wait=False, cancel_futures=True)
        self._decoding.close()

    # --- the three ways to ask -----------------------------------------------------------

    async def query(
        self, body: QueryRequest, client: Client, gone: Disconnected
    ) -> tuple[str, DepthUsed | None]:
        """The reference's ``/query``: the model's text, and the depth it saw if it was asked to.

        Raises:
            RoboReferError: one of its numbered subclasses.
        """
        # The reference compares with 1, so true and 1.0 pass and "1" does not.
        use_depth = body.enable_depth == 1
        deadline = self._deadline()
        used: DepthUsed = "none"

        def decode(decoder: Decoder) -> Request:
            nonlocal used
            self._check_text(body.text, body.image_url)
            images = self._images(body.image_url, "image_url", decoder)
            depths: tuple[Picture, ...] = ()
            if use_depth and self.pointer.uses_depth:
                depths, used = self._reference_depths(images, body.depth_url, decoder)
            return self._request(body.text, images, depths, deadline)

        async with self._decoding_of(client, gone, deadline) as run:
            request = await run(decode)
            (completion,) = await self._complete([request], client, gone)
        if use_depth:
            _logger.info("/query was answered with depth_used %s", used)
        return completion.text.strip(), used if use_depth else None

    async def point(self, body: PointRequest, client: Client, gone: Disconnected) -> PointReply:
        """``/v1/point``: points, in 3D where depth and intrinsics allow.

        Raises:
            RoboReferError: one of its numbered subclasses.
        """
        timings: dict[str, float] = {}
        started = time.perf_counter()
        reading = read_instruction(body.instruction, MODES[body.mode])
        mode, policy = reading.mode, policy_of(body)
        lifting = with_up(self._lifting, body.up_direction())
        if body.depth is not None:
            check_up(mode, lifting, policy)
        deadline = self._deadline(body.timeout_s)
        async with self._decoding_of(client, gone, deadline) as run:
            job = await run(lambda decoder: self._point_job(body, deadline, decoder))
            timings["decode_image"] = time.perf_counter() - started
            asked = time.perf_counter()
            completions = await self._complete(job.requests, client, gone)
            timings.update(completions[0].timings_s)
            timings["model"] = time.perf_counter() - asked
            started = time.perf_counter()
            width, height = job.size
            found = await self._in_pool(
                lambda: located(
                    job.frame,
                    (width, height),
                    *read_answer(
                        self.pointer,
                        completions,
                        job.shown,
                        body.max_points,
                        policy.crop(width, height),
                    ),
                    reading,
                    lifting=lifting,
                    policy=policy,
                    calibration=self._calibration,
                    model=self.pointer.name,
                )
            )
            timings["lift"] = time.perf_counter() - started
        return PointReply.model_validate(
            {
                **found,
                "mode": mode.name.lower(),
                "mode_reason": reading.reason,
                "model": self.pointer.name,
                "width": width,
                "height": height,
                "timings_s": timings,
                "depth_used": job.depth_used,
            }
        )

    async def chat(
        self,
        turn: ChatTurn,
        client: Client,
        gone: Disconnected,
        on_text: Callable[[str], None] | None = None,
    ) -> Completion:
        """``/v1/chat/completions``: the model's text, and as it grows if ``on_text`` listens.

        Raises:
            RoboReferError: one of its numbered subclasses.
        """
        deadline = self._deadline()

        def decode(decoder: Decoder) -> Request:
            self._check_text(turn.text, turn.images)
            images = self._images(turn.images, "image_url", decoder)
            request = self._request(turn.text, images, (), deadline, turn.sampling)
            return replace(request, on_text=on_text)

        async with self._decoding_of(client, gone, deadline) as run:
            (completion,) = await self._complete([await run(decode)], client, gone)
            return completion

    # --- decoding ------------------------------------------------------------------------

    def _deadline(self, timeout_s: float | None = None) -> float:
        limit = self.settings.limits.timeout_s
        return time.monotonic() + min(timeout_s or limit, limit)

    @contextlib.asynccontextmanager
    async def _decoding_of(
        self, client: Client, gone: Disconnected, deadline: float
    ) -> AsyncIterator[Callable[[Callable[[Decoder], T]], Awaitable[T]]]:
        """A request's memory for pictures, and a function that runs its decoding in turn."""
        self.scheduler.check_capacity(client)
        with self._decoded.share() as share:

            async def run(work: Callable[[Decoder], T]) -> T:
                given_up = threading.Event()

                def decode() -> T:
                    with self._decoding.decoder(share, given_up) as decoder:
                        return work(decoder)

                async def in_turn() -> T:
                    async with self._decoding.turn(client.peer):
                        loop = asyncio.get_running_loop()
                        return await loop.run_in_executor(self._decoders, decode)

                task = asyncio.ensure_future(in_turn())
                try:
                    return await _first(task, gone, deadline, "its pictures were decoded")
                finally:
                    given_up.set()  # the thread ends its process; its turn ends with it

            yield run

    def _check_text(self, text: str, images: Sequence[str]) -> None:
        """Before anything is decoded.  Texts go to the model word by word, line breaks included."""
        if text:
            limit = self.settings.limits.instruction_characters
            check_instruction(text, limit + len(POINT_SUFFIX))
        elif not images:
            raise InvalidGoalError("there is neither an image nor a text")

    def _request(
        self,
        text: str,
        images: tuple[Picture, ...],
        depths: tuple[Picture, ...],
        deadline: float,
        sampling: SamplingParams = SamplingParams(),  # noqa: B008 (frozen)
    ) -> Request:
        limit = self.settings.limits.new_tokens
        return Request(
            prompt=text,
            images=images,
            depths=depths,
            sampling=replace(sampling, max_tokens=min(sampling.max_tokens or limit, limit)),
            cancellation=Cancellation(deadline),
        )

    def _point_job(self, body: PointRequest, deadline: float, decoder: Decoder) -> _PointJob:
        text = check_instruction(body.instruction, self.settings.limits.instruction_characters)
        (image,) = self._images([body.image], "image", decoder)
        depth = None if body.depth is None else self._depth(body.depth, image, decoder)
        if body.depth is not None and body.intrinsics is None:
            raise InvalidGoalError(
                "depth was sent without intrinsics, so that no point can become 3D; send fx, fy, "
                "cx and cy of the camera, or a depth picture for the model as relative_depth"
            )
        frame = None
        if body.intrinsics is not None:
            frame = _frame(image, depth, body.intrinsics)
        height, width = image.pixels.shape[:2]
        crop = policy_of(body).crop(width, height)
        window = crop.slices if crop else (slice(None), slice(None))
        shown = Picture.of(image.pixels[window]) if crop else image
        depths, used = self._relative_depth(body, image, shown, window, depth, decoder)
        request = self._request(text, (shown,), depths, deadline)
        shown_height, shown_width = shown.pixels.shape[:2]
        return _PointJob(
            self.pointer.requests(request, Think[body.think.upper()]),
            (width, height),
            (shown_width, shown_height),
            frame,
            used,
        )

    def _images(self, texts: Sequence[str], what: str, decoder: Decoder) -> tuple[Picture, ...]:
        limits = self.settings.limits
        if len(texts) > limits.images:
            raise InvalidGoalError(
                f"{what} has {len(texts)} pictures, at most {limits.images} are allowed"
            )
        return tuple(decoder.rgb(pictures.bytes_from_base64(text, what), what) for text in texts)

    def _greys(self, texts: Sequence[str], decoder: Decoder) -> tuple[Picture, ...]:
        return tuple(decoder.grey(pictures.bytes_from_base64(text, "depth")) for text in texts)

    def _reference_depths(
        self, images: tuple[Picture, ...], depth_url: Sequence[str], decoder: Decoder
    ) -> tuple[tuple[Picture, ...], DepthUsed]:
        """As many depth pictures as images, given or estimated; and which."""
        if depth_url:
            if len(depth_url) != len(images):
                raise InvalidGoalError(
                    f"there are {len(depth_url)} depth pictures for {len(images)} images; send "
                    "one for each, or none"
                )
            return self._greys(depth_url, decoder), "given"
        if self._depths is None:
            # The reference's client always asks for depth and sends none; it is to get an answer.
            self._without_depth()
            return (), "none"
        return tuple(self._depths.of(image) for image in images), "network"

    def _without_depth(self) -> None:
        """A question that depth belongs to comes without, and nothing here can make it.

        Raises:
            DepthNetworkRequiredError: with ``--require-depth``.
        """
        if self.settings.require_depth:
            raise DepthNetworkRequiredError(
                "no depth picture was sent, and this server has no depth network to make one; "
                "send the depth picture, or start the server with --depth-network"
            )
        if not self._told_of_depth:
            _logger.warning(
                "questions without a depth picture are answered from RGB alone, which this model "
                "was not trained for: there is no depth network (--depth-network adds one, "
                "--require-depth refuses instead); replies say depth_used none"
            )
            self._told_of_depth = True

    def _relative_depth(
        self,
        body: PointRequest,
        image: Picture,
        shown: Picture,
        window: tuple[slice, slice],
        depth: DepthImage | None,
        decoder: Decoder,
    ) -> tuple[tuple[Picture, ...], DepthUsed]:
        """The model's depth picture: the one that was sent, else made from depth or RGB.

        Args:
            body: Request.
            image: The whole image.
            shown: What of it the model is shown.
            window: Rows and columns of that.
            depth: Metric depth of the whole image, where it was sent.
            decoder: For what was sent.
        """
        uses_depth = self.pointer.uses_depth
        if body.relative_depth is not None:
            (given,) = self._greys([body.relative_depth], decoder)
            if given.pixels.shape[:2] != image.pixels.shape[:2]:
                raise _sizes_differ("relative_depth", given.pixels, image)
            given = given if shown is image else Picture.of(given.pixels[window])
            return ((given,), "given") if uses_depth else ((), "none")
        if not uses_depth:
            return (), "none"
        if self._depths is not None:
            return (self._depths.of(shown),), "network"
        if depth is not None:
            return (Picture.of(relative_depth_from_metric(depth.metres(*window))),), "metric"
        self._without_depth()
        return (), "none"

    def _depth(self, depth: DepthInput, image: Picture, decoder: Decoder) -> DepthImage:
        data = pictures.bytes_from_base64(depth.data, "depth")
        limit = self.settings.limits.pixels
        if depth.encoding == "float32":
            height, width = image.pixels.shape[:2]
            share = decoder.share
            return pictures.decode_depth_float32(data, width, height, limit, share.take)
        decoded = decoder.depth(data, depth.unit_m)
        if decoded.raw.shape != image.pixels.shape[:2]:
            raise _sizes_differ("depth", decoded.raw, image)
        return decoded

    # --- answering -----------------------------------------------------------------------

    async def _in_pool(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def _complete(
        self, requests: Sequence[Request], client: Client, gone: Disconnected
    ) -> list[Completion]:
        job = self.scheduler.submit(client, requests)
        assert job.deadline is not None
        result = asyncio.wrap_future(job.result)
        try:
            completions = await _first(result, gone, job.deadline, "the answer was complete")
        finally:
            self.scheduler.cancel(job)  # nothing happens if it is complete
        self.metrics.tokens.inc(sum(one.completion_tokens or 0 for one in completions))
        for stage, seconds in completions[0].timings_s.items():
            self.metrics.stage_seconds.labels(stage).observe(seconds)
        return completions


async def _first(result: asyncio.Future[T], gone: Disconnected, deadline: float, what: str) -> T:
    """The result, unless the client leaves or the deadline passes before it.

    Raises:
        CanceledError, DeadlineExceededError
    """
    started = time.monotonic()
    left: asyncio.Future[Any] = asyncio.ensure_future(gone())
    try:
        await asyncio.wait(
            {result, left},
            timeout=max(0.0, deadline - started),
            return_when=asyncio.FIRST_COMPLETED,
        )
        if result.done():
            return result.result()
        if left.done():
            raise CanceledError("the client went away")
        raise DeadlineExceededError(
            f"the deadline passed after {time.monotonic() - started:.2f} s, before {what}; allow "
            "a longer timeout, or ask when the server is less busy"
        )
    finally:
        left.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await left
        if not result.done():
            result.cancel()
        elif not result.cancelled():
            result.exception()  # seen, even if it came with the client's leaving


def _frame(image: Picture, depth: DepthImage | None, camera: Intrinsics) -> RGBDFrame:
    if depth is None:
        raise InvalidGoalError("intrinsics were sent without depth; send both, or none")
    height, width = image.pixels.shape[:2]
    intrinsics = CameraIntrinsics(
        width=width,
        height=height,
        fx=camera.fx,
        fy=camera.fy,
        cx=camera.cx,
        cy=camera.cy,
        distortion_model=camera.distortion_model,
        distortion=tuple(camera.distortion),
    )
    check_intrinsics(intrinsics)
    if reason := implausible_intrinsics(intrinsics):
        raise InvalidCameraInfoError(
            f"intrinsics are implausible: {reason}; send those of this very picture, scaled as it "
            "was scaled (of a picture that was cut, send the whole)"
        )
    return RGBDFrame(rgb=image.pixels, depth=depth, intrinsics=intrinsics, frame_id="camera")


def _sizes_differ(what: str, pixels: Any, image: Picture) -> SizeMismatchError:
    height, width = pixels.shape[:2]
    rows, columns = image.pixels.shape[:2]
    return SizeMismatchError(
        f"{what} is {width}x{height}, the image (after its EXIF orientation) {columns}x{rows}; "
        "send depth that is aligned with the image"
    )
