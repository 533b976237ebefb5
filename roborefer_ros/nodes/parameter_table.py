# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The table of the node's parameters: the truth that everything else is made from.

The thresholds of the lifting come from ``LiftingOptions`` (name, type, default, description), with
the prefix ``lifting.``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from roborefer_ros.answer_policy import REFUSALS
from roborefer_ros.arguments import THINK
from roborefer_ros.lifting import LiftingOptions
from roborefer_ros.lifting.options import CHOICES, option_descriptions, option_ranges
from roborefer_ros.lifting.tool_poses import APPROACH_AXES

LIFTING_PREFIX = "lifting."

#: parameter -> words of image_transport that it takes; a topic of the second has its name behind it
TRANSPORTS = {
    "rgb_transport": ("raw", "compressed"),
    "depth_transport": ("raw", "compressedDepth"),
}

#: options that may be unknown -> how many numbers they have; all zero stands for unknown
UNKNOWN_AS_ZEROS = {"up": 3, "workspace_m": 6}


@dataclass(frozen=True)
class Spec:
    """One parameter.

    Attributes:
        name: Name as in YAML files and on the command line; the unit is its suffix.
        default: also tells the type: bool, int, float, str or a list of floats.
        description: one or two sentences.
        minimum, maximum: range of numbers, both ends included; None = open.
        choices: allowed strings; empty = any.
        read_only: cannot change while the node runs.
        when: Moment at which a change takes effect, where it is not with the next goal.
    """

    name: str
    default: Any
    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    read_only: bool = False
    when: str = ""

    @property
    def type(self) -> type:
        """Python type of the value."""
        return type(self.default)


_MODEL_WHEN = "at the next activation"
_CONFIGURE_WHEN = "at the next configuration"

_NODE = (
    # --- model
    Spec(
        "model",
        "roborefer:demo",
        "What points: 'roborefer:<checkpoint folder or Hugging Face id>'. 'roborefer:demo' is the "
        "bundled network, which knows the simulated scenes only; "
        "'roborefer:Zhoues/RoboRefer-2B-SFT' "
        "is the released one.",
        when=_MODEL_WHEN,
    ),
    Spec(
        "device",
        "auto",
        "Where the model runs: 'auto' (a GPU where there is one), 'cpu', 'cuda' or 'cuda:N'.",
        when=_MODEL_WHEN,
    ),
    Spec(
        "dtype",
        "auto",
        "Number type of the weights; 'auto' takes bfloat16 on a GPU and float32 on a CPU.",
        choices=("auto", "bfloat16", "float16", "float32"),
        when=_MODEL_WHEN,
    ),
    Spec(
        "depth_source",
        "auto",
        "Depth picture for a model that takes one: 'model' predicts it from RGB as the authors of "
        "RoboRefer do, 'sensor' converts the camera's depth, 'none' gives RGB only; 'auto' is what "
        "the model was trained with: 'sensor' for the bundled network, else 'model'. Poses always "
        "come from the camera's depth.",
        choices=("auto", "sensor", "model", "none"),
        when=_MODEL_WHEN,
    ),
    Spec(
        "depth_network",
        "auto",
        "Depth-Anything-V2 network that predicts the depth picture from RGB (depth_source "
        "'model'): 'small', 'base', 'large', a Hugging Face id with an optional '@revision', a "
        "folder or a .pth file, each with an optional '?input_size=PIXELS'. 'auto' is the "
        "reference's (large) on a GPU, else small; the log says which.",
        when=_MODEL_WHEN,
    ),
    Spec(
        "require_depth",
        False,
        "A model that takes a depth picture is not asked without one: depth_source 'none' then "
        "keeps the node inactive, and an answer that a server gave from RGB alone ends in an error "
        "(2556). By default the result's depth_used says 'none'.",
        when=_MODEL_WHEN,
    ),
    Spec(
        "max_new_tokens",
        256,
        "Longest answer of the model [tokens].",
        minimum=1,
        maximum=8192,
        when=_MODEL_WHEN,
    ),
    Spec(
        "think",
        "auto",
        "Ask the model for reasoning steps before its answer, which takes longer: 'on', 'off', or "
        "'auto': checkpoints that were trained to reason are asked for them. A goal's think field "
        "wins.",
        choices=THINK,
        when=_MODEL_WHEN,
    ),
    Spec(
        "warm_up",
        True,
        "Answer one made-up instruction while activating, so that the first goal is not the slow "
        "one.",
        when=_MODEL_WHEN,
    ),
    Spec(
        "auto_activate",
        True,
        "Configure and activate at start-up without a lifecycle manager.",
        read_only=True,
    ),
    Spec(
        "bond_heartbeat_period",
        0.0,
        "Time between heartbeats to a lifecycle manager [s], as of Nav2's nodes (0.1 there); needs "
        "the package bond. 0: no bond, and the manager's bond_timeout must be 0.0.",
        minimum=0.0,
        maximum=60.0,
        when=_MODEL_WHEN,
    ),
    Spec(
        "bond_timeout",
        4.0,
        "Silence of the manager after which the node warns and goes on without the bond [s].",
        minimum=0.1,
        maximum=3600.0,
        when=_MODEL_WHEN,
    ),
    # --- goals
    Spec(
        "target_frame",
        "",
        "Frame of the resulting poses where the goal names none; empty: the camera's optical "
        "frame.",
    ),
    Spec(
        "up_frame",
        "",
        "Frame whose z axis points up, e.g. 'base_link': tells the lifting where up is (tilt of "
        "supports, roll of poses, places in the air), also for a moving camera. Empty: "
        "target_frame tells it (see target_frame_is_upright), else the topic imu where it is "
        "remapped, else lifting.up.",
    ),
    Spec(
        "target_frame_is_upright",
        True,
        "The z axis of target_frame points up (REP-103), so that it tells where up is where "
        "up_frame is empty. Set it to false for the frame of a tool or of a tilted mount.",
    ),
    Spec(
        "placing_without_up",
        "refuse",
        "A goal that asks for a place where nothing tells where up is (up_frame, target_frame, "
        "imu, lifting.up): 'refuse' ends it in error 2566, 'flag' answers with FLAG_UP_UNKNOWN "
        "and a confidence below 0.5.",
        choices=REFUSALS,
    ),
    Spec(
        "min_confidence",
        0.0,
        "Points with less confidence are rejected (error 2568), where the goal names no limit; "
        "0.5 keeps what can be acted on.",
        minimum=0.0,
        maximum=1.0,
    ),
    Spec(
        "min_model_confidence",
        0.2,
        "Points that the model itself trusts less are rejected (error 2553), where the goal names "
        "no limit; 0 rejects none. Models that tell no confidence are not judged.",
        minimum=0.0,
        maximum=1.0,
    ),
    Spec(
        "on_out_of_workspace",
        "flag",
        "Points outside lifting.workspace_m: 'flag' sets FLAG_OUT_OF_WORKSPACE, 'refuse' rejects "
        "them (error 2567).",
        choices=REFUSALS,
    ),
    Spec(
        "approach_axis",
        "x",
        "Axis of the resulting poses that points along the approach: 'x' (graspnetAPI, AnyGrasp) "
        "or 'z' (Contact-GraspNet, the Panda hand, most MoveIt tool frames).",
        choices=APPROACH_AXES,
    ),
    Spec(
        "approach_offset_m",
        0.10,
        "Distance of the pre-grasp and pre-place poses from their poses, against the approach [m].",
        minimum=0.0,
        maximum=1.0,
    ),
    Spec(
        "goal_timeout_s",
        60.0,
        "Longest time from accepting a goal to its result [s], where the goal names none.",
        minimum=0.01,
        maximum=86400.0,
    ),
    Spec(
        "max_queued_goals",
        4,
        "Goals that may wait while one runs, first in, first out; more are rejected. 0: one at a "
        "time.",
        minimum=0,
        maximum=1000,
    ),
    Spec(
        "max_instruction_length",
        2000,
        "Longest instruction that is accepted [characters].",
        minimum=1,
        maximum=100000,
    ),
    Spec(
        "result_timeout_s",
        10,
        "How long results are kept for clients that ask late [s]; the action's status lists all.",
        minimum=1,
        maximum=86400,
        read_only=True,
    ),
    # --- camera
    Spec(
        "sync_slop_s",
        0.02,
        "Largest difference of stamps within one frame of RGB, depth and camera info [s]; keep it "
        "under half a frame period.",
        minimum=0.0001,
        maximum=10.0,
        when=_CONFIGURE_WHEN,
    ),
    Spec(
        "sync_queue_size",
        5,
        "Messages per topic that wait for their partners.",
        minimum=1,
        maximum=100,
        when=_CONFIGURE_WHEN,
    ),
    Spec(
        "frame_tolerance_s",
        0.1,
        "A frame this much older than the goal still answers it [s]; 0 waits for one taken after "
        "it.",
        minimum=0.0,
        maximum=60.0,
    ),
    Spec(
        "frame_timeout_s",
        5.0,
        "Longest wait for a fresh frame before a goal fails with a camera error [s].",
        minimum=0.01,
        maximum=3600.0,
    ),
    Spec(
        "max_clock_offset_s",
        0.5,
        "How far the camera's stamps may lie off this node's clock [s] before goals fail with a "
        "camera clock error. A frame counts as taken at its stamp or when it arrived, whichever "
        "is earlier, so a clock that runs ahead within this limit never makes an old frame fresh.",
        minimum=0.001,
        maximum=1e9,
    ),
    Spec(
        "rgb_is_rectified",
        False,
        "The RGB topic carries rectified images: use P of the camera info, not K and D.",
    ),
    Spec(
        "image_reliability",
        "best_effort",
        "Reliability of the camera subscriptions; 'best_effort' receives from any camera.",
        choices=("best_effort", "reliable"),
        when=_CONFIGURE_WHEN,
    ),
    Spec(
        "camera_mode",
        "sampled",
        "'sampled' leaves images in the middleware and takes the newest when a goal needs them, "
        "'continuous' takes every message.",
        choices=("sampled", "continuous"),
        when=_CONFIGURE_WHEN,
    ),
    Spec(
        "rgb_transport",
        "raw",
        "How colour comes, in image_transport's words: 'raw', or 'compressed' (JPEG or PNG of 8 "
        "bit) on <topic of rgb/image>/compressed.",
        choices=TRANSPORTS["rgb_transport"],
        when=_CONFIGURE_WHEN,
    ),
    Spec(
        "depth_transport",
        "raw",
        "How depth comes, in image_transport's words: 'raw', or 'compressedDepth' (PNG of 16UC1 or "
        "32FC1) on <topic of depth/image>/compressedDepth.",
        choices=TRANSPORTS["depth_transport"],
        when=_CONFIGURE_WHEN,
    ),
    # --- transforms
    Spec(
        "transform_timeout_s",
        1.0,
        "Longest wait for the transform at the image's stamp [s].",
        minimum=0.0,
        maximum=60.0,
    ),
    Spec("publish_target_tf", False, "Also broadcast the target as a TF frame."),
    Spec(
        "target_tf_frame",
        "refer_target",
        "Name of that TF frame; must not be empty while publish_target_tf is set.",
    ),
    # --- what can be watched
    Spec(
        "marker_lifetime_s",
        30.0,
        "How long the RViz markers of an answer stay [s]; 0: until the next answer.",
        minimum=0.0,
        maximum=86400.0,
    ),
    Spec(
        "cloud_radius_m",
        0.15,
        "Radius of the point cloud crop around the first target [m].",
        minimum=0.005,
        maximum=5.0,
    ),
    Spec(
        "diagnostics_period_s",
        1.0,
        "Period of /diagnostics [s].",
        minimum=0.1,
        maximum=3600.0,
        read_only=True,
    ),
)


def _lifting_specs() -> tuple[Spec, ...]:
    descriptions = option_descriptions()
    ranges = option_ranges()
    specs = []
    for field in fields(LiftingOptions):
        text = descriptions[field.name]
        default: Any = field.default
        if field.name in UNKNOWN_AS_ZEROS:
            default = [0.0] * UNKNOWN_AS_ZEROS[field.name]
            text += " All zeros stand for None."
        minimum, maximum = ranges.get(field.name, (None, None))
        specs.append(
            Spec(
                LIFTING_PREFIX + field.name,
                default,
                text,
                minimum=minimum,
                maximum=maximum,
                choices=CHOICES.get(field.name, ()),
            )
        )
    return tuple(specs)


PARAMETERS: tuple[Spec, ...] = _NODE + _lifting_specs()
