# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""End to end: new frames, the same frame again, several questions, batches; beside the reference.

The weights are random, so no answer is ``[(0.512, 0.634)]`` and the template's draft is always
wrong.  ``ReplayedDraft`` therefore guesses what the network itself said before, in those places
where a real answer has its brackets: as many runs of the network, over as many tokens, as a
real answer takes.  Random weights show speed, not understanding.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from benchmarks import gpu_floors
from benchmarks.model_stages import ANSWER_TOKENS, TEXT_TOKENS, Machine, instruction_of
from benchmarks.reference_loop import ReferenceLoop
from roborefer_ros.errors import RoboReferError
from roborefer_ros.inference.caches import LRUCache
from roborefer_ros.inference.model import Picture, Request, SamplingParams, complete_all
from roborefer_ros.inference.roborefer import RoboReferModel
from roborefer_ros.models.roborefer.modeling import RoboRefer
from roborefer_ros.models.roborefer.processing import RoboReferProcessor
from roborefer_ros.pointing.prompts import roborefer_prompt

#: tokens so far -> guesses that the template of "[(0.512, 0.634)]" has there
_GUESSES = {0: 3, 6: 4, 13: 1}

QUESTIONS = 5


class ReplayedDraft:
    """Guesses tokens that were recorded, where a real answer could be guessed.

    Attributes:
        answers: Tokens of the answers that are known.
        passes: Runs of the network since ``start``.
    """

    def __init__(self) -> None:
        self.answers: list[tuple[int, ...]] = []
        self._is_recording = False
        self.passes = 0

    def record(self) -> None:
        """Forget what is known, guess nothing and note what is said."""
        self.answers, self._is_recording = [], True

    def start(self) -> None:
        """Guess from now on."""
        self._is_recording, self.passes = False, 0

    def __call__(self, ids: Sequence[int]) -> list[int]:
        """Called before each run of the network with the tokens so far."""
        self.passes += 1
        now = tuple(ids)
        if self._is_recording:
            self.answers = [a for a in self.answers if now[: len(a)] != a] + [now]
            return []
        count = _GUESSES.get(len(now), 0)
        for answer in self.answers:
            if answer[: len(now)] == now and count:
                return list(answer[len(now) : len(now) + count])
        return []


@dataclass
class Opened:
    """A network under measurement.

    Attributes:
        name: Name of its size.
        network: Network with all layers of its towers.
        processor: Its tokenizer and image side.
        machine: Peaks that the floors are computed with.
        repeats: Measurements of each kind.
        fixed_shapes: Whether decode steps are captured (CUDA) or at least keep their shapes.
    """

    name: str
    network: RoboRefer
    processor: RoboReferProcessor
    machine: Machine
    repeats: int = 5
    fixed_shapes: bool = True
    _random: Any = field(default_factory=lambda: np.random.default_rng(0))

    def model(self, max_batch: int = 1, fixed_shapes: bool | None = None) -> RoboReferModel:
        """The model as it is served, with a replayed draft."""
        fixed = self.fixed_shapes if fixed_shapes is None else fixed_shapes
        model = RoboReferModel(
            self.name,
            self.network,
            self.processor,
            max_batch=max_batch,
            vision=LRUCache(2**31),
            prefixes=LRUCache(2**32),
            fixed_shapes=fixed,
        )
        model.draft = ReplayedDraft()
        return model

    def request(self, size: tuple[int, int], with_depth: bool, question: int = 0) -> Request:
        """A question about a frame that nobody has seen."""
        width, height = size
        rgb = self._random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        depth = (Picture.of(np.ascontiguousarray(rgb[..., 0])),) if with_depth else ()
        sampling = SamplingParams(max_tokens=ANSWER_TOKENS)
        return Request(self.prompt(question), (Picture.of(rgb),), depth, sampling)

    def prompt(self, question: int) -> str:
        """A prompt of the usual length."""
        text = instruction_of(self.processor, TEXT_TOKENS)
        return roborefer_prompt(f"{text} Number {question}.")

    def synchronize(self) -> None:
        """Wait until the device has nothing to do."""
        if self.network.device.type == "cuda":
            torch.cuda.synchronize(self.network.device)


@torch.inference_mode()
def measure_answers(opened: Opened, size: tuple[int, int], with_depth: bool) -> dict[str, Any]:
    """One image size, RGB or RGB-D, beside the reference's loop on the same frames."""
    reset_peak(opened)
    model = opened.model()
    reference = ReferenceLoop(opened.network, opened.processor)
    times: dict[str, list[float]] = {k: [] for k in ("new", "again", "questions", "reference")}
    eager = opened.model(fixed_shapes=False)
    times["without_graphs"] = []
    stages: dict[str, list[float]] = {}
    own_stages: dict[str, list[float]] = {}
    passes, completion = [], None
    for turn in range(opened.repeats + 1):  # the first one captures, allocates and warms up
        requests = _questions(opened, size, with_depth)
        own: dict[str, float] = {}
        own["new"], completion = _timed(opened, model, requests[:1])
        passes.append(model.draft.passes)  # type: ignore[union-attr]
        own["again"], _ = _timed(opened, model, requests[1:2], keep=True)
        own["questions"] = _timed_questions(opened, model, requests)
        own["without_graphs"], _ = _timed(opened, eager, requests[:1])
        answer = reference.answer(
            requests[0].prompt,
            [p.pixels for p in requests[0].images],
            [p.pixels for p in requests[0].depths],
            tokens=ANSWER_TOKENS,
        )
        own["reference"] = 1e3 * answer.total_s
        if turn == 0 and opened.repeats:
            first = own["new"]
            continue
        first = first if opened.repeats else own["new"]
        for key, value in own.items():
            times[key].append(value)
        for stage, seconds in answer.stages_s.items():
            stages.setdefault(stage, []).append(1e3 * seconds)
        for stage, seconds in completion.timings_s.items():
            own_stages.setdefault(stage, []).append(1e3 * seconds)
    medians = {key: statistics.median(values) for key, values in times.items()}
    return {
        "image": f"{size[0]}x{size[1]}",
        "input": "RGB-D" if with_depth else "RGB",
        "prompt_tokens": completion.prompt_tokens,
        "tiles": _tiles(opened, requests[0]),
        "first_ms": first,
        "passes": statistics.median(passes),
        **{f"{key}_ms": value for key, value in medians.items()},
        "stages_ms": {k: statistics.median(v) for k, v in own_stages.items()},
        "reference_stages_ms": {k: statistics.median(v) for k, v in stages.items()},
        "ratio_new": medians["reference"] / medians["new"],
        "ratio_again": medians["reference"] / medians["again"],
        "ratio_questions": QUESTIONS * medians["reference"] / medians["questions"],
        **_floors(opened, requests[0], completion.prompt_tokens),
        "peak_device_bytes": peak(opened),
    }


@torch.inference_mode()
def measure_batches(
    opened: Opened, size: tuple[int, int], with_depth: bool, batches: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """New frames of several askers, answered together."""
    model = opened.model(max_batch=max(batches))
    alone = None
    for batch in batches:
        reset_peak(opened)
        times = []
        for turn in range(min(opened.repeats, 2) + 1):
            requests = [opened.request(size, with_depth, n) for n in range(batch)]
            ms, _ = _timed(opened, model, requests)
            if turn or not opened.repeats:
                times.append(ms)
        ms = statistics.median(times)
        alone = alone or ms
        yield {
            "batch": batch,
            "image": f"{size[0]}x{size[1]}",
            "input": "RGB-D" if with_depth else "RGB",
            "ms": ms,
            "answers_per_s": 1e3 * batch / ms,
            "gain": batch * alone / ms,
            "peak_device_bytes": peak(opened),
        }


def _questions(opened: Opened, size: tuple[int, int], with_depth: bool) -> list[Request]:
    """Several questions about one new frame."""
    first = opened.request(size, with_depth)
    return [
        Request(opened.prompt(n), first.images, first.depths, first.sampling)
        for n in range(QUESTIONS)
    ]


def _timed(
    opened: Opened, model: RoboReferModel, requests: Sequence[Request], keep: bool = False
) -> tuple[float, Any]:
    """Milliseconds of an answer whose draft is right where a real one is; and the completion.

    Args:
        opened: Network.
        model: Model that answers.
        requests: Requests that are answered together.
        keep: Whether what is known of the frame may be used.
    """
    draft: Any = model.draft
    draft.record()
    _complete(model, requests)
    if not keep:
        model.vision.clear()
        model.prefixes.clear()
    draft.start()
    ms, outcomes = _clocked(opened, lambda: _complete(model, requests))
    return ms, outcomes[0]


def _timed_questions(opened: Opened, model: RoboReferModel, requests: Sequence[Request]) -> float:
    """Milliseconds of all questions about one frame, one after the other, the first one new."""
    draft: Any = model.draft
    answers = []
    for request in requests:
        draft.record()
        _complete(model, [request])
        answers.append(list(draft.answers))
    model.vision.clear()
    model.prefixes.clear()

    def ask() -> None:
        for request, known in zip(requests, answers, strict=True):
            draft.answers = known
            draft.start()
            _complete(model, [request])

    ms, _ = _clocked(opened, ask)
    return ms


def _complete(model: RoboReferModel, requests: Sequence[Request]) -> list[Any]:
    outcomes = complete_all(model, requests)
    for outcome in outcomes:
        if isinstance(outcome, RoboReferError):
            raise outcome
    return outcomes


def _clocked(opened: Opened, call: Callable[[], Any]) -> tuple[float, Any]:
    opened.synchronize()
    started = time.perf_counter()
    result = call()
    opened.synchronize()
    return 1e3 * (time.perf_counter() - started), result


def _tiles(opened: Opened, request: Request) -> int:
    pictures = [*request.images, *request.depths]
    return sum(sum(opened.processor.tile([picture.pixels]).counts) for picture in pictures)


def _floors(opened: Opened, request: Request, tokens: int) -> dict[str, Any]:
    tiles, network = _tiles(opened, request), opened.network
    sheets = {name: gpu_floors.PEAKS[name] for name in gpu_floors.SHOWN}
    return {
        "floor_new_ms": gpu_floors.new_frame_ms(network, tiles, tokens, opened.machine),
        "floor_again_ms": gpu_floors.same_frame_ms(network, opened.machine),
        "sheet_floors_ms": {
            name: gpu_floors.new_frame_ms(network, tiles, tokens, machine)
            for name, machine in sheets.items()
        },
    }


def reset_peak(opened: Opened) -> None:
    """Count the device's memory from here."""
    if opened.network.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(opened.network.device)


def peak(opened: Opened) -> int:
    """Most bytes that were allocated on the device; 0 on a CPU."""
    if opened.network.device.type != "cuda":
        return 0
    return int(torch.cuda.max_memory_allocated(opened.network.device))
