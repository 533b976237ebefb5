# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Throughput of an evaluation: one question at a time against batches that share pictures.

The baseline is what the reference's runner does: one question after the other, every picture
encoded again for each (a ``Pointer`` call per question).  Both sides run the same network on the
same questions in one process, alternating, and must give the same texts; the first round of each
is not counted.  Scoring is timed beside it.

    python -m benchmarks.evaluation [--model roborefer:demo] [--scenes 8] [--batch 1 4 8]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from roborefer_ros.arguments import ArgumentParser
from roborefer_ros.cli.evaluate import model_options
from roborefer_ros.evaluation.depth_sources import benchmark_depth
from roborefer_ros.evaluation.instructions import reference_instruction
from roborefer_ros.evaluation.model_answers import model_answers
from roborefer_ros.evaluation.questions import BenchmarkQuestion
from roborefer_ros.evaluation.readers import open_benchmark
from roborefer_ros.evaluation.scoring import AnswerReader, score_answer
from roborefer_ros.evaluation.simulated import make_benchmark
from roborefer_ros.pointing.factory import open_pointer
from roborefer_ros.pointing.families import FAMILIES
from roborefer_ros.pointing.pointer import Pointer

TINY = "roborefer:" + str(Path(__file__).parents[1] / "test/data/golden/tiny-2b-style")


def _text_of(question: BenchmarkQuestion) -> str:
    return reference_instruction(question, FAMILIES["tuples"])


def timed(pointer: Pointer, questions: list[BenchmarkQuestion]) -> tuple[float, list[str]]:
    """Seconds, and what was answered."""
    started = time.perf_counter()
    texts = [
        str(outcome) for _, outcome in model_answers(pointer, questions, benchmark_depth, _text_of)
    ]
    return time.perf_counter() - started, texts


def main() -> int:
    """Run the benchmark; returns 1 when the texts differ."""
    parser = ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default=TINY, help="roborefer:<checkpoint>")
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--questions", type=int, default=8, help="per scene")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-new-tokens", type=int, default=16, help="as a point has")
    arguments = parser.parse_args()
    tokens = arguments.max_new_tokens
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "bench"
        make_benchmark(
            folder, arguments.scenes, size=(320, 240), questions=arguments.questions,
            workers=1, show_progress=False,
        )  # fmt: skip
        questions = list(open_benchmark(folder).questions)
        pictures = len({q.cluster for q in questions})
        print(f"{arguments.model}: {len(questions)} questions, {pictures} pictures")
        pointers: dict[str, Pointer] = {
            "one at a time": open_pointer(arguments.model, max_new_tokens=tokens, max_batch=1)
        }
        for batch in arguments.batch:
            name_of = f"batch {batch}, pictures encoded once"
            options = model_options(arguments.model, batch=batch, max_new_tokens=tokens)
            pointers[name_of] = open_pointer(options)
        best: dict[str, float] = {}
        texts: dict[str, list[str]] = {}
        for number in range(arguments.rounds + 1):
            for key, pointer in pointers.items():
                duration, texts[key] = timed(pointer, questions)
                if number:
                    best[key] = min(duration, best.get(key, duration))
        base = best["one at a time"]
        for key, duration in best.items():
            differing = sum(a != b for a, b in zip(texts[key], texts["one at a time"], strict=True))
            print(
                f"{key:<32} {len(questions) / duration:8.2f} questions/s  x {base / duration:.2f}"
                f"  {differing} texts differ"
            )
        reader = AnswerReader.of("RoboRefer")
        started = time.perf_counter()
        for question, text in zip(questions, texts["one at a time"], strict=True):
            score_answer(question, text, reader)
        print(f"{'scoring':<32} {len(questions) / (time.perf_counter() - started):8.0f} answers/s")
        return int(any(texts[key] != texts["one at a time"] for key in texts))


if __name__ == "__main__":
    sys.exit(main())
