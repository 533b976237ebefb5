# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Labels and their file: what training reads of it, and what a crash or a second window leaves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from roborefer_ros.cli.dataset import main as dataset
from roborefer_ros.errors import ConfigurationError
from roborefer_ros.training.data.dataset import MixtureDataset
from roborefer_ros.training.data.mixtures import expand
from roborefer_ros.training.data.registry import open_registry
from roborefer_ros.training.label.pictures import OwnPicture, find_pictures, prepared_depth
from roborefer_ros.training.label.rows import Label, from_row, to_row
from roborefer_ros.training.label.store import LabelStore, StaleLabelsError

MUG = Label("the red mug", ((0.4123, 0.655), (0.0, 1.0)), "corrected")
NOTHING = Label("the elephant", ())


def write(folder: Path) -> None:
    """Labels of both pictures."""
    with LabelStore(folder) as store:
        for picture in find_pictures(folder):
            depth = picture.prepared_name if prepared_depth(folder, picture) is not None else None
            store.replace(picture.name, depth, [MUG, NOTHING], "new")


def test_a_row_comes_back_as_it_was_labelled() -> None:
    row = json.loads(json.dumps(to_row("a.jpg", "a.png", [MUG, NOTHING])))
    assert row["conversations"][1]["value"] == "[(0.412, 0.655), (0.000, 1.000)]"
    assert row["conversations"][3]["value"] == "[]"
    picture, labels = from_row(row) or ("", [])
    assert picture == "a.jpg"
    rounded = Label(MUG.question, ((0.412, 0.655), (0.0, 1.0)), "corrected")
    assert labels == [rounded, NOTHING]


@pytest.mark.parametrize(
    ("label", "told"),
    [
        (Label("", ((0.1, 0.1),)), "needs words"),
        (Label("two\nlines", ((0.1, 0.1),)), "needs words"),
        (Label("the <image> mug", ((0.1, 0.1),)), "placeholder"),
        (Label("a\u0007bell", ((0.1, 0.1),)), "cannot be printed"),
        (Label("half \ud800", ((0.1, 0.1),)), "cannot be printed"),
        (
            Label("x. Your answer should be formatted as JSON", ((0.1, 0.1),)),
            "request for a format",
        ),
        (Label("the mug", ((1.1, 0.1),)), "outside"),
        (Label("the mug", ((float("nan"), 0.1),)), "outside"),
        (Label("the mug", ((0.1, 0.1),) * 33), "at most 32"),
        (Label("m" * 495, ((0.1, 0.1),)), "characters"),
        (Label("a/a/a/a/a/a/a", ((0.1, 0.1),)), "training would not read"),
    ],
)
def test_what_training_would_drop_is_refused(label: Label, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        to_row("a.jpg", None, [label])


def test_a_question_is_asked_once_of_a_picture() -> None:
    with pytest.raises(ConfigurationError, match="twice"):
        to_row("a.jpg", None, [MUG, Label("The Red Mug", ())])


def test_training_reads_the_labels_without_conversion(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder)
    registry = folder / "dataset.yaml"
    parts = expand("own", open_registry(Path("nowhere"), [registry]))
    samples = MixtureDataset(parts)
    # The picture with depth counts with and without it, the other without.
    depths = [len(samples[i].depths) for i in range(len(samples))]
    assert depths == [1, 0, 0]
    assert dataset(["check", "--registry", str(registry), "--mixture", "own"]) == 0
    told = capsys.readouterr().out
    assert "text-for-point" not in told


def test_depth_of_a_camera_becomes_relative_with_near_bright(folder: Path) -> None:
    depth = prepared_depth(folder, OwnPicture("table.jpg", folder / "table_depth.png"))
    assert depth is not None
    assert depth[30, 30] > depth[5, 5]
    assert (folder / "depth_8bit" / "table.png").is_file()


def test_depth_that_cannot_be_used_leaves_the_picture_without(folder: Path) -> None:
    (folder / "table_depth.png").write_bytes(b"not a picture")
    assert prepared_depth(folder, OwnPicture("table.jpg", folder / "table_depth.png")) is None


def test_only_pictures_inside_the_folder_are_found(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.jpg"
    outside.write_bytes((folder / "table.jpg").read_bytes())
    (folder / "link.jpg").symlink_to(outside)
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "secret.jpg").write_bytes(outside.read_bytes())
    assert [picture.name for picture in find_pictures(folder)] == ["shelf/left.png", "table.jpg"]


def test_the_next_start_goes_on_and_keeps_rows_of_other_forms(folder: Path) -> None:
    foreign = {"id": "7", "image": ["table.jpg"], "conversations": [
        {"from": "human", "value": "What is it?"}, {"from": "gpt", "value": "A table."},
    ]}  # fmt: skip
    (folder / "labels.json").write_text(json.dumps([foreign]))
    write(folder)
    with LabelStore(folder) as store:
        assert store.counts() == {"shelf/left.png": 2, "table.jpg": 2}
        assert store.summary()["other_rows"] == 1
        labels, revision = store.labels("table.jpg")
        store.replace("table.jpg", None, labels[:1], revision)
        store.replace("shelf/left.png", None, [], store.labels("shelf/left.png")[1])
    rows = json.loads((folder / "labels.json").read_text())
    assert rows[0] == foreign
    assert [row["id"] for row in rows] == ["7", "table.jpg"]


def test_two_windows_do_not_overwrite_each_other(folder: Path) -> None:
    with LabelStore(folder) as store:
        store.replace("table.jpg", None, [MUG], "new")
        with pytest.raises(StaleLabelsError, match="another window"):
            store.replace("table.jpg", None, [NOTHING], "new")
        assert store.labels("table.jpg")[0][0].question == MUG.question


def test_two_processes_do_not_label_one_folder(folder: Path) -> None:
    with LabelStore(folder), pytest.raises(ConfigurationError, match="another process"):
        LabelStore(folder)


def test_a_registry_of_ones_own_is_not_overwritten(folder: Path) -> None:
    (folder / "dataset.yaml").write_text("mine: {data: a.json}\n")
    write(folder)
    assert (folder / "dataset.yaml").read_text() == "mine: {data: a.json}\n"


def test_damaged_labels_are_told_and_not_overwritten(folder: Path) -> None:
    (folder / "labels.json").write_text('{"rows": ')
    with pytest.raises(ConfigurationError, match="not JSON"):
        LabelStore(folder)
    assert (folder / "labels.json").read_text() == '{"rows": '


def test_depth_pictures_are_written_as_training_expects(folder: Path) -> None:
    write(folder)
    import cv2

    written = cv2.imread(str(folder / "depth_8bit" / "table.png"), cv2.IMREAD_UNCHANGED)
    assert written.dtype == np.uint8
    assert written.shape == (60, 80, 3)
