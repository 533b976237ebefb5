# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer rft data``, ``filter`` and ``score``."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rft_golden import GOLDEN, TINY, golden_prompts

from roborefer_ros.cli.rft import main
from roborefer_ros.errors import ConfigurationError
from roborefer_ros.pointing.prompts import POINT_SUFFIX, REASONING_SUFFIX
from roborefer_ros.training.rft.filtering import mixed, success_rates
from roborefer_ros.training.rft.prompts import Mask, read_prompts
from roborefer_ros.training.rft.rewards import RewardRules

THOUGHT = (
    "I look for the lamp.\nStep 1: [Position] [the lamp]: [(0.100, 0.200)]\n"
    "Step 2: [Size] [the lamp]: 0.300"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Rows in the simulator's form, with reasoning, and rows that make no prompts."""
    rows = [
        {
            "id": 7,
            "image": "rgb1.png",
            "depth": "dep1.png",
            "conversations": [
                {"from": "human", "value": "<image>\n<depth>\nPoint to the cup by the lamp."},
                {"from": "gpt", "value": "[(0.250, 0.750)]"},
                {"from": "human", "value": "Is the cup left of the lamp?"},
                {"from": "gpt", "value": "It certainly looks like that."},
                {"from": "human", "value": "Point to the giraffe."},
                {"from": "gpt", "value": "none"},
            ],
            "think": [
                {"question_type": "relation", "thinking": THOUGHT},
                {"question_type": "choice", "thinking": ""},
                {"question_type": "absent", "thinking": ""},
            ],
        },
        {
            "id": "gone",
            "image": "gone.png",
            "depth": "dep1.png",
            "conversations": [
                {"from": "human", "value": "<image>\nPoint to it."},
                {"from": "gpt", "value": "[(0.1, 0.1)]"},
            ],
        },
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    return tmp_path


def made(folder: Path, *more: str) -> list[dict[str, Any]]:
    pictures = str(GOLDEN / "inputs")
    arguments = ["data", "--data", str(folder / "rows.json"), "--images", pictures]
    arguments += ["--depth", pictures, "--output", str(folder / "out"), *more]
    assert main(arguments) == 0
    text = (folder / "out/prompts.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_prompts_come_with_key_steps_from_the_reasoning(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, absent = made(folder)
    assert first["question"] == "Point to the cup by the lamp."
    assert first["answer"] == [[0.25, 0.75]]
    assert first["image_size"] == [176, 132]
    assert first["key_steps"] == [
        {"type": "Position", "target": "the lamp", "value": [0.1, 0.2]},
        {"type": "Size", "target": "the lamp", "value": 0.3},
    ]
    assert first["question_type"] == "relation"
    assert absent["answer"] == []
    assert absent["key_steps"] == []
    told = capsys.readouterr().out
    assert "2 prompts" in told
    assert "answer is no point 1" in told
    assert "picture missing or damaged 1" in told
    assert made(folder, "--require-steps") == [first]


def test_the_question_is_asked_as_sft_has_it(folder: Path) -> None:
    made(folder)
    prompt = read_prompts(folder / "out/prompts.jsonl").prompt(0)
    assert prompt.text("append") == f"Point to the cup by the lamp. {REASONING_SUFFIX}"
    assert prompt.text("none") == "Point to the cup by the lamp."
    with_request = replace(prompt, question=prompt.text("point"))
    assert with_request.question == f"Point to the cup by the lamp. {POINT_SUFFIX}"
    assert with_request.text("point") == with_request.question
    assert with_request.text("replace") == prompt.text("append")


def test_scenes_make_prompts_whose_answers_lie_in_their_masks(tmp_path: Path) -> None:
    arguments = ["data", "--scenes", "1", "--seed", "3", "--output", str(tmp_path)]
    assert main(arguments) == 0
    before = (tmp_path / "prompts.jsonl").read_bytes()
    prompts = read_prompts(tmp_path / "prompts.jsonl")
    assert len(prompts) > 3
    for prompt in prompts:
        region = prompt.annotation.region
        assert isinstance(region, Mask)
        assert region.holds(prompt.annotation.answer[0])
        assert not all(map(region.holds, [(0.0, 0.0), (1.0, 1.0), (0.0, 1.0), (1.0, 0.0)]))
        assert prompts[0].images[0].shape == (240, 320, 3)
    assert main(arguments) == 0
    assert (tmp_path / "prompts.jsonl").read_bytes() == before


def test_a_mask_counts_pixels_over_the_edges_of_the_picture(tmp_path: Path) -> None:
    pixels = np.zeros((2, 4), np.uint8)
    pixels[1, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "m.png")
    mask = Mask(tmp_path / "m.png")
    assert mask.holds((1.0, 1.0))
    assert mask.holds((0.75, 0.5))
    assert not mask.holds((0.74, 0.5))
    assert not mask.holds((0.75, 0.49))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"image_size": [0, 10]}, "image_size"),
        ({"image_size": None}, "line 1"),
        ({"answer": [[0.5]]}, "2 finite numbers"),
        ({"answer": [[0.5, float("nan")]]}, "nan"),
        ({"answer": [[0.5, 0.5]] * 101}, "101 points"),
        ({"key_steps": [{"type": "Colour", "target": "a", "value": 1}]}, "Colour"),
        ({"key_steps": [{"type": "Size", "target": "a", "value": [1, 2]}]}, "finite numbers"),
        ({"depth": ["a.png", "b.png"]}, "1 images but 2 depth"),
        ({"depth_encoding": "secret"}, "depth_encoding"),
        ({"question": ""}, "not a text"),
        ({"id": 5}, "not a text"),
    ],
)
def test_a_damaged_prompt_is_refused_with_its_line(
    change: dict[str, Any], why: str, tmp_path: Path
) -> None:
    good = {"id": "a", "question": "b", "image": ["c.png"], "image_size": [9, 9]}
    line = {**good, "answer": [[0.5, 0.5]], **change}
    (tmp_path / "p.jsonl").write_text(json.dumps(line))
    with pytest.raises(ConfigurationError, match=why) as caught:
        read_prompts(tmp_path / "p.jsonl")
    assert "line 1" in str(caught.value)


def test_a_prompt_without_its_picture_is_replaced_by_the_next(tmp_path: Path) -> None:
    prompts = golden_prompts(tmp_path)
    lines = [json.loads(line) for line in prompts.lines]
    lines[1]["image"] = ["/gone.png"]
    (tmp_path / "prompts.jsonl").write_text("\n".join(map(json.dumps, lines)))
    loaded = read_prompts(tmp_path / "prompts.jsonl")[1]
    assert loaded.number == 2
    assert "gone.png" in loaded.skipped[0]


# --- filter ----------------------------------------------------------------------------


def test_exactly_the_prompts_with_right_and_wrong_answers_are_kept(tmp_path: Path) -> None:
    """A sampler whose success at each prompt is known."""
    prompts, asked = golden_prompts(tmp_path), []
    right, wrong = "<answer>[(0.5, 0.5)]</answer>", "<answer>[(0.99, 0.01)]</answer>"
    successes = {0: 0, 1: 1, 2: 4, 3: 3}

    def sampler(number: int) -> list[str]:
        asked.append(number)
        return [right] * successes[number] + [wrong] * (4 - successes[number])

    progress = tmp_path / "progress.jsonl"
    rates = success_rates(prompts, sampler, RewardRules(point_limit_px=10), progress)
    assert rates == {0: 0.0, 1: 0.25, 2: 1.0, 3: 0.75}
    assert mixed(rates) == [1, 3]

    # It goes on where it was stopped, in the middle of a line as well.
    lines = progress.read_text().splitlines(keepends=True)
    progress.write_text("".join(lines[:3]) + lines[3][:5])
    asked.clear()
    assert success_rates(prompts, sampler, RewardRules(point_limit_px=10), progress) == rates
    assert asked == [2, 3]
    with pytest.raises(ConfigurationError, match="remove it"):
        success_rates(prompts, sampler, RewardRules(), progress, {"digest": "another"})


def test_a_model_is_filtered_by(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden_prompts(tmp_path)
    data, out = str(tmp_path / "prompts.jsonl"), str(tmp_path / "kept.jsonl")
    status = main(
        ["filter", "--model", str(TINY), "--data", data, "--output", out, "--group", "2",
         "--max-new-tokens", "3", "--device", "cpu"]
    )  # fmt: skip
    # Random weights answer nothing rightly: the message says so.
    assert status == 2
    assert "100 % never" in capsys.readouterr().err
    assert len((tmp_path / "kept.progress.jsonl").read_text().splitlines()) == 5


# --- score -----------------------------------------------------------------------------


def test_completions_are_scored_with_their_prompts_or_annotations(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(folder)
    prompts = folder / "out/prompts.jsonl"
    ideal = f"<think>\n{THOUGHT}\n</think>\n<answer>[(0.25, 0.75)]</answer>"
    own = {"image_size": [100, 100], "answer": [[0.5, 0.5]]}
    name = read_prompts(prompts).prompt(0).id
    rows = [
        {"id": name, "completion": ideal},
        {"completion": "<answer>[(0.5, 0.6)]</answer>", "annotation": own},
    ]
    file = folder / "said.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    capsys.readouterr()
    arguments = ["score", str(file), "--data", str(prompts), "--output", str(folder / "r.jsonl")]
    assert main(arguments) == 0
    scored = [json.loads(line) for line in (folder / "r.jsonl").read_text().splitlines()]
    assert [row["total"] for row in scored] == [2.75, 1.0]
    told = capsys.readouterr().out
    assert "2 key steps" in told
    assert "relation" in told
    assert "1.875" in told
    assert main(["score", str(file)]) == 2
    assert "no prompt has the id" in capsys.readouterr().err


def test_any_model_can_be_asked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(folder)
    prompts = str(folder / "out/prompts.jsonl")
    capsys.readouterr()
    # The model that repeats what it is asked: it has no point in the prompt's place.
    assert main(["score", "--model", "echo", "--data", prompts, "--answer-form", "text"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["all", "2"]
