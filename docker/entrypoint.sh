#!/usr/bin/env bash
# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
# The workspace's environment, then the command.
set -e
source /opt/ros/jazzy/setup.bash
source /home/ubuntu/ws/install/setup.bash
exec "$@"
