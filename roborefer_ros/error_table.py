# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The table of all numbered errors: number, name, meaning, what to do.

``python -m roborefer_ros.error_table > docs/errors.md`` writes the page.
"""

from __future__ import annotations

import sys

from roborefer_ros.errors import ERRORS_BY_CODE

#: number -> what to do in general; the message of an error says it for the case
REMEDIES: dict[int, str] = {
    2500: "Look into the log of the node or server and report it with that.",
    2501: "Say what to point at, in words.",
    2502: "Say it shorter, or raise max_instruction_length.",
    2503: "Correct the field that the message names.",
    2504: "Configure and activate the node (`ros2 lifecycle set`), or wait for its model.",
    2505: "Ask again later, or allow more waiting requests (max_queued_goals, --max-queue).",
    2506: "Nothing: the client asked for it.",
    2507: "Allow a longer timeout, or use a faster machine or a smaller model.",
    2508: "Ask again once the node or server runs again.",
    2509: "Find out why the node went away (its log), and send the goal again.",
    2510: "Look into the node's log for the thread's error; restart the node.",
    2520: "Start the camera driver, and compare its topics with those that the message names.",
    2521: "Restart the camera driver, and look at its connection.",
    2522: "Let one driver stamp all topics, or raise sync_slop_s.",
    2523: "Let the driver publish one of the encodings that the message names.",
    2524: "Look for a broken driver, cable or compression; send the whole file to a server.",
    2525: "Use topics of one size, such as depth that is aligned to colour.",
    2526: "Take the topics of one camera, or publish the transform between its frames.",
    2527: "Calibrate the camera, or use the matrix that is filled (rgb_is_rectified).",
    2528: "Use rectified images, or one of the distortion models that the message names.",
    2529: "Synchronise the clocks of camera and node (use_sim_time, chrony).",
    2530: "Remap the topic to one of the type that the message names.",
    2540: "Check the path or hub id; offline, fetch it first with the line in the message.",
    2541: "Fetch the checkpoint again, whole.",
    2542: "Close other programs on the device, use bfloat16, or a smaller model.",
    2543: "Look into the log for what the model raised, and report it.",
    2544: "Say the instruction differently, or check that the model's family is right (family=).",
    2545: "Say the instruction differently.",
    2546: "Install it with the line in the message.",
    2547: "Start the server, and check host, port, firewall and proxy.",
    2548: "Look at the server's load, or allow more time (timeout_s=).",
    2549: "Do what the status asks for: a key (401), a model's name (404), patience (429).",
    2550: "Look into the server's log.",
    2551: "Check that the address is that of a model server.",
    2552: "Write the spec as docs/models.md shows.",
    2553: "Say the instruction more exactly, or lower min_model_confidence.",
    2554: "Widen the region, or turn the camera to the thing.",
    2555: "Check that the thing is in the picture, and how it is named.",
    2556: "Send the depth picture, or start the server or node with a depth network.",
    2560: "Move the camera, or raise the search radius; shiny and clear things return no depth.",
    2561: "Check the depth camera: covered, too near, or switched off.",
    2562: "Point at the middle of the thing, or look from another side.",
    2563: "Move the camera, or correct the depth range.",
    2564: "Look at the surface more from the front.",
    2565: "Choose another spot, or clear this one.",
    2566: "Give up_frame or lifting.up, or publish the transform of gravity's frame.",
    2567: "Move the thing or the robot, or widen the workspace.",
    2568: "Improve light and view, or lower min_confidence.",
    2580: "Publish the transform that the message names.",
    2581: "Compare the clocks and rates of the transform and the camera.",
    2582: "Correct the publisher of the transform that the message names.",
    2600: "Correct the parameter, argument or file that the message names.",
}

_RANGES = (
    (2500, "Unknown"),
    (2501, "The request"),
    (2520, "Camera data"),
    (2540, "The pointing model"),
    (2560, "Lifting to 3D"),
    (2580, "Transforms"),
    (2600, "Configuration"),
)

_HEAD = """# Errors

<!-- written by `python -m roborefer_ros.error_table > docs/errors.md` -->

The numbers are those of `error_code` in the result of the `ReferPoint` action (its constants, in
capitals) and of `error.code` in the server's replies. The message of an error says what happened,
with figures, and what to do in that case. A number is never used again for something else. HTTP's
own refusals (401, 413, 431 ...) have no number.
"""


def markdown() -> str:
    """The page."""
    parts = [_HEAD]
    starts = [start for start, _ in _RANGES] + [10_000]
    for index, (start, title) in enumerate(_RANGES):
        parts.append(f"\n## {title}\n\n| number | name | meaning | what to do |")
        parts.append("| ---: | --- | --- | --- |")
        for code in sorted(c for c in ERRORS_BY_CODE if start <= c < starts[index + 1]):
            kind = ERRORS_BY_CODE[code]
            meaning = " ".join((kind.__doc__ or "").split())
            name = kind.__name__.removesuffix("Error")
            parts.append(f"| {code} | {name} | {meaning} | {REMEDIES[code]} |")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown())
