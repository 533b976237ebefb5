# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer query``: ask a server about an image file.

Without depth, or with the model's kind of depth picture (8 bit), it speaks the reference's
contract and so works with the reference's server as well; with metric depth (16-bit PNG) or with
rules for the points (``--min-confidence``, ``--region`` ...) it asks this package's ``/v1/point``.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from roborefer_ros.arguments import (
    ArgumentParser,
    add_point_rules,
    add_think,
    exit_status,
    finite_float,
    fraction,
    positive_float,
)
from roborefer_ros.errors import ConfigurationError, InvalidPointerSpecError, RoboReferError
from roborefer_ros.files import read_bytes
from roborefer_ros.image_files import FILE_LIMIT
from roborefer_ros.inference.http_session import HttpLimits, HttpSession, api_key, parse_json
from roborefer_ros.pipeline import pixel_from_normalised
from roborefer_ros.pointing.factory import open_pointer
from roborefer_ros.pointing.families import thoughts_of
from roborefer_ros.pointing.mode import InstructionReading, read_instruction
from roborefer_ros.pointing.reasoning import read_steps
from roborefer_ros.server.pictures import decode_grey, decode_rgb
from roborefer_ros.server.settings import DEFAULT_PORT
from roborefer_ros.types import Mode, Think

#: told apart also by the colour-blind, and seen on any picture with its white rim
_MARK = "#D55E00"

#: what a marked picture can be written as
_WRITTEN = (".jpg", ".jpeg", ".png", ".webp")

_MAX_PIXELS = 100_000_000


@dataclass(frozen=True)
class QueryPoint:
    """One point: normalised, and in space where that was asked for.

    Attributes:
        x, y: Over the image's edges.
        xyz_m: In the camera's frame; None where it was not lifted.
        problem, number: Why it was rejected; empty and None where it was not.
        confidence, model_confidence, geometry_confidence: As in ``/v1/point``; None where unknown.
        flags: Reasons for less trust.
    """

    x: float
    y: float
    xyz_m: tuple[float, float, float] | None = None
    problem: str = ""
    number: int | None = None
    confidence: float | None = None
    model_confidence: float | None = None
    geometry_confidence: float | None = None
    flags: tuple[str, ...] = ()


def main(argv: Sequence[str] | None = None) -> int:
    """Ask; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(argv)
    options.instruction = " ".join(options.instruction)
    if not options.instruction.strip():
        parser.error('the instruction is empty; say what to find, e.g. "the red mug"')
    try:
        _parts(options.url)
        if options.out is not None:
            _check_out(options.out)
        rgb = decode_rgb(_read(options.image), _MAX_PIXELS, str(options.image)).pixels
        answer, points = _ask(options, rgb)
    except RoboReferError as error:
        print(f"roborefer query: {error}", file=sys.stderr)
        return exit_status(error)
    except OSError as error:
        return _complain(error)
    reading = read_instruction(options.instruction, Mode[options.mode.upper()])
    _print(options, answer, reading, points, rgb.shape[1], rgb.shape[0])
    if options.out is not None:
        try:
            mark(rgb, points).save(options.out, quality=95)
        except OSError as error:
            return _complain(error)
        print(f"wrote {options.out}", file=sys.stderr)
    return 0 if any(not point.problem for point in points) else 1


def _complain(error: OSError) -> int:
    print(f"roborefer query: {error.filename}: {error.strerror or error}", file=sys.stderr)
    return 1


def _check_out(path: Path) -> None:
    """Before a model is asked.

    Raises:
        ConfigurationError: the marked picture could not be written.
    """
    if path.suffix.lower() not in _WRITTEN:
        raise ConfigurationError(f"--out {path} must end in one of {', '.join(_WRITTEN)}")
    if not path.parent.is_dir():
        raise ConfigurationError(f"--out {path}: there is no folder {path.parent}; make it first")


def mark(rgb: npt.NDArray[np.uint8], points: Sequence[QueryPoint]) -> Image.Image:
    """The picture with a ring and a number at each point."""
    image = Image.fromarray(rgb)
    draw = ImageDraw.Draw(image)
    radius = max(5, round(min(image.size) / 60))
    for number, point in enumerate(points, 1):
        (u, v), _ = pixel_from_normalised((point.x, point.y), *image.size)
        for grow, colour in ((2, "white"), (0, _MARK)):
            r = radius + grow
            draw.ellipse((u - r, v - r, u + r, v + r), outline=colour, width=3 + grow)
        draw.ellipse((u - 2, v - 2, u + 2, v + 2), fill=_MARK)
        if len(points) > 1:
            draw.text(
                (u + radius + 4, v - radius),
                str(number),
                fill=_MARK,
                stroke_width=2,
                stroke_fill="white",
            )
    return image


def _ask(options: argparse.Namespace, rgb: npt.NDArray[np.uint8]) -> tuple[str, list[QueryPoint]]:
    depth = None if options.depth is None else _read(options.depth)
    is_metric = depth is not None and _is_sixteen_bit(depth)
    if options.intrinsics and not is_metric:
        raise ConfigurationError(
            "--intrinsics needs metric depth: a 16-bit PNG with --depth (--unit-m per unit)"
        )
    if is_metric or _rules(options):
        return _ask_typed(options, depth, is_metric)
    grey = None if depth is None else decode_grey(depth, _MAX_PIXELS, str(options.depth)).pixels
    if grey is not None and grey.shape != rgb.shape[:2]:
        raise ConfigurationError(
            f"{options.depth} is {grey.shape[1]}x{grey.shape[0]}, {options.image} "
            f"{rgb.shape[1]}x{rgb.shape[0]}; the depth picture must be aligned with the image"
        )
    pointer = open_pointer(f"roborefer-http:{_source(options, grey is not None)}")
    try:
        think = Think[options.think.upper()]
        answer = pointer.point(rgb, grey, options.instruction, think=think)
    finally:
        pointer.close()
    return answer.text, [QueryPoint(x, y) for x, y in answer.points]


def _rules(options: argparse.Namespace) -> dict[str, Any]:
    """The fields of ``/v1/point`` that the reference's contract has none for."""
    names = (
        "up",
        "min_confidence",
        "min_model_confidence",
        "accept_partial",
        "region",
        "crop_to_region",
    )
    return {name: getattr(options, name) for name in names if getattr(options, name)}


def _ask_typed(
    options: argparse.Namespace, depth: bytes | None, is_metric: bool
) -> tuple[str, list[QueryPoint]]:
    """``/v1/point``: metric depth makes points 3D, other depth is shown to the model."""
    body: dict[str, Any] = {
        "image": base64.b64encode(_read(options.image)).decode(),
        "instruction": options.instruction,
        "mode": options.mode,
        **({} if options.think == "auto" else {"think": options.think}),
        **_rules(options),
    }
    if depth is not None and is_metric:
        body["depth"] = {"data": base64.b64encode(depth).decode(), "unit_m": options.unit_m}
    elif depth is not None:
        body["relative_depth"] = base64.b64encode(depth).decode()
    if options.intrinsics:
        body["intrinsics"] = dict(zip(("fx", "fy", "cx", "cy"), options.intrinsics, strict=True))
    parts = _parts(options.url)
    server = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
    session = HttpSession(server, key=api_key(), limits=HttpLimits(total_s=options.timeout_s))
    try:
        reply = parse_json(session.exchange("POST", "/v1/point", body), server)
    finally:
        session.close()
    if reply["error"]:
        print(f"roborefer query: {reply['error']['message']}", file=sys.stderr)
    for warning in reply["warnings"]:
        print(f"roborefer query: {_WARNINGS.get(warning, warning)}", file=sys.stderr)
    return reply["answer"], [_found(point) for point in reply["points"]]


#: what the warnings of a reply mean
_WARNINGS = {
    "TWO_STEPS": "the instruction holds two actions; this is for the first",
    "DEMO_MODEL": "the bundled demonstration network answered, which knows simulated scenes only",
}


def _found(point: dict[str, Any]) -> QueryPoint:
    position, error = point.get("position"), point.get("error")
    return QueryPoint(
        point["x"],
        point["y"],
        tuple(position["xyz_m"]) if position else None,
        error["message"] if error else "",
        error["code"] if error else None,
        point.get("confidence"),
        point.get("model_confidence"),
        point.get("geometry_confidence"),
        tuple(point.get("flags", ())),
    )


def _source(options: argparse.Namespace, has_depth: bool) -> str:
    """The options of ``roborefer-http:``."""
    parts = _parts(options.url)
    depth = "given" if has_depth else "server" if options.depth_on_server else "none"
    port = parts.port or (443 if parts.scheme == "https" else DEFAULT_PORT)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    tls = "true" if parts.scheme == "https" else "false"
    return f"//{host}:{port}?depth={depth}&timeout_s={options.timeout_s:g}&tls={tls}"


def _parts(url: str) -> Any:
    parts = urlsplit(url if "//" in url else f"http://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidPointerSpecError(f"{url!r} is no address like http://127.0.0.1:25547")
    return parts


def _is_sixteen_bit(data: bytes) -> bool:
    """Of a PNG: its bit depth is the byte 24."""
    return data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) > 25 and data[24] == 16


def _read(path: Path) -> bytes:
    return read_bytes(path, FILE_LIMIT)


def _print(
    options: argparse.Namespace,
    answer: str,
    reading: InstructionReading,
    points: Sequence[QueryPoint],
    width: int,
    height: int,
) -> None:
    mode = reading.mode.name.lower()
    steps = read_steps(thoughts_of(answer))
    if options.json:
        rows = [_row(point, width, height) for point in points]
        reply = {
            "answer": answer,
            "steps": [
                {"type": s.kind.lower(), "target": s.target, "value": list(s.value)} for s in steps
            ],
            "mode": mode,
            "mode_reason": reading.reason,
            "points": rows,
            "rejected_points": [row for row in rows if row["error"]],
        }
        print(json.dumps(reply))
        return
    print(f"answer: {answer}")
    print(f"mode: {mode} ({reading.reason})")
    for step in steps:
        print(f"step: {step}")
    for point in points:
        (u, v), _ = pixel_from_normalised((point.x, point.y), width, height)
        line = f"point ({point.x:.3f}, {point.y:.3f}) = pixel ({u:.1f}, {v:.1f})"
        if point.xyz_m is not None:
            line += " = ({:.3f}, {:.3f}, {:.3f}) m in the camera".format(*point.xyz_m)
        if point.confidence is not None:
            parts = (("model", point.model_confidence), ("geometry", point.geometry_confidence))
            told = ", ".join(
                f"{name} {'unknown' if value is None else f'{value:.2f}'}" for name, value in parts
            )
            line += f"; confidence {point.confidence:.2f} ({told})"
        if point.flags:
            line += f"  {', '.join(point.flags)}"
        print(
            line + (f": rejected, error {point.number}: {point.problem}" if point.problem else "")
        )


def _row(point: QueryPoint, width: int, height: int) -> dict[str, Any]:
    (u, v), _ = pixel_from_normalised((point.x, point.y), width, height)
    return {
        "x": point.x,
        "y": point.y,
        "u": u,
        "v": v,
        "xyz_m": point.xyz_m,
        "confidence": point.confidence,
        "model_confidence": point.model_confidence,
        "geometry_confidence": point.geometry_confidence,
        "flags": list(point.flags),
        "error": point.problem or None,
        "error_code": point.number,
    }


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="roborefer query",
        description="Ask a server (roborefer serve, or the reference's) about an image.",
        epilog="The variable ROBOREFER_API_KEY holds the server's token, if it wants one.",
    )
    parser.add_argument("image", type=Path, help="PNG, JPEG, WebP or BMP file")
    parser.add_argument("instruction", nargs="+", help='e.g. "the red mug left of the box"')
    parser.add_argument(
        "--depth",
        type=Path,
        help="8-bit relative depth picture (near = bright), or 16-bit PNG of metric depth",
    )
    parser.add_argument(
        "--unit-m", type=positive_float, default=0.001, help="metres per unit of 16-bit depth"
    )
    parser.add_argument(
        "--intrinsics",
        type=finite_float,
        nargs=4,
        metavar=("FX", "FY", "CX", "CY"),
        help="of the camera, pixels: with metric depth the points become 3D",
    )
    parser.add_argument(
        "--depth-on-server", action="store_true", help="the server makes the depth picture"
    )
    parser.add_argument(
        "--mode",
        choices=[mode.name.lower() for mode in Mode],
        default="auto",
        help="a thing, or a free spot to place on; auto: the words decide",
    )
    add_think(parser)
    parser.add_argument(
        "--up",
        type=finite_float,
        nargs=3,
        metavar=("X", "Y", "Z"),
        help="direction against gravity in the camera's optical frame (level camera: 0 -1 0); "
        "needed to place with metric depth",
    )
    parser.add_argument(
        "--min-confidence", type=fraction, default=0.0, help="[0, 1]; reject points below it"
    )
    parser.add_argument(
        "--min-model-confidence", type=fraction, default=0.0, help="[0, 1]; of the model alone"
    )
    add_point_rules(parser)
    parser.add_argument("--url", default=f"http://127.0.0.1:{DEFAULT_PORT}")
    parser.add_argument("--timeout-s", type=positive_float, default=60.0)
    parser.add_argument("--out", type=Path, help="write the picture with the points marked")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser
