# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer rft filter``: keep the prompts that a model answers neither always nor never rightly.

A group whose answers are all right or all wrong teaches nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from roborefer_ros.arguments import ArgumentParser, non_negative_int, positive_int
from roborefer_ros.errors import ConfigurationError
from roborefer_ros.files import MIB, read_text
from roborefer_ros.training.rft.prompts import (
    Prompt,
    PromptFile,
    open_prompts,
    with_absolute_paths,
    write_prompts,
)
from roborefer_ros.training.rft.recipe import RftRecipe, load_recipe
from roborefer_ros.training.rft.rewards import RewardRules, point_reward
from roborefer_ros.training.sft.engine import Processes

#: number of a prompt -> the texts of some answers that were drawn to it
Sampler = Callable[[int], Sequence[str]]

_VALUES = (
    "group_size", "temperature", "max_new_tokens", "suffix", "answer_form", "point_limit_px",
    "max_tiles", "seed", "precision",
)  # fmt: skip


def filter_command(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit status.

    Raises:
        RoboReferError: an argument is not usable, or the model failed.
    """
    parser = ArgumentParser(
        prog="roborefer rft filter",
        description="Draw answers to every prompt and keep those of which some are right and some "
        "are wrong. The same command again goes on where it stopped.",
    )
    parser.add_argument("--model", required=True, help="checkpoint: folder or hub id")
    parser.add_argument("--data", type=Path, required=True, help="prompts.jsonl of `rft data`")
    parser.add_argument("--output", type=Path, required=True, help="the prompts that are kept")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument(
        "--threads", type=non_negative_int, default=0, help="CPU threads (0: torch's)"
    )
    parser.add_argument("--group", dest="group_size", type=positive_int, metavar="N")
    for name in _VALUES[1:]:
        parser.add_argument("--" + name.replace("_", "-"), metavar="VALUE")
    options = parser.parse_args(list(arguments))
    if options.threads:
        torch.set_num_threads(options.threads)
    given = {name: getattr(options, name) for name in _VALUES}
    recipe = load_recipe(None, {k: v for k, v in given.items() if v is not None} | {"beta": 0})
    prompts = open_prompts(options.data, options.model)
    progress = options.output.with_suffix(".progress.jsonl")
    sampler = model_sampler(recipe, options.model, prompts, options.device)
    header = {"digest": prompts.digest, "model": options.model, "values": _told(recipe)}
    rates = success_rates(prompts, sampler, recipe.rules, progress, header)
    kept = [prompts.prompt(number) for number in mixed(rates)]
    if not kept:
        raise ConfigurationError(
            f"no prompt is kept: {_shares(rates)}; prompts that are neither too easy nor too hard "
            "for this model are needed"
        )
    write_prompts(options.output, _absolute(kept))
    print(f"{len(kept)} of {len(rates)} prompts kept ({_shares(rates)}): {options.output}")
    return 0


def _told(recipe: RftRecipe) -> dict[str, Any]:
    return {name: getattr(recipe, name) for name in _VALUES}


def model_sampler(recipe: RftRecipe, source: str, prompts: PromptFile, device: str) -> Sampler:
    """Draws answers from a checkpoint.

    Args:
        recipe: Group size, temperature and lengths.
        source: Folder or hub id.
        prompts: What is asked.
        device: ``auto``, ``cpu`` or ``cuda``.
    """
    from roborefer_ros.training.rft.engine import open_policy
    from roborefer_ros.training.rft.loop import draw_seed
    from roborefer_ros.training.rft.policy import prompt_item

    kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    engine, processor = open_policy(recipe, source, Processes(0, 1, torch.device(kind)))

    def draw(number: int) -> list[str]:
        loaded = prompts[number]
        seeds = [draw_seed(recipe.seed, 0, number, k) for k in range(recipe.group_size)]
        with engine.rollouts():
            answers = engine.answers(prompt_item(processor, loaded, recipe.suffix), seeds)
        return [answer.text for answer in answers]

    return draw


def success_rates(
    prompts: PromptFile,
    sampler: Sampler,
    rules: RewardRules,
    progress: Path,
    header: dict[str, Any] | None = None,
) -> dict[int, float]:
    """Share of right answers of every prompt.

    Args:
        prompts: What is asked.
        sampler: Draws answers.
        rules: How points are judged.
        progress: File to which every prompt is noted, and from which a stopped run goes on.
        header: What a run must have in common with the one that it goes on from.

    Raises:
        ConfigurationError: the progress is that of another run.
    """
    header = header or {"digest": prompts.digest}
    rates = dict(_done(progress, header))
    progress.parent.mkdir(parents=True, exist_ok=True)
    with progress.open("a") as file:
        if file.tell() == 0:
            file.write(json.dumps(header) + "\n")
        for number in tqdm(range(len(prompts)), unit="prompt", file=sys.stderr, disable=None):
            if number in rates:
                continue
            known = prompts.prompt(number).annotation
            right = [
                point_reward(
                    text,
                    known,
                    whole_text=rules.answer_form == "text",
                    limit_px=rules.point_limit_px,
                )
                for text in sampler(number)
            ]
            rates[number] = sum(right) / len(right)
            file.write(json.dumps({"number": number, "rate": rates[number]}) + "\n")
            file.flush()
    return dict(sorted(rates.items()))


def _done(progress: Path, header: dict[str, Any]) -> Iterator[tuple[int, float]]:
    """What an earlier run noted; a last line that was cut off is dropped."""
    if not progress.exists() or not progress.stat().st_size:
        return
    text = read_text(progress, 1024 * MIB)
    lines = text.split("\n")
    if lines[-1]:
        whole = "\n".join(lines[:-1])
        progress.write_text(whole + "\n" if whole else "")
    try:
        rows = [json.loads(line) for line in lines[:-1]]
        if rows and rows[0] != json.loads(json.dumps(header)):
            raise ConfigurationError(
                f"{progress} is of another model, other prompts or other values; remove it, or "
                "name another --output"
            )
        for row in rows[1:]:
            yield int(row["number"]), float(row["rate"])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(f"{progress} is damaged ({error}); remove it") from error


def mixed(rates: dict[int, float]) -> list[int]:
    """Numbers of the prompts with right and wrong answers."""
    return [number for number, rate in rates.items() if 0.0 < rate < 1.0]


def _shares(rates: dict[int, float]) -> str:
    count = max(1, len(rates))
    right = sum(rate == 1.0 for rate in rates.values())
    wrong = sum(rate == 0.0 for rate in rates.values())
    return (
        f"{100 * right / count:.0f} % always right, {100 * wrong / count:.0f} % never, mean "
        f"{sum(rates.values()) / count:.2f}"
    )


def _absolute(prompts: Iterable[Prompt]) -> Iterator[Prompt]:
    """With pictures that are found from any folder."""
    return (with_absolute_paths(prompt) for prompt in prompts)
