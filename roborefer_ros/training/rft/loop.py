# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The loop of a run: draw answers, judge them, learn; states, stop signals and export are SFT's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.files import read_json, write_text
from roborefer_ros.models.roborefer.configuration import REASONING_KEY
from roborefer_ros.models.roborefer.processing import RoboReferProcessor
from roborefer_ros.training.data.sampler import Layout, MixtureSampler
from roborefer_ros.training.rft.engine import Group, PolicyEngine, open_policy, token_weights
from roborefer_ros.training.rft.log import RftLog
from roborefer_ros.training.rft.objective import advantages
from roborefer_ros.training.rft.policy import (
    PromptItem,
    Sampled,
    blank_item,
    group_batch,
    prompt_item,
    rows_of_prompt,
)
from roborefer_ros.training.rft.prompts import LoadedPrompt, PromptFile
from roborefer_ros.training.rft.recipe import RftRecipe
from roborefer_ros.training.rft.rewards import Annotation, Rewards, score
from roborefer_ros.training.sft.batches import open_loader
from roborefer_ros.training.sft.engine import Processes
from roborefer_ros.training.sft.log import RunLog
from roborefer_ros.training.sft.loop import Run
from roborefer_ros.training.sft.objective import Data
from roborefer_ros.training.sft.stages import build_optimizer

#: (text of an answer, what is known of its prompt) -> what it is worth
Judge = Callable[[str, Annotation], Rewards]


@dataclass(frozen=True)
class ReadyPrompt:
    """A prompt as a loader hands it over.

    Attributes:
        loaded: Where it comes from, without its pictures.
        item: As the network is shown it.
        is_lost: Whether it is too long; then the item is blank and teaches nothing.
    """

    loaded: LoadedPrompt
    item: PromptItem
    is_lost: bool = False


@dataclass(frozen=True)
class Judged:
    """The answers to a prompt, and what they are worth.

    Attributes:
        ready: The prompt.
        answers: As drawn.
        rewards: One for each.
    """

    ready: ReadyPrompt
    answers: tuple[Sampled, ...]
    rewards: tuple[Rewards, ...]

    @property
    def totals(self) -> list[float]:
        """Weighed sums of the rewards."""
        return [reward.total for reward in self.rewards]


class PromptCollator:
    """Makes one prompt ready; runs in the processes that load.

    Args:
        processor: Of the checkpoint that is trained.
        suffix: What follows the question.
        max_length: Most rows of a prompt and the longest answer, media rows included.
        max_new_tokens: Longest answer.
    """

    def __init__(
        self, processor: RoboReferProcessor, suffix: str, max_length: int, max_new_tokens: int
    ) -> None:
        self._processor, self._suffix = processor, suffix
        self._limit = min(max_length, processor.max_length) - max_new_tokens

    def __call__(self, prompts: Sequence[LoadedPrompt]) -> ReadyPrompt:
        """The prompt of a batch of one."""
        (loaded,) = prompts
        item = prompt_item(self._processor, loaded, self._suffix)
        told = LoadedPrompt(loaded.prompt, loaded.number, (), (), loaded.skipped)
        if rows_of_prompt(self._processor, item) > self._limit:
            return ReadyPrompt(told, blank_item(self._processor), is_lost=True)
        return ReadyPrompt(told, item)


class RftRun(Run):
    """A run of reinforcement fine-tuning; all processes build one.

    Args:
        recipe: What is done.
        source: Checkpoint in the official layout, folder or hub id; also the reference.
        prompts: What is asked.
        output: Folder of the run.
        group: The processes.
        resume: ``auto``, ``none``, or the folder of a state.
        judge: Rewards of an answer; those of ``rewards.score`` with the recipe's rules by default.

    Raises:
        ConfigurationError: the recipe does not fit the processes, the prompts or the state.
        CheckpointInvalidError, CheckpointNotFoundError: no usable checkpoint or state.
    """

    unit = "prompts"
    fixed = (
        "parts", "global_batch", "group_size", "seed", "lora_rank", "tiling", "max_tiles", "beta",
        "temperature", "suffix", "answer_form",
    )  # fmt: skip
    recipe: RftRecipe
    engine: PolicyEngine

    def __init__(
        self,
        recipe: RftRecipe,
        source: str | Path,
        prompts: PromptFile,
        output: Path,
        group: Processes,
        resume: str = "auto",
        judge: Judge | None = None,
    ) -> None:
        self.prompts = prompts
        self.judge: Judge = judge or partial(score, rules=recipe.rules)
        data = Data(prompts, (len(prompts),), prompts.digest)
        super().__init__(recipe, source, data, output, group, resume)

    @property
    def title(self) -> str:
        """What the log calls the run."""
        return f"rft, groups of {self.recipe.group_size}"

    def _open(self, source: str | Path) -> tuple[PolicyEngine, RoboReferProcessor]:
        return open_policy(self.recipe, source, self.group)

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        return [build_optimizer(self.engine.model, self.recipe)]

    def _average(self) -> None:
        return None

    def _open_log(self) -> RftLog:
        return RftLog(self.output, self.group, self.recipe.log_every, self.total)

    def _rate_factor(self) -> float:
        return self.recipe.rate_factor(self.step, self.total)

    def _sampler(self) -> MixtureSampler:
        recipe, world = self.recipe, self.group.world
        layout = Layout(world, 1, recipe.accumulation(world))
        sampler = MixtureSampler(
            self.data.lengths, layout, recipe.seed, "global", "drop", self.data.digest
        )
        if not sampler.steps:
            raise ConfigurationError(
                f"{len(self.prompts)} prompts do not fill one step of {recipe.global_batch}: "
                "lower global_batch"
            )
        return sampler

    def _batches(self) -> Iterator[ReadyPrompt]:
        """From the run's position on, without end."""
        recipe = self.recipe
        collator = PromptCollator(
            self.processor, recipe.suffix, recipe.max_length, recipe.max_new_tokens
        )
        position = self.position
        while True:
            order = list(self.sampler.batches(self.group.rank, position))
            yield from open_loader(self.prompts, order, collator, recipe.workers)
            position = self.sampler.start(position.epoch + 1)

    def _export(self, name: str = "export") -> None:
        """The checkpoint, which says whether it was trained to reason."""
        super()._export(name)
        if self.group.is_first and self.recipe.suffix in ("append", "replace"):
            path = self.output / name / "config.json"
            config = read_json(path)
            write_text(path, json.dumps({**config, REASONING_KEY: True}, indent=2) + "\n")
        self.group.wait()

    def _learn(self, own: Sequence[ReadyPrompt], rate: float, waited: float, log: RunLog) -> bool:
        """One step: answers, rewards, update."""
        assert isinstance(log, RftLog)
        judged = self._judged(own)
        groups = [self._group(one) for one in judged]
        for _ in range(self.recipe.updates):
            result = self.engine.update(groups, self.optimizer, self.recipe.global_batch)
        log.add_step(self.step, rate, result, judged, waited)
        if self.step == 1 or self.step % self.recipe.examples_every == 0:
            log.add_example(self.step, judged)
        return result.skipped

    def _judged(self, own: Sequence[ReadyPrompt]) -> list[Judged]:
        recipe, judged = self.recipe, []
        with self.engine.rollouts():
            for ready in own:
                seeds = [
                    draw_seed(recipe.seed, self.step, ready.loaded.number, place)
                    for place in range(recipe.group_size)
                ]
                answers = self.engine.answers(ready.item, seeds)
                known = ready.loaded.prompt.annotation
                rewards = tuple(self.judge(answer.text, known) for answer in answers)
                judged.append(Judged(ready, tuple(answers), rewards))
        return judged

    def _group(self, judged: Judged) -> Group:
        recipe, answers = self.recipe, judged.answers
        ids = [answer.ids for answer in answers]
        batch = group_batch(judged.ready.item, ids, self.processor.tokenizer.pad_token_id)
        weights = token_weights([len(i) for i in ids], [a.is_cut for a in answers], recipe)
        group = Group(
            batch,
            torch.tensor(advantages(judged.totals, scale=recipe.scale_advantages)),
            weights * (not judged.ready.is_lost),
            self.engine.reference_log_probs(batch),
        )
        if recipe.updates > 1:
            group.old = self.engine.log_probs(batch).values
        return group


def draw_seed(seed: int, step: int, number: int, place: int) -> int:
    """Seed of one answer: the same however many processes there are, and after a stop.

    Args:
        seed: Of the run.
        step: Of the run, from 1.
        number: Of the prompt.
        place: Of the answer in its group.
    """
    text = f"{seed}:{step}:{number}:{place}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1
