# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The routes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException

import roborefer_ros
from roborefer_ros.errors import RoboReferError
from roborefer_ros.inference.model import KeepsPictures
from roborefer_ros.pipeline import DepthEstimator
from roborefer_ros.pointing.pointer import Pointer
from roborefer_ros.server import chat
from roborefer_ros.server.clients import Client, client_of
from roborefer_ros.server.metrics import Metrics
from roborefer_ros.server.openapi import complete_document
from roborefer_ros.server.page import page
from roborefer_ros.server.replies import HttpError, http_reply, numbered_reply
from roborefer_ros.server.request_guard import RequestGuard
from roborefer_ros.server.scheduler import Scheduler
from roborefer_ros.server.schemas import (
    ChatRequest,
    ErrorReply,
    Health,
    PointReply,
    PointRequest,
    QueryReply,
    QueryRequest,
)
from roborefer_ros.server.service import Disconnected, Service
from roborefer_ros.server.settings import Settings

_DESCRIPTION = """Points at what an instruction names: in the picture, and in space.

`POST /query` is the reference server's contract; `/v1/point` has types, 3D and reasons;
`/v1/chat/completions` serves OpenAI's clients."""

#: statuses that every way of asking can have
_FAILURES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorReply, "description": text}
    for status, text in {
        400: "The body is not JSON, or a field is not supported.",
        401: "The bearer token is missing or wrong.",
        408: "The body did not arrive in time.",
        413: "The body is too large.",
        415: "Not JSON, or a picture in a format that is not accepted.",
        422: "A field is wrong; the message names it.",
        429: "Too many requests wait; see Retry-After.",
        500: "The model failed.",
        502: "A remote model failed.",
        503: "Out of memory, or shutting down; see Retry-After.",
        504: "The deadline passed.",
    }.items()
}


def build_app(
    settings: Settings,
    pointer: Pointer,
    *,
    metrics: Metrics | None = None,
    depth_estimator: DepthEstimator | None = None,
    workers: int = 1,
) -> FastAPI:
    """The application around a model, which it closes at its end.

    Args:
        settings: Limits and times.
        pointer: Model that answers, with its family.
        metrics: Counters; new ones by default.
        depth_estimator: Maker of the model's depth pictures from RGB where none is sent.
        workers: Number of threads that call the model; more than one for replicas only.

    ``app.state.service`` is the service; ``app.state.draining`` set to True makes ``/readyz``
    say so.
    """
    metrics = metrics or Metrics()
    scheduler = Scheduler(
        pointer.model,
        max_queued=settings.max_queued,
        batch_wait_s=settings.batch_wait_s,
        metrics=metrics,
        workers=workers,
    )
    if isinstance(pointer.model, KeepsPictures):
        metrics.watch_pictures(pointer.model.vision)
    service = Service(settings, pointer, scheduler, metrics, depth_estimator)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        metrics.ready.set(1)
        yield
        metrics.ready.set(0)
        scheduler.close()
        service.close()

    app = FastAPI(
        title="roborefer_ros",
        version=roborefer_ros.__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        # Their pages load scripts from other hosts.
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    app.state.draining = False
    app.add_middleware(RequestGuard, settings=settings, metrics=metrics)
    _add_error_handlers(app, scheduler)
    _add_reference_routes(app, service)
    _add_typed_routes(app, service)
    _add_openai_routes(app, service)
    _add_operation_routes(app, service)
    _add_page(app)
    complete_document(app, settings)
    return app


def _add_error_handlers(app: FastAPI, scheduler: Scheduler) -> None:
    @app.exception_handler(RoboReferError)
    async def numbered(_: Request, error: RoboReferError) -> Response:
        scheduler.metrics.errors.labels(str(error.code)).inc()
        return numbered_reply(error, scheduler.estimated_wait_s())

    @app.exception_handler(HttpError)
    async def refused(_: Request, error: HttpError) -> Response:
        return http_reply(error)

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        return http_reply(HttpError(error.status_code, str(error.detail), headers))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        # Where and why, never the value: it can be a whole picture.
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return http_reply(HttpError(400, "the body is not valid JSON"))
        where = ".".join(str(part)[:64] for part in first["loc"][1:])
        message = f"{where or 'the body'}: {first['msg']}"
        return http_reply(HttpError(422, message[:500], param=where[:200]))


def _add_reference_routes(app: FastAPI, service: Service) -> None:
    @app.get("/", response_class=HTMLResponse, tags=["reference"])
    async def hello() -> str:
        """As the reference's server greets."""
        return "Hello, World!"

    # The reference's Flask answers these by itself.
    @app.head("/", include_in_schema=False)
    async def head() -> Response:
        return Response(media_type="text/html")

    @app.options("/", include_in_schema=False)
    async def options() -> Response:
        return Response(headers={"Allow": "GET, HEAD, OPTIONS"})

    @app.options("/query", include_in_schema=False)
    async def query_options() -> Response:
        return Response(headers={"Allow": "OPTIONS, POST"})

    @app.post("/query", response_model=QueryReply, responses=_FAILURES, tags=["reference"])
    async def query(body: QueryRequest, request: Request) -> Any:
        """The reference's contract: pictures and a text in, the model's text out."""
        answer, used = await service.query(body, _client(request), _gone(request))
        more: dict[str, Any] = {} if used is None else {"depth_used": used}
        if body.tell_model == 1:
            more["model"] = service.pointer.name
        return JSONResponse({"result": 1, "answer": answer, **more})


def _add_typed_routes(app: FastAPI, service: Service) -> None:
    @app.post("/v1/point", response_model=PointReply, responses=_FAILURES, tags=["typed"])
    async def point(body: PointRequest, request: Request) -> Any:
        """Point at what the instruction names; with depth and intrinsics, in 3D.

        A reply without points (see its `error`) means that the model named none; a point without
        a position (see the point's `error`) could not be lifted.
        """
        reply = await service.point(body, _client(request), _gone(request))
        return Response(reply.model_dump_json(), media_type="application/json")


def _add_openai_routes(app: FastAPI, service: Service) -> None:
    model = service.pointer.name
    row = {"id": model, "object": "model", "created": 0, "owned_by": "roborefer_ros"}

    @app.get("/v1/models", tags=["openai"])
    async def models() -> dict[str, Any]:
        """The one model."""
        return {"object": "list", "data": [row]}

    @app.get("/v1/models/{name:path}", responses={404: {"model": ErrorReply}}, tags=["openai"])
    async def one_model(name: str) -> dict[str, Any]:
        """The same, asked for by its name."""
        if name != model:
            raise HttpError(404, f"this server serves {model} only", param="model")
        return row

    @app.post(
        "/v1/chat/completions",
        responses={
            **_FAILURES,
            200: {
                "description": "The completion; events of its pieces with `stream`.",
                "content": {"application/json": {}, "text/event-stream": {}},
            },
            404: {**_FAILURES[400], "description": "Another model's name."},
        },
        tags=["openai"],
    )
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        """Image and text in, text out, at once or streamed."""
        chat.check_supported(body, service.pointer.model.can_sample)
        if body.model and body.model != model:
            raise HttpError(404, f"this server serves {model} only", param="model")
        client, gone = _client(request), _gone(request)
        if not body.stream:
            answer = await chat.answer_at_once(service, body, client, gone)
            return JSONResponse(chat.completion(model, answer))
        events = chat.stream(service, body, client, gone, model)
        first = await anext(events)
        return StreamingResponse(_chained(first, events), media_type="text/event-stream")


def _add_operation_routes(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", response_model=Health, tags=["operation"])
    async def healthz() -> Any:
        """Whether the process should be left alone: 503 when the model's thread has died."""
        alive = service.scheduler.alive
        return JSONResponse({"status": "ok" if alive else "dead"}, 200 if alive else 503)

    @app.get("/readyz", response_model=Health, tags=["operation"])
    async def readyz() -> Any:
        """Whether new requests should be sent here: 503 while shutting down."""
        ready = service.scheduler.alive and not app.state.draining
        return JSONResponse({"status": "ready" if ready else "draining"}, 200 if ready else 503)

    @app.get("/metrics", response_class=Response, tags=["operation"])
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


def _add_page(app: FastAPI) -> None:
    text, headers = page()

    @app.get("/ui", response_class=HTMLResponse, include_in_schema=False)
    async def ui() -> Response:
        return HTMLResponse(text, headers=headers)


def _client(request: Request) -> Client:
    host = request.client.host if request.client else None
    return client_of(host, request.headers.get("x-client-id", ""))


def _gone(request: Request) -> Disconnected:
    """Ends when the client closes its connection."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    return gone


async def _chained(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for event in rest:
        yield event
