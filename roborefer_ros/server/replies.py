# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Numbered errors as HTTP replies.

One shape for all routes: ``{"error": {"code", "name", "type", "message", "answer"}}``, which
OpenAI's clients understand as well.
"""

from __future__ import annotations

from typing import Any

from fastapi.responses import JSONResponse

from roborefer_ros import errors
from roborefer_ros.errors import RoboReferError
from roborefer_ros.inference import device

#: number -> status; what is not named here is 422 (request, camera data, lifting) or 500
_STATUS: dict[type[RoboReferError], int] = {
    errors.UnknownError: 500,
    errors.QueueFullError: 429,
    errors.CanceledError: 499,
    errors.DeadlineExceededError: 504,
    errors.ShuttingDownError: 503,
    errors.NodeInactiveError: 503,
    errors.UnsupportedEncodingError: 415,
    errors.ModelOutOfMemoryError: 503,
    errors.NoPointInAnswerError: 422,
    errors.PointOutsideImageError: 422,
    errors.DepthNetworkRequiredError: 422,
    errors.BackendUnreachableError: 502,
    errors.BackendTimeoutError: 504,
    errors.BackendRejectedError: 502,
    errors.BackendFailedError: 502,
    errors.BackendBadReplyError: 502,
}


class HttpError(Exception):
    """A refusal that has no number: it concerns HTTP, not pointing.

    Args:
        status: HTTP status of the reply.
        message: Description of what happened and what to do.
        headers: Headers of the reply, besides the usual ones.
        param: the field that is refused.
    """

    def __init__(
        self, status: int, message: str, headers: dict[str, str] | None = None, param: str = ""
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.param = param


def status_of(error: RoboReferError) -> int:
    """The HTTP status of a numbered error."""
    if type(error) in _STATUS:
        return _STATUS[type(error)]
    return 500 if error.code < 2501 or 2540 <= error.code < 2560 else 422


def public_error(error: Exception) -> RoboReferError:
    """The numbered error that clients are told.

    What a model raised is not repeated: it can quote what another client sent.
    """
    if isinstance(error, errors.ModelFailedError) and error.__cause__ is not None:
        return errors.ModelFailedError(_failed(error.__cause__))
    if isinstance(error, RoboReferError) or device.is_out_of_memory(error):
        return device.numbered(
            error,
            "the server keeps running. Send smaller or fewer pictures, or start the server with a "
            "smaller --max-batch",
        )
    return errors.ModelFailedError(_failed(error))


def _failed(cause: BaseException) -> str:
    return f"the model failed ({type(cause).__name__}); see the server's log"


def error_body(error: RoboReferError) -> dict[str, Any]:
    """What the reply says about a numbered error."""
    return _body(
        status_of(error),
        error.code,
        type(error).__name__.removesuffix("Error"),
        str(error),
        answer=error.answer or None,
    )


def numbered_reply(error: RoboReferError, retry_after_s: float = 1.0) -> JSONResponse:
    """The reply to a request that failed with a numbered error."""
    status = status_of(error)
    headers = {}
    if status in (429, 503):
        headers["Retry-After"] = str(max(1, round(retry_after_s)))
    return JSONResponse({"error": error_body(error)}, status, headers)


def http_reply(error: HttpError) -> JSONResponse:
    """The reply to a request that HTTP itself refuses."""
    return JSONResponse(http_body(error), error.status, error.headers)


def http_body(error: HttpError) -> dict[str, Any]:
    """What that reply says."""
    return {"error": _body(error.status, None, "", str(error), param=error.param or None)}


def _body(
    status: int,
    code: int | None,
    name: str,
    message: str,
    *,
    answer: str | None = None,
    param: str | None = None,
) -> dict[str, Any]:
    return {
        "code": code,
        "name": name or f"Http{status}",
        "type": "invalid_request_error" if status < 500 else "server_error",
        "message": _whole(message),
        "param": None if param is None else _whole(param),
        "answer": None if answer is None else _whole(answer),
    }


def _whole(text: str) -> str:
    """Texts may quote what was sent; half surrogate pairs in it cannot be sent back."""
    return text.encode("utf-8", "replace").decode("utf-8")
