# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Whole data sets: files, bytes, sources, and what is skipped."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from roborefer_ros.cli.datagen import main
from roborefer_ros.datagen.balance import Balance, limits
from roborefer_ros.datagen.generate import generate, on_this_machine
from roborefer_ros.datagen.scene import Camera, Scene
from roborefer_ros.datagen.sources.ca1m import Ca1mSource
from roborefer_ros.datagen.sources.detections import Detection, boxes_from_detections
from roborefer_ros.datagen.sources.folder import FolderSource
from roborefer_ros.datagen.sources.parsing import safe_names
from roborefer_ros.datagen.sources.simulation import SimulationSource, simulated
from roborefer_ros.datagen.write import Options, depth_picture
from roborefer_ros.errors import ConfigurationError
from roborefer_ros.simulation.rendering import FIRST_OBJECT, RenderedView

SIZE = (320, 240)
PARTS_3D = ("choice_qa", "reasoning_template_qa", "vacant_qa", "multi_view_qa", "visual_choice_qa")


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    generate(folder, SimulationSource(5, 22, SIZE), Options(seed=5), on_this_machine(1))
    return folder


@pytest.fixture(scope="module")
def views() -> list[tuple[Scene, RenderedView]]:
    return [simulated(5, number, SIZE) for number in range(3)]


def rows_of(folder: Path, part: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((folder / part).read_text())
    return rows


def test_files_have_the_released_form(made: Path) -> None:
    for part in PARTS_3D:
        rows = rows_of(made, f"3D/{part}.json")
        assert rows, part
        images = {
            "multi_view_qa": ("image_multi_view", "depth_multi_view"),
            "visual_choice_qa": ("image_visual_choice", "depth"),
        }.get(part, ("image", "depth"))
        for row in rows:
            assert len(row["image"]) == len(row["depth"])
            for kind, folder in zip(("image", "depth"), images, strict=True):
                for name in row[kind]:
                    picture = cv2.imread(str(made / "3D" / folder / name), cv2.IMREAD_UNCHANGED)
                    assert picture.shape == (SIZE[1], SIZE[0], 3)
                    assert picture.dtype == np.uint8
            turns = row["conversations"]
            assert [t["from"] for t in turns] == ["human", "gpt"] * (len(turns) // 2)
            assert turns[0]["value"].count("<image>") == len(row["image"])
            assert len(turns) <= 30
    ids = [row["id"] for row in rows_of(made, "3D/choice_qa.json")]
    assert len(set(ids)) == len(ids)


def test_reasoned_rows_have_a_thought_for_each_pair(made: Path) -> None:
    rows = rows_of(made, "Simulator/metadata.json")
    for row in rows:
        pairs = len(row["conversations"]) // 2
        assert pairs == len(row["think"]) == len(row["key_steps"]) <= 10
        assert (made / "Simulator/image" / row["image"][0]).is_file()
        for think, steps in zip(row["think"], row["key_steps"], strict=True):
            assert set(think) == {"question_type", "thinking"}
            assert think["thinking"].count("Step ") == len(steps)


def test_statistics_agree_with_the_files(made: Path) -> None:
    stats = json.loads((made / "stats.json").read_text())
    files = {part: rows_of(made, f"3D/{part}.json") for part in PARTS_3D}
    files["metadata"] = rows_of(made, "Simulator/metadata.json")
    pairs = {part: sum(len(r["conversations"]) // 2 for r in rows) for part, rows in files.items()}
    assert stats["parts"] == pairs
    assert stats["questions"] == sum(pairs.values())
    assert stats["scenes"]["used"] == 22
    for kind, options in stats["options"].items():
        if sum(options.values()) >= 10:
            assert max(options.values()) <= 0.6 * sum(options.values()), kind
    page = (made / "preview.html").read_text()
    assert "<circle" in page
    assert "tabletop-5-0.png" in page


def test_bytes_do_not_depend_on_workers_or_interruptions(made: Path, tmp_path: Path) -> None:
    source = SimulationSource(5, 22, SIZE)
    generate(tmp_path, source, Options(seed=5), on_this_machine(2))
    assert content(tmp_path) == content(made)
    (tmp_path / "shards/000000.jsonl").unlink()
    (tmp_path / "3D/choice_qa.json").unlink()
    generate(tmp_path, source, Options(seed=5), on_this_machine(1))
    assert content(tmp_path) == content(made)
    with pytest.raises(ConfigurationError, match="other settings .options"):
        generate(tmp_path, source, Options(seed=5, questions=3), on_this_machine(1))


def test_the_reader_of_training_takes_every_row(made: Path, tmp_path: Path) -> None:
    from roborefer_ros.training.data.dataset import MixtureDataset, ReadOptions
    from roborefer_ros.training.data.mixtures import expand
    from roborefer_ros.training.data.registry import open_registry
    from roborefer_ros.training.data.rows import ThinkMode

    names = [*(f"3D_{part}" for part in PARTS_3D), "simulation_dataset"]
    stats = json.loads((made / "stats.json").read_text())
    for think in (ThinkMode(0.0), ThinkMode(1.0)):
        options = ReadOptions(think=think, index_dir=tmp_path, on_error="raise", strict_shapes=True)
        dataset = MixtureDataset(expand("+".join(names), open_registry(made)), options)
        assert len(dataset) == sum(stats["rows"].values())
        pairs = 0
        for number in range(len(dataset)):
            sample = dataset.sample(number)
            pairs += len(sample.conversation) // 2
            assert not sample.load(strict_shapes=True).notes
        assert pairs == stats["questions"]
        for part in dataset.parts:
            assert part.index.meta.defects == {}, part.spec.name


def test_a_frequent_option_is_thinned_evenly() -> None:
    assert limits({"yes": 10, "no": 90}) == {"yes": 10, "no": 13}
    assert limits({"yes": 0, "no": 7})["no"] == 0
    assert limits({"A": 1, "B": 1}) == {"A": 1, "B": 1}
    balance = Balance({"kind": {"yes": 10, "no": 90}})
    kept = [balance.keeps("kind", "no") for _ in range(90)]
    assert sum(kept) == 13
    assert sum(kept[:45]) in (6, 7)
    assert all(balance.keeps("kind", "yes") for _ in range(10))


def test_depth_pictures_are_bright_where_it_is_near() -> None:
    depth = np.array([[1.0, 2.0], [np.nan, 3.0]], np.float32)
    linear = depth_picture(depth, "linear")
    assert linear is not None
    assert linear[..., 0].tolist() == [[170, 85], [255, 0]]
    relative = depth_picture(depth, "relative")
    assert relative is not None
    assert relative.shape == (2, 2, 3)
    assert relative[0, 0, 0] > relative[0, 1, 0] > relative[1, 1, 0]
    assert depth_picture(np.full((2, 2), np.nan), "linear") is None


# --- sources -----------------------------------------------------------------------------


def boxes_json(scene: Scene) -> list[dict[str, Any]]:
    return [
        {
            "id": b.id, "category": b.category, "position": b.position.tolist(),
            "scale": b.scale.tolist(), "R": b.R.tolist(), "colour": b.colour,
            "has_front": b.has_front, "corners": b.corners.tolist(),
        }
        for b in scene.boxes
    ]  # fmt: skip


def png(picture: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".png", picture)[1].tobytes())


def depth_png(view: RenderedView) -> bytes:
    return png(np.nan_to_num(view.depth_m * 1000).astype(np.uint16))


def write_capture(
    folder: Path, frames: list[tuple[Scene, RenderedView]], changes: dict[int, dict[str, Any]]
) -> None:
    """A capture as CA-1M has it; ``changes``: frame -> file -> bytes, or None to leave it out."""
    for index, (scene, view) in enumerate(frames):
        files: dict[str, Any] = {
            "wide/image.png": png(view.rgb[..., ::-1]),
            "wide/depth.png": depth_png(view),
            "wide/image/K.json": json.dumps(scene.camera.K.tolist()).encode(),
            "wide/T_gravity.json": json.dumps(scene.camera.gravity.tolist()).encode(),
            "wide/instances.json": json.dumps(boxes_json(scene)).encode(),
            "gt/RT.json": json.dumps(view.world_T_camera.tolist()).encode(),
            **changes.get(index, {}),
        }
        for name, data in files.items():
            if data is not None:
                path = folder / f"{1000 + index}.{name}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)


def behind(scene: Scene) -> bytes:
    boxes = boxes_json(scene)
    for box in boxes:
        box["position"][2] *= -1
    return json.dumps(boxes).encode()


def test_captures_give_questions_and_count_what_is_damaged(
    views: list[tuple[Scene, RenderedView]], tmp_path: Path
) -> None:
    captures = tmp_path / "captures"
    frames = [views[k % 3] for k in range(10)]
    write_capture(captures / "ca1m-val-1", views, {})
    changes: dict[int, dict[str, Any]] = {
        0: {"wide/T_gravity.json": None},
        1: {"wide/instances.json": b"[]"},
        2: {"wide/instances.json": behind(frames[2][0])},
        3: {"wide/image.png": png(frames[3][1].rgb)[:500]},
        4: {"wide/depth.png": None},
        5: {"wide/depth.png": png(np.zeros((60, 80), np.uint16))},
        6: {"wide/image/K.json": None},
        7: {"wide/instances.json": b'[{"id": '},
        8: {"wide/T_gravity.json": b"[[2,0,0],[0,2,0],[0,0,2]]"},
    }
    write_capture(captures / "ca1m-val-2", frames, changes)
    stats = generate(tmp_path / "out", Ca1mSource(captures), Options(), on_this_machine(1))
    assert stats["scenes"]["used"] == 4
    assert stats["scenes"]["skipped"] == {
        "depth has no reading": 1,
        "gravity is not a rotation": 1,
        "no boxes": 1,
        "no depth": 1,
        "no gravity": 1,
        "no intrinsics": 1,
        "no usable box: box behind the camera": 1,
        "picture is damaged": 1,
        "unreadable: ConfigurationError": 1,
    }
    assert set(stats["parts"]) >= {"choice_qa", "reasoning_template_qa", "vacant_qa", "metadata"}
    with tarfile.open(tmp_path / "ca1m-val-3.tar", "w") as tar:
        for path in sorted((captures / "ca1m-val-1").rglob("*")):
            tar.add(path, str(path.relative_to(captures)), recursive=False)
    from_tar = Ca1mSource(tmp_path / "ca1m-val-3.tar")
    assert len(from_tar.names()) == 3
    assert from_tar.load(from_tar.names()[0]).scene.boxes[0].category == "table"


def test_every_scene_has_a_file_name_of_its_own() -> None:
    given = ["a", "a-2", "a", "a/b", "a b", "../x", ""]
    names = safe_names(given)
    assert len(set(names)) == len(given)
    assert all("/" not in name and not name.startswith(".") for name in names)


def test_long_captures_are_thinned(views: list[tuple[Scene, RenderedView]], tmp_path: Path) -> None:
    for k in range(100):
        (tmp_path / f"c/{k}.wide").mkdir(parents=True)
        (tmp_path / f"c/{k}.wide/image.png").write_bytes(b"")
    stamps = [int(n.split("_")[1]) for n in Ca1mSource(tmp_path).names()]
    assert stamps[0] in range(20, 40)
    assert set(np.diff(stamps)) == {20}


def write_folder(folder: Path, views: list[tuple[Scene, RenderedView]]) -> list[dict[str, Any]]:
    (folder / "rgb").mkdir(parents=True)
    (folder / "depth").mkdir()
    entries = []
    for index, (scene, view) in enumerate(views):
        (folder / f"rgb/s{index}.png").write_bytes(png(view.rgb[..., ::-1]))
        (folder / f"depth/s{index}.png").write_bytes(depth_png(view))
        entries.append(
            {
                "id": f"s{index}",
                "K": scene.camera.K.tolist(),
                "gravity": scene.camera.gravity.tolist(),
                "boxes": boxes_json(scene),
            }
        )
    return entries


def test_a_folder_of_boxes_gives_questions(
    views: list[tuple[Scene, RenderedView]], tmp_path: Path
) -> None:
    entries = write_folder(tmp_path / "in", views)
    bad_boxes = [
        {"category": "x"},
        {**entries[1]["boxes"][1], "scale": [0.1, float("nan"), 0.1]},
        {**entries[1]["boxes"][1], "R": [[1, 1, 0], [0, 1, 0], [0, 0, 1]]},
        {**entries[1]["boxes"][1], "scale": [0.1, -1, 0.1]},
        {**entries[1]["boxes"][1], "category": "[]"},
        7,
    ]
    entries[1]["boxes"] += bad_boxes
    entries.append({"id": "../../evil", "rgb": "../../etc/passwd"})
    entries.append({**entries[2], "id": "gone", "rgb": "rgb/gone.png"})
    table = {"depth_unit_m": 0.001, "scenes": entries}
    (tmp_path / "in/scene.json").write_text(json.dumps(table))
    stats = generate(tmp_path / "out", FolderSource(tmp_path / "in"), Options(), on_this_machine(1))
    assert stats["scenes"]["used"] == 3
    assert stats["scenes"]["skipped"] == {
        "rgb picture is missing": 1,
        "unreadable: ConfigurationError": 1,
    }
    dropped = stats["dropped"]
    assert dropped["box without position, scale or rotation"] == 3
    assert dropped["box of no size"] == dropped["box that is no object"] == 1
    assert dropped["box without a category"] == 1
    assert not list(tmp_path.rglob("*evil*.png"))


def test_masks_and_depth_become_boxes(
    views: list[tuple[Scene, RenderedView]], tmp_path: Path
) -> None:
    """Boxes of visible surfaces lie where the exact ones do."""
    scene, view = views[0]
    numbers = np.where(view.instance >= FIRST_OBJECT, view.instance, 0).astype(np.uint8)
    counts: Counter[str] = Counter()
    exact = [box for k, box in enumerate(scene.boxes[1:]) if (numbers == 2 + k).sum() > 150]
    masks = [numbers == 2 + scene.boxes.index(b) - 1 for b in exact]
    found = [Detection(m, b.category, 0.9) for m, b in zip(masks, exact, strict=True)]
    low = Detection(masks[0], "cup", 0.1)
    tiny = Detection(np.zeros_like(masks[0]), "cup", 0.9)
    boxes = boxes_from_detections([*found, low, tiny], view.depth_m, scene.camera, counts)
    assert counts["detection not confident"] == counts["mask too small"] == 1
    assert len(boxes) >= 2
    for box in boxes:
        near = min(float(np.linalg.norm(box.position - e.position)) for e in exact)
        assert near < 0.05
    entries = write_folder(tmp_path / "in", views[:1])
    (tmp_path / "in/masks").mkdir()
    (tmp_path / "in/masks/s0.png").write_bytes(png(numbers))
    del entries[0]["boxes"]
    entries[0]["detections"] = [
        {"mask": 2 + scene.boxes.index(b) - 1, "label": b.category, "score": 0.9} for b in exact
    ]
    (tmp_path / "in/scene.json").write_text(json.dumps(entries))
    stats = generate(tmp_path / "out", FolderSource(tmp_path / "in"), Options(), on_this_machine(1))
    assert stats["questions"] > 5


def test_boxes_from_masks_need_points() -> None:
    camera = Camera(np.array([[50.0, 0, 20], [0, 50, 20], [0, 0, 1]]), 40, 40, np.eye(3))
    mask = np.zeros((40, 40), bool)
    mask[10:16, 10:16] = True
    counts: Counter[str] = Counter()
    from roborefer_ros.datagen.source import SceneSkippedError

    with pytest.raises(SceneSkippedError, match="no usable detection"):
        boxes_from_detections(
            [Detection(mask, "cup", 1.0)], np.full((40, 40), np.nan), camera, counts
        )
    assert counts == {"too few points": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "boxes"], "needs --data"),
        (["--source", "boxes", "--data", "missing"], "scene.json is missing"),
        (["--source", "ca1m", "--data", "missing"], "is not a directory"),
        (["--source", "ca1m", "--data", "."], "holds no capture"),
        (["--source", "simulation", "--data", "."], "reads no --data"),
        (["--source", "simulation", "--width", "8"], "show no scene"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "--out", "out"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("roborefer datagen: ")
    assert message in error
    assert error.count("\n") == 1


def test_the_command_tells_what_was_skipped(
    views: list[tuple[Scene, RenderedView]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = write_folder(tmp_path / "in", views[:2])
    del entries[1]["gravity"]
    (tmp_path / "in/scene.json").write_text(json.dumps(entries))
    arguments = ["--source", "boxes", "--data", str(tmp_path / "in"), "--workers", "1"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "about 1 of 2 scenes" in shown
    assert "1 skipped: no gravity (s1: no gravity)" in shown
    del entries[0]["gravity"]
    (tmp_path / "in/scene.json").write_text(json.dumps(entries))
    from roborefer_ros.datagen.sources import folder

    folder._table.cache_clear()
    assert main([*arguments, "--out", str(tmp_path / "none")]) == 1
    assert "none of the 2 scenes gave a question: 2 no gravity" in capsys.readouterr().err
