# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the network in training can do: loss of held-out rows, and questions that it answers.

The questions are put and scored by the package's own evaluation.  Every process takes its share
of them; the first one scores, writes the answers down, and tells the others the result.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from roborefer_ros.errors import RoboReferError
from roborefer_ros.evaluation.answers_file import answer_record
from roborefer_ros.evaluation.model_answers import model_answers
from roborefer_ros.evaluation.results import group_rows
from roborefer_ros.evaluation.scoring import AnswerReader, AnswerScores, score_answer
from roborefer_ros.evaluation.statistics import GroupSummary
from roborefer_ros.files import write_text
from roborefer_ros.inference.caches import LRUCache
from roborefer_ros.inference.roborefer import RoboReferModel
from roborefer_ros.models.roborefer.modeling import RoboRefer
from roborefer_ros.models.roborefer.processing import RoboReferProcessor
from roborefer_ros.pointing.families import FAMILIES
from roborefer_ros.pointing.pointer import Pointer
from roborefer_ros.training.sft.batches import Batch
from roborefer_ros.training.sft.engine import Engine, Processes
from roborefer_ros.training.sft.questions import QuestionSet

#: folder of a run with the answers of each evaluation
FOLDER = "evaluation"

#: longest answer, tokens; with reasoning
_MAX_TOKENS, _MAX_TOKENS_THINKING = 96, 1024

#: questions that are answered together
_TOGETHER = 8

#: memory for encoded pictures, bytes
_PICTURES = 256 * 2**20

#: questions that the report shows with their pictures
_SHOWN = 8


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        step: Steps that were done.
        values: Name -> number, for the log: ``benchmark/accuracy``, ``held_out/loss`` ...
        goodness: What tells the best checkpoint, greater is better: accuracy on the benchmark, else
            on held-out rows, else the negative loss of those.
    """

    step: int
    values: dict[str, float]
    goodness: float

    def line(self) -> str:
        """The figures that matter, for the screen."""
        shown = {
            name: value
            for name, value in self.values.items()
            if name.count("/") == 1 or name.endswith("/all")
        }
        return ", ".join(f"{name} {_shown(name, value)}" for name, value in shown.items())


class Evaluator:
    """Evaluates a network again and again with the same questions.

    Args:
        sets: Questions that are answered greedily.
        batches: Gives this process' batches of held-out rows, for their loss.
        group: The processes.
        thinking: Whether answers begin with reasoning.
    """

    def __init__(
        self,
        sets: Sequence[QuestionSet],
        batches: Callable[[], Iterable[Batch]],
        group: Processes,
        thinking: bool = False,
    ) -> None:
        self._sets, self._batches, self._group = sets, batches, group
        self._tokens = _MAX_TOKENS_THINKING if thinking else _MAX_TOKENS
        self._reader = AnswerReader.of("RoboRefer")

    def __call__(self, engine: Engine, step: int, folder: Path) -> Evaluation:
        """Evaluate; all processes call it.

        Args:
            engine: Of the network in training, which goes on unchanged.
            step: Steps that were done.
            folder: Of the run; the first process writes the answers below it.

        Raises:
            OSError: the answers cannot be written.
        """
        values: dict[str, float] = {}
        tables: dict[str, Any] = {}
        shown: list[dict[str, Any]] = []
        own = folder / FOLDER / f"step-{step:06d}"
        with engine.whole() as network:
            values.update(self._losses(engine))
            for questions in self._sets:
                answers = self._answers(questions, network, engine.module.processor)
                if self._group.is_first:
                    rows = group_rows(answers)
                    values.update(_accuracies(questions, answers, rows))
                    tables[questions.title] = {k: [asdict(r) for r in v] for k, v in rows.items()}
                    shown += _samples(answers)
                    _write(own / questions.title, questions, answers)
        values = self._group.gathered(values)[0]  # type: ignore[assignment]
        found = Evaluation(step, values, _goodness(values))
        if self._group.is_first:
            content = {"step": step, "values": values, "tables": tables, "samples": shown}
            own.mkdir(parents=True, exist_ok=True)
            write_text(own / "evaluation.json", json.dumps(_finite(content)) + "\n")
        return found

    def _losses(self, engine: Engine) -> dict[str, float]:
        """Mean loss of the learned tokens of held-out rows: of all, and of each data set."""
        sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for batch in self._batches():
            loss = engine.module(batch.tensors)
            rows = zip(batch.names, loss.per_row.tolist(), loss.tokens.tolist(), strict=False)
            for name, value, tokens in rows:
                sums[name][0] += value
                sums[name][1] += tokens
        total: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for share in self._group.gathered(dict(sums)):
            assert isinstance(share, dict)
            for name, (value, tokens) in share.items():
                total[name][0] += value
                total[name][1] += tokens
        tokens = sum(count for _, count in total.values())
        if not tokens:
            return {}
        values = {"held_out/loss": sum(value for value, _ in total.values()) / tokens}
        if len(total) > 1:
            for name, (value, count) in sorted(total.items()):
                values[f"held_out/loss/{name}"] = value / max(1.0, count)
        return values

    def _answers(
        self, questions: QuestionSet, network: RoboRefer, processor: RoboReferProcessor
    ) -> list[AnswerScores]:
        """All processes' answers, scored, in the order of the questions, on the first process."""
        pictures: LRUCache[Any] = LRUCache(_PICTURES)
        prefixes: LRUCache[Any] = LRUCache(_PICTURES)
        model = RoboReferModel(
            "roborefer:in training", network, processor,
            max_batch=_TOGETHER, max_new_tokens=self._tokens, vision=pictures, prefixes=prefixes,
        )  # fmt: skip
        pointer = Pointer(model, FAMILIES["tuples"])
        every = questions.benchmark.questions
        chosen = every[self._group.rank :: self._group.world]
        texts = {}
        answers = model_answers(pointer, chosen, questions.depth, questions.text_of)
        for question, outcome in answers:
            failed = isinstance(outcome, RoboReferError)
            texts[question.split, question.question_id] = None if failed else outcome
        told: dict[Any, Any] = {}
        for share in self._group.gathered(texts):
            assert isinstance(share, dict)
            told.update(share)
        if not self._group.is_first:
            return []
        return [
            score_answer(question, told[question.split, question.question_id], self._reader)
            for question in every
        ]


def _accuracies(
    questions: QuestionSet, answers: Sequence[AnswerScores], rows: Mapping[str, list[GroupSummary]]
) -> dict[str, float]:
    """Shares of right answers: the first point counts, no point is wrong."""
    title = questions.title
    values = {f"{title}/accuracy": rows["all"][0].scores["strict"].value}
    for group in ("split", "kind"):
        if len(rows.get(group, ())) > 1:
            for row in rows[group]:
                values[f"{title}/accuracy/{row.name}"] = row.scores["strict"].value
    distances = [d for answer in answers if (d := _distance_px(questions, answer)) is not None]
    if distances:
        values[f"{title}/error_px"] = sum(distances) / len(distances)
    values[f"{title}/no_point"] = rows["all"][0].unparsable
    return values


def _distance_px(questions: QuestionSet, answer: AnswerScores) -> float | None:
    """From the first point of an answer to the nearest right one."""
    truths = questions.truths.get((answer.question.split, answer.question.question_id), ())
    if not truths or not answer.points:
        return None
    height, width = answer.question.mask_values().shape
    x, y = answer.points[0]
    return min(math.hypot((x - u) * width, (y - v) * height) for u, v in truths)


def _samples(answers: Sequence[AnswerScores]) -> list[dict[str, Any]]:
    """The first questions about different pictures, with what was answered."""
    from roborefer_ros.evaluation.report_pictures import failure_picture

    return [
        {
            "split": answer.question.split,
            "question": answer.question.prompt,
            "answer": answer.text,
            "is_right": bool(answer.strict),
            "picture": failure_picture(answer) if answer.question.wants_point else "",
        }
        for answer in _of_different_pictures(answers)
    ]


def _of_different_pictures(answers: Sequence[AnswerScores]) -> Iterator[AnswerScores]:
    seen: set[str] = set()
    for answer in answers:
        if len(seen) >= _SHOWN:
            return
        if answer.question.cluster not in seen:
            seen.add(answer.question.cluster)
            yield answer


def _write(folder: Path, questions: QuestionSet, answers: Sequence[AnswerScores]) -> None:
    """Answers files, which ``roborefer score`` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    lines: dict[str, list[str]] = defaultdict(list)
    for answer in answers:
        question = answer.question
        record = answer_record(
            question, questions.text_of(question), answer.text or "", "roborefer:in training"
        )
        lines[question.split].append(json.dumps(record))
    for split, own in lines.items():
        write_text(folder / f"{split}.jsonl", "\n".join(own) + "\n")


def _goodness(values: Mapping[str, float]) -> float:
    for name, sign in (
        ("benchmark/accuracy", 1.0), ("held_out/accuracy", 1.0), ("held_out/loss", -1.0),
    ):  # fmt: skip
        if name in values and math.isfinite(values[name]):
            return sign * values[name]
    return -math.inf


def _shown(name: str, value: float) -> str:
    if name.endswith(("accuracy", "no_point")):
        return f"{100 * value:.1f} %"
    return f"{value:.4g}"


def _finite(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
