# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The node's parameters at work: declared, checked, read and documented from one table.

``config/roborefer.yaml`` and the reference in the documentation are printed from the table
(``python -m roborefer_ros.nodes.parameters yaml|markdown``); tests compare them.
"""

from __future__ import annotations

import json
import math
import re
import sys
import textwrap
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from roborefer_ros.answer_policy import Refusal
from roborefer_ros.errors import RoboReferError
from roborefer_ros.lifting import LiftingOptions
from roborefer_ros.lifting.tool_poses import ApproachAxis
from roborefer_ros.models.depth_network import parse_depth_network
from roborefer_ros.nodes.parameter_checks import nearest
from roborefer_ros.nodes.parameter_table import (
    LIFTING_PREFIX,
    PARAMETERS,
    UNKNOWN_AS_ZEROS,
    Spec,
)

_DEVICE = re.compile(r"auto|cpu|cuda(:\d{1,3})?")


@dataclass(frozen=True)
class NodeOptions:
    """The values of all parameters at one moment; ``parameter_table`` says what they mean."""

    model: str
    device: str
    dtype: str
    depth_source: str
    depth_network: str
    require_depth: bool
    max_new_tokens: int
    think: str
    warm_up: bool
    auto_activate: bool
    bond_heartbeat_period: float
    bond_timeout: float
    target_frame: str
    up_frame: str
    target_frame_is_upright: bool
    placing_without_up: Refusal
    min_confidence: float
    min_model_confidence: float
    on_out_of_workspace: Refusal
    approach_axis: ApproachAxis
    approach_offset_m: float
    goal_timeout_s: float
    max_queued_goals: int
    max_instruction_length: int
    result_timeout_s: int
    sync_slop_s: float
    sync_queue_size: int
    frame_tolerance_s: float
    frame_timeout_s: float
    max_clock_offset_s: float
    rgb_is_rectified: bool
    image_reliability: str
    camera_mode: str
    rgb_transport: str
    depth_transport: str
    transform_timeout_s: float
    publish_target_tf: bool
    target_tf_frame: str
    marker_lifetime_s: float
    cloud_radius_m: float
    diagnostics_period_s: float
    lifting: LiftingOptions


class Parameters:
    """The declared parameters of a node, read once per change."""

    def __init__(self, node: Node) -> None:
        """Declare every parameter of the table and check all changes from then on.

        Raises:
            ValueError: the values given at start-up contradict each other.
            rclpy.exceptions.InvalidParameterValueException, InvalidParameterTypeException
        """
        declare_parameters(node)
        self._node = node
        self._lock = threading.Lock()
        self._options: NodeOptions | None = None
        # Humble does not tell when a change was made, only when one is asked for.
        self._is_told = hasattr(node, "add_post_set_parameters_callback")
        if self._is_told:
            node.add_post_set_parameters_callback(lambda _: self._forget())

    def options(self) -> NodeOptions:
        """The present values of all parameters; the same object until one of them changes."""
        with self._lock:
            if self._options is None or not self._is_told:
                self._options = read_options(self._node)
            return self._options

    def _forget(self) -> None:
        with self._lock:
            self._options = None


def declare_parameters(node: Node) -> None:
    """Declare every parameter of the table and check all changes from then on.

    Raises:
        ValueError: the values given at start-up contradict each other.
        rclpy.exceptions.InvalidParameterValueException, InvalidParameterTypeException
    """
    for spec in PARAMETERS:
        node.declare_parameter(spec.name, spec.default, _descriptor(spec))
    reason = why_refused(_read(node))
    if reason:
        raise ValueError(reason)
    node.add_on_set_parameters_callback(lambda changes: _check_changes(node, changes))


def read_options(node: Node) -> NodeOptions:
    """The present values of all parameters."""
    return _as_options(_read(node))


def default_options() -> NodeOptions:
    """The values of the table."""
    return _as_options({spec.name: spec.default for spec in PARAMETERS})


def why_refused(values: Mapping[str, Any]) -> str:
    """Why values that are fine one by one contradict each other; empty when they do not."""
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            return f"{name} must be a finite number, not {value}"
    for spec in PARAMETERS:
        if spec.choices and values[spec.name] not in spec.choices:
            return (
                f"{spec.name} must be one of {', '.join(spec.choices)}, not "
                f"{values[spec.name]!r}; {nearest(str(values[spec.name]), spec.choices)}"
            )
    if not _DEVICE.fullmatch(values["device"]):
        return f"device must be auto, cpu, cuda or cuda:N, not {values['device']!r}"
    if not values["model"].strip():
        return "model must not be empty; 'roborefer:demo' is the bundled network"
    try:
        parse_depth_network(values["depth_network"])
    except RoboReferError as error:
        return str(error)
    if values["publish_target_tf"] and not values["target_tf_frame"].strip("/ "):
        return "publish_target_tf needs a target_tf_frame"
    if values["frame_timeout_s"] > values["goal_timeout_s"]:
        return (
            f"frame_timeout_s ({values['frame_timeout_s']:g} s) must not exceed goal_timeout_s "
            f"({values['goal_timeout_s']:g} s): goals would end before the camera error shows"
        )
    for name, count in UNKNOWN_AS_ZEROS.items():
        if len(values[LIFTING_PREFIX + name]) != count:
            return f"{LIFTING_PREFIX}{name} needs {count} numbers; all zeros stand for unknown"
    try:
        _lifting_options(values)
    except RoboReferError as error:
        return str(error)
    return ""


def _check_changes(node: Node, changes: Iterable[Parameter]) -> SetParametersResult:
    """Accept or refuse; effects come when the values are next read."""
    known = {spec.name for spec in PARAMETERS}
    values = _read(node)
    values.update({p.name: p.value for p in changes if p.name in known})
    try:
        reason = why_refused(values)
    except (TypeError, KeyError, AttributeError) as error:
        reason = f"not a valid value: {error}"
    return SetParametersResult(successful=not reason, reason=reason)


def _read(node: Node) -> dict[str, Any]:
    return {spec.name: node.get_parameter(spec.name).value for spec in PARAMETERS}


def _as_options(values: Mapping[str, Any]) -> NodeOptions:
    own = {name: value for name, value in values.items() if not name.startswith(LIFTING_PREFIX)}
    return NodeOptions(**own, lifting=_lifting_options(values))


def _lifting_options(values: Mapping[str, Any]) -> LiftingOptions:
    own = {
        name.removeprefix(LIFTING_PREFIX): value
        for name, value in values.items()
        if name.startswith(LIFTING_PREFIX)
    }
    for name in UNKNOWN_AS_ZEROS:
        numbers = tuple(own[name])
        own[name] = numbers if any(numbers) else None
    return LiftingOptions(**own)


def _descriptor(spec: Spec) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(
        name=spec.name, description=_long_description(spec), read_only=spec.read_only
    )
    if spec.choices:
        descriptor.additional_constraints = "one of " + ", ".join(spec.choices)
    low, high = spec.minimum, spec.maximum
    if spec.type is int and low is not None:
        top = 2**31 - 1 if high is None else int(high)
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=top, step=0)]
    if spec.type is float and low is not None:
        limit = math.inf if high is None else float(high)
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=float(low), to_value=limit, step=0.0)
        ]
    return descriptor


def _long_description(spec: Spec) -> str:
    return spec.description + (f" A change takes effect {spec.when}." if spec.when else "")


def _range_text(spec: Spec) -> str:
    if spec.choices:
        return " or ".join(spec.choices)
    if spec.minimum is None:
        return ""
    return (
        f"{spec.minimum:g} to {spec.maximum:g}"
        if spec.maximum is not None
        else f"from {spec.minimum:g}"
    )


def as_yaml() -> str:
    """A parameter file with every default, commented."""
    lines = [
        "# All parameters of the roborefer node with their defaults.",
        "# Written by: python -m roborefer_ros.nodes.parameters yaml",
        "/**:",
        "  ros__parameters:",
    ]
    lifting = False
    for spec in PARAMETERS:
        indent = "    "
        name = spec.name
        if name.startswith(LIFTING_PREFIX):
            if not lifting:
                lines += [
                    "",
                    "    # Thresholds of the lifting from pixels to points in space.",
                    "    lifting:",
                ]
                lifting = True
            indent, name = "      ", name.removeprefix(LIFTING_PREFIX)
        comment = " ".join(filter(None, (_long_description(spec), _bracketed(spec))))
        lines += [
            "",
            *textwrap.wrap(
                comment,
                100 - len(indent),
                initial_indent=indent + "# ",
                subsequent_indent=indent + "# ",
            ),
        ]
        lines.append(f"{indent}{name}: {json.dumps(spec.default)}")
    return "\n".join(lines) + "\n"


def _bracketed(spec: Spec) -> str:
    text = _range_text(spec)
    return (
        f"({text})"
        if text and not spec.choices
        else (f"(one of {', '.join(spec.choices)})" if text else "")
    )


def as_markdown() -> str:
    """The reference table of the documentation."""
    rows = ["| parameter | type | default | range | meaning |", "|---|---|---|---|---|"]
    kinds = {bool: "bool", int: "int", float: "double", str: "string", list: "double[]"}
    for spec in PARAMETERS:
        meaning = _long_description(spec) + (" Read-only." if spec.read_only else "")
        rows.append(
            f"| `{spec.name}` | {kinds[spec.type]} | `{json.dumps(spec.default)}` "
            f"| {_range_text(spec)} | {meaning} |"
        )
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(as_markdown() if "markdown" in sys.argv[1:] else as_yaml())
