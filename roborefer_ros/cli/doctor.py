# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer doctor``: what is installed, missing or broken, and the line that mends it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from roborefer_ros.arguments import ArgumentParser, non_negative_float
from roborefer_ros.camera_presets import TOPIC_NAMES, load_preset
from roborefer_ros.doctor import shared_memory
from roborefer_ros.doctor.check import Check
from roborefer_ros.doctor.report import collect, format_report
from roborefer_ros.ros_compat import environment


def _camera_checks(arguments: argparse.Namespace) -> list[Check]:
    """What the camera's topics and the way from them to a pose tell.

    Raises:
        ValueError: A preset or a remapping is not usable.
    """
    ports = shared_memory.check_leftovers()
    if ports.is_failure:  # the node that listens would hang at its start
        return [ports]
    environment.prepare_environment()
    from roborefer_ros.nodes.camera_check import check_camera

    remappings: dict[str, str] = {}
    parameters: dict[str, Any] = {}
    if arguments.preset:
        preset = load_preset(arguments.preset)
        remappings.update(preset.remappings)
        parameters.update(preset.parameters)
    remappings.update(topic_remappings(arguments.remap))
    if arguments.target_frame:
        parameters["target_frame"] = arguments.target_frame
    print(f"listening for {arguments.seconds:g} s ...", file=sys.stderr)
    return check_camera(
        remappings, parameters, namespace=arguments.namespace, seconds=arguments.seconds
    )


def topic_remappings(lines: Sequence[str]) -> dict[str, str]:
    """``NAME:=TOPIC`` of the command line.

    Raises:
        ValueError: One of them has another form or names no topic of the node.
    """
    found = {}
    for line in lines:
        name, _, topic = line.partition(":=")
        if name not in TOPIC_NAMES or not topic:
            raise ValueError(
                f"--remap '{line}' is not NAME:=TOPIC with a name out of {', '.join(TOPIC_NAMES)}"
            )
        found[name] = topic
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``roborefer doctor``; returns 1 when something is missing or broken."""
    parser = ArgumentParser(
        prog="roborefer doctor",
        description="Say what is installed, what is missing or broken, and what to do.",
    )
    parser.add_argument("--json", action="store_true", help="machine-readable")
    parser.add_argument(
        "--remove-stale",
        action="store_true",
        help="remove the files of Fast DDS in shared memory that no process holds",
    )
    camera = parser.add_argument_group("a camera")
    camera.add_argument(
        "--camera",
        action="store_true",
        help="listen to the camera's topics and say whether goals would work",
    )
    camera.add_argument("--preset", default="", help="camera preset, or the path of its YAML file")
    camera.add_argument(
        "--remap",
        action="append",
        default=[],
        metavar="NAME:=TOPIC",
        help="topic of rgb/image, depth/image, rgb/camera_info or depth/camera_info",
    )
    camera.add_argument("--namespace", default="", help="of the node; default: none")
    camera.add_argument("--target-frame", default="", help="frame in which a pose is wanted")
    camera.add_argument(
        "--seconds", type=non_negative_float, default=5.0, help="default: %(default)s"
    )
    arguments = parser.parse_args(argv)
    if arguments.remove_stale:
        for path in shared_memory.remove_leftovers():
            print(f"removed {path}", file=sys.stderr)
    try:
        checks = _camera_checks(arguments) if arguments.camera else collect()
    except ValueError as error:
        print(f"roborefer doctor: {error}", file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        print(format_report(checks))
    return 1 if any(check.is_failure for check in checks) else 0
