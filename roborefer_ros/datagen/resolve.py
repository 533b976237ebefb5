# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Which box a reference means, if the boxes decide it clearly.

Every comparison has a margin: positions must differ by more than 5 cm and by more than 3 % of the
distance to the camera, sizes by more than a tenth, angles may not lie within 10 degrees of their
threshold.  A reference with one unclear comparison means nothing here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from roborefer_ros.datagen.expressions import DISTANCES, OWN_SIDES, ROWS, SIDES, Reference, Select
from roborefer_ros.datagen.free_space import footprint
from roborefer_ros.datagen.relations import (
    INSIDE_SHARE,
    between_axis,
    cloud_distance,
    inside_share,
    place,
    world_y,
)
from roborefer_ros.datagen.scene import Array, Box, Scene

POSITION_M, POSITION_SHARE = 0.05, 0.03
SIZE_RATIO, LENGTH_M, VOLUME_ROOT_M = 1.1, 0.03, 0.02
ANGLE_DEG = 10.0
_SECTOR_DEG = 45.0
_SHARE = 0.15
_GAP_M = 0.02


class Resolver:
    """Resolves references on one scene and remembers what it found.

    Args:
        scene: The boxes.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._distances: dict[tuple[str, str], float] = {}
        self._known: dict[Reference, Box | None] = {}
        self._columns: dict[str, float] = {}
        self._over: dict[tuple[str, str], bool] = {}

    # --- what is compared ---

    def distance(self, a: Box, b: Box) -> float:
        """Cloud distance, metres."""
        key = (a.id, b.id) if a.id <= b.id else (b.id, a.id)
        if key not in self._distances:
            self._distances[key] = cloud_distance(a, b)
        return self._distances[key]

    def margin(self, *boxes: Box) -> float:
        """Smallest difference in position that is clear, metres."""
        far = max(float(np.linalg.norm(box.position)) for box in boxes)
        return max(POSITION_M, POSITION_SHARE * far)

    def column(self, box: Box) -> float:
        """Projected column of the centre, pixels."""
        if box.id not in self._columns:
            self._columns[box.id] = float(self.scene.camera.project(box.position[None])[0, 0])
        return self._columns[box.id]

    def value(self, box: Box, op: str) -> float:
        """What a side, row or size compares; the smaller comes first."""
        if op in ("left", "from_left"):
            return float(box.position[0])
        if op in ("right", "from_right"):
            return -float(box.position[0])
        if op in ("front", "from_front"):
            return box.near
        if op in ("behind", "from_back"):
            return -box.near
        if op in ("above", "below"):
            return world_y(self.scene, box) * (1 if op == "above" else -1)
        sign = -1.0 if op in ("tallest", "widest", "biggest") else 1.0
        if op in ("tallest", "shortest"):
            return sign * float(box.scale[1])
        if op in ("widest", "narrowest"):
            return sign * float(box.scale[0])
        return sign * float(np.cbrt(box.volume))

    # --- resolving ---

    def group(self, category: str, colour: str = "") -> list[Box]:
        """Boxes that the bare words fit, hidden ones too."""
        return [
            box
            for box in self.scene.boxes
            if box.category == category and (not colour or box.colour == colour)
        ]

    def resolve(self, reference: Reference) -> Box | None:
        """The one box that is meant; None: none, several, or not clearly one."""
        if reference not in self._known:
            self._known[reference] = self._resolve(reference)
        return self._known[reference]

    def _resolve(self, reference: Reference) -> Box | None:
        group: list[Box] | None = self.group(reference.category, reference.colour)
        for select in reference.selects:
            if group is None or not group:
                return None
            group = self.apply(select, group)
        return group[0] if group is not None and len(group) == 1 else None

    def apply(self, select: Select, group: Sequence[Box]) -> list[Box] | None:
        """What a narrowing leaves of a group; None: not clear."""
        anchors = [self.resolve(anchor) for anchor in select.anchors]
        known = [box for box in anchors if box is not None]
        if len(known) != len(anchors):
            return None
        others = [box for box in group if all(box is not anchor for anchor in known)]
        if select.is_rank:
            return self._ranked(select, others, known)
        kept = []
        for box in others:
            truth = self.holds(select.op, box, known)
            if truth is None:
                return None
            if truth:
                kept.append(box)
        return kept

    def holds(self, op: str, box: Box, anchors: Sequence[Box]) -> bool | None:
        """Whether a filter lets a box pass; None: not clear."""
        if op in SIDES:
            return self._on_side(op, box, anchors[0])
        if op in OWN_SIDES:
            return self._on_own_side(op, box, anchors[0])
        if op == "between":
            return self._is_between(box, *anchors)
        if op == "in":
            return _clear(inside_share(box, anchors[0]) - INSIDE_SHARE, _SHARE)
        return self._stands_on(box, anchors[0])

    def over(self, a: Box, b: Box) -> bool:
        """Whether one stands on, over or in the other: nobody calls that beside."""
        key = (a.id, b.id) if a.id <= b.id else (b.id, a.id)
        if key not in self._over:
            feet = [footprint(self.scene, box) for box in (a, b)]
            least = min(foot.area for foot in feet)
            shared = feet[0].intersection(feet[1]).area
            self._over[key] = bool(shared > 0.5 * least) if least > 0 else False
        return self._over[key]

    def _on_side(self, op: str, box: Box, anchor: Box) -> bool | None:
        if self.over(box, anchor):
            return None
        difference = self.value(anchor, op) - self.value(box, op)
        truth = _clear(difference, self.margin(box, anchor))
        if truth is not None and op in ("left", "right"):
            columns = self.column(anchor) - self.column(box)
            if ((columns if op == "left" else -columns) > 0) is not truth:
                return None  # the picture shows it the other way round
        return truth

    def own_direction(self, anchor: Box, op: str) -> Array | None:
        """Unit vector in world (x, z) of an anchor's own side; None: its front is upright."""
        front = self.scene.camera.to_world(anchor.front)
        if np.hypot(front[0], front[2]) < 0.5:
            return None
        x, z = front[[0, 2]] / np.hypot(front[0], front[2])
        return np.array(
            {"own_front": (x, z), "own_back": (-x, -z), "own_right": (z, -x)}.get(op, (-z, x))
        )

    def _on_own_side(self, op: str, box: Box, anchor: Box) -> bool | None:
        direction = self.own_direction(anchor, op)
        if direction is None or self.over(box, anchor):
            return None
        scene = self.scene
        offset = (scene.world_centre(box) - scene.world_centre(anchor))[[0, 2]]
        length = float(np.hypot(*offset))
        if length < self.margin(box, anchor):
            return None
        angle = float(np.degrees(np.arccos(np.clip(offset @ direction / length, -1, 1))))
        # A box may move by its margin sideways, too.
        slack = max(ANGLE_DEG, float(np.degrees(np.arctan2(0.03, length))))
        return _clear(_SECTOR_DEG - angle, slack)

    def _is_between(self, box: Box, a: Box, b: Box) -> bool | None:
        if self.over(box, a) or self.over(box, b) or self.over(a, b):
            return None
        values = np.var([place(x) for x in (box, a, b)], axis=0)
        axis = between_axis(box, a, b)
        if np.sort(values)[-1] < 1.5 * np.sort(values)[-2]:
            return None
        low, high = sorted((place(a)[axis], place(b)[axis]))
        here = place(box)[axis]
        return _clear(min(here - low, high - here), self.margin(box, a, b))

    def _stands_on(self, box: Box, anchor: Box) -> bool | None:
        scene = self.scene
        gap = abs(scene.bottom(box) - scene.top(anchor))
        foot = footprint(scene, box)
        overlap = foot.intersection(footprint(scene, anchor)).area / foot.area if foot.area else 0.0
        if gap < _GAP_M and overlap > 0.85:
            return True
        if gap > 0.1 or overlap < 0.3:
            return False
        return None

    def _ranked(self, select: Select, group: list[Box], anchors: list[Box]) -> list[Box] | None:
        if len(group) < 2 or not 1 <= select.n <= len(group):
            return None
        # Who counts sees what is counted.
        if not all(box.visible for box in group):
            return None
        if select.op in DISTANCES:
            if any(self.over(box, anchors[0]) for box in group):
                return None
            sign = 1.0 if select.op == "closest" else -1.0
            keyed = [(sign * self.distance(box, anchors[0]), box) for box in group]
        else:
            keyed = [(self.value(box, select.op), box) for box in group]
        keyed.sort(key=lambda pair: pair[0])
        at = select.n - 1
        for low, high in ((at - 1, at), (at, at + 1)):
            if (
                low >= 0
                and high < len(keyed)
                and not self._clear_order(select.op, keyed, low, high)
            ):
                return None
        return [keyed[at][1]]

    def _clear_order(self, op: str, keyed: list[tuple[float, Box]], low: int, high: int) -> bool:
        difference = keyed[high][0] - keyed[low][0]
        if op in ROWS or op in DISTANCES:
            return difference > self.margin(keyed[low][1], keyed[high][1])
        small, large = sorted(abs(keyed[i][0]) for i in (low, high))
        least = LENGTH_M if op in ("tallest", "shortest", "widest", "narrowest") else VOLUME_ROOT_M
        return large > SIZE_RATIO * small and large - small > least


def _clear(difference: float, margin: float) -> bool | None:
    """Whether a difference is positive; None within the margin."""
    return None if abs(difference) <= margin else difference > 0
