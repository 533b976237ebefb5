# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Prompts with what is known of them: ``prompts.jsonl``, one a line.

    {"id": "...", "question": "...", "image": ["/a/b.png"], "depth": ["/a/d.png"],
     "depth_encoding": "near-bright", "image_size": [960, 540], "answer": [[0.341, 0.61]],
     "key_steps": [{"type": "Position", "target": "the cup", "value": [0.139, 0.628]}],
     "question_type": "...", "mask": "/a/m.png"}

Pictures are absolute paths, or relative to the file's folder.  ``mask`` (white is right) takes the
place of the distance to the point.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.files import open_regular, parse_json, write_text
from roborefer_ros.image_files import open_picture
from roborefer_ros.models.roborefer.checkpoint import resolve_folder
from roborefer_ros.models.roborefer.configuration import RoboReferConfig
from roborefer_ros.pointing.prompts import POINT_SUFFIX, REASONING_SUFFIX, roborefer_prompt
from roborefer_ros.pointing.reasoning import PERCEPTIONS
from roborefer_ros.training.data.defects import Defect
from roborefer_ros.training.data.pictures import (
    DepthEncoding,
    PictureError,
    open_depth,
    open_rgb,
)
from roborefer_ros.training.rft.rewards import Annotation
from roborefer_ros.types import ReasoningStep

#: longest line of a file of prompts
_MOST_CHARACTERS = 1_000_000

#: points that answer one question
_MOST_POINTS = 100

#: numbers of a step's value
_VALUES = {"Position": 2, "Orientation": 3, "Size": 1}

#: prompts that are tried in place of one with a defective picture
_MOST_TRIES = 100


@dataclass(frozen=True)
class Mask:
    """Where an answer may lie.

    Attributes:
        path: Picture of the whole image's shape; what is brighter than half is right.
    """

    path: Path

    @cached_property
    def _pixels(self) -> npt.NDArray[np.uint8]:
        return np.asarray(open_picture(self.path, "L"), np.uint8)

    def holds(self, point: tuple[float, float]) -> bool:
        """Whether a normalised point lies on a right pixel."""
        height, width = self._pixels.shape
        column, row = (min(int(v * n), n - 1) for v, n in zip(point, (width, height), strict=True))
        return bool(self._pixels[row, column] > 127)


@dataclass(frozen=True)
class Prompt:
    """A question about pictures, with its answer.

    Attributes:
        id: Names it among the prompts.
        question: As it stands in the data.
        images, depths: Files of the pictures.
        annotation: What rewards are judged by.
        depth_encoding: How depth files hold depth; see ``training.data.pictures.open_depth``.
        question_type: Kind of question, where it is told.
    """

    id: str
    question: str
    images: tuple[Path, ...]
    depths: tuple[Path, ...]
    annotation: Annotation
    depth_encoding: DepthEncoding = "near-bright"
    question_type: str = ""

    @property
    def steps(self) -> int:
        """Number of key steps."""
        return len(self.annotation.key_steps)

    def text(self, suffix: str) -> str:
        """What the model is asked.

        Args:
            suffix: ``append``, ``replace``, ``point`` or ``none``; see ``RftRecipe``.
        """
        if suffix == "none" or (suffix == "point" and POINT_SUFFIX in self.question):
            return self.question
        if suffix == "point":
            return roborefer_prompt(self.question)
        question = self.question
        if suffix == "replace":
            question = question.replace(POINT_SUFFIX, "").strip()
        return f"{question} {REASONING_SUFFIX}"

    def as_json(self) -> dict[str, Any]:
        """Its line."""
        known = self.annotation
        result: dict[str, Any] = {
            "id": self.id,
            "question": self.question,
            "image": [str(path) for path in self.images],
            "depth": [str(path) for path in self.depths],
            "depth_encoding": self.depth_encoding,
            "image_size": list(known.image_size),
            "answer": [list(point) for point in known.answer],
            "key_steps": [step_as_json(step) for step in known.key_steps],
            "question_type": self.question_type,
        }
        if isinstance(known.region, Mask):
            result["mask"] = str(known.region.path)
        return result


def step_as_json(step: ReasoningStep) -> dict[str, Any]:
    """A key step as datagen and the golden tables write it."""
    value = step.value[0] if step.kind == "Size" else list(step.value)
    return {"type": step.kind, "target": step.target, "value": value}


@dataclass(frozen=True)
class LoadedPrompt:
    """A prompt with its pictures.

    Attributes:
        prompt: What is asked.
        number: Of the prompt in its file, from 0.
        images, depths: ``[H, W, 3]`` uint8 each.
        skipped: Messages of the prompts that this one stands in for.
    """

    prompt: Prompt
    number: int
    images: tuple[npt.NDArray[np.uint8], ...]
    depths: tuple[npt.NDArray[np.uint8], ...]
    skipped: tuple[str, ...] = ()


@dataclass
class PromptFile:
    """The prompts of a file; opened when they are asked for.

    Attributes:
        folder: That relative paths begin at.
        lines: Checked lines.
        digest: Name of the content.
    """

    folder: Path
    lines: list[bytes] = field(repr=False)
    digest: str

    def __len__(self) -> int:
        return len(self.lines)

    def prompt(self, number: int) -> Prompt:
        """A prompt by its number, pictures unopened."""
        return parse_prompt(json.loads(self.lines[number]), self.folder, f"prompt {number}")

    def __iter__(self) -> Iterator[Prompt]:
        return (self.prompt(number) for number in range(len(self)))

    def __getitem__(self, number: int) -> LoadedPrompt:
        """A prompt with its pictures, or the next one where they are defective.

        Raises:
            PictureError: too many in a row.
        """
        skipped: list[str] = []
        for step in range(min(_MOST_TRIES, len(self))):
            prompt = self.prompt((number + step) % len(self))
            try:
                return load_prompt(prompt, (number + step) % len(self), tuple(skipped))
            except PictureError as error:
                skipped.append(f"{prompt.id}: {error}")
        raise PictureError(
            Defect.BROKEN_PICTURE, f"{len(skipped)} prompts in a row are defective; {skipped[-1]}"
        )


def load_prompt(prompt: Prompt, number: int, skipped: tuple[str, ...] = ()) -> LoadedPrompt:
    """Open the pictures of a prompt.

    Raises:
        PictureError: one is missing or damaged.
    """
    images = tuple(open_rgb(path).pixels for path in prompt.images)
    depths = tuple(open_depth(path, prompt.depth_encoding).pixels for path in prompt.depths)
    return LoadedPrompt(prompt, number, images, depths, skipped)


def json_lines(path: Path, most_characters: int) -> Iterator[tuple[str, bytes]]:
    """The lines of a JSONL file that are not blank, each with its place for messages.

    Args:
        path: JSONL file.
        most_characters: Greatest length of a line.

    Raises:
        ConfigurationError: no such file, or a line is too long.
    """
    with open_regular(path, ConfigurationError) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            where = f"{path}, line {number}"
            if len(line) > most_characters:
                raise ConfigurationError(f"{where} is longer than {most_characters} characters")
            yield where, line


def read_prompts(path: Path, *, require_steps: bool = False, depth: bool = True) -> PromptFile:
    """Open a file of prompts and check every line.

    Args:
        path: ``prompts.jsonl``.
        require_steps: Whether prompts without key steps are left out.
        depth: Whether the model takes depth pictures; else they are left out.

    Raises:
        ConfigurationError: no such file, a line that is no prompt, or nothing is left.
    """
    lines, digest = [], hashlib.sha256()
    for where, line in json_lines(path, _MOST_CHARACTERS):
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"{where} is not UTF-8: {error}") from error
        values = parse_json(text, where)
        prompt = parse_prompt(values, path.parent, where)
        if require_steps and not prompt.steps:
            continue
        if not depth:
            values = {**values, "depth": []}
        digest.update(line)
        lines.append(json.dumps(values).encode())
    if not lines:
        raise ConfigurationError(
            f"{path} has no prompts" + (" with key steps" if require_steps else "")
        )
    return PromptFile(path.parent, lines, digest.hexdigest()[:32])


def open_prompts(path: Path, model: str, *, require_steps: bool = False) -> PromptFile:
    """The prompts, with depth where a checkpoint has a branch for it.

    Args:
        path: ``prompts.jsonl``.
        model: Checkpoint, folder or hub id.
        require_steps: Whether prompts without key steps are left out.

    Raises:
        ConfigurationError: see ``read_prompts``.
        CheckpointInvalidError, CheckpointNotFoundError: no usable checkpoint.
    """
    config = RoboReferConfig.from_folder(resolve_folder(model))
    return read_prompts(path, require_steps=require_steps, depth=config.has_depth)


def write_prompts(path: Path, prompts: Iterable[Prompt]) -> int:
    """Write a file of prompts as a whole; returns their number."""
    lines = [json.dumps(prompt.as_json(), ensure_ascii=False) for prompt in prompts]
    write_text(path, "".join(f"{line}\n" for line in lines))
    return len(lines)


def with_absolute_paths(prompt: Prompt) -> Prompt:
    """The prompt with pictures that are found from any folder."""
    region = prompt.annotation.region
    known = prompt.annotation
    if isinstance(region, Mask):
        known = replace(known, region=Mask(region.path.resolve()))
    return replace(
        prompt,
        images=tuple(path.resolve() for path in prompt.images),
        depths=tuple(path.resolve() for path in prompt.depths),
        annotation=known,
    )


def parse_prompt(values: Any, folder: Path, where: str) -> Prompt:
    """A prompt from its line.

    Args:
        values: Of the JSON.
        folder: That relative paths begin at.
        where: Its place, for messages.

    Raises:
        ConfigurationError: a field is missing or of another form.
    """
    with _told(where, "prompt"):
        return _parsed(values, folder, where)


def parse_annotation(values: Any, folder: Path, where: str) -> Annotation:
    """What is known of a prompt, from its line.

    Args:
        values: Of the JSON; ``image_size``, ``answer``, and perhaps ``key_steps`` and ``mask``.
        folder: That relative paths begin at.
        where: Its place, for messages.

    Raises:
        ConfigurationError: a field is missing or of another form.
    """
    with _told(where, "annotation"):
        width, height = values["image_size"]
        if not (type(width) is int and type(height) is int and width > 0 and height > 0):
            raise ValueError(f"image_size is {values['image_size']!r}, not [width, height]")
        if len(values["answer"]) > _MOST_POINTS:
            count = len(values["answer"])
            raise ValueError(f"{count} points answer it; at most {_MOST_POINTS} may")
        mask = values.get("mask")
        return Annotation(
            (width, height),
            tuple((x, y) for x, y in (_numbers(point, 2) for point in values["answer"])),
            tuple(parse_key_step(step) for step in values.get("key_steps") or []),
            Mask(folder / _text(mask)) if mask else None,
        )


@contextlib.contextmanager
def _told(where: str, what: str) -> Iterator[None]:
    """Tell what is wrong with a line.

    Raises:
        ConfigurationError: in place of what a value of another form raises.
    """
    try:
        yield
    except ConfigurationError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        said = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ConfigurationError(f"{where} is not a valid {what}: {said}") from error


def _parsed(values: Mapping[str, Any], folder: Path, where: str) -> Prompt:
    question = _text(values["question"])
    images, depths = _paths(values["image"], folder), _paths(values.get("depth") or [], folder)
    if depths and len(depths) != len(images):
        raise ValueError(f"{len(images)} images but {len(depths)} depth pictures")
    encoding = values.get("depth_encoding", "near-bright")
    if encoding not in get_args(DepthEncoding):
        raise ValueError(f"depth_encoding is {encoding!r}, not of {get_args(DepthEncoding)}")
    return Prompt(
        _text(values["id"]),
        question,
        images,
        depths,
        parse_annotation(values, folder, where),
        encoding,
        str(values.get("question_type") or ""),
    )


def parse_key_step(values: Mapping[str, Any]) -> ReasoningStep:
    """A key step as datagen and the golden tables write it.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    kind = PERCEPTIONS.get(_text(values["type"]).lower())
    if kind is None:
        raise ValueError(f"a key step is of type {values['type']!r}")
    value = values["value"] if isinstance(values["value"], list) else [values["value"]]
    return ReasoningStep(kind, _text(values["target"]), _numbers(value, _VALUES[kind]))


def _numbers(values: Sequence[Any], count: int) -> tuple[float, ...]:
    numbers = tuple(float(v) for v in values if isinstance(v, int | float))
    if len(numbers) != len(values) or len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise ValueError(f"{values!r} are not {count} finite numbers")
    return numbers


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is not a text")
    return value


def _paths(values: Any, folder: Path) -> tuple[Path, ...]:
    listed = [values] if isinstance(values, str) else values
    return tuple(folder / _text(name) for name in listed)
