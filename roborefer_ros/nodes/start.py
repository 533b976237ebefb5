# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Entry points of the nodes' executables.

The imports of a node take a second, on a busy machine several.  A signal in that time must end the
process without a traceback, so the handlers come first; nothing is imported here at the top.
"""


def refer_node() -> int:
    """``roborefer_node``."""
    _end_at_once_on_signals()
    from roborefer_ros.nodes.refer_node import main

    return main()


def sim_camera_node() -> int:
    """``sim_camera_node``."""
    _end_at_once_on_signals()
    from roborefer_ros.nodes.sim_camera_node import main

    return main()


def replay_camera_node() -> int:
    """``replay_camera_node``."""
    _end_at_once_on_signals()
    from roborefer_ros.nodes.replay_camera_node import main

    return main()


def _end_at_once_on_signals() -> None:
    from roborefer_ros.nodes.stop_request import end_at_once_on_signals

    end_at_once_on_signals()
