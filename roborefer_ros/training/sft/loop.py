# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The loop of a run: batches, steps, states, stop signals, export."""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import transformers

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.files import read_json, restore_folder, write_text
from roborefer_ros.models.roborefer.checkpoint import load_roborefer, resolve_folder
from roborefer_ros.models.roborefer.processing import RoboReferProcessor
from roborefer_ros.training.data.sampler import Layout, MixtureSampler, SamplerState
from roborefer_ros.training.sft.batches import (
    Collator,
    Samples,
    open_loader,
    with_geometry,
)
from roborefer_ros.training.sft.engine import Engine, Processes
from roborefer_ros.training.sft.export import export
from roborefer_ros.training.sft.log import RunLog
from roborefer_ros.training.sft.lora import add_adapters
from roborefer_ros.training.sft.recipe import SftRecipe
from roborefer_ros.training.sft.stages import build_optimizer, rate_factor, select_weights
from roborefer_ros.training.sft.state import (
    find_state,
    load_state,
    read_meta,
    remove_unfinished,
    save_state,
)

#: steps in a row with numbers that are not finite, after which a run ends
MOST_SKIPPED = 20

_FINISHED = "finished.json"


@dataclass(frozen=True)
class Data:
    """What is learned.

    Attributes:
        samples: All of them.
        lengths: Samples of each data set, in order.
        digest: Name of the mixture's content, which must be the same when a run goes on.
    """

    samples: Samples
    lengths: tuple[int, ...]
    digest: str


class Run:
    """A run of a stage; all processes build one.

    Args:
        recipe: What is done.
        source: Checkpoint in the official layout, folder or hub id.
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
        "stage", "parts", "global_batch", "seed", "shuffle", "lora_rank", "tiling", "max_tiles",
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
            remove_unfinished(output / "state")
        group.wait()
        self.state = find_state(output / "state", resume)
        torch.manual_seed(recipe.seed + group.rank)
        self.source = str(source)
        self.fingerprint = fingerprint(resolve_folder(source))
        self.engine, self.processor = self._open(source)
        self.optimizer = build_optimizer(self.engine.model, recipe)
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
        recipe = self.recipe
        if self.group.is_first:
            write_text(self.output / "recipe.yaml", recipe.to_yaml())
        log = self._open_log()
        started = f"from {self.state}" if self.state else f"from {self.source}"
        log.note(
            f"{self.title}: {started}, step {self.step} of {self.total}, {self.group.world} "
            f"process(es), {self.engine.parallel}, {recipe.global_batch} {self.unit} a step"
        )
        with stop_signals() as signals:
            try:
                self._steps(log, signals, time.monotonic())
            finally:
                log.close()
        self._save()
        if self.step >= self.total:
            self._export()
            if self.group.is_first:
                write_text(self.output / _FINISHED, json.dumps({"step": self.total}) + "\n")
            return f"finished after {self.step} steps; the checkpoint is in {self.output}/export"
        return (
            f"stopped by {self._stopped_by} after {self.step} of {self.total} steps; the same "
            "command goes on"
        )

    def _steps(self, log: RunLog, signals: list[str], began: float) -> None:
        recipe, saved = self.recipe, self.step
        batches = self._batches()
        while self.step < self.total and not self._stops(signals, began):
            asked = time.monotonic()
            own = [next(batches) for _ in range(self.sampler.layout.accumulation)]
            waited = time.monotonic() - asked
            factor = self._rate_factor()
            for parameters in self.optimizer.param_groups:
                parameters["lr"] = parameters["base_lr"] * factor
            self.step += 1
            self._judge(self._learn(own, recipe.learning_rate * factor, waited, log))
            self.position = self.sampler.after(self.position)
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

    def _open(self, source: str | Path) -> tuple[Engine, RoboReferProcessor]:
        return open_engine(self.recipe, source, self.group)

    def _open_log(self) -> RunLog:
        return RunLog(self.output, self.group, self.recipe.log_every, self.total)

    def _rate_factor(self) -> float:
        """Factor on the learning rate in the next step."""
        return rate_factor(self.step, self.total, self.recipe.warmup)

    def _learn(self, own: Sequence[Any], rate: float, waited: float, log: RunLog) -> bool:
        """One step of the optimizer; returns whether its numbers were not finite.

        Args:
            own: What this process loaded for the step.
            rate: Learning rate.
            waited: Time that loading took, seconds.
            log: Of the run.
        """
        result = self.engine.step([batch.tensors for batch in own], self.optimizer)
        log.add(self.step, rate, result, own, waited)
        return result.skipped and result.tokens > 0

    # --- states and stops ----------------------------------------------------------------------

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
        collator = Collator(self.processor, self.recipe.max_length)
        position = self.position
        while True:
            if hasattr(self.data.samples, "epoch"):
                self.data.samples.epoch = position.epoch
            order = list(self.sampler.batches(self.group.rank, position))
            yield from open_loader(self.data.samples, order, collator, self.recipe.workers)
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
            "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        }
        save_state(
            self.output / "state",
            self.step,
            self.engine.wrapped,
            self.optimizer,
            self.group,
            meta,
            self.recipe.keep_states,
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
        load_state(state, self.engine.wrapped, self.optimizer, self.group)

    def _export(self) -> None:
        export(self.engine.model, self.processor.tokenizer, self.output / "export", self.group)


def open_engine(
    recipe: SftRecipe, source: str | Path, group: Processes
) -> tuple[Engine, RoboReferProcessor]:
    """Open a checkpoint and put it on the processes' devices.

    Raises:
        CheckpointInvalidError, CheckpointNotFoundError: no usable checkpoint.
        ConfigurationError: it lacks a part that is to learn.
    """
    model, processor = load_roborefer(source, dtype=torch.float32, keep_unused=True)
    config = with_geometry(model.config, recipe.tiling, recipe.max_tiles)
    model.config = processor.config = config
    select_weights(model, recipe.learning_parts)
    if recipe.lora_rank:
        add_adapters(model, recipe)
    return Engine(model, processor, recipe, group), processor


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

    before = {n: signal.signal(n, note) for n in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
