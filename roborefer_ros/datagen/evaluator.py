# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A second opinion on every answer: from the structure of the question and the boxes alone.

Nothing of the engine's geometry is used here: loops over plain numbers in place of polygons and
caches.  There are no margins; a question that needs one never gets this far.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from roborefer_ros.datagen.qa import QA
from roborefer_ros.datagen.scene import Box, Scene
from roborefer_ros.datagen.wording import read_value

Vector = Sequence[float]


def agrees(scene: Scene, qa: QA) -> bool:
    """Whether the answer of a question is the one that its derivation has on the boxes."""
    return Evaluator(scene).agrees(qa)


class Evaluator:
    """Works answers out again on one scene."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.corners = {box.id: _corners(box) for box in scene.boxes}
        turned = [list(map(float, row)) for row in scene.camera.gravity]
        self.gravity = turned
        self.upright = {
            name: [_row_times(p, turned) for p in points] for name, points in self.corners.items()
        }
        self.middle = {b.id: _row_times([*map(float, b.position)], turned) for b in scene.boxes}
        self._gaps: dict[tuple[str, str], float] = {}

    def agrees(self, qa: QA) -> bool:
        """See the function."""
        form = qa.derivation["form"]
        if form == "refer":
            return self._right_point(qa)
        if form == "free":
            return self._right_place(qa)
        objects = [self.single(value) for value in qa.derivation["objects"]]
        if any(box is None for box in objects):
            return False
        known = [box for box in objects if box is not None]
        name = qa.derivation["relation"]
        if form == "value":
            return self._right_value(name, known, qa.answer)
        if form == "yes_no":
            return qa.answer[4:] == ("yes" if self.holds(name, *known) else "no")
        if form == "fact":
            return self.holds(name, *known)
        options = [self.single(value) for value in qa.derivation["options"]]
        if form == "which":
            true = [
                x for x in options
                if x is not None
                and self.holds(name, x, *(o for o in known[:2] if o is not x), *known[2:])
            ]  # fmt: skip
        else:
            true = [x for x in options if x is not None and self.holds(name, x, *known[1:])]
        return len(true) == 1 and qa.answer[1] == "ABCDEF"[options.index(true[0])]

    # --- references ---

    def single(self, reference: dict[str, Any]) -> Box | None:
        """The only box of all that a reference fits."""
        found = self.fitting(reference)
        return found[0] if len(found) == 1 else None

    def fitting(self, reference: dict[str, Any]) -> list[Box]:
        """Every box that a reference fits."""
        group = [
            b
            for b in self.scene.boxes
            if b.category == reference["category"] and reference["colour"] in ("", b.colour)
        ]
        for select in reference["selects"]:
            anchors = [self.single(value) for value in select["anchors"]]
            known = [box for box in anchors if box is not None]
            if len(known) < len(anchors):
                return []
            group = [b for b in group if b not in known]
            if select["n"]:
                group.sort(key=lambda b: self.order(select["op"], b, known))
                group = group[select["n"] - 1 : select["n"]]
            else:
                group = [b for b in group if self.passes(select["op"], b, known)]
        return group

    def order(self, op: str, b: Box, anchors: Sequence[Box]) -> float:
        """What a rank sorts by."""
        width, height, deep = (float(x) for x in b.scale)
        return {
            "from_left": lambda: float(b.position[0]),
            "from_right": lambda: -float(b.position[0]),
            "from_front": lambda: self.nearness(b),
            "from_back": lambda: -self.nearness(b),
            "tallest": lambda: -height,
            "shortest": lambda: height,
            "widest": lambda: -width,
            "narrowest": lambda: width,
            "biggest": lambda: -width * height * deep,
            "smallest": lambda: width * height * deep,
            "closest": lambda: self.gap(b, anchors[0]),
            "farthest": lambda: -self.gap(b, anchors[0]),
        }[op]()

    def passes(self, op: str, b: Box, anchors: Sequence[Box]) -> bool:
        """Whether a filter lets a box through."""
        if op in ("above", "below"):
            op += "_world"
        if op == "on":
            foot = max(p[1] for p in self.upright[b.id])
            top = min(p[1] for p in self.upright[anchors[0].id])
            x, _, z = self.middle[b.id]
            return abs(foot - top) < 0.05 and _in_hull((x, z), self.flat(anchors[0]))
        if op == "in":
            op = "inside"
        if op.startswith("own_"):
            return self.own_side(b, anchors[0]) == op
        return self.holds(op, b, *anchors)

    def own_side(self, b: Box, anchor: Box) -> str:
        """The side of an anchor, as it faces, on which a box lies."""
        fx, _, fz = _row_times([float(anchor.R[i, 0]) for i in range(3)], self.gravity)
        dx = self.middle[b.id][0] - self.middle[anchor.id][0]
        dz = self.middle[b.id][2] - self.middle[anchor.id][2]
        # Turned so that the front is along z; x is then to the right.
        along, across = dx * fx + dz * fz, dx * fz - dz * fx
        if abs(along) >= abs(across):
            return "own_front" if along > 0 else "own_back"
        return "own_right" if across > 0 else "own_left"

    # --- relations ---

    def nearness(self, b: Box) -> float:
        """Distance of the box's nearest corner along the optical axis, metres."""
        return min(p[2] for p in self.corners[b.id])

    def gap(self, a: Box, b: Box) -> float:
        """Mean nearest-neighbour distance of both clouds, metres."""
        key = (min(a.id, b.id), max(a.id, b.id))
        if key not in self._gaps:
            p, q = (
                np.array(self.corners[x.id]) if x.points is None or not len(x.points) else x.points
                for x in (a, b)
            )
            squares = (p * p).sum(1)[:, None] + (q * q).sum(1)[None] - 2.0 * p @ q.T
            lengths = np.sqrt(np.maximum(squares, 0.0))
            both = [*lengths.min(axis=0), *lengths.min(axis=1)]
            self._gaps[key] = math.fsum(both) / len(both)
        return self._gaps[key]

    def holds(self, name: str, a: Box, b: Box, c: Box | None = None) -> bool:
        """Truth of a relation by its definition."""
        x, y = a.position, b.position
        size_a, size_b = a.scale, b.scale
        if c is not None and name in ("close", "far"):
            nearer = self.gap(a, c) - self.gap(b, c)
            return nearer < 0 if name == "close" else nearer > 0
        if c is not None:
            return self._between(a, b, c)
        pairs = {
            "left": (x[0], y[0]), "right": (y[0], x[0]),
            "above_image": (x[1], y[1]), "below_image": (y[1], x[1]),
            "above_world": (self.middle[a.id][1], self.middle[b.id][1]),
            "below_world": (self.middle[b.id][1], self.middle[a.id][1]),
            "front": (self.nearness(a), self.nearness(b)),
            "behind": (self.nearness(b), self.nearness(a)),
            "tall": (size_b[1], size_a[1]), "short": (size_a[1], size_b[1]),
            "wide": (size_b[0], size_a[0]), "thin": (size_a[0], size_b[0]),
            "big": (math.prod(size_b), math.prod(size_a)),
            "small": (math.prod(size_a), math.prod(size_b)),
        }  # fmt: skip
        if name in pairs:
            return bool(pairs[name][0] < pairs[name][1])
        if name == "touch":
            return self.gap(a, b) < 0.1
        if name == "far_from":
            return self.gap(a, b) > 1.0
        if name in ("inside", "outside"):
            share = _share_inside(a, b)
            return share > 0.3 if name == "inside" else share < 0.3
        if name in ("face", "back"):
            return _faces(a, b, 1.0 if name == "face" else -1.0)
        return self._zone(a, b) == name

    def _between(self, a: Box, b: Box, c: Box) -> bool:
        rows = [[float(o.position[0]), float(o.position[1]), self.nearness(o)] for o in (a, b, c)]
        spreads = []
        for column in zip(*rows, strict=True):
            mean = sum(column) / 3
            spreads.append(sum((v - mean) ** 2 for v in column))
        axis = spreads.index(max(spreads))
        here, one, other = (row[axis] for row in rows)
        return min(one, other) < here < max(one, other)

    def _zone(self, a: Box, b: Box) -> str:
        ups = [abs(_row_times([float(v) for v in b.R[:, k]], self.gravity)[1]) for k in range(3)]
        uv = []
        for k in range(3):
            if k != ups.index(max(ups)):
                along = sum(float((a.position[i] - b.position[i]) * b.R[i, k]) for i in range(3))
                uv.append(abs(along) / (float(b.scale[k]) / 2))
        if max(uv) > 1:
            return ""
        return {2: "corner", 1: "edge", 0: "inner"}[sum(v >= 2 / 3 for v in uv)]

    # --- answers ---

    def _right_point(self, qa: QA) -> bool:
        box = self.single(qa.derivation["reference"])
        if box is None or box.pixel is None or qa.point is None:
            return False
        camera = self.scene.camera
        x, y = (box.pixel[0] + 0.5) / camera.width, (box.pixel[1] + 0.5) / camera.height
        return abs(x - qa.point[0]) <= 6e-4 and abs(y - qa.point[1]) <= 6e-4

    def _right_value(self, name: str, boxes: Sequence[Box], answer: str) -> bool:
        stated = read_value(answer)
        if stated is None:
            return False
        x, y, z = (float(v) for v in boxes[0].position)
        if name == "distance":
            return abs(stated - self.gap(boxes[0], boxes[1])) < 0.006
        if name == "depth":
            points = boxes[0].points
            cloud = self.corners[boxes[0].id] if points is None or not len(points) else points
            return abs(stated - min(float(p[2]) for p in cloud)) < 0.006
        if name == "angle":
            cosine = sum(float(boxes[0].R[i, 0] * boxes[1].R[i, 0]) for i in range(3))
            return abs(stated - math.degrees(math.acos(max(-1.0, min(1.0, cosine))))) < 0.51
        turn = math.degrees(math.atan2(x if name == "rotation_horizontal" else y, z))
        word = {"rotation_horizontal": ("right", "left")}.get(name, ("down", "up"))[turn < 0]
        return abs(stated - abs(turn)) < 0.01 and answer.rstrip(".").endswith(word)

    def flat(self, box: Box) -> list[tuple[float, float]]:
        """Upright corners in (x, z), metres."""
        return [(p[0], p[2]) for p in self.upright[box.id]]

    def _right_place(self, qa: QA) -> bool:
        anchors = [self.single(value) for value in qa.derivation["anchors"]]
        if qa.point is None or any(box is None for box in anchors):
            return False
        known = [box for box in anchors if box is not None]
        side = qa.derivation["side"]
        platform = known[0] if side == "above" else self.scene.box(qa.derivation["platform"])
        surface = min(p[1] for p in self.upright[platform.id])
        place = self.back_projected(qa.point, surface)
        if place is None or abs(place[1] - surface) > 0.01:
            return False
        flat = (place[0], place[2])
        if not _in_hull(flat, self.flat(platform), 0.005):
            return False
        if any(
            _in_hull(flat, self.flat(b), -0.002) for b in self._in_the_way(platform, known, side)
        ):
            return False
        return self._at_side(side, place, known)

    def back_projected(self, point: Vector, surface: float) -> list[float] | None:
        """Upright place that an answer shows: by depth, else on the surface's plane, metres."""
        camera = self.scene.camera
        u, v = point[0] * camera.width - 0.5, point[1] * camera.height - 0.5
        fx, skew, cx = (float(k) for k in camera.K[0])
        fy, cy = float(camera.K[1, 1]), float(camera.K[1, 2])
        down = (v - cy) / fy
        ray = [(u - cx - skew * down) / fx, down, 1.0]
        depth = self.scene.depth_m
        if depth is None:
            slope = _row_times(ray, self.gravity)[1]
            z = surface / slope if abs(slope) > 1e-6 else -1.0
        else:
            row = min(int((round(v) + 0.5) * depth.shape[0] / camera.height), depth.shape[0] - 1)
            column = min(int((round(u) + 0.5) * depth.shape[1] / camera.width), depth.shape[1] - 1)
            z = float(depth[max(row, 0), max(column, 0)])
        if not z > 0:
            return None
        return _row_times([r * z for r in ray], self.gravity)

    def _in_the_way(self, platform: Box, anchors: Sequence[Box], side: str) -> list[Box]:
        """What the free place must not lie in."""
        surface = min(p[1] for p in self.upright[platform.id])
        if side == "above":
            limit = math.inf
        elif side == "between":
            limit = max(4.236 * math.prod(anchors[0].scale), 2 * math.prod(anchors[-1].scale))
        else:
            limit = 4.236 * math.prod(anchors[0].scale)
        blocked = [] if side == "below" else [a for a in anchors if a is not platform]
        for box in self.scene.boxes:
            points = self.upright[box.id]
            stands = (
                max(p[1] for p in points) >= surface - 0.2 and min(p[1] for p in points) < surface
            )
            is_other = box is not platform and box not in anchors
            if is_other and stands and math.prod(box.scale) <= limit:
                blocked.append(box)
        return blocked

    def _at_side(self, side: str, place: Vector, anchors: Sequence[Box]) -> bool:
        first = anchors[0]
        if side in ("above", "below"):
            return _in_hull((place[0], place[2]), self.flat(first), 0.005)
        if side == "between":
            both = [p for box in anchors for p in self.flat(box)]
            return _in_hull((place[0], place[2]), both, 0.005)
        if side in ("corner", "edge"):
            probe = _row_times(place, [list(column) for column in zip(*self.gravity, strict=True)])
            spot = Box("", "", np.array(probe), np.full(3, 0.01), np.eye(3))
            return self._zone(spot, first) == side
        dx, dz = place[0] - self.middle[first.id][0], place[2] - self.middle[first.id][2]
        if side.startswith("own_"):
            fx, _, fz = _row_times([float(first.R[i, 0]) for i in range(3)], self.gravity)
            along, across = dx * fx + dz * fz, dx * fz - dz * fx
        else:
            along, across = dz, dx
        name = side.removeprefix("own_")
        if name in ("right", "left"):
            return abs(across) > abs(along) and (across > 0) is (name == "right")
        far = name == "behind" if side == name else name == "front"
        return abs(along) > abs(across) and (along > 0) is far


def _corners(box: Box) -> list[list[float]]:
    points = []
    for sx in (-0.5, 0.5):
        for sy in (-0.5, 0.5):
            for sz in (-0.5, 0.5):
                local = (sx * box.scale[0], sy * box.scale[1], sz * box.scale[2])
                points.append(
                    [
                        float(box.position[i] + sum(box.R[i, k] * local[k] for k in range(3)))
                        for i in range(3)
                    ]
                )
    return points


def _row_times(p: Vector, matrix: Sequence[Vector]) -> list[float]:
    return [p[0] * matrix[0][k] + p[1] * matrix[1][k] + p[2] * matrix[2][k] for k in range(3)]


def _in_hull(p: Vector, points: Sequence[Vector], slack: float = 0.0) -> bool:
    """Whether a point lies in the convex hull of others, grown by ``slack`` metres.

    For each direction from one point to another that has all of them on one side, the point must
    be on that side, too.
    """
    for a in points:
        for b in points:
            nx, nz = a[1] - b[1], b[0] - a[0]
            length = math.hypot(nx, nz)
            if length < 1e-9:
                continue
            reach = max((q[0] - a[0]) * nx + (q[1] - a[1]) * nz for q in points) / length
            if reach <= 1e-7 and ((p[0] - a[0]) * nx + (p[1] - a[1]) * nz) / length > slack:
                return False
    return True


def _share_inside(a: Box, b: Box) -> float:
    centres = [(k + 0.5) / 10 - 0.5 for k in range(10)]
    local = np.array([[i, j, k] for i in centres for j in centres for k in centres]) * a.scale
    camera = np.einsum("ij,nj->ni", a.R, local) + a.position - b.position
    own = np.einsum("ji,nj->ni", b.R, camera)
    return float((np.abs(own) <= b.scale / 2 + 1e-9).all(axis=1).mean())


def _faces(a: Box, b: Box, sign: float) -> bool:
    """The four planes of the field of view, and the ray against the box's six faces."""
    axis = sign * a.R[:, 0]
    half = a.scale / 2
    corners = [
        a.position + axis * half[0] + i * a.R[:, 1] * half[1] + j * a.R[:, 2] * half[2]
        for i, j in ((-1, -1), (-1, 1), (1, 1), (1, -1))
    ]
    lateral = math.hypot(half[1], half[2])
    apex = a.position + axis * (half[0] - lateral / math.tan(math.radians(30)))
    middle = sum(corners) / 4
    inside = True
    for k in range(4):
        normal = np.cross(corners[k] - apex, corners[(k + 1) % 4] - apex)
        inside &= bool((normal @ (b.position - apex)) * (normal @ (middle - apex)) >= 0)
    start, way = b.R.T @ (a.position - b.position), b.R.T @ axis
    if bool(np.all(np.abs(start) <= b.scale / 2)) or inside:
        return True
    for k in range(3):
        if abs(way[k]) < 1e-12:
            continue
        for plane in (-b.scale[k] / 2, b.scale[k] / 2):
            t = (plane - start[k]) / way[k]
            there = np.delete(np.abs(start + t * way), k)
            if t >= 0 and bool(np.all(there <= np.delete(b.scale / 2, k))):
                return True
    return False
