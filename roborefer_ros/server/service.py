# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From a request to a reply: decode, ask the model, lift.  Knows no route and no status."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from roborefer_ros.errors import (
    CanceledError,
    DeadlineExceededError,
    InvalidGoalError,
    RoboReferError,
    SizeMismatchError,
)
from roborefer_ros.frame import CameraIntrinsics, DepthImage, Mode, ResultWarning, RGBDFrame
from roborefer_ros.lifting import LiftingOptions, lift_point
from roborefer_ros.lifting.intrinsics import check_intrinsics
from roborefer_ros.pipeline import DepthEstimator, check_instruction, pixel_from_normalised
from roborefer_ros.pointing.depth_input import relative_depth_from_metric
from roborefer_ros.pointing.mode import read_instruction
from roborefer_ros.pointing.prompts import POINT_SUFFIX
from roborefer_ros.server import pictures
from roborefer_ros.server.budget import Budget, Share
from roborefer_ros.server.clients import Client
from roborefer_ros.server.depth_pictures import DepthPictures
from roborefer_ros.server.engine import EngineAnswer, Query
from roborefer_ros.server.metrics import Metrics
from roborefer_ros.server.pictures import Picture
from roborefer_ros.server.replies import error_body
from roborefer_ros.server.scheduler import Job, Scheduler
from roborefer_ros.server.schemas import (
    MODES,
    DepthInput,
    Intrinsics,
    PointReply,
    PointRequest,
    QueryRequest,
)
from roborefer_ros.server.settings import Settings

T = TypeVar("T")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Turn:
    """What ``/v1/chat/completions`` asks.

    Attributes:
        text: the user's words, the system's before them.
        images: base64 or data URIs.
        max_new_tokens: of the answer; the server's limit holds as well.
        temperature, seed: as in ``Query``.
    """

    text: str
    images: Sequence[str]
    max_new_tokens: int
    temperature: float = 0.0
    seed: int | None = None


#: ends when the client has gone
Disconnected = Callable[[], Awaitable[None]]


class Service:
    """What the routes offer.

    Args:
        settings: limits.
        scheduler: asks the model.
        metrics: counts.
        depth_estimator: makes the model's depth picture from RGB, where none was sent; or None.
        lifting: thresholds of the lifting to 3D.
    """

    def __init__(
        self,
        settings: Settings,
        scheduler: Scheduler,
        metrics: Metrics,
        depth_estimator: DepthEstimator | None = None,
        lifting: LiftingOptions | None = None,
    ) -> None:
        self.settings = settings
        self.scheduler = scheduler
        self.metrics = metrics
        self._depths = DepthPictures(depth_estimator) if depth_estimator else None
        self._told_of_depth = False
        self._decoded = Budget(settings.limits.decoded_bytes)
        self._lifting = lifting or LiftingOptions()
        # Decoders leave the interpreter's lock, so a few threads keep the loop and model free.
        self._pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1), "roborefer-decode")

    def close(self) -> None:
        """End the threads; the scheduler is its owner's."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    # --- the three ways to ask -----------------------------------------------------------

    async def query(self, body: QueryRequest, client: Client, gone: Disconnected) -> str:
        """The reference's ``/query``: the model's text.

        Raises:
            RoboReferError: one of its numbered subclasses.
        """
        # The reference compares with 1, so true and 1.0 pass and "1" does not.
        use_depth = body.enable_depth == 1
        self.scheduler.check_room(client)

        with self._decoded.share() as share:

            def decode() -> Query:
                self._check_text(body.text, body.image_url)
                images = self._images(body.image_url, "image_url", share)
                depths: tuple[Picture, ...] = ()
                if use_depth and self.scheduler.engine.uses_depth:
                    depths = self._reference_depths(images, body.depth_url, share)
                return self._text_query(body.text, images, depths)

            return (await self._ask(await self._in_pool(decode), client, gone)).text

    async def point(self, body: PointRequest, client: Client, gone: Disconnected) -> PointReply:
        """``/v1/point``: points, in 3D where depth and intrinsics allow.

        Raises:
            RoboReferError: one of its numbered subclasses.
        """
        self.scheduler.check_room(client)
        with self._decoded.share() as share:
            return await self._point(body, client, gone, share)

    async def _point(
        self, body: PointRequest, client: Client, gone: Disconnected, share: Share
    ) -> PointReply:
        timings: dict[str, float] = {}
        started = time.perf_counter()
        reading = read_instruction(body.instruction, MODES[body.mode])
        mode = reading.mode
        timeout_s = body.timeout_s or self.settings.limits.timeout_s

        def decode() -> tuple[Query, RGBDFrame | None]:
            return self._point_query(body, mode, timeout_s, share)

        query, frame = await self._in_pool(decode)
        timings["decode_image"] = time.perf_counter() - started
        asked = time.perf_counter()
        answer = await self._ask(query, client, gone)
        timings.update(answer.timings_s)
        timings["model"] = time.perf_counter() - asked
        started = time.perf_counter()
        points = await self._in_pool(lambda: self._points(query, frame, answer, mode))
        timings["lift"] = time.perf_counter() - started
        height, width = query.images[0].pixels.shape[:2]
        return PointReply.model_validate(
            {
                "points": points,
                "answer": answer.text,
                "mode": mode.name.lower(),
                "mode_reason": reading.reason,
                "warnings": [ResultWarning.TWO_STEPS.name] if reading.two_steps else [],
                "error": None if answer.no_point is None else error_body(answer.no_point),
                "model": self.scheduler.engine.name,
                "width": width,
                "height": height,
                "timings_s": timings,
            }
        )

    async def chat(
        self,
        turn: Turn,
        client: Client,
        gone: Disconnected,
        on_text: Callable[[str], None] | None = None,
    ) -> EngineAnswer:
        """``/v1/chat/completions``: the model's text, and as it grows if ``on_text`` listens.

        Raises:
            RoboReferError: one of its numbered subclasses.
        """
        self.scheduler.check_room(client)
        with self._decoded.share() as share:

            def decode() -> Query:
                self._check_text(turn.text, turn.images)
                decoded = self._images(turn.images, "image_url", share)
                query = self._text_query(turn.text, decoded, (), turn.max_new_tokens, on_text)
                return replace(query, temperature=turn.temperature, seed=turn.seed)

            return await self._ask(await self._in_pool(decode), client, gone)

    # --- decoding ------------------------------------------------------------------------

    def _check_text(self, text: str, images: Sequence[str]) -> None:
        """Before anything is decoded.  Texts go to the model word by word, line breaks included."""
        if text:
            limit = self.settings.limits.instruction_characters
            check_instruction(text, limit + len(POINT_SUFFIX))
        elif not images:
            raise InvalidGoalError("there is neither an image nor a text")

    def _text_query(
        self,
        text: str,
        images: tuple[Picture, ...],
        depths: tuple[Picture, ...],
        max_new_tokens: int | None = None,
        on_text: Callable[[str], None] | None = None,
    ) -> Query:
        limits = self.settings.limits
        return Query(
            text=text,
            images=images,
            depths=depths,
            max_new_tokens=min(max_new_tokens or limits.new_tokens, limits.new_tokens),
            deadline=time.monotonic() + limits.timeout_s,
            on_text=on_text,
        )

    def _point_query(
        self, body: PointRequest, mode: Mode, timeout_s: float, share: Share
    ) -> tuple[Query, RGBDFrame | None]:
        limits = self.settings.limits
        text = check_instruction(body.instruction, limits.instruction_characters)
        (image,) = self._images([body.image], "image", share)
        depth = None if body.depth is None else self._depth(body.depth, image, share)
        frame = None
        if body.intrinsics is not None:
            frame = _frame(image, depth, body.intrinsics)
        query = Query(
            text=text,
            images=(image,),
            depths=self._relative_depth(body, image, depth, share),
            is_instruction=True,
            mode=mode,
            max_points=body.max_points,
            max_new_tokens=limits.new_tokens,
            deadline=time.monotonic() + min(timeout_s, limits.timeout_s),
        )
        return query, frame

    def _images(self, texts: Sequence[str], what: str, share: Share) -> tuple[Picture, ...]:
        limits = self.settings.limits
        if len(texts) > limits.images:
            raise InvalidGoalError(
                f"{what} has {len(texts)} pictures, at most {limits.images} are allowed"
            )
        return tuple(
            pictures.decode_rgb(
                pictures.bytes_from_base64(text, what), limits.pixels, what, share.take
            )
            for text in texts
        )

    def _greys(self, texts: Sequence[str], share: Share) -> tuple[Picture, ...]:
        limit = self.settings.limits.pixels
        return tuple(
            pictures.decode_grey(
                pictures.bytes_from_base64(text, "depth"), limit, reserve=share.take
            )
            for text in texts
        )

    def _reference_depths(
        self, images: tuple[Picture, ...], depth_url: Sequence[str], share: Share
    ) -> tuple[Picture, ...]:
        """As many depth pictures as images, given or estimated."""
        if depth_url:
            if len(depth_url) != len(images):
                raise InvalidGoalError(
                    f"there are {len(depth_url)} depth pictures for {len(images)} images; send "
                    "one for each, or none"
                )
            return self._greys(depth_url, share)
        if self._depths is None and self.settings.require_depth:
            raise InvalidGoalError(
                "enable_depth is 1, no depth_url was sent, and this server has no depth network; "
                "send the depth pictures, or start the server with --depth-network"
            )
        if self._depths is None:
            # The reference's client always asks for depth and sends none; it is to get an answer.
            if not self._told_of_depth:
                _logger.warning(
                    "enable_depth without depth pictures is answered from RGB alone: there is no "
                    "depth network (--depth-network adds one, --require-depth refuses instead)"
                )
                self._told_of_depth = True
            return ()
        return tuple(self._depths.of(image) for image in images)

    def _relative_depth(
        self, body: PointRequest, image: Picture, depth: DepthImage | None, share: Share
    ) -> tuple[Picture, ...]:
        """The model's depth picture: the one that was sent, else made from depth or RGB."""
        if body.relative_depth is not None:
            (given,) = self._greys([body.relative_depth], share)
            if given.pixels.shape != image.pixels.shape[:2]:
                raise _sizes_differ("relative_depth", given.pixels, image)
            return (given,) if self.scheduler.engine.uses_depth else ()
        if not self.scheduler.engine.uses_depth:
            return ()
        if self._depths is not None:
            return (self._depths.of(image),)
        if depth is not None:
            return (Picture.of(relative_depth_from_metric(depth.metres())),)
        return ()

    def _depth(self, depth: DepthInput, image: Picture, share: Share) -> DepthImage:
        data = pictures.bytes_from_base64(depth.data, "depth")
        limit = self.settings.limits.pixels
        if depth.encoding == "float32":
            height, width = image.pixels.shape[:2]
            return pictures.decode_depth_float32(data, width, height, limit, share.take)
        decoded = pictures.decode_depth_png(data, depth.unit_m, limit, share.take)
        if decoded.raw.shape != image.pixels.shape[:2]:
            raise _sizes_differ("depth", decoded.raw, image)
        return decoded

    # --- answering -----------------------------------------------------------------------

    async def _in_pool(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def _ask(self, query: Query, client: Client, gone: Disconnected) -> EngineAnswer:
        job = self.scheduler.submit(client, query)
        try:
            answer = await self._outcome(job, gone)
        finally:
            self.scheduler.cancel(job)  # nothing happens if it is complete
        self.metrics.tokens.inc(answer.tokens)
        for stage, seconds in answer.timings_s.items():
            self.metrics.stage_seconds.labels(stage).observe(seconds)
        return answer

    async def _outcome(self, job: Job, gone: Disconnected) -> EngineAnswer:
        result: asyncio.Future[Any] = asyncio.wrap_future(job.result)
        left: asyncio.Future[Any] = asyncio.ensure_future(gone())
        assert job.query.deadline is not None
        try:
            await asyncio.wait(
                {result, left},
                timeout=max(0.0, job.query.deadline - time.monotonic()),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if result.done():
                answer: EngineAnswer = result.result()
                return answer
            if left.done():
                raise CanceledError("the client went away")
            raise DeadlineExceededError(
                f"the answer was not complete after {time.monotonic() - job.created:.2f} s; allow "
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

    def _points(
        self, query: Query, frame: RGBDFrame | None, answer: EngineAnswer, mode: Mode
    ) -> list[dict[str, Any]]:
        height, width = query.images[0].pixels.shape[:2]
        points = []
        for index, (x, y) in enumerate(answer.points):
            (u, v), flag = pixel_from_normalised((x, y), width, height)
            point: dict[str, Any] = {"x": x, "y": y, "u": u, "v": v}
            if answer.confidences:
                point["confidence"] = answer.confidences[index]
            if frame is not None:
                try:
                    lifted = lift_point(frame, (u, v), self._lifting, mode)
                except RoboReferError as error:
                    point["error"] = error_body(error)
                else:
                    flags = lifted.flags | flag
                    point["position"] = {
                        "xyz_m": lifted.position_m.tolist(),
                        "orientation_xyzw": lifted.orientation_xyzw.tolist(),
                        "covariance": np.asarray(lifted.covariance).ravel().tolist(),
                        "confidence": lifted.confidence,
                        "flags": [f.name for f in type(flags) if f and f in flags],
                    }
            points.append(point)
        return points


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
    return RGBDFrame(rgb=image.pixels, depth=depth, intrinsics=intrinsics, frame_id="camera")


def _sizes_differ(what: str, pixels: Any, image: Picture) -> SizeMismatchError:
    height, width = pixels.shape[:2]
    rows, columns = image.pixels.shape[:2]
    return SizeMismatchError(
        f"{what} is {width}x{height}, the image (after its EXIF orientation) {columns}x{rows}; "
        "send depth that is aligned with the image"
    )
