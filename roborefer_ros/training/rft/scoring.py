# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer rft score``: rewards of completions, of a file or of any model, also behind HTTP.

A line of the file: ``{"id": "...", "completion": "..."}`` with the prompts in ``--data``, or with
an ``annotation`` of its own (``image_size``, ``answer``, ``key_steps``).
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from roborefer_ros.arguments import ArgumentParser, positive_int
from roborefer_ros.errors import ConfigurationError, RoboReferError
from roborefer_ros.files import parse_json, write_text
from roborefer_ros.training.rft.prompts import (
    Prompt,
    PromptFile,
    json_lines,
    parse_annotation,
    read_prompts,
)
from roborefer_ros.training.rft.recipe import RftRecipe, load_recipe
from roborefer_ros.training.rft.rewards import Annotation, RewardRules, Rewards, score

_TERMS = [entry.name for entry in fields(Rewards)]

#: longest line of a file of completions
_MOST_CHARACTERS = 4_000_000


@dataclass(frozen=True)
class Scored:
    """A completion with its rewards.

    Attributes:
        id: Of its prompt.
        completion: The text.
        rewards: What it is worth.
        question_type: Of its prompt.
        steps: Key steps of its prompt.
    """

    id: str
    completion: str
    rewards: Rewards
    question_type: str
    steps: int


def score_command(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit status.

    Raises:
        RoboReferError: an argument, the file or the model is not usable.
    """
    parser = ArgumentParser(
        prog="roborefer rft score",
        description="Rewards of completions: means by kind of question and number of steps.",
    )
    parser.add_argument("file", nargs="?", type=Path, help="completions, JSON lines")
    parser.add_argument("--data", type=Path, help="prompts.jsonl that the completions belong to")
    parser.add_argument("--model", help="ask this model instead: a spec such as roborefer:FOLDER")
    parser.add_argument("--limit", type=positive_int, help="ask the first N prompts only")
    parser.add_argument("--output", type=Path, help="rewards of every completion, JSON lines")
    for entry in fields(RewardRules):
        parser.add_argument("--" + entry.name.replace("_", "-"), metavar="VALUE")
    parser.add_argument("--suffix", default="append", help="append, replace, point or none")
    options = parser.parse_args(list(arguments))
    if (options.file is None) == (options.model is None):
        raise ConfigurationError("name a FILE of completions, or a --model to ask")
    given = {e.name: getattr(options, e.name) for e in fields(RewardRules)}
    changes = {k: v for k, v in given.items() if v is not None} | {"suffix": options.suffix}
    recipe = load_recipe(None, changes)
    if options.model is not None:
        if options.data is None:
            raise ConfigurationError("--model needs the prompts: --data prompts.jsonl")
        prompts = read_prompts(options.data)
        rows = list(ask(options.model, prompts, recipe, options.limit or len(prompts)))
    else:
        rows = list(read_completions(options.file, options.data, recipe.rules))
    if options.output:
        lines = [json.dumps(as_json(row)) for row in rows]
        write_text(options.output, "".join(f"{line}\n" for line in lines))
    print(table(rows))
    return 0


def as_json(row: Scored) -> dict[str, Any]:
    """A line of ``--output``, which can be scored again."""
    return {"id": row.id, "completion": row.completion, **row.rewards.as_dict()}


def read_completions(path: Path, data: Path | None, rules: RewardRules) -> Iterator[Scored]:
    """Score a file.

    Args:
        path: Of the completions.
        data: Of the prompts; None where each line brings its annotation.
        rules: Of the rewards.

    Raises:
        ConfigurationError: a line is damaged or belongs to no prompt.
    """
    known = {prompt.id: prompt for prompt in read_prompts(data)} if data else {}
    for where, line in json_lines(path, _MOST_CHARACTERS):
        values = parse_json(line.decode("utf-8", "replace"), where)
        if not isinstance(values, dict) or not isinstance(values.get("completion"), str):
            raise ConfigurationError(f'{where} has no text named "completion"')
        yield _scored(values, known, rules, where)


def _scored(
    values: dict[str, Any], known: dict[str, Prompt], rules: RewardRules, where: str
) -> Scored:
    name, text = str(values.get("id", "")), values["completion"]
    if "annotation" in values:
        annotation, kind = parse_annotation(values["annotation"], Path(), where), ""
    elif name in known:
        annotation, kind = known[name].annotation, known[name].question_type
    else:
        raise ConfigurationError(
            f"{where}: no prompt has the id {name!r}; name the prompts with --data, or give each "
            "line an annotation"
        )
    return _row(name, text, annotation, kind, rules)


def _row(name: str, text: str, annotation: Annotation, kind: str, rules: RewardRules) -> Scored:
    rewards = score(text, annotation, rules)
    return Scored(name, text, rewards, kind, len(annotation.key_steps))


def ask(spec: str, prompts: PromptFile, recipe: RftRecipe, limit: int) -> Iterator[Scored]:
    """Ask a model and score what it says; a question that fails scores as an empty text.

    Args:
        spec: As for ``pointing.factory.open_pointer``.
        prompts: What is asked.
        recipe: Suffix and rules.
        limit: Number of prompts.

    Raises:
        RoboReferError: the model cannot be opened.
    """
    from roborefer_ros.inference.model import Picture, Request, complete_all
    from roborefer_ros.pointing.factory import open_pointer

    pointer = open_pointer(spec, max_new_tokens=recipe.max_new_tokens)
    model = pointer.model
    try:
        size = max(1, model.max_batch)
        for start in range(0, min(limit, len(prompts)), size):
            loaded = [prompts[n] for n in range(start, min(start + size, limit, len(prompts)))]
            requests = [
                Request(
                    one.prompt.text(recipe.suffix),
                    tuple(map(Picture.of, one.images)),
                    tuple(map(Picture.of, one.depths)) if model.uses_depth else (),
                )
                for one in loaded
            ]
            for one, said in zip(loaded, complete_all(model, requests), strict=True):
                text = ""
                if isinstance(said, RoboReferError):
                    print(f"{one.prompt.id}: {said}", file=sys.stderr)
                else:
                    text = said.text
                prompt = one.prompt
                yield _row(prompt.id, text, prompt.annotation, prompt.question_type, recipe.rules)
    finally:
        pointer.close()


def table(rows: Iterable[Scored]) -> str:
    """Means over all, by number of key steps and by kind of question."""
    groups: dict[tuple[int, str], list[Scored]] = defaultdict(list)
    for row in rows:
        groups[0, "all"].append(row)
        groups[1, f"{row.steps} key steps"].append(row)
        if row.question_type:
            groups[2, row.question_type].append(row)
    head = ["", "answers", *(term.replace("_", " ") for term in _TERMS)]
    lines = [head]
    for (_, name), own in sorted(groups.items()):
        means = [sum(getattr(row.rewards, t) for row in own) / len(own) for t in _TERMS]
        lines.append([name, str(len(own)), *(f"{mean:.3f}" for mean in means)])
    widths = [max(len(line[k]) for line in lines) for k in range(len(head))]
    aligned = ([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines)
    return "\n".join("  ".join(line) for line in aligned)
