# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer refer "the red mug"``: ask a running node from a shell."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from roborefer_ros.arguments import (
    ArgumentParser,
    add_point_rules,
    add_think,
    fraction,
    non_negative_float,
    non_negative_int,
)
from roborefer_ros.errors import RoboReferError
from roborefer_ros.types import Mode, PointFlag, ResultWarning, Think

#: after which a wait for the node is told, seconds; discovery can take 3
_SILENT_WAIT_S = 3.5

#: of ReasoningStep.msg
_KINDS = {1: "position", 2: "orientation", 3: "size"}

_STATES = ("waits in the queue", "waits for a frame", "asks the model", "lifts", "transforms")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    from roborefer_ros.client import DEFAULT_ACTION, ReferPointClient

    parser = ArgumentParser(
        prog="roborefer refer", description="Ask a running node; prints the targets' positions."
    )
    parser.add_argument("instruction", nargs="+", help='what to find, e.g. "the red mug"')
    parser.add_argument(
        "--mode",
        choices=[m.name.lower() for m in Mode],
        default="auto",
        help="a thing, or a free spot to place on; auto: the words decide",
    )
    parser.add_argument("--target-frame", default="", help="of the poses; default: the node's")
    parser.add_argument("--max-points", type=non_negative_int, default=0, help="0 keeps all")
    parser.add_argument(
        "--timeout", type=non_negative_float, default=0.0, help="[s]; 0: the node's"
    )
    parser.add_argument(
        "--min-confidence", type=fraction, default=0.0, help="[0, 1]; 0: the node's parameter"
    )
    add_point_rules(parser)
    add_think(parser)
    parser.add_argument("--action", default=DEFAULT_ACTION, help="name of the action")
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    arguments = parser.parse_args(argv)
    try:
        with ReferPointClient(arguments.action) as client:
            if not client.wait_for_server(_SILENT_WAIT_S):
                print(f"waiting for {client.action_name} ...", file=sys.stderr)
            result = client.refer(
                " ".join(arguments.instruction),
                mode=Mode[arguments.mode.upper()],
                target_frame=arguments.target_frame,
                max_points=arguments.max_points,
                timeout_s=arguments.timeout,
                on_feedback=_Progress(),
                min_confidence=arguments.min_confidence,
                accept_partial=arguments.accept_partial,
                region=arguments.region,
                crop_to_region=arguments.crop_to_region,
                think=int(Think[arguments.think.upper()]),
            )
    except RoboReferError as error:
        if arguments.json:
            print(json.dumps({"error_code": error.code, "error_msg": str(error)}))
        print(f"error {error.code}: {error}", file=sys.stderr)
        if error.answer:
            print(f"the model said: {error.answer}", file=sys.stderr)
        return 1
    rows = [_row(point) for point in result.points]
    if arguments.json:
        timings = {timing.stage: timing.duration for timing in result.timings}
        reply = {
            "error_code": 0,
            "answer": result.answer,
            "reasoning": result.reasoning,
            "steps": [
                {"type": _KINDS[s.type], "target": s.target, "value": list(s.value)}
                for s in result.steps
            ],
            "mode": Mode(result.mode).name.lower(),
            "mode_reason": result.mode_reason,
            "warnings": [w.name for w in ResultWarning if w and w & result.warnings],
            "up_source": result.up_source,
            "points": rows,
            "rejected_points": [_rejected(point) for point in result.rejected_points],
            "timings_s": timings,
        }
        print(json.dumps(reply))
    else:
        print(f"{Mode(result.mode).name.lower()}: {result.mode_reason}", file=sys.stderr)
        if result.warnings & ResultWarning.TWO_STEPS:
            print("the instruction holds two actions; this is for the first", file=sys.stderr)
        if result.warnings & ResultWarning.DEMO_MODEL:
            print("the bundled demonstration network answered", file=sys.stderr)
        for step in result.steps:
            numbers = ", ".join(f"{number:.3f}" for number in step.value)
            print(f"step: {_KINDS[step.type]} of {step.target}: {numbers}", file=sys.stderr)
        for row in rows:
            print(_line(row))
        for point in result.rejected_points:
            print(
                f"rejected pixel {point.u:.0f}, {point.v:.0f}: error {point.error_code}: "
                f"{point.error_msg}",
                file=sys.stderr,
            )
    return 0


class _Progress:
    """Says on stderr when the goal reaches its next state."""

    def __init__(self) -> None:
        self._last = -1

    def __call__(self, feedback: Any) -> None:
        if feedback.state != self._last and sys.stderr.isatty():
            self._last = feedback.state
            print(f"{feedback.elapsed:6.2f} s  {_STATES[feedback.state]}", file=sys.stderr)


def _row(point: Any) -> dict[str, Any]:
    p, q = point.pose.pose.position, point.pose.pose.orientation
    return {
        "pixel": [point.u, point.v],
        "position_m": [p.x, p.y, p.z],
        "orientation_xyzw": [q.x, q.y, q.z, q.w],
        "frame_id": point.pose.header.frame_id,
        "confidence": point.confidence,
        "geometry_confidence": point.geometry_confidence,
        "model_confidence": point.model_confidence if point.model_confidence >= 0 else None,
        "flags": [flag.name for flag in PointFlag if flag and flag & point.flags],
    }


def _rejected(point: Any) -> dict[str, Any]:
    return {
        "pixel": [point.u, point.v],
        "model_confidence": point.model_confidence if point.model_confidence >= 0 else None,
        "error_code": point.error_code,
        "error_msg": point.error_msg,
    }


def _line(row: dict[str, Any]) -> str:
    x, y, z = row["position_m"]
    u, v = row["pixel"]
    known = row["model_confidence"]
    model = "unknown" if known is None else f"{known:.2f}"
    flags = f"  {', '.join(row['flags'])}" if row["flags"] else ""
    return (
        f"x {x:+.3f}  y {y:+.3f}  z {z:+.3f} m in {row['frame_id']}  (pixel {u:.0f}, {v:.0f}; "
        f"confidence {row['confidence']:.2f}: model {model}, geometry "
        f"{row['geometry_confidence']:.2f}){flags}"
    )
