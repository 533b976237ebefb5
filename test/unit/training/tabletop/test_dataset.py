# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Reading conversations and making patch targets."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.training.tabletop.dataset import (
    patch_targets,
    read_samples,
    read_tile,
    strip_placeholders,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<image>\n<depth>\nPoint to it.", "Point to it."),
        ("<image> <depth>\nPoint to it.", "Point to it."),
        ("Where is the <image>cup?", "Where is the cup?"),
        ("no media", "no media"),
    ],
)
def test_placeholders_are_removed_with_one_newline_each(text, expected):
    assert strip_placeholders(text) == expected


def _write(folder, conversations):
    entry = {"id": "a", "image": "a.png", "depth": "a.png", "conversations": conversations}
    (folder / "questions.json").write_text(json.dumps([entry]))
    for name in ("image", "depth"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "a.png").touch()


def test_turns_are_taken_apart(tmp_path):
    turns = [
        {"from": "human", "value": "<image>\n<depth>\nPoint to the mug."},
        {"from": "gpt", "value": "[(0.100, 0.200)]"},
        {"from": "human", "value": "Point to the box."},
        {"from": "gpt", "value": "[(0.300, 0.400)]"},
    ]
    _write(tmp_path, turns)
    (sample,) = read_samples(tmp_path)
    assert [t.question for t in sample.turns] == ["Point to the mug.", "Point to the box."]
    assert sample.turns[1].answer == "[(0.300, 0.400)]"


@pytest.mark.parametrize("roles", [("human",), ("gpt", "human"), ("human", "human")])
def test_turns_that_do_not_alternate_are_refused(tmp_path, roles):
    _write(tmp_path, [{"from": role, "value": "x"} for role in roles])
    with pytest.raises(ValueError, match="sample 'a'"):
        read_samples(tmp_path)


def test_each_patch_belongs_to_the_object_that_covers_most_of_it():
    instance = np.zeros((8, 8), np.uint8)
    instance[:4, :4] = 2  # fills patch (0, 0)
    instance[:4, 4:] = 3
    instance[:4, 4] = 2  # one column of patch (0, 1): 3 still covers more
    instance[7, 7] = 3  # one pixel of patch (1, 1): too little
    items = [
        {"id": 2, "colour": "red", "shape": "box", "pixel_centroid_normalised": [0.2, 0.3]},
        {"id": 3, "colour": "blue", "shape": "ball", "pixel_centroid_normalised": [0.7, 0.1]},
    ]
    targets = patch_targets(instance, items, 2, ("blue", "red"), ("ball", "box"))
    assert targets.colour.tolist() == [[2, 1], [0, 0]]
    assert targets.shape.tolist() == [[2, 1], [0, 0]]
    np.testing.assert_allclose(targets.centre[0], [[0.2, 0.3], [0.7, 0.1]])


def test_tiles_are_those_of_the_processor(tmp_path):
    from roborefer_ros.models.roborefer import processing

    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    tile = read_tile(tmp_path / "a.png", 42, "RGB")
    expected = np.asarray(processing.resize(Image.fromarray(picture), 42, 42))
    np.testing.assert_array_equal(tile, expected)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../../secret.png", "a\0b", "x" * 5000, "link.png"]
)
def test_a_table_names_no_picture_outside_its_data_set(tmp_path, name):
    (tmp_path / "secret.png").touch()
    folder = tmp_path / "data"
    folder.mkdir()
    _write(folder, [])
    (folder / "image" / "link.png").symlink_to("../../secret.png")
    entries = json.loads((folder / "questions.json").read_text())
    entries[0]["image"] = name
    (folder / "questions.json").write_text(json.dumps(entries))
    with pytest.raises(ConfigurationError, match="outside|not a usable path"):
        read_samples(folder)
