# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What people and planners can watch: poses, markers, a picture, a point cloud.

Everything but the poses is drawn only while somebody subscribes.
"""

from __future__ import annotations

import array
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Duration as DurationMsg
from geometry_msgs.msg import PoseArray, PoseStamped, TransformStamped, Vector3
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image, PointCloud2, PointField
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from roborefer_ros.errors import NoDepthAtPointError, RoboReferError
from roborefer_ros.lifting import Cloud, crop_cloud, grow_segment, lift_point
from roborefer_ros.lifting.orientation import rotation_matrix
from roborefer_ros.lifting.tool_poses import ToolConvention
from roborefer_ros.nodes.conversions import pose_from_point, stamp_message
from roborefer_ros.nodes.goal_runner import Answer
from roborefer_ros.pipeline import pixel_from_normalised
from roborefer_ros.ros_compat import cv_bridge
from roborefer_ros.types import Mode, ReferredPoint, ResultWarning

_ARROW_M = 0.10
_SPHERE_M = 0.015
_FIRST = ColorRGBA(r=1.0, g=0.15, b=0.25, a=0.95)
_OTHER = ColorRGBA(r=1.0, g=0.65, b=0.1, a=0.9)
_FIRST_RGB, _OTHER_RGB = (255, 40, 64), (255, 166, 26)
_STEP = ColorRGBA(r=0.2, g=0.7, b=1.0, a=0.9)
_STEP_RGB = (51, 178, 255)
_STEP_SPHERE_M = 0.01


class Visualization:
    """Publishes what an answer looks like."""

    def __init__(self, node: Node) -> None:
        # The last answer stays for those who come later.
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._pose = node.create_publisher(PoseStamped, "~/target_pose", latched)
        self._points = node.create_publisher(PoseArray, "~/points", latched)
        self._markers = node.create_publisher(MarkerArray, "~/markers", 5)
        self._picture = node.create_publisher(Image, "~/annotated_image", 2)
        self._cloud = node.create_publisher(PointCloud2, "~/target_cloud", 2)
        self._segment = node.create_publisher(PointCloud2, "~/target_segment", 2)
        self._publishers = (
            self._pose,
            self._points,
            self._markers,
            self._picture,
            self._cloud,
            self._segment,
        )
        self._node = node

    def show(self, answer: Answer) -> None:
        """Publish an answer, drawn with the very options that it was found with."""
        options = answer.options
        stamp = stamp_message(answer.target.stamp_ns)
        header = Header(stamp=stamp, frame_id=answer.target.points[0].frame_id)
        tool = ToolConvention(options.approach_axis)
        poses = [pose_from_point(point, tool) for point in answer.target.points]
        self._pose.publish(PoseStamped(header=header, pose=poses[0]))
        self._points.publish(PoseArray(header=header, poses=poses))
        if self._markers.get_subscription_count():
            self._markers.publish(markers(answer, header, options.marker_lifetime_s))
        if self._picture.get_subscription_count():
            self._picture.publish(picture(answer))
        if self._cloud.get_subscription_count():
            centre = answer.camera.points[0].position_m
            cloud = crop_cloud(answer.frame, centre, options.cloud_radius_m, options.lifting)
            self._cloud.publish(cloud_message(_in_target_frame(cloud, answer), header))
        if self._segment.get_subscription_count():
            first = answer.camera.points[0]
            z_m = float(first.position_m[2])
            try:
                grown = grow_segment(answer.frame, first.pixel, z_m, options.lifting).cloud
            except NoDepthAtPointError:
                return  # a place in the air, or seen through a hole: there is no surface
            self._segment.publish(cloud_message(_in_target_frame(grown, answer), header))

    def close(self) -> None:
        """Take the topics off the graph."""
        for publisher in self._publishers:
            self._node.destroy_publisher(publisher)


def _in_target_frame(cloud: Cloud, answer: Answer) -> Cloud:
    pose = answer.target_T_camera
    return cloud if pose is None else cloud.moved(pose)


def target_transform(
    point: ReferredPoint, stamp_ns: int, child: str, tool: ToolConvention
) -> TransformStamped:
    """The target as a TF frame."""
    pose = pose_from_point(point, tool)
    msg = TransformStamped(child_frame_id=child)
    msg.header = Header(stamp=stamp_message(stamp_ns), frame_id=point.frame_id)
    msg.transform.translation = Vector3(x=pose.position.x, y=pose.position.y, z=pose.position.z)
    msg.transform.rotation = pose.orientation
    return msg


def markers(answer: Answer, header: Header, lifetime_s: float) -> MarkerArray:
    """Per point a ball and an arrow along the approach; the instruction above the first.

    The positions that a model thought of on the way are small blue balls with their names.
    """
    lifetime = DurationMsg(sec=int(lifetime_s), nanosec=int(lifetime_s % 1.0 * 1e9))
    array_ = MarkerArray(markers=[Marker(header=header, action=Marker.DELETEALL)])

    def add(namespace: str, kind: int, number: int, size: tuple[float, float, float]) -> Any:
        marker = Marker(header=header, ns=namespace, id=number, type=kind, action=Marker.ADD)
        marker.scale = Vector3(x=size[0], y=size[1], z=size[2])
        marker.color = _FIRST if number == 0 else _OTHER
        marker.lifetime = lifetime
        array_.markers.append(marker)
        return marker

    for number, point in enumerate(answer.target.points):
        pose = pose_from_point(point)
        add("points", Marker.SPHERE, number, (_SPHERE_M,) * 3).pose = pose
        # An arrow marker starts at its pose; start it outside so that its tip is at the point.
        arrow = add("approach", Marker.ARROW, number, (_ARROW_M, 0.006, 0.012))
        arrow.pose = pose_from_point(point)
        approach = rotation_matrix(np.asarray(point.orientation_xyzw, dtype=np.float64))[:, 0]
        tail = np.asarray(point.position_m) - _ARROW_M * approach
        arrow.pose.position.x, arrow.pose.position.y, arrow.pose.position.z = map(float, tail)
    text = add("instruction", Marker.TEXT_VIEW_FACING, 0, (0.0, 0.0, 0.03))
    text.pose = pose_from_point(answer.target.points[0])
    text.pose.position.z += 0.05
    text.text = answer.instruction[:120]
    for number, position in enumerate(step_positions(answer)):
        step = add("steps", Marker.SPHERE, number + 1, (_STEP_SPHERE_M,) * 3)
        step.color = _STEP
        x, y, z = map(float, position.position_m)
        step.pose.position.x, step.pose.position.y, step.pose.position.z = x, y, z
        step.pose.orientation.w = 1.0
        name = add("step names", Marker.TEXT_VIEW_FACING, number + 1, (0.0, 0.0, 0.02))
        name.color, name.text = _STEP, position.text
        name.pose.position.x, name.pose.position.y, name.pose.position.z = x, y, z + 0.03
        name.pose.orientation.w = 1.0
    if answer.target.warnings & ResultWarning.DEMO_MODEL:
        text.text += "\nDEMO MODEL: knows simulated scenes only"
    return array_


@dataclass(frozen=True)
class StepPosition:
    """Where an intermediate step of a reasoning lies in space.

    Attributes:
        text: Number and target of the step.
        position_m: ``[3]`` in the frame of the answer's points.
    """

    text: str
    position_m: npt.NDArray[np.float64]


def step_positions(answer: Answer) -> list[StepPosition]:
    """The positions that a model thought of, where depth tells how far they are."""
    frame, found = answer.frame, []
    for number, step in enumerate(answer.camera.steps, 1):
        if step.kind != "Position":
            continue
        pixel, _ = pixel_from_normalised((step.value[0], step.value[1]), frame.width, frame.height)
        try:
            point = lift_point(frame, pixel, answer.options.lifting, Mode.OBJECT)
        except RoboReferError:
            continue  # a hole in the depth: it is in the picture, not in space
        position = np.asarray(point.position_m, np.float64)
        if answer.target_T_camera is not None:
            pose = answer.target_T_camera
            position = pose[:3, :3] @ position + pose[:3, 3]
        found.append(StepPosition(f"{number} {step.target[:60]}", position))
    return found


def _draw_steps(image: npt.NDArray[np.uint8], answer: Answer, size: float) -> None:
    """Number and circle the positions that a model thought of, smaller than its points."""
    height, width = image.shape[:2]
    for number, step in enumerate(answer.camera.steps, 1):
        if step.kind != "Position":
            continue
        (u, v), _ = pixel_from_normalised((step.value[0], step.value[1]), width, height)
        place = (round(u), round(v))
        cv2.circle(image, place, round(6 * size), (255, 255, 255), round(3 * size), cv2.LINE_AA)
        cv2.circle(image, place, round(6 * size), _STEP_RGB, max(1, round(size)), cv2.LINE_AA)
        name = f"{number} {step.target[:40]}".encode("ascii", "replace").decode()
        _write(image, name, (place[0] + round(9 * size), place[1]), 0.4 * size, size)


def picture(answer: Answer) -> Image:
    """The colour image with the points, the steps of a reasoning and the instruction drawn in."""
    image = answer.frame.rgb.copy()
    size = max(image.shape[1] / 640.0, 0.5)
    _draw_steps(image, answer, size)
    for number, point in reversed(list(enumerate(answer.camera.points))):
        colour = _FIRST_RGB if number == 0 else _OTHER_RGB
        u, v = (round(c) for c in point.pixel)
        cv2.circle(image, (u, v), round(9 * size), (255, 255, 255), round(4 * size), cv2.LINE_AA)
        cv2.circle(image, (u, v), round(9 * size), colour, round(2 * size), cv2.LINE_AA)
        cv2.circle(image, (u, v), max(1, round(1.5 * size)), colour, -1, cv2.LINE_AA)
    # OpenCV's fonts are ASCII only.
    text = answer.instruction[:90].encode("ascii", "replace").decode()
    _write(image, text, (round(8 * size), round(20 * size)), 0.5 * size, size)
    header = Header(stamp=stamp_message(answer.frame.stamp_ns), frame_id=answer.frame.frame_id)
    return cv_bridge.CvBridge().cv2_to_imgmsg(image, "rgb8", header)


def _write(
    image: npt.NDArray[np.uint8], text: str, place: tuple[int, int], scale: float, size: float
) -> None:
    """White letters with a black edge."""
    for colour, width in (((0, 0, 0), 4), ((255, 255, 255), 1)):
        thickness = max(1, round(width * size))
        cv2.putText(
            image, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thickness, cv2.LINE_AA
        )


def cloud_message(cloud: Cloud, header: Header) -> PointCloud2:
    """x, y, z in metres and rgb packed as PCL and RViz expect it."""
    rows = np.empty(len(cloud.points_m), dtype=[("xyz", "<f4", 3), ("rgb", "<u4")])
    red, green, blue = cloud.rgb.astype(np.uint32).reshape(-1, 3).T
    rows["xyz"], rows["rgb"] = cloud.points_m, red << 16 | green << 8 | blue
    msg = PointCloud2(height=1, width=len(rows), point_step=16, row_step=16 * len(rows))
    msg.header = header
    msg.fields = [
        PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
        for i, name in enumerate(("x", "y", "z", "rgb"))
    ]
    msg.is_dense = True
    msg.data = array.array("B", rows.tobytes())
    return msg
