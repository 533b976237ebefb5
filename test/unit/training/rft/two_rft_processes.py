# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Run by torchrun: runs on two processes; the first writes what it saw."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rft_golden import (
    RUN,
    RUN_STOPS_AFTER,
    TINY,
    by_letters,
    golden_prompts,
    item_of,
    open_engine,
)

from roborefer_ros.training.rft.loop import RftRun
from roborefer_ros.training.rft.prompts import PromptFile
from roborefer_ros.training.rft.rewards import Annotation, Rewards
from roborefer_ros.training.sft.engine import Processes, processes


def logged(output: Path) -> dict[str, dict[int, float]]:
    """Value -> step -> number."""
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    names = ("reward", "loss", "kl", "entropy", "gradient_norm")
    return {n: {line["step"]: line[n] for line in lines if n in line} for n in names}


def whole_run(folder: Path, prompts: PromptFile, group: Processes, parallel: Any) -> dict[str, Any]:
    recipe = replace(RUN, parallel=parallel)
    run = RftRun(recipe, TINY, prompts, folder / parallel, group, judge=by_letters)
    run.run()
    return {"parallel": run.engine.parallel, "log": logged(folder / parallel)}


def stopped_run(folder: Path, prompts: PromptFile, group: Processes) -> str:
    """A run that the second process is told to end; it saves its state."""
    judged = 0
    told = RUN_STOPS_AFTER * RUN.accumulation(group.world) * RUN.group_size

    def judge(text: str, known: Annotation) -> Rewards:
        nonlocal judged
        judged += 1
        if group.rank == 1 and judged == told:
            os.kill(os.getpid(), signal.SIGTERM)
        return by_letters(text, known)

    return RftRun(RUN, TINY, prompts, folder / "stopped", group, judge=judge).run()


def different_lengths(prompts: PromptFile, group: Processes) -> dict[str, Any]:
    """Sharded weights draw answers of other lengths on each process, then learn on."""
    count = 12 if group.is_first else 5
    sharded = open_engine(group=group, parallel="fsdp", max_new_tokens=count)
    item = item_of(sharded, prompts, group.rank)
    with sharded.rollouts():
        drawn = sharded.answers(item, [1, 2])
    return {"lengths": [len(answer.ids) for answer in drawn], "ids": [a.ids for a in drawn]}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    result: dict[str, Any] = {}
    with processes("cpu") as group:
        prompts = golden_prompts(folder / f"prompts-{group.rank}")
        for parallel in ("ddp", "fsdp"):
            result[parallel] = whole_run(folder, prompts, group, parallel)
        result["stopped"] = stopped_run(folder, prompts, group)
        drawn = group.gathered(different_lengths(prompts, group))
    if group.is_first:
        result["lengths"] = [one["lengths"][0] for one in drawn]  # type: ignore[index]
        result["same"] = []
        for rank, one in enumerate(drawn):  # without the other process
            engine = open_engine(max_new_tokens=12 if rank == 0 else 5)
            with engine.rollouts():
                own = engine.answers(item_of(engine, prompts, rank), [1, 2])
            result["same"].append([list(a.ids) for a in own] == [list(i) for i in one["ids"]])  # type: ignore[index]
        (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
