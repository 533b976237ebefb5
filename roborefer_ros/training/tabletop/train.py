# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer train``: train a RoboRefer network of any size from scratch.

The same command runs on CPU and GPU.  It shows progress, writes a loss curve, keeps its
state after every ``--save-every`` steps and goes on from it when called again.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm
from transformers import AutoTokenizer

from roborefer_ros.arguments import (
    ArgumentParser,
    device,
    exit_status,
    non_negative_float,
    non_negative_int,
    positive_int,
)
from roborefer_ros.errors import CheckpointInvalidError, RoboReferError
from roborefer_ros.files import (
    MIB,
    open_regular,
    read_json,
    replaced_file,
    replaced_folder,
    restore_folder,
)
from roborefer_ros.models.roborefer.modeling import RoboRefer
from roborefer_ros.models.roborefer.tokenizing import check_files
from roborefer_ros.training.tabletop.curve import draw_curve
from roborefer_ros.training.tabletop.dataset import Sample, read_samples
from roborefer_ros.training.tabletop.loader import BatchLoader
from roborefer_ros.training.tabletop.objective import Objective
from roborefer_ros.training.tabletop.recipe import Recipe, build_network
from roborefer_ros.training.tabletop.segments import segments_of
from roborefer_ros.training.tabletop.tokenizer import share_request, train_tokenizer
from roborefer_ros.training.tabletop.warm_start import start_from

_STATE = "state.pt"
_CURVE = "loss.csv"


@dataclass
class Progress:
    """Where a run stands; saved with its state."""

    step: int = 0
    elapsed_s: float = 0.0
    images: int = 0
    questions: int = 0
    best_loss: float = math.inf  # of the answers, on the validation images


class Trainer:
    """One run: the network, its optimisers, a moving average of its weights, and its files."""

    def __init__(
        self,
        data: Path,
        out: Path,
        recipe: Recipe,
        device: str,
        limit: int = 0,
        start: Path | None = None,
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.out, self.device = recipe, out, torch.device(device)
        out.mkdir(parents=True, exist_ok=True)
        samples = read_samples(data)
        samples = samples[:limit] if limit else samples
        needed = recipe.validation_images + recipe.batch_images
        if len(samples) < needed:
            raise ValueError(
                f"{data} holds {len(samples)} images, at least {needed} are needed "
                "(validation_images and batch_images of the recipe); make more with "
                "`roborefer simulate`"
            )
        self.tokenizer = self._tokenizer(samples)
        self.model = build_network(recipe, self.tokenizer)
        if start is not None:
            new = start_from(start, self.model, self.tokenizer)
            print(
                f"{len(new)} of {len(self.model.state_dict())} parameters are new", file=sys.stderr
            )
        segments, prefix = segments_of(self.tokenizer, samples, recipe.projected_grid)
        self.objective = Objective(self.model, self.tokenizer, prefix, recipe).to(self.device)
        self.loader = BatchLoader(
            data,
            samples,
            segments,
            recipe,
            self.tokenizer.pad_token_id,
        )
        self.train_indices = list(range(recipe.validation_images, len(samples)))
        self.validation_indices = list(range(recipe.validation_images))
        self.optimisers = recipe.optimisers(self.objective)
        self.average = torch.optim.swa_utils.AveragedModel(
            self.objective,
            multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.average_decay),
        )
        self.progress = Progress()
        self._resume()
        if recipe.compiled:
            self.objective.compile_passes()

    def _tokenizer(self, samples: Sequence[Sample]) -> Any:
        """That of the run so far, since its weights depend on it; else learned from the text."""
        folder = self.out / "tokenizer"
        restore_folder(folder)
        if folder.exists():
            return self._stored_tokenizer(folder)
        texts = (t for s in samples for turn in s.turns for t in (turn.question, turn.answer))
        tokenizer = train_tokenizer(texts, self.recipe.vocabulary)
        with replaced_folder(folder) as partial:
            tokenizer.save_pretrained(partial)
        return tokenizer

    def _stored_tokenizer(self, folder: Path) -> Any:
        try:
            check_files(folder)
            if not (folder / "tokenizer.json").exists():
                raise CheckpointInvalidError(f"{folder} holds no tokenizer.json")
            return AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        except Exception as error:  # tokenizers raises bare Exception
            raise CheckpointInvalidError(
                f"the run's tokenizer in {folder} cannot be read ({error}); the weights depend on "
                "it: restore it from a copy, or begin anew with another --out"
            ) from error

    def run(self, steps: int, minutes: float, save_every: int) -> None:
        """Train until ``steps`` or ``minutes`` (whichever is given and first) are reached."""
        started, before = time.monotonic(), self.progress.elapsed_s
        bar = tqdm(total=steps or None, initial=self.progress.step, unit="step", file=sys.stderr)
        for indices in self._batches():
            done = self._done(steps, minutes)
            if done >= 1.0:
                break
            loss, parts = self._step(indices, done)
            self.progress.step += 1
            self.progress.elapsed_s = before + time.monotonic() - started
            bar.update()
            bar.set_postfix(loss=f"{loss:.3f}", **{k: f"{v:.3f}" for k, v in parts.items()})
            if self.progress.step % 20 == 0:
                self._log("train", loss, parts)
            if self.progress.step % save_every == 0:
                self._save()
        bar.close()
        self._save()

    def _done(self, steps: int, minutes: float) -> float:
        fractions = [0.0]
        if steps:
            fractions.append(self.progress.step / steps)
        if minutes:
            fractions.append(self.progress.elapsed_s / (60.0 * minutes))
        return max(fractions)

    def _batches(self) -> Iterator[list[int]]:
        """Endless shuffled batches of indices, the same order for the same step after a resume."""
        size = self.recipe.batch_images
        per_epoch = len(self.train_indices) // size
        for epoch in itertools.count(self.progress.step // per_epoch):
            order = np.random.default_rng((self.recipe.seed, epoch)).permutation(self.train_indices)
            first = self.progress.step % per_epoch
            for start in range(first * size, per_epoch * size, size):
                yield order[start : start + size].tolist()

    def _step(self, indices: list[int], done: float) -> tuple[float, dict[str, float]]:
        rng = np.random.default_rng((self.recipe.seed, 1, self.progress.step))
        batch = self.loader.batch(indices, rng)
        scale = self.recipe.learning_rate_factor(done, self.progress.step)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = group["base_lr"] * scale
        self.objective.train()
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            settled = self.progress.step >= self.recipe.warmup_steps
            losses = self.objective(batch, self.device, settled)
        loss = losses["answer"] + self.recipe.auxiliary_weight * losses["patches"]
        loss = loss + self.recipe.grounding_weight * losses["grounding"]
        loss = loss + self.recipe.mention_weight * losses["mentions"]
        loss = loss + self.recipe.alignment_weight * losses["alignment"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.objective.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        if self.progress.step % self.recipe.average_every == 0:
            self.average.update_parameters(self.objective)
        self.progress.images += len(indices)
        self.progress.questions += batch.packed.questions
        return float(loss.detach()), {k: float(v.detach()) for k, v in losses.items()}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Losses of the averaged weights on images that are never trained on."""
        self.average.eval()
        sums: dict[str, float] = {}
        size = self.recipe.batch_images
        rng = np.random.default_rng(0)
        count = 0
        for start in range(0, len(self.validation_indices), size):
            indices = self.validation_indices[start : start + size]
            batch = self.loader.batch(indices, rng, augment=False)
            with torch.autocast(self.device.type, dtype=torch.bfloat16):
                losses = self.average(batch, self.device)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(indices)
            count += len(indices)
        return {name: value / count for name, value in sums.items()}

    def export(self, folder: Path) -> None:
        """Write the averaged weights in the official checkpoint layout."""
        from roborefer_ros.models.roborefer.checkpoint import save_roborefer

        averaged = self.average.module.model
        assert isinstance(averaged, RoboRefer)
        share_request(averaged.llm.model.embed_tokens.weight, self.tokenizer)
        save_roborefer(averaged, self.tokenizer, folder, dtype=torch.bfloat16)

    def _log(self, split: str, loss: float, parts: dict[str, float]) -> None:
        path = self.out / _CURVE
        is_new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow(["split", "step", "seconds", "questions", "loss", *parts])
            row = [split, self.progress.step, round(self.progress.elapsed_s, 1)]
            row += [self.progress.questions, round(loss, 4)]
            writer.writerow([*row, *(round(v, 4) for v in parts.values())])

    def _save(self) -> None:
        parts = self.validate()
        self._log("validation", parts["answer"], parts)
        draw_curve(self.out / _CURVE, self.out / "loss.png")
        is_best = parts["answer"] <= self.progress.best_loss
        self.progress.best_loss = min(parts["answer"], self.progress.best_loss)
        state = {
            "objective": self.objective.state_dict(),
            "average": self.average.state_dict(),
            "optimisers": [o.state_dict() for o in self.optimisers],
            "progress": asdict(self.progress),
        }
        # The checkpoint first: a run that is killed between the two goes on from the old state,
        # whose best loss is that of the old checkpoint or worse, and exports again.
        if is_best:
            self.export(self.out / "checkpoint")
        with replaced_file(self.out / _STATE) as partial:
            torch.save(state, partial)
        text = ", ".join(f"{k} {v:.3f}" for k, v in parts.items() if not math.isnan(v))
        tqdm.write(f"step {self.progress.step}: validation {text}", file=sys.stderr)

    def _resume(self) -> None:
        restore_folder(self.out / "checkpoint")
        path = self.out / _STATE
        restore_folder(path)  # removes what a kill in the midst of writing it left
        if not path.exists():
            return
        try:
            with open_regular(path, CheckpointInvalidError) as file:
                state = torch.load(
                    io.BufferedReader(file),  # type: ignore[type-var]
                    map_location=self.device,
                    weights_only=True,
                )
            self.objective.load_state_dict(state["objective"])
            self.average.load_state_dict(state["average"])
            for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
                optimiser.load_state_dict(saved)
            self.progress = Progress(**state["progress"])
        except CheckpointInvalidError:
            raise
        except Exception as error:  # damaged files fail anywhere in torch and pickle
            said = (str(error).strip().splitlines() or [""])[0][:300]
            raise CheckpointInvalidError(
                f"the state of the run in {path} is damaged or of another recipe "
                f"({type(error).__name__}: {said}); restore it from a copy, use the recipe that it "
                "was made with, or begin anew with another --out"
            ) from error
        print(f"going on from step {self.progress.step} of {path}", file=sys.stderr)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line of ``roborefer train``."""
    parser = ArgumentParser(
        prog="roborefer train",
        description="Train a RoboRefer network of any size from scratch, on a CPU or a GPU. The "
        "state is kept, and the same command again goes on from it.",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of `roborefer simulate`")
    parser.add_argument("--out", type=Path, required=True, help="state, loss curve, checkpoint")
    parser.add_argument("--recipe", type=Path, help="JSON file with fields of Recipe to change")
    parser.add_argument(
        "--start", type=Path, metavar="DIR", help="checkpoint to begin with, as far as shapes fit"
    )
    parser.add_argument(
        "--steps", type=non_negative_int, default=0, help="stop after this many steps (0: no limit)"
    )
    parser.add_argument(
        "--minutes",
        type=non_negative_float,
        default=0.0,
        help="stop after this many minutes (0: no limit)",
    )
    parser.add_argument("--save-every", type=positive_int, default=500, help="steps between states")
    parser.add_argument(
        "--limit", type=non_negative_int, default=0, help="use only the first N images"
    )
    parser.add_argument(
        "--threads", type=non_negative_int, default=0, help="CPU threads (0: torch's choice)"
    )
    parser.add_argument(
        "--device", type=device, default="auto", help="cpu, cuda, cuda:<n>; auto: CUDA if there"
    )
    arguments = parser.parse_args(argv)
    if arguments.device == "auto":
        arguments.device = "cuda" if torch.cuda.is_available() else "cpu"
    if not arguments.steps and not arguments.minutes:
        parser.error("say when to stop: --steps or --minutes")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    arguments = parse_arguments(argv)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    try:
        changes = read_json(arguments.recipe, 16 * MIB) if arguments.recipe else {}
        recipe = Recipe(**changes)
        trainer = Trainer(
            arguments.data, arguments.out, recipe, arguments.device, arguments.limit,
            arguments.start,
        )  # fmt: skip
    except (OSError, TypeError, ValueError, RoboReferError) as error:
        print(f"roborefer train: {error}", file=sys.stderr)
        return exit_status(error)
    size = sum(p.numel() for p in trainer.model.parameters())
    print(f"{size / 1e6:.2f} M parameters on {arguments.device}", file=sys.stderr)
    try:
        trainer.run(arguments.steps, arguments.minutes, arguments.save_every)
    except KeyboardInterrupt:
        print("roborefer train: interrupted; the same command goes on from the last saved state",
              file=sys.stderr)  # fmt: skip
        return 130
    print(f"checkpoint: {arguments.out / 'checkpoint'}, curve: {arguments.out / 'loss.png'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
