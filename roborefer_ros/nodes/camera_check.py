# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer doctor --camera``: listen to a camera and say whether goals would work with it.

The same subscriber, checks, conversion, lifting and transforms as in the node are used, with the
middle of the image in place of a model's answer: what is reported is what a goal would meet.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter

from roborefer_ros.doctor.check import Check
from roborefer_ros.nodes.camera_info import doubts
from roborefer_ros.nodes.camera_subscriber import CameraSubscriber
from roborefer_ros.nodes.camera_topics import TopicState
from roborefer_ros.nodes.goal_runner import GoalRunner, NodeParts
from roborefer_ros.nodes.interfaces import ReferPoint
from roborefer_ros.nodes.parameters import declare_parameters, read_options
from roborefer_ros.nodes.process import spin_through_failures
from roborefer_ros.nodes.refer_goal import ReferGoal
from roborefer_ros.nodes.transforms import Transforms
from roborefer_ros.pipeline import ReferPipeline
from roborefer_ros.pointing.factory import open_pointer

#: instruction that the pointer without a model answers with the middle of the image
_MIDDLE = "[(0.5, 0.5)]"
_REMEDY = "docs/parameters.md tells the topics; --preset or --remap name those of your camera"


def check_camera(
    remappings: Mapping[str, str],
    parameters: Mapping[str, Any],
    *,
    namespace: str = "",
    seconds: float = 5.0,
    context: Context | None = None,
) -> list[Check]:
    """Listen to a camera.

    Args:
        remappings: Name out of ``camera_presets.TOPIC_NAMES`` -> topic.
        parameters: Parameters of the node that differ from their defaults.
        namespace: Namespace of the node.
        seconds: Time to listen, seconds; a goal may wait as long again.
        context: Context of rclpy; a new one by default.

    Returns:
        One check for the graph, one for each topic, one for a goal.
    """
    own_context = context is None
    if context is None:
        context = Context()
        rclpy.init(context=context)
    rules = [part for name, topic in remappings.items() for part in ("-r", f"{name}:={topic}")]
    node = Node(
        "roborefer_doctor",
        namespace=namespace,
        context=context,
        cli_args=["--ros-args", *rules, "--log-level", "fatal"],
        use_global_arguments=False,
        parameter_overrides=[Parameter(name, value=value) for name, value in parameters.items()],
        enable_rosout=False,
    )
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    thread = threading.Thread(
        target=spin_through_failures,
        args=(executor.spin, node.get_logger()),
        name="doctor",
        daemon=True,
    )
    thread.start()
    try:
        declare_parameters(node)
        return _listen(node, seconds)
    finally:
        executor.shutdown(timeout_sec=5.0)
        thread.join(5.0)
        node.destroy_node()
        if own_context:
            context.try_shutdown()


def _listen(node: Node, seconds: float) -> list[Check]:
    options = read_options(node)
    transforms = Transforms(node)
    camera = CameraSubscriber(node, options, transforms.clear)
    try:
        started_s = time.monotonic()
        counts = [0 for _ in camera.topics]
        # What comes in the first second may still be discovery.
        settle_s = min(1.0, 0.2 * seconds)
        time.sleep(settle_s)
        counts = [topic.received for topic in camera.topics]
        time.sleep(max(0.0, started_s + seconds - time.monotonic()))
        heard_s = time.monotonic() - started_s - settle_s
        checks = [_check_names(node)]
        for topic, before in zip(camera.topics, counts, strict=True):
            rate_hz = (topic.received - before) / heard_s if heard_s > 0.0 else 0.0
            checks.append(_check_topic(camera, topic, rate_hz, options.max_clock_offset_s))
        info = camera.newest_info()
        if info is not None:
            doubt = doubts(info, rectified=options.rgb_is_rectified, topic=camera.names.info)
            detail = doubt or f"{info.width}x{info.height}, fx {info.k[0]:.1f}, frame of its images"
            checks.append(Check("intrinsics", "broken" if doubt else "ok", detail))
        checks.append(_check_goal(node, camera, transforms, seconds))
        return checks
    finally:
        camera.close()
        transforms.close()


def _check_names(node: Node) -> Check:
    """Two nodes of one name answer each other's services and goals."""
    names = [
        f"{namespace.rstrip('/')}/{name}"
        for name, namespace in node.get_node_names_and_namespaces()
    ]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        remedy = "stop one of them, or start it with another name or namespace (__node, __ns)"
        return Check("node names", "warn", f"{', '.join(twice)}: more than one node", remedy)
    return Check("node names", "ok", f"{len(names)} nodes, all names differ")


def _check_topic(
    camera: CameraSubscriber, topic: TopicState, rate_hz: float, max_offset_s: float
) -> Check:
    values = camera.health.graph_values(topic)
    offered = values[f"{topic.name} offered"]
    problems = [
        text
        for text in (
            camera.health.wrong_type(topic) if not topic.received else "",
            topic.refused,
            *(line for line in camera.health.several_publishers() if f"'{topic.name}'" in line),
            *(line for line in camera.health.several_frames() if f"'{topic.name}'" in line),
            *(
                f"stamps off: {x}"
                for x in camera.health.clock_offsets(max_offset_s)
                if topic.name in x
            ),
        )
        if text
    ]
    if not topic.received:
        nobody = values[f"{topic.name} publishers"] == "0"
        problems = problems or ["no publisher" if nobody else f"silent, though offered: {offered}"]
        return Check(topic.name, "broken", "; ".join(problems), _REMEDY)
    frames = ", ".join(f"'{name}'" for name in topic.frame_ids)
    detail = f"{rate_hz:.1f} Hz, frame {frames}, {offered}, stamps {topic.offset_s:+.3f} s"
    if problems:
        return Check(topic.name, "warn", f"{detail}; {'; '.join(problems)}")
    return Check(topic.name, "ok", detail)


def _check_goal(
    node: Node, camera: CameraSubscriber, transforms: Transforms, timeout_s: float
) -> Check:
    """A goal at the middle of the image, without a model."""
    parts = NodeParts(camera, transforms, ReferPipeline(open_pointer("echo")))
    now_ns = int(node.get_clock().now().nanoseconds)
    request = ReferPoint.Goal(instruction=_MIDDLE, mode=ReferPoint.Goal.MODE_OBJECT)
    options = replace(read_options(node), frame_timeout_s=timeout_s)
    # The camera's error must show before the goal's own deadline.
    goal = ReferGoal(request, timeout_s + options.transform_timeout_s + 5.0, now_ns, name="doctor")
    result = GoalRunner(goal, parts, options).run().result
    if result.error_code:
        # The middle of the image may show nothing near; the camera is fine then.
        lifting = 2560 <= result.error_code < 2580
        where = "the middle of the image" if lifting else "a goal"
        return Check(
            "a goal",
            "warn" if lifting else "broken",
            f"{where} ends in error {result.error_code}: {result.error_msg}",
        )
    position, frame = result.pose.pose.position, result.pose.header.frame_id
    return Check(
        "a goal",
        "ok",
        f"works: the middle of the image lies at x {position.x:+.3f}, y {position.y:+.3f}, "
        f"z {position.z:+.3f} m in '{frame}'",
    )
