# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The RoboRefer node for a camera.

ros2 launch roborefer_ros roborefer.launch.py camera:=realsense target_frame:=base_link
"""

import json
import os

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node

from launch import LaunchDescription
from roborefer_ros.camera_presets import load_preset
from roborefer_ros.standalone.environment import prepare_environment

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
                "preset of the camera (realsense, orbbec, zed, azure_kinect, openni, simulation), "
                "or the path of a YAML file like those in config/cameras",
            ),
            argument("rgb_topic", "", "instead of the preset's colour topic"),
            argument("depth_topic", "", "instead of the preset's depth topic"),
            argument("camera_info_topic", "", "instead of the preset's camera info topic"),
            argument("model", "", "what points, e.g. roborefer:Zhoues/RoboRefer-2B-SFT"),
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
            argument("namespace", "", "of the node"),
            argument("node_name", "roborefer", "name of the node; the action is below it"),
            argument("use_sim_time", "false", "take the time from /clock"),
            argument("log_level", "info", "debug, info, warn, error or fatal"),
            argument("rviz", "false", "also start RViz"),
            OpaqueFunction(function=launch_nodes),
        ]
    )


def launch_nodes(context: object) -> list[object]:
    """The node with the preset's topics, and RViz where it is asked for."""

    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    preset = load_preset(value("camera"))
    remappings = dict(preset.remappings)
    for name, topic in (
        ("rgb/image", value("rgb_topic")),
        ("depth/image", value("depth_topic")),
        ("rgb/camera_info", value("camera_info_topic")),
    ):
        if topic:
            remappings[name] = topic
    overrides = {name: value(name) for name in OVERRIDES if value(name)}
    overrides["use_sim_time"] = value("use_sim_time").lower() in ("true", "1")
    # What comes with the package goes into the arguments: a dictionary under ``parameters`` is
    # written for this node by name and would win over the "/**" of a user's file.
    packaged = ["--params-file", os.path.join(SHARE, "config", "roborefer.yaml")]
    for name, setting in preset.parameters.items():
        packaged += ["-p", f"{name}:={json.dumps(setting)}"]
    own = [os.path.expanduser(value("params_file"))] if value("params_file") else []
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
            parameters=[*own, overrides],
            remappings=list(remappings.items()),
            arguments=["--ros-args", "--log-level", value("log_level"), *packaged],
            output="screen",
            emulate_tty=True,
        ),
        Node(
            package="rviz2",
            executable="rviz2",
            arguments=["-d", os.path.join(SHARE, "rviz", "roborefer.rviz")],
            condition=IfCondition(value("rviz")),
        ),
    ]
