# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
r"""The RoboRefer node for a camera.

ros2 launch roborefer_ros roborefer.launch.py model:=roborefer:Zhoues/RoboRefer-2B-SFT \
    camera:=realsense target_frame:=base_link
"""

import json
import os
from pathlib import Path

from ament_index_python.packages import (
    PackageNotFoundError,
    get_package_prefix,
    get_package_share_directory,
)
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node

from launch import LaunchDescription
from roborefer_ros.camera_presets import load_preset
from roborefer_ros.launching import (
    MODEL_CHOICES,
    as_bool,
    as_seconds,
    check_model,
    existing_params_file,
    rviz_config,
)
from roborefer_ros.ros_compat.environment import prepare_environment

SHARE = get_package_share_directory("roborefer_ros")

#: launch argument -> node parameter; left empty, the parameter file's value stands
OVERRIDES = ("model", "device", "dtype", "depth_source", "target_frame", "up_frame")


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; the rest needs their values."""

    def argument(name: str, default: str, description: str) -> DeclareLaunchArgument:
        return DeclareLaunchArgument(name, default_value=default, description=description)

    return LaunchDescription(
        [
            argument(
                "camera",
                "realsense",
                "preset of the camera (realsense, orbbec, astra, zed, oak, azure_kinect, openni, "
                "gazebo, isaac_sim, webots, simulation), or the path of a YAML file like those in "
                "config/cameras",
            ),
            argument("camera_name", "", "as given to the driver, instead of the preset's"),
            argument(
                "camera_namespace",
                "",
                "as given to the driver, instead of the preset's; it is within the argument "
                "namespace unless it begins with '/'; '/' is the root",
            ),
            argument("rgb_topic", "", "instead of the preset's colour topic"),
            argument("depth_topic", "", "instead of the preset's depth topic"),
            argument("camera_info_topic", "", "instead of the preset's camera info topic"),
            argument(
                "depth_camera_info_topic",
                "",
                "camera info of a depth camera that is not aligned with colour",
            ),
            argument(
                "imu_topic",
                "",
                "instead of the preset's: accelerometer of a camera at rest, tells where up is",
            ),
            argument(
                "model", "", f"what points; required unless params_file says: {MODEL_CHOICES}"
            ),
            argument("device", "", "auto, cpu, cuda or cuda:N"),
            argument("dtype", "", "auto, bfloat16, float16 or float32"),
            argument("depth_source", "", "auto, sensor, model or none"),
            argument("target_frame", "", "frame of the poses; empty: the camera's"),
            argument("up_frame", "", "frame whose z axis points up, e.g. base_link"),
            argument(
                "params_file",
                "",
                "YAML file with parameters of the node: they win over the preset's and over "
                "config/roborefer.yaml; arguments like model win over them",
            ),
            argument("namespace", "", "of the node and of the camera's topics"),
            argument("node_name", "roborefer", "name of the node; the action is below it"),
            argument("use_sim_time", "", "take the time from /clock; empty: as set outside"),
            argument("respawn", "false", "start the node again when it dies"),
            argument("respawn_delay", "3.0", "time before that [s]"),
            argument("log_level", "info", "debug, info, warn, error or fatal"),
            argument("rviz", "false", "also start RViz"),
            OpaqueFunction(function=launch_nodes),
        ]
    )


def launch_nodes(context: object) -> list[object]:
    """The node with the preset's topics, and RViz where it is asked for."""

    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    own = existing_params_file(value("params_file"))
    check_model(value("model"), own)
    preset = load_preset(value("camera"))
    topics = preset.topics(
        namespace=value("namespace"),
        camera_namespace=value("camera_namespace"),
        camera_name=value("camera_name"),
    )
    for name, topic in (
        ("rgb/image", value("rgb_topic")),
        ("depth/image", value("depth_topic")),
        ("rgb/camera_info", value("camera_info_topic")),
        ("depth/camera_info", value("depth_camera_info_topic")),
        ("imu", value("imu_topic")),
    ):
        if topic:
            topics[name] = topic
    overrides = {name: value(name) for name in OVERRIDES if value(name)}
    if value("use_sim_time"):
        overrides["use_sim_time"] = as_bool("use_sim_time", value("use_sim_time"))
    # What comes with the package goes into the arguments: a dictionary under ``parameters`` is
    # written for this node by name and would win over the "/**" of a user's file.
    packaged = ["--params-file", os.path.join(SHARE, "config", "roborefer.yaml")]
    for name, setting in preset.parameters.items():
        packaged += ["-p", f"{name}:={json.dumps(setting)}"]
    # Shared memory and allocator settings for images; what the user has set stays.
    environment = prepare_environment(dict(os.environ))
    return [
        *(
            SetEnvironmentVariable(name, text)
            for name, text in environment.items()
            if os.environ.get(name) != text
        ),
        LifecycleNode(
            package="roborefer_ros",
            executable="roborefer_node",
            name=value("node_name"),
            namespace=value("namespace"),
            parameters=[*own, *([overrides] if overrides else [])],
            remappings=list(topics.items()),
            respawn=as_bool("respawn", value("respawn")),
            respawn_delay=as_seconds("respawn_delay", value("respawn_delay")),
            arguments=["--ros-args", "--log-level", value("log_level"), *packaged],
            output="screen",
            emulate_tty=True,
        ),
        *rviz(value, topics),
    ]


def rviz(value: object, topics: dict[str, str]) -> list[object]:
    """RViz with the node's topics, or a warning where it is not installed."""
    if not as_bool("rviz", value("rviz")):
        return []
    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError:
        return [LogInfo(msg="WARNING: rviz2 is not installed; the node starts without it")]
    template = Path(SHARE) / "rviz" / "roborefer.rviz"
    frame = value("target_frame") or value("up_frame")
    config = rviz_config(template, value("namespace"), value("node_name"), topics, frame)
    return [Node(package="rviz2", executable="rviz2", arguments=["-d", config])]
