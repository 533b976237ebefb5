# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What a model says about real frames, and how sure it is of what is wrong.

    python -m benchmarks.real_frames [--frames test/data/rgbd] [--model roborefer:demo] [--json]

35 instructions about three tables of other people's data sets, 13 of them about things that are
not there.  An answer is right within 5 % of the picture's width of the label, or inside the label's
instance mask.  Exits 1 where a wrong answer has a confidence of 0.5 or more.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2

from benchmarks.lifting import load
from roborefer_ros.arguments import ArgumentParser
from roborefer_ros.errors import NothingFoundError, RoboReferError
from roborefer_ros.files import read_json
from roborefer_ros.pipeline import ReferPipeline
from roborefer_ros.pointing.bundled import calibration_of
from roborefer_ros.pointing.calibration import ACT_ABOVE
from roborefer_ros.pointing.factory import open_pointer

#: an answer this near to a label is right, share of the picture's width
RADIUS = 0.05

#: frame -> instruction -> label of its ``points.json``; None where the thing is not there
PHRASES: dict[str, dict[str, str | None]] = {
    "tum_fr2_desk_1": {
        "the white mug": "white mug",
        "the white cup": "white mug",
        "the red can on the left": "red coke can on the left",
        "the blue box on the right": "blue book box on the right",
        "the roll of tape": "grey tape roll",
        "the keyboard": "keyboard",
        "the monitor": "monitor screen",
        "the computer mouse": "computer mouse",
        "the green bottle": None,
        "the banana": None,
        "the yellow bowl": None,
        "the orange cone": None,
    },
    "arc2017_tote": {
        "the mouse traps": "mouse_traps",
        "the baby wipes": "burts_bees_baby_wipes",
        "the joke book": "laugh_out_loud_jokes",
        "the soap": "irish_spring_soap",
        "the measuring spoons": "measuring_spoons",
        "the scissors": "fiskars_scissors",
        "the ice cube tray": "ice_cube_tray",
        "the socks": "hanes_socks",
        "the white mug": None,
        "the purple bottle": None,
        "the green cone": None,
        "the blue plate": None,
    },
    "cleargrasp_d435_123": {
        "the blue notebook": "blue spiral notebook",
        "the left black case": "left black case",
        "the right black case": "right black case",
        "the rightmost black object": "right black case",
        "the decorated dish": "decorated dish",
        "the light blue box": "light-blue box",
        "the red mug": None,
        "the yellow ball": None,
        "the green bottle": None,
        "the orange cone": None,
        "the purple bowl": None,
    },
}


@dataclass(frozen=True)
class Told:
    """What came of one instruction.

    Attributes:
        frame, instruction: Which.
        outcome: ``right``, ``wrong``, ``none`` (the model says that nothing is there), ``refused``.
        present: Whether the thing is there.
        confidence: Of the answered point; 0 without one.
    """

    frame: str
    instruction: str
    outcome: str
    present: bool
    confidence: float


def ask(pipeline: ReferPipeline, folder: Path) -> Iterator[Told]:
    """Ask all instructions about one frame."""
    sample = load(folder)
    labels = {str(entry["label"]): entry for entry in sample.points}
    for instruction, label in PHRASES[folder.name].items():
        confidence, outcome = 0.0, "refused"
        try:
            result = pipeline.refer(sample.frame, instruction)
            if result.failure() is None:
                point = result.points[0]
                confidence = point.confidence
                entry = None if label is None else labels[label]
                outcome = "right" if _fits(point.pixel, entry, folder) else "wrong"
        except NothingFoundError:
            outcome = "none"
        except RoboReferError:
            pass
        yield Told(folder.name, instruction, outcome, label is not None, confidence)


def _fits(pixel: tuple[float, float], entry: dict[str, Any] | None, folder: Path) -> bool:
    if entry is None:
        return False
    kind = str(entry["kind"])
    if kind.startswith("instance"):
        masks = cv2.imread(str(folder / "instances.png"), cv2.IMREAD_UNCHANGED)
        assert masks is not None
        return bool(masks[round(pixel[1]), round(pixel[0])] == int(kind.split()[1]))
    width = read_json(folder / "camera.json")["width"]
    return math.dist(pixel, entry["pixel"]) <= RADIUS * width


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns its exit status."""
    parser = ArgumentParser(prog="benchmarks.real_frames", description=__doc__)
    parser.add_argument("--frames", type=Path, default=Path("test/data/rgbd"))
    parser.add_argument("--model", default="roborefer:demo", help="spec of the pointing model")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)
    pipeline = ReferPipeline(
        open_pointer(arguments.model), calibration=calibration_of(arguments.model)
    )
    told = [t for name in PHRASES for t in ask(pipeline, arguments.frames / name)]
    surely_wrong = [t for t in told if t.outcome == "wrong" and t.confidence >= ACT_ABOVE]
    if arguments.json:
        print(json.dumps([asdict(t) for t in told], indent=1))
    else:
        for t in told:
            print(f"{t.frame:<22}{t.instruction:<30}{t.outcome:<9}{t.confidence:>5.2f}")
        counts = Counter(t.outcome for t in told)
        print(", ".join(f"{counts[key]} {key}" for key in ("right", "wrong", "none", "refused")))
        print(f"wrong with a confidence of {ACT_ABOVE} or more: {len(surely_wrong)} (none allowed)")
    return 1 if surely_wrong else 0


if __name__ == "__main__":
    sys.exit(main())
