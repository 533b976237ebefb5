# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer datagen``: training data with reasoning steps from scenes of boxes."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

from roborefer_ros.arguments import ArgumentParser, non_negative_int, positive_int
from roborefer_ros.errors import RoboReferError


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    arguments = _parser().parse_args(argv)
    needed = ["shapely", "tqdm"] + ["open3d"] * (arguments.source == "simulation")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"roborefer datagen needs {' and '.join(missing)}: "
            "pip install 'roborefer_ros[datagen]'",
            file=sys.stderr,
        )
        return 1
    try:
        return _run(arguments)
    except (OSError, RoboReferError) as error:
        print(f"roborefer datagen: {error}", file=sys.stderr)
        return 1


def _run(arguments: argparse.Namespace) -> int:
    from roborefer_ros.datagen.generate import generate, on_this_machine
    from roborefer_ros.datagen.sources.opening import open_source
    from roborefer_ros.datagen.write import Options

    source = open_source(
        arguments.source,
        arguments.data,
        arguments.scenes,
        arguments.seed,
        (arguments.width, arguments.height),
        arguments.stride,
    )
    options = Options(
        arguments.seed,
        arguments.questions,
        arguments.depth_form or ("linear" if arguments.source == "ca1m" else "relative"),
        arguments.suffix == "roborefer",
        arguments.visual,
    )
    run = on_this_machine(arguments.workers)
    if arguments.ray is not None:
        from roborefer_ros.datagen.on_ray import on_ray

        run = on_ray(arguments.ray)
    stats = generate(arguments.out, source, options, run)
    scenes = stats["scenes"]
    print(
        f"{stats['questions']} questions in {sum(stats['rows'].values())} rows about "
        f"{scenes['used']} of {scenes['total']} scenes: {arguments.out}"
    )
    for reason, count in scenes["skipped"].items():
        print(f"  {count} skipped: {reason} ({scenes['examples'][reason]})")
    return 0


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="roborefer datagen",
        description="Make training data in RefSpatial's form: questions, thoughts and answers that "
        "follow from boxes, depth and camera. The same seed gives the same files on any number of "
        "workers; the same command again goes on where it stopped.",
    )
    parser.add_argument(
        "--source",
        choices=("simulation", "boxes", "ca1m"),
        required=True,
        help="simulation: own rendered tabletops; boxes: a folder with rgb/, depth/ and "
        "scene.json (boxes, or masks of a detector); ca1m: captures of CA-1M",
    )
    parser.add_argument("--data", type=Path, help="folder of boxes or ca1m")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--scenes", type=non_negative_int, default=0, help="at most; 0 for all (simulation: 1000)"
    )
    parser.add_argument("--seed", type=non_negative_int, default=0)
    parser.add_argument("--questions", type=positive_int, default=30, help="at most, per scene")
    parser.add_argument(
        "--visual", type=non_negative_int, default=1, help="pictures with drawn boxes"
    )
    parser.add_argument(
        "--width", type=positive_int, default=640, help="pixels, of simulated pictures"
    )
    parser.add_argument("--height", type=positive_int, default=480, help="pixels")
    parser.add_argument("--stride", type=positive_int, default=20, help="frames, of long captures")
    parser.add_argument(
        "--depth-form",
        choices=("relative", "linear"),
        help="of the depth pictures: inverse depth, or linear as the released 3D part "
        "(default: relative; ca1m: linear)",
    )
    parser.add_argument(
        "--suffix",
        choices=("roborefer", "none"),
        default="roborefer",
        help="what ends a question for a point",
    )
    parser.add_argument("--workers", type=positive_int, default=2, help="processes")
    parser.add_argument(
        "--ray", metavar="ADDRESS", help='run on a Ray cluster ("local" for this machine)'
    )
    return parser
