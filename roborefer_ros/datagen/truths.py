# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Truths of the 31 relations that are clear: None within the margins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from roborefer_ros.datagen import relations
from roborefer_ros.datagen.resolve import (
    ANGLE_DEG,
    LENGTH_M,
    SIZE_RATIO,
    VOLUME_ROOT_M,
    Resolver,
)
from roborefer_ros.datagen.scene import Box

_SIDES = {
    "left": "left",
    "right": "right",
    "above_world": "above",
    "below_world": "below",
    "front": "front",
    "behind": "behind",
}
_SIZES = {
    "tall": ("tallest", LENGTH_M),
    "short": ("shortest", LENGTH_M),
    "wide": ("widest", LENGTH_M),
    "thin": ("narrowest", LENGTH_M),
    "big": ("biggest", VOLUME_ROOT_M),
    "small": ("smallest", VOLUME_ROOT_M),
}
#: about places beside each other: never said of what stands on or in the other
_BESIDE = {"above_image", "below_image", "close", "far", "touch", "far_from", "face", "back"}
_TOUCH_MARGIN_M, _FAR_MARGIN_M = 0.03, 0.1
_ZONE_MARGIN = 0.1

PAIRS = tuple(relations.PAIR_TRUTHS)
TRIPLES = ("close", "far", "between")


def truth(resolver: Resolver, name: str, a: Box, b: Box, c: Box | None = None) -> bool | None:
    """Whether a relation holds clearly.

    Args:
        resolver: Of the scene.
        name: One of ``PAIRS`` or ``TRIPLES``.
        a: What it is about.
        b: What it is compared with.
        c: Third object of a triple.

    Returns:
        None where the values are too close to tell.
    """
    if name in _BESIDE and any(resolver.over(x, y) for x, y in ((a, b), (a, c), (b, c)) if y):
        return None
    if name in _SIDES:
        return resolver.holds(_SIDES[name], a, [b])
    if name in ("above_image", "below_image"):
        down = float(a.position[1] - b.position[1])
        return _clear(-down if name == "above_image" else down, resolver.margin(a, b))
    if name in _SIZES:
        return _sized(resolver, *_SIZES[name], a, b)
    if name in ("face", "back"):
        return _facing(name, a, b)
    if name in ("corner", "edge"):
        return _zone(resolver, name, a, b)
    if name in ("inside", "outside"):
        inside = resolver.holds("in", a, [b])
        return inside if inside is None or name == "inside" else not inside
    if name == "touch":
        return _clear(relations.TOUCH_M - resolver.distance(a, b), _TOUCH_MARGIN_M)
    if name == "far_from":
        return _clear(resolver.distance(a, b) - relations.FAR_FROM_M, _FAR_MARGIN_M)
    assert c is not None
    if name == "between":
        return _between(resolver, a, b, c)
    difference = resolver.distance(b, c) - resolver.distance(a, c)
    return _clear(difference if name == "close" else -difference, resolver.margin(a, b, c))


def _clear(difference: float, margin: float) -> bool | None:
    return None if abs(difference) <= margin else difference > 0


def _sized(resolver: Resolver, op: str, least: float, a: Box, b: Box) -> bool | None:
    x, y = resolver.value(a, op), resolver.value(b, op)
    small, large = sorted((abs(x), abs(y)))
    if large <= SIZE_RATIO * small or large - small <= least:
        return None
    return x < y


def _turned(box: Box, degrees: float) -> Box:
    angle = np.deg2rad(degrees)
    c, s = np.cos(angle), np.sin(angle)
    return replace(box, R=box.R @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]))


def _facing(name: str, a: Box, b: Box) -> bool | None:
    if not a.has_front:
        return None
    facing = relations.face if name == "face" else relations.back
    found = {facing(_turned(a, degrees), b) for degrees in (-ANGLE_DEG, 0.0, ANGLE_DEG)}
    if len(found) > 1 or (relations.face(a, b) and relations.back(a, b)):
        return None
    return found.pop()


def _zone(resolver: Resolver, name: str, a: Box, b: Box) -> bool | None:
    if not resolver.holds("on", a, [b]):
        return None
    for value in relations.on_face(resolver.scene, a, b):
        if min(abs(abs(value) - 2 / 3), abs(abs(value) - 1.0)) < _ZONE_MARGIN:
            return None
    return relations.zone(resolver.scene, a, b) == name


def _between(resolver: Resolver, a: Box, b: Box, c: Box) -> bool | None:
    found = resolver.holds("between", a, [b, c])
    if found:
        for other in resolver.group(a.category):
            if other not in (a, b, c) and relations.between(other, b, c):
                return None
    return found
