# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The loop of a run: batches, steps, states, stop signals, export."""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import transformers

from roborefer_ros.errors import ConfigurationError, DependencyMissingError
from roborefer_ros.files import read_json, restore_folder, write_text
from roborefer_ros.models.roborefer.checkpoint import resolve_folder
from roborefer_ros.models.roborefer.processing import RoboReferProcessor
from roborefer_ros.training.data.rows import ThinkMode
from roborefer_ros.training.data.sampler import Layout, MixtureSampler, SamplerState
from roborefer_ros.training.sft.averaging import WeightAverage
from roborefer_ros.training.sft.batches import Batch, Collate, open_loader
from roborefer_ros.training.sft.engine import Engine, Processes
from roborefer_ros.training.sft.evaluation import Evaluator
from roborefer_ros.training.sft.export import export
from roborefer_ros.training.sft.log import RunLog
from roborefer_ros.training.sft.objective import ANSWERS, Data, Objective
from roborefer_ros.training.sft.recipe import SftRecipe
from roborefer_ros.training.sft.stages import build_optimizers, rate_factor
from roborefer_ros.training.sft.state import (
    find_state,
    load_state,
    read_meta,
    remove_unfinished,
    save_state,
)
from roborefer_ros.training.sft.trackers import open_trackers

#: steps in a row with numbers that are not finite, after which a run ends
MOST_SKIPPED = 20

_FINISHED = "finished.json"


class Run:
    """A run of a stage; all processes build one.

    Args:
        recipe: What is done.
        source: Checkpoint in the official layout, folder or hub id; empty for weights at random,
            where the objective allows it.
        data: What is learned.
        output: Folder of the run.
        group: The processes.
        resume: ``auto``, ``none``, or the folder of a state.

    Raises:
        ConfigurationError: the recipe does not fit the processes, the data or the state.
        CheckpointInvalidError, CheckpointNotFoundError: no usable checkpoint or state.

    Attributes:
        unit: What a step takes.
        fixed: Values of a recipe that a run cannot change when it goes on.
    """

    unit = "rows"
    fixed: tuple[str, ...] = (
        "objective", "stage", "parts", "global_batch", "seed", "shuffle", "lora_rank", "tiling",
        "max_tiles", "optimizer", "average_decay", "held_out",
    )  # fmt: skip

    def __init__(
        self,
        recipe: Any,
        source: str | Path,
        data: Data,
        output: Path,
        group: Processes,
        resume: str = "auto",
    ) -> None:
        self.recipe, self.data, self.output, self.group = recipe, data, output, group
        self.sampler = self._sampler()
        self.total = recipe.max_steps or self.sampler.steps * recipe.epochs
        self.position: SamplerState = self.sampler.start()
        self.step, self._bad, self._stopped_by = 0, 0, ""
        if group.is_first:
            (output / "state").mkdir(parents=True, exist_ok=True)
            restore_folder(output / "export")
            restore_folder(output / "best")
            remove_unfinished(output / "state")
        group.wait()
        self.state = find_state(output / "state", resume)
        torch.manual_seed(recipe.seed + group.rank)
        self.source = str(source)
        self.fingerprint = fingerprint(resolve_folder(source)) if self.source else ""
        self.engine, self.processor = self._open(source)
        self.optimizers = self._optimizers()
        self.average = self._average()
        self.evaluator = self._evaluator()
        self.best: tuple[int, float] | None = None
        self._evaluated = -1
        if self.state is not None:
            self._go_on(self.state)

    @property
    def is_finished(self) -> bool:
        """Whether an earlier run did all steps and exported."""
        path = self.output / _FINISHED
        if self.step < self.total or not path.exists():
            return False
        said = read_json(path)
        is_whole = (self.output / "export" / "config.json").exists()
        return is_whole and isinstance(said, dict) and said.get("step") == self.total

    def run(self) -> str:
        """Train to the end or until a signal; returns what ended it.

        Raises:
            ConfigurationError: too many steps in a row had numbers that are not finite.
            OSError: a state or the export cannot be written.
        """
        if self.group.is_first:
            write_text(self.output / "recipe.yaml", self.recipe.to_yaml())
        with contextlib.closing(self._open_log()) as log, stop_signals() as signals:
            self._note_start(log)
            self._steps(log, signals, time.monotonic())
            self._save()
        if self.step >= self.total:
            self._export()
            if self.group.is_first:
                write_text(self.output / _FINISHED, json.dumps({"step": self.total}) + "\n")
            ended = f"finished after {self.step} steps; the checkpoint is in {self.output}/export"
        else:
            ended = (
                f"stopped by {self._stopped_by} after {self.step} of {self.total} steps; the same "
                "command goes on"
            )
        return ended + self._report()

    def _note_start(self, log: RunLog) -> None:
        started = f"from {self.state}" if self.state else f"from {self.source or 'random weights'}"
        log.note(
            f"{self.title}: {started}, step {self.step} of {self.total}, {self.group.world} "
            f"process(es), {self.engine.parallel}, {self.recipe.global_batch} {self.unit} a step",
            started=time.time(), total=self.total, world=self.group.world,
            parallel=self.engine.parallel, source=self.source,
            data=dict(self.data.names), versions=_versions(),
        )  # fmt: skip

    def _report(self) -> str:
        """Write the report; returns what is told of it."""
        if not self.group.is_first:
            return ""
        from roborefer_ros.training.sft.report import write_report

        try:
            return f"; report: {write_report(self.output)}"
        except DependencyMissingError as error:
            return f"; no report: {error}"

    def _steps(self, log: RunLog, signals: list[str], began: float) -> None:
        recipe, saved = self.recipe, self.step
        batches = self._batches()
        self._evaluate(log)
        while self.step < self.total and not self._stops(signals, began):
            asked = time.monotonic()
            own = [next(batches) for _ in range(self.sampler.layout.accumulation)]
            waited = time.monotonic() - asked
            factor = self._rate_factor()
            for optimizer in self.optimizers:
                for parameters in optimizer.param_groups:
                    parameters["lr"] = parameters["base_lr"] * factor
            self.step += 1
            self._judge(self._learn(own, recipe.learning_rate * factor, waited, log))
            self.position = self.sampler.after(self.position)
            if self.average is not None and self.step % recipe.average_every == 0:
                self.average.update()
            self._evaluate(log)
            if recipe.save_every and self.step - saved >= recipe.save_every:
                self._save()
                saved = self.step
            if recipe.export_every and self.step % recipe.export_every == 0:
                self._export()

    # --- what other kinds of training do in their own way --------------------------------------

    @property
    def title(self) -> str:
        """What the log calls the run."""
        return str(self.recipe.stage)

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer, where there is one."""
        (optimizer,) = self.optimizers
        return optimizer

    def _open(self, source: str | Path) -> tuple[Engine, RoboReferProcessor]:
        return open_engine(self.recipe, source, self.group, self.data.objective, self.output)

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        return build_optimizers(self.engine.module, self.recipe)

    def _average(self) -> WeightAverage | None:
        """The moving average of the weights, where the recipe has one."""
        decay = self.recipe.average_decay
        return WeightAverage(self.engine.module, decay) if decay else None

    def _open_log(self) -> RunLog:
        recipe = self.recipe
        trackers = []
        if self.group.is_first:
            trackers = open_trackers(recipe.report_to, self.output, vars(recipe))
        return RunLog(self.output, self.group, recipe.log_every, self.total, trackers=trackers)

    def _rate_factor(self) -> float:
        """Factor on the learning rate in the next step."""
        recipe = self.recipe
        return rate_factor(self.step, self.total, recipe.warmup, recipe.schedule, recipe.cooldown)

    def _learn(self, own: Sequence[Any], rate: float, waited: float, log: RunLog) -> bool:
        """One step of the optimizer; returns whether its numbers were not finite.

        Args:
            own: What this process loaded for the step.
            rate: Learning rate.
            waited: Time that loading took, seconds.
            log: Of the run.
        """
        result = self.engine.step([batch.tensors for batch in own], *self.optimizers)
        log.add(self.step, rate, result, own, waited)
        return result.skipped and result.tokens > 0

    def _collator(self) -> Collate:
        return self.data.objective.collator(self.processor, self.recipe)

    # --- states, evaluations and stops ---------------------------------------------------------

    def _evaluate(self, log: RunLog) -> None:
        """Where it is due: evaluate what would be exported now, and keep it if it is the best."""
        if self.evaluator is None or self._evaluated == self.step or not self._is_due():
            return
        began = time.monotonic()
        with self._averaged():
            found = self.evaluator(self.engine, self.step, self.output)
        is_best = self.best is None or found.goodness > self.best[1]
        if is_best:
            self.best = (self.step, found.goodness)
            if self.recipe.keep_best:
                self._export("best")
        self._evaluated = self.step
        log.evaluated(found, time.monotonic() - began, is_best)

    def _is_due(self) -> bool:
        """Whether the recipe asks for an evaluation behind this step."""
        if not self.step:
            return bool(self.recipe.eval_first)
        every = self.recipe.eval_every
        return self.step >= self.total or bool(every and self.step % every == 0)

    def _averaged(self) -> contextlib.AbstractContextManager[None]:
        return self.average.in_place() if self.average else contextlib.nullcontext()

    def _evaluator(self) -> Evaluator | None:
        """What evaluates this run; None where there is nothing to evaluate on."""
        held_out, recipe, group = self.data.held_out, self.recipe, self.group
        if not len(held_out) and not self.data.questions:
            return None

        collate = self._collator()

        def batches() -> Iterator[Batch]:
            own = range(group.rank, len(held_out), group.world)
            for start in range(0, len(own), recipe.device_batch):
                chosen = own[start : start + recipe.device_batch]
                yield collate([held_out[number] for number in chosen])

        thinking = ThinkMode.parse(recipe.think).share > 0
        return Evaluator(self.data.questions, batches, group, thinking)

    def _judge(self, skipped: bool) -> None:
        self._bad = self._bad + 1 if skipped else 0
        if self._bad >= MOST_SKIPPED:
            raise ConfigurationError(
                f"{self._bad} steps in a row had a loss or gradient that is not finite; lower "
                f"learning_rate ({self.recipe.learning_rate:g}) or set max_grad_norm, then go on "
                "from the last state"
            )

    def _stops(self, signals: list[str], began: float) -> bool:
        """Whether any process was told to stop; the same answer on all."""
        limit = 60.0 * self.recipe.max_minutes
        too_long = bool(limit) and time.monotonic() - began >= limit
        told, late = self.group.total([float(bool(signals)), float(too_long)])
        self._stopped_by = (signals[0] if signals else "a signal") if told else "max_minutes"
        return told > 0 or late > 0

    def _batches(self) -> Iterator[Any]:
        """From the run's position on, without end."""
        collate, position = self._collator(), self.position
        while True:
            if hasattr(self.data.samples, "epoch"):
                self.data.samples.epoch = position.epoch
            order = list(self.sampler.batches(self.group.rank, position))
            yield from open_loader(self.data.samples, order, collate, self.recipe.workers)
            position = self.sampler.start(position.epoch + 1)

    def _sampler(self) -> MixtureSampler:
        recipe, world = self.recipe, self.group.world
        layout = Layout(world, recipe.device_batch, recipe.accumulation(world))
        sampler = MixtureSampler(
            self.data.lengths, layout, recipe.seed, recipe.shuffle, recipe.tail, self.data.digest
        )
        if not sampler.steps:
            raise ConfigurationError(
                f"{sum(self.data.lengths)} samples do not fill one global batch of "
                f"{recipe.global_batch}: lower global_batch, or set tail to keep"
            )
        return sampler

    def _save(self) -> None:
        meta = {
            "position": self.position.as_dict(),
            "recipe": json.loads(json.dumps(vars(self.recipe))),
            "base": {"source": self.source, "fingerprint": self.fingerprint},
            "total": self.total,
            "best": self.best,
            "versions": _versions(),
        }
        save_state(
            self.output / "state",
            self.step,
            self.engine.wrapped,
            self.optimizers,
            self.group,
            meta,
            self.recipe.keep_states,
            self.average.state() if self.average else {},
        )

    def _go_on(self, state: Path) -> None:
        meta = read_meta(state)
        saved, now = meta.get("recipe", {}), json.loads(json.dumps(vars(self.recipe)))
        for key in self.fixed:
            if saved.get(key) != now[key]:
                raise ConfigurationError(
                    f"the state in {state} was made with {key} {saved.get(key)!r}, now it is "
                    f"{now[key]!r}: give the old value, or begin anew with another --output"
                )
        if meta.get("base", {}).get("fingerprint") != self.fingerprint:
            raise ConfigurationError(
                f"the run in {state} started from {meta.get('base', {}).get('source')}, whose "
                f"weights differ from those in {self.source}; give the old --model"
            )
        self.position = SamplerState.from_dict(meta["position"])
        list(zip(range(1), self.sampler.batches(self.group.rank, self.position), strict=False))
        self.step = meta["step"]
        best = meta.get("best")
        self.best = (int(best[0]), float(best[1])) if best else None
        average = self.average.state() if self.average else {}
        load_state(state, self.engine.wrapped, self.optimizers, self.group, average)

    def _export(self, name: str = "export") -> None:
        """Write the checkpoint, the average of the weights where there is one."""
        with self._averaged():
            self.data.objective.finish(self.engine.model, self.processor)
            export(self.engine.model, self.processor.tokenizer, self.output / name, self.group)


def open_engine(
    recipe: SftRecipe,
    source: str | Path,
    group: Processes,
    objective: Objective = ANSWERS,
    folder: Path | None = None,
) -> tuple[Engine, RoboReferProcessor]:
    """Open a network and put it on the processes' devices.

    Args:
        recipe: Of the run.
        source: Checkpoint to start from.
        group: The processes.
        objective: What is learned.
        folder: Of the run; see ``Objective.network``.

    Raises:
        CheckpointInvalidError, CheckpointNotFoundError: no usable checkpoint.
        ConfigurationError: it lacks a part that is to learn.
    """
    model, processor = objective.network(recipe, source, folder)
    return Engine(model, processor, recipe, group, objective=objective), processor


def _versions() -> dict[str, str]:
    return {"torch": torch.__version__, "transformers": transformers.__version__}


def fingerprint(folder: Path) -> str:
    """A name for the weights in a folder: sizes and headers of its files."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*/*.safetensors")):
        digest.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            digest.update(file.read(2**20))
    return digest.hexdigest()[:32]


@contextlib.contextmanager
def stop_signals() -> Iterator[list[str]]:
    """Note SIGTERM and SIGUSR1 (which Slurm sends before it kills) instead of ending at once.

    Yields:
        Names of the signals that have come so far.
    """
    seen: list[str] = []

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        seen.append(signal.Signals(number).name)

    if threading.current_thread() is not threading.main_thread():
        yield seen  # Ray runs its workers' code in a thread of its own, and stops them itself
        return
    before = {n: signal.signal(n, note) for n in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
