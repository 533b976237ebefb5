# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the OpenAPI document says beyond the types: this server's limits, and its token."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from roborefer_ros.pointing.prompts import POINT_SUFFIX
from roborefer_ros.server.request_guard import OPEN_ROUTES
from roborefer_ros.server.settings import MIB, Limits, Settings

_ERROR_REPLY = {"$ref": "#/components/schemas/ErrorReply"}


def complete_document(app: FastAPI, settings: Settings) -> None:
    """Let ``/openapi.json`` tell the limits and, where one is asked for, the token."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            _add_limits(document, settings.limits)
            if settings.token:
                _add_token(document)
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _add_limits(document: dict[str, Any], limits: Limits) -> None:
    document["info"]["description"] += (
        f"\n\nLimits of a request: a body of {limits.body_bytes / MIB:g} MiB within "
        f"{limits.body_s:g} s, {limits.images} pictures of {limits.pixels / 1e6:g} megapixels, "
        f"{limits.instruction_characters} characters of instruction, {limits.new_tokens} tokens "
        f"of answer, {limits.timeout_s:g} s in all. Beyond them: 413, 408, 422, an answer that "
        "is cut off, 504."
    )
    schemas = document["components"]["schemas"]
    # A blank instruction is refused, so the document asks for a character that is none.
    schemas["PointRequest"]["properties"]["instruction"] |= {
        "maxLength": limits.instruction_characters,
        "pattern": r"\S",
    }
    fields = schemas["QueryRequest"]["properties"]
    fields["text"]["maxLength"] = limits.instruction_characters + len(POINT_SUFFIX)
    for name in ("image_url", "depth_url"):
        fields[name]["maxItems"] = limits.images


def _add_token(document: dict[str, Any]) -> None:
    components = document["components"]
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if path not in OPEN_ROUTES:
                operation["security"] = [{"bearer": []}]
                operation["responses"]["401"] = {
                    "description": "The bearer token is missing or wrong.",
                    "content": {"application/json": {"schema": _ERROR_REPLY}},
                }
