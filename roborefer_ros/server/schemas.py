# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The bodies of requests and replies, as OpenAPI documents them."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from roborefer_ros.answer_policy import AnswerPolicy
from roborefer_ros.errors import InvalidGoalError
from roborefer_ros.pointing.region import Region
from roborefer_ros.server import examples
from roborefer_ros.types import Mode

#: named "image-base64" so that generated clients and test data know what is meant
Base64Image = Annotated[
    str,
    Field(
        min_length=1,
        description="A PNG, JPEG, WebP or BMP file as base64, or as a data URI.",
        json_schema_extra={"format": "image-base64"},
    ),
]
#: pictures of the reference's contract: checked where they are decoded
ImageText = Annotated[str, Field(json_schema_extra={"format": "image-base64"})]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0.5, le=3600, allow_inf_nan=False)]

#: no body that is documented is nested deeper than half of it
_MAX_DEPTH = 16

_HALF = "holds half a surrogate pair, which is no character; send whole characters"

MODES = {"auto": Mode.AUTO, "object": Mode.OBJECT, "free_space": Mode.FREE_SPACE}


class _Typed(BaseModel):
    """What is sent has the types of the document: no "5" for 5, no true for 1."""

    model_config = ConfigDict(strict=True)


class _Body(_Typed):
    """The body of a request: its texts are whole characters, its names as well.

    JSON can hold half a surrogate pair, as clients send that cut texts by UTF-16 units; nothing
    behind this can write, tokenise or send it.
    """

    @model_validator(mode="before")
    @classmethod
    def _check_characters(cls, body: Any) -> Any:
        fault = _fault_in(body, "")
        if fault is not None:
            raise PydanticCustomError("unreadable", "{fault}", {"fault": fault})
        return body


class _Strict(_Typed):
    """And no fields but those: a misspelt one is told, not ignored."""

    model_config = ConfigDict(extra="forbid")


def _fault_in(value: Any, where: str, depth: int = 0) -> str | None:
    """What is wrong with the texts of a body, and where; None when nothing is."""
    name = where or "the body"
    if isinstance(value, str):
        return f"{name} {_HALF}" if _is_broken(value) else None
    if not isinstance(value, (dict, list)):
        return None
    if depth >= _MAX_DEPTH:
        return f"{name} is nested more than {_MAX_DEPTH} deep"
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in pairs:
        if isinstance(key, str) and _is_broken(key):
            return f"the name of a field of {name} {_HALF}"
        fault = _fault_in(item, f"{where}.{key}"[-200:].lstrip("."), depth + 1)
        if fault is not None:
            return fault
    return None


def _is_broken(text: str) -> bool:
    if text.isascii():  # pictures, at no cost
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


# --- the reference's contract ----------------------------------------------------------


class QueryRequest(_Body):
    """The four fields of the reference's server, and one; others are ignored, as it does."""

    model_config = ConfigDict(json_schema_extra={"examples": examples.QUERY})

    image_url: list[ImageText] = Field([], description="Image files as base64, despite the name.")
    depth_url: list[ImageText] = Field([], description="Relative depth pictures as base64.")
    enable_depth: Any = Field(0, description="Depth is used when this equals 1.")
    text: str = Field("", description="What the user says, with the request for points.")
    tell_model: Any = Field(
        0, description="The reply names the model when this equals 1; not of the reference."
    )


#: where the model's depth picture came from
DepthUsed = Literal["none", "given", "metric", "network"]

_DEPTH_USED = (
    "The model's depth picture: none, given (sent), metric (made from the depth that was sent), "
    "or network (made from RGB by this server's depth network)."
)


class QueryReply(BaseModel):
    """What the reference's server replies, and which depth picture the model saw."""

    result: Literal[1] = 1
    answer: str
    depth_used: DepthUsed | None = Field(
        None, description=_DEPTH_USED + " Left out unless enable_depth is 1."
    )
    model: str | None = Field(
        None, description="Spec of the model. Left out unless tell_model is 1."
    )


# --- the typed API ---------------------------------------------------------------------


class DepthInput(_Strict):
    """Metric depth, aligned with the image pixel by pixel."""

    data: str = Field(
        min_length=1, description="base64.", json_schema_extra={"format": "depth-base64"}
    )
    encoding: Literal["png16", "float32"] = Field(
        "png16",
        description="png16: a 16-bit grey PNG file in units of unit_m. float32: rows of "
        "little-endian floats in metres (width x height x 4 bytes). 0, NaN, infinite and "
        "negative readings are holes.",
    )
    unit_m: float = Field(
        0.001, gt=0, le=1, allow_inf_nan=False, description="Metres per unit of a png16."
    )


class Intrinsics(_Strict):
    """Pinhole camera, in pixels; pixel centres lie at integer coordinates."""

    fx: float = Field(gt=0, le=1e6, allow_inf_nan=False)
    fy: float = Field(gt=0, le=1e6, allow_inf_nan=False)
    cx: float = Field(ge=-1e6, le=1e6, allow_inf_nan=False)
    cy: float = Field(ge=-1e6, le=1e6, allow_inf_nan=False)
    distortion_model: Literal["", "plumb_bob", "rational_polynomial", "equidistant"] = ""
    distortion: list[Finite] = Field(
        [], max_length=64, description="Zeros behind the coefficients of the model are ignored."
    )


class PointRequest(_Body, _Strict):
    """A picture, an instruction, and what is known about depth."""

    model_config = ConfigDict(json_schema_extra={"examples": examples.POINT})

    image: Base64Image
    instruction: str = Field(min_length=1, description='E.g. "the red mug left of the box".')
    depth: DepthInput | None = Field(None, description="Needs intrinsics; points become 3D.")
    intrinsics: Intrinsics | None = None
    relative_depth: Base64Image | None = Field(
        None,
        description="The model's depth picture (8 bit, near = bright). Without it one is made "
        "from depth.",
    )
    mode: Literal["auto", "object", "free_space"] = "auto"
    max_points: int = Field(0, ge=0, le=1000, description="0 keeps all.")
    think: Literal["auto", "on", "off"] = Field(
        "auto", description="Ask for reasoning steps, which takes longer; auto: as the server says."
    )
    timeout_s: Seconds | None = Field(None, description="The server's own limit holds as well.")
    up: list[Finite] | None = Field(
        None,
        min_length=3,
        max_length=3,
        description="Direction against gravity in the camera's optical frame (a level camera: "
        "0, -1, 0). Placing with depth needs it: a wall could be taken for a table.",
    )
    placing_without_up: Literal["refuse", "flag"] = Field(
        "refuse",
        description="Placing with depth where up is not sent: refuse (422, 2566), or flag the "
        "points UP_UNKNOWN with a confidence below 0.5.",
    )
    min_confidence: Share = Field(0.0, description="Points below it are rejected (2568).")
    min_model_confidence: Share = Field(
        0.0, description="Points that the model itself trusts less are rejected (2553)."
    )
    accept_partial: bool = Field(
        False, description="Later points are an answer although the first one was rejected."
    )
    region: list[Share] = Field(
        [],
        max_length=512,
        description="Points outside are rejected (2554): x_min, y_min, x_max, y_max over the "
        "image's edges, or x, y of each corner of a polygon. Empty: the whole image.",
    )
    crop_to_region: bool = Field(
        False,
        description="Show the model the region's bounding rectangle only; points come back over "
        "the whole image.",
    )

    def up_direction(self) -> tuple[float, float, float] | None:
        """Unit vector against gravity in the camera's frame; None where it was not sent.

        Raises:
            InvalidGoalError: it has no direction.
        """
        if self.up is None:
            return None
        length = math.hypot(*self.up)
        if not 1e-6 < length < 1e6:
            raise InvalidGoalError(
                f"up {self.up} has no direction; send the direction against gravity in the "
                "camera's optical frame, such as [0, -1, 0] for a level camera"
            )
        x, y, z = (value / length for value in self.up)
        return (x, y, z)


def policy_of(body: PointRequest) -> AnswerPolicy:
    """The rules that a request sets.

    Raises:
        InvalidGoalError: the region is none.
    """
    return AnswerPolicy(
        max_points=body.max_points,
        min_confidence=body.min_confidence,
        min_model_confidence=body.min_model_confidence,
        accept_partial=body.accept_partial,
        placing_without_up=body.placing_without_up,
        region=Region.from_numbers(body.region),
        crop_to_region=body.crop_to_region,
        how_to_tell_up=(
            "Send up, the direction against gravity in the camera's optical frame ([0, -1, 0] for "
            "a level camera); placing_without_up flag answers all the same, flagged and below 0.5"
        ),
    )


class ErrorBody(BaseModel):
    """Why something failed."""

    code: int | None = Field(description="Number of the error (docs/errors.md); null: HTTP's own.")
    name: str
    type: str
    message: str
    param: str | None = None
    answer: str | None = Field(None, description="What the model had said, if it had.")


class ErrorReply(BaseModel):
    """Every reply that is not 2xx."""

    error: ErrorBody


class Position(BaseModel):
    """A point in the camera's optical frame: x right, y down, z forward; metres."""

    xyz_m: tuple[float, float, float]
    orientation_xyzw: tuple[float, float, float, float] = Field(
        description="Approach orientation; its x axis points into the surface."
    )
    covariance: list[float] = Field(description="6x6 of (x, y, z, rot_x, rot_y, rot_z), row-major.")


class Point(BaseModel):
    """One point of the answer."""

    x: float = Field(description="0 to 1 over the image's width.")
    y: float = Field(description="0 to 1 over the image's height.")
    u: float = Field(description="Pixel column; 0 is the centre of the first.")
    v: float = Field(description="Pixel row.")
    confidence: float | None = Field(
        None,
        description="How likely the point lies on the right thing at the right place, 0 to 1; act "
        "on 0.5 or more. Without depth: of the 2D point. Null: nothing is known, or see error.",
    )
    model_confidence: float | None = Field(
        None, description="The model's trust in its 2D point; null: it tells none."
    )
    geometry_confidence: float | None = Field(
        None, description="Trust in the position, if the 2D point is right; null: no position."
    )
    flags: list[str] = Field([], description="Reasons for less trust (FLAG_* of ReferredPoint).")
    position: Position | None = Field(None, description="Null without depth and intrinsics.")
    error: ErrorBody | None = Field(None, description="Why the point was rejected.")


class RejectedPoint(BaseModel):
    """A point of the answer that was rejected, and why."""

    x: float
    y: float
    u: float
    v: float
    model_confidence: float | None = None
    error: ErrorBody


class Step(BaseModel):
    """One step that the model thought of before its answer."""

    type: Literal["position", "orientation", "size"]
    target: str = Field(description="What the step is about, in the model's words.")
    value: list[float] = Field(
        description="position: x, y over the image's edges. orientation: unit vector in the "
        "camera's optical frame. size: metres."
    )


class PointReply(BaseModel):
    """What the model pointed at."""

    model_config = ConfigDict(json_schema_extra={"examples": examples.POINT_REPLY})

    points: list[Point] = Field(
        description="All, in the order of the answer; those with an error are no answer."
    )
    rejected_points: list[RejectedPoint] = Field(
        [], description="Those of them that could not be lifted or broke a rule of the request."
    )
    answer: str = Field(description="The model's text.")
    reasoning: str = Field("", description="What the model thought before; empty if nothing.")
    steps: list[Step] = Field([], description="The steps in it.")
    mode: Literal["object", "free_space"] = Field(description="What was looked for.")
    mode_reason: str = Field(description="The words that decided it, or that it was asked for.")
    warnings: list[str] = Field(
        description="TWO_STEPS: the instruction holds two actions; only the first was answered. "
        "DEMO_MODEL: the bundled demonstration network answered, which knows toy scenes only."
    )
    error: ErrorBody | None = Field(
        None,
        description="Why this is no answer: there is no point, or the first one was rejected "
        "(unless accept_partial).",
    )
    model: str
    width: int = Field(description="Of the image after EXIF orientation, pixels.")
    height: int
    timings_s: dict[str, float] = Field(description="Seconds per stage.")
    depth_used: DepthUsed | None = Field(None, description=_DEPTH_USED)


# --- OpenAI's API ----------------------------------------------------------------------


class _ImageUrl(_Typed):
    url: str = Field(
        description="A data URI with base64; links are refused.",
        json_schema_extra={"format": "image-data-uri"},
    )


class _TextPart(_Typed):
    type: Literal["text"]
    text: str


class _ImagePart(_Typed):
    type: Literal["image_url"]
    image_url: _ImageUrl


ContentPart = Annotated[_TextPart | _ImagePart, Field(discriminator="type")]


class ChatMessage(_Typed):
    """One message; the model reads a single turn."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[ContentPart]


class StreamOptions(_Typed):
    """Of a streamed reply."""

    include_usage: bool = False


class ResponseFormat(_Typed):
    """Text is the one that can be had."""

    type: Literal["text", "json_object", "json_schema"]


class ChatRequest(_Body):
    """The part of OpenAI's request that a pointing model can honour; the rest is ignored."""

    model_config = ConfigDict(json_schema_extra={"examples": examples.CHAT})

    model: str = ""
    messages: list[ChatMessage] = Field(min_length=1, max_length=64)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: Finite | None = Field(
        None, ge=0, le=2, description="0, and if it is left out: greedy, as pointing should be."
    )
    top_p: Finite | None = Field(None, ge=0, le=1, description="Samples need 1.")
    seed: int | None = Field(None, ge=-(2**63), lt=2**63, description="Of the samples.")
    stop: str | list[str] | None = None
    response_format: ResponseFormat | None = None
    n: int | None = Field(1, ge=1)
    tools: list[Any] | None = None
    logprobs: bool | None = Field(False, description="Accepted; the reply holds none.")


class Health(BaseModel):
    """Whether the server lives or takes requests."""

    status: str
