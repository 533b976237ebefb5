# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The routes of the page; the guard of the HTTP server stands before them.

Each needs the token of this run, but ``/``, which holds nothing of the folder.  The token comes to
the page behind the ``#`` of its address, which browsers do not send, and goes back in a header,
which other pages cannot make a browser add.
"""

from __future__ import annotations

import asyncio
import importlib.resources
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.middleware.trustedhost import TrustedHostMiddleware

from roborefer_ros.errors import ConfigurationError, RoboReferError
from roborefer_ros.server.metrics import Metrics
from roborefer_ros.server.page import page
from roborefer_ros.server.replies import HttpError, http_reply, numbered_reply
from roborefer_ros.server.request_guard import RequestGuard
from roborefer_ros.server.settings import Limits, Settings
from roborefer_ros.training.label.assistant import Assistant
from roborefer_ros.training.label.goals import instruction_of
from roborefer_ros.training.label.pictures import (
    OwnPicture,
    prepared_depth,
    read_pixels,
    shown_picture,
)
from roborefer_ros.training.label.rows import MAX_POINTS, MAX_QUESTIONS, Label, Source
from roborefer_ros.training.label.store import LabelStore, StaleLabelsError

LOG = logging.getLogger(__name__)

#: of a request's body: 100 questions of 500 characters and their points
_BODY_BYTES = 512 * 1024

_Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
_Name = Annotated[str, Field(min_length=1, max_length=4096)]
_Words = Annotated[str, Field(max_length=2000)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LabelBody(_Strict):
    """A label as the page sends it."""

    question: _Words
    points: Annotated[list[tuple[_Share, _Share]], Field(max_length=MAX_POINTS)]
    source: Source = "hand"


class LabelsBody(_Strict):
    """All labels of a picture."""

    picture: _Name
    revision: Annotated[str, Field(max_length=64)]
    labels: Annotated[list[LabelBody], Field(max_length=MAX_QUESTIONS)]


class AskBody(_Strict):
    """A question for the model."""

    picture: _Name
    question: _Words


def build_app(
    folder: Path,
    pictures: Sequence[OwnPicture],
    store: LabelStore,
    assistant: Assistant,
    *,
    token: str,
    port: int,
) -> FastAPI:
    """The application.

    Args:
        folder: Of the pictures.
        pictures: Those that can be labelled; no other name is opened.
        store: Of the labels.
        assistant: Proposes answers; closed at the end.
        token: Every request but ``/`` must carry it.
        port: Where the server listens, on loopback.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(assistant.close)

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    limits = Limits(body_bytes=_BODY_BYTES, bodies_bytes=8 * _BODY_BYTES)
    settings = Settings(port=port, token=token, limits=limits)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    app.add_middleware(RequestGuard, settings=settings, metrics=Metrics())
    _add_error_handlers(app)
    by_name = {picture.name: picture for picture in pictures}
    writing = asyncio.Lock()

    def find(name: str) -> OwnPicture:
        if name not in by_name:
            raise HttpError(404, "this folder has no picture of that name; load the page again")
        return by_name[name]

    @app.get("/")
    def root() -> Response:
        text, headers = page(importlib.resources.files(__package__) / "label.html")
        return HTMLResponse(text, headers=headers)

    @app.get("/api/folder")
    def overview() -> dict[str, Any]:
        counts = store.counts()
        return {
            "folder": str(folder),
            "model": assistant.name,
            "state": assistant.state,
            "pictures": [[p.name, counts.get(p.name, 0), p.depth is not None] for p in pictures],
            "labels": str(store.path),
        }

    @app.get("/api/state")
    def state() -> dict[str, Any]:
        return {"state": assistant.state}

    @app.get("/api/picture")
    def picture(name: Annotated[_Name, Query()]) -> Response:
        data, remark = shown_picture(folder, find(name))
        headers = {"X-Remark": remark} if remark else {}
        return Response(data, media_type="image/jpeg", headers=headers)

    @app.get("/api/labels")
    def labels(name: Annotated[_Name, Query()]) -> dict[str, Any]:
        found, revision = store.labels(find(name).name)
        return {
            "labels": [
                {"question": x.question, "points": x.points, "source": x.source} for x in found
            ],
            "revision": revision,
            "instruction": instruction_of(folder, name),
        }

    @app.put("/api/labels")
    async def write(body: LabelsBody) -> dict[str, Any]:
        chosen = find(body.picture)
        wanted = [
            Label(" ".join(x.question.split()), tuple(x.points), x.source) for x in body.labels
        ]

        def replace() -> str:
            has_depth = bool(wanted) and prepared_depth(folder, chosen) is not None
            depth = chosen.prepared_name if has_depth else None
            return store.replace(chosen.name, depth, wanted, body.revision)

        async with writing:  # one at a time, whatever windows are open
            revision = await run_in_threadpool(replace)
        return {"revision": revision, "count": len(wanted)}

    @app.post("/api/ask")
    async def ask(body: AskBody) -> dict[str, Any]:
        chosen = find(body.picture)
        question = " ".join(body.question.split())
        if not question:
            raise HttpError(422, "ask something first")
        rgb = await run_in_threadpool(read_pixels, folder, chosen)
        depth = await run_in_threadpool(prepared_depth, folder, chosen)
        proposal = await asyncio.wrap_future(assistant.submit(rgb, depth, question))
        return {
            "text": proposal.text[:2000],
            "points": proposal.points[:MAX_POINTS],
            "not_there": proposal.not_there,
            "remark": proposal.remark[:500],
        }

    return app


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(HttpError)
    async def refused(_: Request, error: HttpError) -> Response:
        return http_reply(error)

    @app.exception_handler(StaleLabelsError)
    async def stale(_: Request, error: StaleLabelsError) -> Response:
        return http_reply(HttpError(409, str(error)))

    @app.exception_handler(ConfigurationError)
    async def unusable(_: Request, error: ConfigurationError) -> Response:
        return http_reply(HttpError(422, str(error)))

    @app.exception_handler(RoboReferError)
    async def numbered(_: Request, error: RoboReferError) -> Response:
        return numbered_reply(error)

    @app.exception_handler(OSError)
    async def not_written(_: Request, error: OSError) -> Response:
        return http_reply(HttpError(507, f"this could not be read or written: {error.strerror}"))

    @app.exception_handler(RequestValidationError)
    async def wrong(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])[:100]
        return http_reply(HttpError(422, f"{where}: {first['msg']}"[:300], param=where))
