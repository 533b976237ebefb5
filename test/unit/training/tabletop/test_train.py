# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The whole way from simulated scenes to a checkpoint that the pointer opens."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from roborefer_ros.errors import CheckpointInvalidError, RoboReferError  # noqa: E402
from roborefer_ros.pointing.factory import open_pointer  # noqa: E402
from roborefer_ros.simulation.dataset import generate  # noqa: E402
from roborefer_ros.training.tabletop.recipe import Recipe  # noqa: E402
from roborefer_ros.training.tabletop.train import Trainer, main  # noqa: E402

#: as small as it goes: plumbing and learning by heart, nothing more
TINY = {
    "image_size": 42, "vision_width": 32, "vision_layers": 2, "depth_width": 32,
    "depth_layers": 2, "hidden_width": 32, "hidden_layers": 2, "attention_heads": 2,
    "mlp_width": 48, "vocabulary": 300, "batch_images": 2, "slots": 1, "slot_tokens": 96,
    "validation_images": 2, "warmup_steps": 2, "mention_layers": [0], "grounding_layers": [1],
    "average_every": 1, "average_decay": 0.5, "compiled": False,
    "projector": "mlp_downsample_3x3_fix",
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    generate(folder, 6, seed=5, size=(80, 60), questions=4, workers=1)
    return folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.json"
    path.write_text(json.dumps(TINY))
    return path


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "loss.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_train_resume_and_open(data: Path, recipe: Path, tmp_path: Path) -> None:
    """A run that is stopped goes on where it was; what it exports answers as a model does."""
    out = tmp_path / "run"
    command = ["--data", str(data), "--out", str(out), "--recipe", str(recipe), "--device", "cpu"]
    assert main([*command, "--steps", "20"]) == 0
    assert rows(out)[-1]["split"] == "validation"
    assert rows(out)[-1]["step"] == "20"
    before = torch.load(out / "state.pt", weights_only=True)
    assert main([*command, "--steps", "40"]) == 0
    after = torch.load(out / "state.pt", weights_only=True)
    assert before["progress"]["step"] == 20
    assert after["progress"]["step"] == 40
    assert after["progress"]["questions"] > 40 * 2
    assert [row["step"] for row in rows(out) if row["split"] == "train"] == ["20", "40"]
    assert (out / "loss.png").stat().st_size > 1000

    pointer = open_pointer(f"roborefer:{out / 'checkpoint'}", device="cpu", max_new_tokens=8)
    try:
        rgb, depth = np.zeros((60, 80, 3), np.uint8), np.zeros((60, 80), np.uint8)
        pointer.point(rgb, depth, "the red mug")
    except RoboReferError as error:
        assert error.code in (2544, 2545)  # it has learned next to nothing
    finally:
        pointer.close()


def test_a_step_after_a_resume_is_the_step_it_would_have_been(
    data: Path, recipe: Path, tmp_path: Path
) -> None:
    """Interrupted or not: the same weights."""
    one, two = (Trainer(data, tmp_path / name, Recipe(**TINY), "cpu") for name in ("one", "two"))
    one.run(4, 0.0, 100)
    # two stops after 2 of 4 steps: the learning rate must be that of the longer run
    for index, indices in zip(range(2), two._batches(), strict=False):
        two._step(indices, two._done(4, 0.0))
        two.progress.step = index + 1
    two._save()
    again = Trainer(data, tmp_path / "two", Recipe(**TINY), "cpu")
    again.run(4, 0.0, 100)
    for a, b in zip(one.model.parameters(), again.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-4, rtol=2e-3)  # autocast to bfloat16


def test_it_learns_by_heart(data: Path, tmp_path: Path) -> None:
    """On very few questions every loss falls; where to look comes last."""
    trainer = Trainer(data, tmp_path / "run", Recipe(**TINY), "cpu")
    losses = []
    for step, indices in zip(range(60), trainer._batches(), strict=False):
        losses.append(trainer._step(indices, 0.0)[1])
        trainer.progress.step = step + 1
    for name, share in (("answer", 0.75), ("patches", 0.75), ("grounding", 0.95)):
        first, last = (np.mean([x[name] for x in part]) for part in (losses[:5], losses[-5:]))
        assert last < share * first, name


def test_too_little_data_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 144"):
        Trainer(data, tmp_path / "run", Recipe(), "cpu")


@pytest.mark.parametrize(
    ("recipe", "data_text", "says", "status"),
    [
        # files that cannot be used as given are wrong arguments
        ("{}", None, "questions.json", 2),
        ("{", "[]", "Expecting", 2),
        ('{"size": 3}', "[]", "size", 1),
        ("{}", "[]", "holds 0 images", 1),
        ("{}", '[{"id": 1}]', "no list of conversations: KeyError", 1),
    ],
)
def test_what_cannot_be_trained_with_is_named(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    recipe: str,
    data_text: str | None,
    says: str,
    status: int,
) -> None:
    if data_text is not None:
        (tmp_path / "questions.json").write_text(data_text)
    (tmp_path / "recipe.json").write_text(recipe)
    out, chosen = tmp_path / "run", tmp_path / "recipe.json"
    paths = ["--data", str(tmp_path), "--out", str(out), "--recipe", str(chosen)]
    assert main([*paths, "--steps", "1"]) == status
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda out: (out / "state.pt").write_bytes(b"PK"), "state.pt is damaged"),
        (lambda out: (out / "state.pt").write_bytes(b""), "state.pt is damaged"),
        (lambda out: torch.save({"progress": 3}, out / "state.pt"), "state.pt is damaged"),
        (lambda out: [f.unlink() for f in (out / "tokenizer").iterdir()], "no tokenizer.json"),
        (lambda out: (out / "tokenizer" / "tokenizer.json").write_text("{"), "tokenizer"),
    ],
)
def test_a_damaged_run_is_named(
    data: Path, tmp_path: Path, spoil: Callable[[Path], object], says: str
) -> None:
    Trainer(data, tmp_path / "run", Recipe(**TINY), "cpu")._save()
    spoil(tmp_path / "run")
    with pytest.raises(CheckpointInvalidError, match=says):
        Trainer(data, tmp_path / "run", Recipe(**TINY), "cpu")


def test_a_run_that_ends_between_export_and_state_exports_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state never tells of a best loss whose checkpoint was not written."""
    trainer = Trainer(data, tmp_path / "run", Recipe(**TINY), "cpu")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="killed"):
        patch.setattr(Trainer, "export", lambda *_: (_ for _ in ()).throw(OSError("killed")))
        trainer._save()
    assert not (tmp_path / "run" / "state.pt").exists()
    again = Trainer(data, tmp_path / "run", Recipe(**TINY), "cpu")
    assert again.progress.best_loss == float("inf")
    again._save()
    assert (tmp_path / "run" / "checkpoint" / "config.json").exists()
