# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A wrong command line ends every verb with status 2 and one line that says what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from roborefer_ros import cli
from roborefer_ros.arguments import exit_status
from roborefer_ros.errors import ConfigurationError, InvalidPointerSpecError, ModelFailedError
from roborefer_ros.recording import RecordingError

#: verb -> arguments that it needs before the wrong one
NEEDED = {
    "demo": (),
    "refer": ("the red mug",),
    "serve": (),
    "query": ("scene.png", "the red mug"),
    "doctor": (),
    "simulate": ("--out", "x"),
    "evaluate": ("--model", "echo", "--data", "x"),
    "score": ("answers", "--data", "x"),
    "verify": ("x",),
    "dataset": (),
    "datagen": ("--source", "simulation", "--out", "x"),
    "sft": ("--model", "x"),
    "label": ("x",),
    "compare": ("x", "y", "--data", "x", "--out", "z"),
    "rft": ("--model", "x", "--data", "x", "--output", "y"),
}

WRONG = [
    *((verb, "--no-such-option") for verb in NEEDED),
    ("demo", "--scenes", "0"),
    ("demo", "--seed", "-1"),
    ("refer", "--timeout", "nan"),
    ("refer", "--timeout", "-1"),
    ("refer", "--min-confidence", "1.5"),
    ("refer", "--region", "0", "0", "nan", "1"),
    ("refer", "--mode", "sideways"),
    ("serve", "--port", "70000"),
    ("serve", "--timeout-s", "nan"),
    ("serve", "--dtype", "float12"),
    ("serve", "--device", "gpu"),
    ("query", "--timeout-s", "nan"),
    ("query", "--unit-m", "0"),
    ("query", "--intrinsics", "1", "2", "3", "inf"),
    ("query", "--url", "ftp://somewhere"),
    ("simulate", "--workers", "none"),
    ("evaluate", "--dtype", "float12"),
    ("evaluate", "--workers", "0"),
    ("score", "--scorer", "best"),
    ("verify", "--dtype", "float12"),
    ("verify", "--batch", "0"),
    ("rft", "--group", "1"),
    ("rft", "--temperature", "0"),
    ("sft", "--threads", "-1"),
    ("sft", "--overfit", "0"),
]


def test_every_verb_is_tried() -> None:
    assert set(NEEDED) == set(cli.VERBS)


def test_every_parser_is_that_of_the_package() -> None:
    package = Path(cli.__file__).parent
    own = [p.name for p in package.rglob("*.py") if "argparse.ArgumentParser(" in p.read_text()]
    assert not own


@pytest.mark.parametrize(("verb", "wrong"), [(verb, wrong) for verb, *wrong in WRONG])
def test_a_wrong_argument_is_one_line_and_status_2(
    verb: str,
    wrong: list[str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        status = cli.main([verb, *NEEDED[verb], *wrong])
    except SystemExit as ended:
        status = int(ended.code or 0)
    told = capsys.readouterr()
    assert status == 2, told
    assert not told.out
    assert len(told.err.splitlines()) == 1
    assert told.err.startswith(f"roborefer {verb}: ")


@pytest.mark.parametrize("arguments", [["no-such-verb"], ["--no-such-option"]])
def test_a_wrong_verb_is_one_line_as_well(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert len(told.splitlines()) == 1


def test_the_status_tells_a_wrong_argument_from_what_failed() -> None:
    assert exit_status(ConfigurationError("")) == exit_status(InvalidPointerSpecError("")) == 2
    assert exit_status(RecordingError("")) == exit_status(ModelFailedError("")) == 1
