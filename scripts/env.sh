# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
#
# Source this (bash or zsh) to work with what `make setup` made:   . scripts/env.sh
# It activates .venv, adds the built messages and lets Fast DDS pass camera images.

if [ -n "${BASH_SOURCE:-}" ]; then _roborefer_file=${BASH_SOURCE[0]}; _roborefer_shell=bash
else _roborefer_file=${(%):-%x}; _roborefer_shell=zsh; fi 2>/dev/null
_roborefer_root=$(cd "$(dirname "$_roborefer_file")/.." && pwd)

# Another environment with ROS 2 wheels must not leave its library path to this one.
if [ -n "${_ROS_WHEELS_BOOTSTRAP_COMPLETE:-}" ]; then unset _ROS_WHEELS_BOOTSTRAP_COMPLETE LD_LIBRARY_PATH; fi

. "$_roborefer_root/.venv/bin/activate"
# With ROS 2 from wheels, colcon and CMake find the packages of ROS 2 in the virtual environment.
if [ -z "${ROS_DISTRO:-}" ]; then
  case ":${AMENT_PREFIX_PATH:-}:" in *":$VIRTUAL_ENV:"*) ;; *)
    export AMENT_PREFIX_PATH="$VIRTUAL_ENV${AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH}" ;;
  esac
  case ":${CMAKE_PREFIX_PATH:-}:" in *":$VIRTUAL_ENV:"*) ;; *)
    export CMAKE_PREFIX_PATH="$VIRTUAL_ENV${CMAKE_PREFIX_PATH:+:$CMAKE_PREFIX_PATH}" ;;
  esac
fi
if [ -f "$_roborefer_root/install/local_setup.$_roborefer_shell" ]; then
  . "$_roborefer_root/install/local_setup.$_roborefer_shell"
else
  echo "roborefer_msgs is not built: run \`make setup\` in $_roborefer_root" >&2
fi
# Fast DDS 2 reads one name, Fast DDS 3 the other and complains about the first.
case "${ROS_DISTRO:-}" in
  humble | iron | jazzy) : "${FASTRTPS_DEFAULT_PROFILES_FILE:=$_roborefer_root/config/fastdds_shm.xml}"; export FASTRTPS_DEFAULT_PROFILES_FILE ;;
  *) : "${FASTDDS_DEFAULT_PROFILES_FILE:=$_roborefer_root/config/fastdds_shm.xml}"; export FASTDDS_DEFAULT_PROFILES_FILE ;;
esac
unset _roborefer_file _roborefer_shell _roborefer_root
