# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A simulated camera and the node with the bundled network.

Then ask it something::

    ros2 launch roborefer_ros demo.launch.py rviz:=true
    ros2 run roborefer_ros roborefer refer "the red mug"

``folder:=/path/to/recording`` plays recorded frames instead of the simulation.
"""

import os

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.conditions import IfCondition, UnlessCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PythonExpression
from launch_ros.actions import Node

from launch import LaunchDescription

SHARE = get_package_share_directory("roborefer_ros")


def generate_launch_description() -> LaunchDescription:
    """Camera, node and, where it is asked for, RViz."""
    folder = LaunchConfiguration("folder")
    # An empty text is false: no folder, no replay.
    replay = PythonExpression(["'''", folder, "''' != ''"])
    return LaunchDescription(
        [
            DeclareLaunchArgument("scene", default_value="0", description="number of the scene"),
            DeclareLaunchArgument("rate_hz", default_value="15.0", description="frames a second"),
            DeclareLaunchArgument(
                "folder", default_value="", description="recorded frames instead of a simulation"
            ),
            DeclareLaunchArgument(
                "model", default_value="roborefer:demo", description="what points"
            ),
            DeclareLaunchArgument(
                "target_frame",
                default_value=PythonExpression(["'' if ", replay, " else 'base_link'"]),
                description="frame of the poses; recordings have no base_link",
            ),
            DeclareLaunchArgument("rviz", default_value="false", description="also start RViz"),
            Node(
                package="roborefer_ros",
                executable="sim_camera_node",
                name="camera",
                parameters=[
                    {
                        "scene": LaunchConfiguration("scene"),
                        "rate_hz": LaunchConfiguration("rate_hz"),
                    }
                ],
                output="screen",
                condition=UnlessCondition(replay),
            ),
            Node(
                package="roborefer_ros",
                executable="replay_camera_node",
                name="camera",
                parameters=[{"folder": folder, "rate_hz": LaunchConfiguration("rate_hz")}],
                output="screen",
                condition=IfCondition(replay),
            ),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(os.path.join(SHARE, "launch", "roborefer.launch.py")),
                launch_arguments={
                    "camera": "simulation",
                    "model": LaunchConfiguration("model"),
                    "target_frame": LaunchConfiguration("target_frame"),
                    "up_frame": LaunchConfiguration("target_frame"),
                    "rviz": LaunchConfiguration("rviz"),
                }.items(),
            ),
        ]
    )
