# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What a run of ``roborefer sft`` does, and what every kind of training has.

Typed values, from YAML files and the command line.
"""

from __future__ import annotations

import importlib
import inspect
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.files import read_yaml
from roborefer_ros.models.roborefer.configuration import PARTS
from roborefer_ros.suggestions import nearest

RECIPES = Path(__file__).parent / "recipes"

Stage = Literal["align", "sft"]

#: stage -> the parts that learn in it
STAGE_PARTS: dict[str, tuple[str, ...]] = {"align": ("depth_projector",), "sft": tuple(PARTS)}


#: objective -> class of its recipes, and what opens its data
OBJECTIVES = {
    "answers": (
        "roborefer_ros.training.sft.recipe:SftRecipe",
        "roborefer_ros.training.sft.open_data:open_answers_data",
    ),
    "tabletop": (
        "roborefer_ros.training.tabletop.recipe:TabletopRecipe",
        "roborefer_ros.training.tabletop.task:open_tabletop_data",
    ),
}

#: values of ``report_to``
TRACKERS = ("tensorboard", "wandb")


@dataclass(frozen=True)
class TrainingRecipe(ABC):
    """The values that every kind of training has.

    Attributes:
        parts: Parts that learn; empty for those of the kind of training.
        learning_rate: Highest rate of AdamW.
        part_rates: Part -> factor on the learning rate; 1 where absent.
        weight_decay: Of AdamW, on matrices only.
        beta1, beta2, epsilon: Of AdamW.
        warmup: Share of the steps in which the rate rises from zero.
        epochs: Passes over the data.
        max_steps: Most steps in total, the resumed ones included; 0 for no limit.
        max_minutes: Longest time of this process, minutes; then it saves and ends. 0 for no limit.
        max_grad_norm: Gradients are clipped to this norm; 0 for no clipping.
        max_length: Most rows of one sample, media rows included.
        max_tiles: Most tiles of a picture in 2B mode; 0 for the checkpoint's value.
        tiling: ``dynamic`` (as the checkpoint says) or ``resize`` (one tile; 2B mode only).
        precision: ``bf16`` (float32 masters), ``fp32``, or ``auto``: bf16 on a GPU.
        parallel: ``ddp``, ``fsdp``, or ``auto``: ddp where only projectors learn, else fsdp.
        gradient_checkpointing: Whether activations are computed again in the backward pass.
        workers: Processes that load pictures, for each training process.
        seed: Of the order of rows, and of everything that is drawn.
        save_every: Steps between states; 0 for the end only.
        keep_states: States that are kept.
        export_every: Steps between exports of the checkpoint; 0 for the end only.
        log_every: Steps between two lines of the log.
        lora_rank: Rank of LoRA adapters in the language model; 0 for full fine-tuning.
        lora_alpha: Scale of the adapters, times the rank.
        lora_dropout: Share of the adapters' inputs that is dropped.
    """

    parts: tuple[str, ...] = ()
    learning_rate: float = 2e-5
    part_rates: dict[str, float] = field(default_factory=dict)
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    warmup: float = 0.03
    epochs: int = 1
    max_steps: int = 0
    max_minutes: float = 0.0
    max_grad_norm: float = 1.0
    max_length: int = 16384
    max_tiles: int = 0
    tiling: Literal["dynamic", "resize"] = "dynamic"
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    parallel: Literal["auto", "ddp", "fsdp"] = "auto"
    gradient_checkpointing: bool = True
    workers: int = 4
    seed: int = 42
    save_every: int = 1000
    keep_states: int = 2
    export_every: int = 0
    log_every: int = 1
    lora_rank: int = 0
    lora_alpha: float = 16.0
    lora_dropout: float = 0.05

    def __post_init__(self) -> None:
        _check(self)

    @property
    def learning_parts(self) -> tuple[str, ...]:
        """The parts that learn."""
        return self.parts or tuple(PARTS)

    @abstractmethod
    def accumulation(self, world: int) -> int:
        """What one process takes in turn for one optimizer step.

        Args:
            world: Number of processes.

        Raises:
            ConfigurationError: the global batch cannot be split evenly.
        """

    def to_yaml(self) -> str:
        """All values, as a recipe file that gives the same run."""
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return yaml.safe_dump(values, sort_keys=False)


@dataclass(frozen=True)
class SftRecipe(TrainingRecipe):
    """Every value that decides what a run learns and how; see ``TrainingRecipe`` for the rest.

    Attributes:
        objective: ``answers`` (the answers of rows, as the reference) or ``tabletop`` (the bundled
            network, from scratch).
        stage: ``align`` (the depth projector learns) or ``sft`` (everything learns).
        global_batch: Rows of one optimizer step over all processes.
        device_batch: Rows that one process passes through the network at a time.
        packing: Whether the rows of a batch are joined to one sequence instead of padded.
        mixture: Data sets, in the mixture grammar.
        think: How ``think`` texts are learned: ``none``, ``append`` or ``mixed:P``.
        shuffle: ``global`` (one permutation, the same rows in a step however many processes there
            are) or ``reference`` (the published code's order, tied to the number of processes).
        tail: ``drop`` leaves out samples that fill no global batch, ``keep`` fills it up.
        optimizer: ``adamw``, or ``muon`` for the matrices inside the layers and AdamW for the rest
            (not with ``fsdp``).
        matrix_rate: Highest rate of Muon.
        schedule: ``cosine`` to zero behind the warm-up, or ``trapezoid``: constant, then linear.
        cooldown: Share of the steps at the end in which the rate of a trapezoid falls to zero.
        average_decay: Decay of a moving average of the weights, which is evaluated and exported in
            their place; 0 for none.
        average_every: Steps between two updates of the average.
        report_to: Where curves go: ``tensorboard`` (where it is installed), ``wandb``.
        held_out: Share of the scenes, by the names of their pictures, that is not trained on but
            evaluated.
        eval_mixture: Data sets to evaluate in place of ``held_out``, in the mixture grammar.
        benchmark: Folder of a benchmark, or ``hf:<data set>``, that is asked in evaluations.
        eval_every: Steps between evaluations; 0 for the end only.
        eval_samples: Most held-out rows whose loss is taken, and most questions that are asked of
            each source.
        eval_first: Whether the network is evaluated before the first step, too, which shows what it
            forgets.
        keep_best: Whether the best checkpoint of all evaluations is kept, in ``best``.
    """

    objective: str = "answers"
    stage: Stage = "sft"
    global_batch: int = 384
    device_batch: int = 6
    packing: bool = False
    mixture: str = ""
    think: str = "none"
    shuffle: Literal["global", "reference"] = "global"
    tail: Literal["drop", "keep"] = "drop"
    optimizer: Literal["adamw", "muon"] = "adamw"
    matrix_rate: float = 2e-3
    schedule: Literal["cosine", "trapezoid"] = "cosine"
    cooldown: float = 0.4
    average_decay: float = 0.0
    average_every: int = 1
    report_to: tuple[str, ...] = ("tensorboard",)
    held_out: float = 0.0
    eval_mixture: str = ""
    benchmark: str = ""
    eval_every: int = 0
    eval_samples: int = 200
    eval_first: bool = False
    keep_best: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("global_batch", "device_batch", "average_every", "eval_samples"):
            if getattr(self, key) < 1:
                raise ConfigurationError(f"{key} is {getattr(self, key)}; it must be 1 or more")
        for key in ("average_decay", "held_out"):
            if getattr(self, key) >= 1:
                raise ConfigurationError(f"{key} is {getattr(self, key)}; it must be below 1")
        _check_evaluation(self)

    @property
    def learning_parts(self) -> tuple[str, ...]:
        """The parts that learn."""
        return self.parts or STAGE_PARTS[self.stage]

    @property
    def is_evaluated(self) -> bool:
        """Whether there is something to evaluate."""
        return bool(self.held_out or self.eval_mixture or self.benchmark)

    def accumulation(self, world: int) -> int:
        """Passes through the network for one optimizer step.

        Args:
            world: Number of processes.

        Raises:
            ConfigurationError: the global batch cannot be split evenly.
        """
        once = world * self.device_batch
        if self.global_batch % once:
            raise ConfigurationError(
                f"global_batch {self.global_batch} is not a multiple of {once} ({world} processes "
                f"with device_batch {self.device_batch}): change device_batch, or give a "
                f"global_batch such as {max(1, round(self.global_batch / once)) * once}"
            )
        return self.global_batch // once


def recipe_names() -> list[str]:
    """The recipes that the package brings."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def load_recipe(name: str, changes: Mapping[str, Any] | None = None) -> SftRecipe:
    """A recipe by name or file, with changes.

    Args:
        name: One of ``recipe_names()`` or the path of a YAML file.
        changes: Field -> value, which replaces the recipe's; text is converted.

    Raises:
        ConfigurationError: unknown recipe or key (the message names the nearest), wrong value.
    """
    own = {**recipe_values(name), **(changes or {})}
    kind = recipe_class(str(own.get("objective", "answers")))
    return kind(**converted(own, name, kind))


def recipe_values(name: str) -> dict[str, Any]:
    """What a recipe says, unchecked.

    Args:
        name: See ``load_recipe``.

    Raises:
        ConfigurationError: unknown recipe, or not a YAML file of values.
    """
    path = Path(name).expanduser()
    if path.suffix not in (".yaml", ".yml"):
        path = RECIPES / f"{name}.yaml"
        if name not in recipe_names():
            raise ConfigurationError(f"unknown recipe {name!r}{nearest(name, recipe_names(), 1)}")
    return read_recipe(path)


def recipe_class(objective: str) -> type[SftRecipe]:
    """The class of the recipes of an objective, whose fields are the values that they have.

    Raises:
        ConfigurationError: there is no such objective.
    """
    if objective not in OBJECTIVES:
        raise ConfigurationError(
            f"unknown objective {objective!r}{nearest(objective, list(OBJECTIVES), 1)}"
        )
    found: type[SftRecipe] = imported(OBJECTIVES[objective][0])
    return found


def descriptions(kind: type[TrainingRecipe]) -> dict[str, str]:
    """What each value means, from the docstrings of a recipe's class and those above it.

    Args:
        kind: Class of the recipe.
    """
    found: dict[str, str] = {}
    for own in reversed(kind.__mro__):
        text = inspect.getdoc(own) or ""
        entries = re.findall(r"^ {4}(\w[\w, ]*): (.+(?:\n {8}.+)*)", text, re.MULTILINE)
        for names, meaning in entries:
            plain = " ".join(meaning.replace("``", "").split()).replace("%", "%%")
            found.update({name.strip(): plain for name in names.split(",")})
    return {name: text for name, text in found.items() if name in kind.__dataclass_fields__}


def imported(where: str) -> Any:
    """What ``module:name`` names."""
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module), name)


def read_recipe(path: str | Path) -> dict[str, Any]:
    """The values of a YAML file.

    Args:
        path: Of the file.

    Raises:
        ConfigurationError: it cannot be read, or maps no names to values.
    """
    values = read_yaml(Path(path).expanduser()) or {}
    if not isinstance(values, dict):
        raise ConfigurationError(f"{path} must map names to values, as learning_rate: 2.0e-5")
    return values


def converted(values: Mapping[str, Any], where: str, kind: type[TrainingRecipe]) -> dict[str, Any]:
    """Values of the types that the recipe's fields have.

    Args:
        values: Field -> value, as text or as YAML gives it.
        where: Their origin, for the message.
        kind: Of the recipe.

    Raises:
        ConfigurationError: unknown field, or a value that is of another type.
    """
    hints = get_type_hints(kind)
    result = {}
    for key, value in values.items():
        if key not in hints:
            known = [f.name for f in fields(kind)]
            raise ConfigurationError(f"{where}: unknown value {key!r}{nearest(str(key), known, 1)}")
        try:
            result[key] = _convert(value, hints[key])
        except (TypeError, ValueError) as error:
            raise ConfigurationError(
                f"{where}: {key} is {value!r}, not {_meaning(hints[key])}"
            ) from error
    return result


def _convert(value: Any, hint: Any) -> Any:
    origin = get_origin(hint)
    if origin is Literal:
        if value not in get_args(hint):
            raise ValueError(value)
        return value
    if origin is tuple:
        items = [item for item in value.split(",") if item] if isinstance(value, str) else value
        kind = get_args(hint)[0]
        if not all(isinstance(item, kind | str) for item in items):
            raise ValueError(value)
        return tuple(kind(item.strip() if isinstance(item, str) else item) for item in items)
    if origin is dict:
        if isinstance(value, str):
            value = dict(item.split("=", 1) for item in value.split(",") if item)
        return {str(key): float(number) for key, number in value.items()}
    if hint is bool:
        known = {"true": True, "yes": True, "false": False, "no": False}
        if isinstance(value, str) and value.lower() in known:
            return known[value.lower()]
        if not isinstance(value, bool):
            raise ValueError(value)
        return value
    if isinstance(value, bool) or value is None:
        raise ValueError(value)
    if hint is int and isinstance(value, float) and value != int(value):
        raise ValueError(value)
    if hint is str and not isinstance(value, str):
        raise ValueError(value)
    return hint(value)


def _meaning(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return f"one of {', '.join(get_args(hint))}"
    if get_origin(hint) is tuple:
        return "a list (a,b)"
    if get_origin(hint) is dict:
        return "factors by name (a=0.1,b=2)"
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(hint, "a text")


def _check(recipe: TrainingRecipe) -> None:
    """Refuse values that no run can have."""
    for key in ("epochs", "max_length", "keep_states", "log_every"):
        if getattr(recipe, key) < 1:
            raise ConfigurationError(f"{key} is {getattr(recipe, key)}; it must be 1 or more")
    for entry in fields(recipe):
        value = getattr(recipe, entry.name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and (not math.isfinite(value) or value < 0):
            raise ConfigurationError(f"{entry.name} is {value}; it must be finite, 0 or more")
    for key in ("warmup", "beta1", "beta2", "lora_dropout"):
        if getattr(recipe, key) >= 1:
            raise ConfigurationError(f"{key} is {getattr(recipe, key)}; it must be below 1")
    for part in (*recipe.parts, *recipe.part_rates):
        if part not in PARTS:
            raise ConfigurationError(f"unknown part {part!r}{nearest(part, PARTS, 1)}")
    if recipe.lora_rank and "llm" not in recipe.learning_parts:
        raise ConfigurationError(
            "lora_rank adds adapters to the language model, but llm is not among the parts that "
            f"learn ({', '.join(recipe.learning_parts)}): add llm to parts or set lora_rank to 0"
        )


def _check_evaluation(recipe: SftRecipe) -> None:
    """Refuse values of evaluation, log and schedule that do not go together."""
    for tracker in recipe.report_to:
        if tracker not in TRACKERS:
            raise ConfigurationError(
                f"report_to is {tracker!r}{nearest(tracker, TRACKERS, 1)}; known are "
                + ", ".join(TRACKERS)
            )
    if recipe.cooldown > 1:
        raise ConfigurationError(f"cooldown is {recipe.cooldown}; it is a share, at most 1")
    if recipe.held_out and recipe.eval_mixture:
        raise ConfigurationError("held_out and eval_mixture exclude each other")
    if (recipe.eval_every or recipe.eval_first) and not recipe.is_evaluated:
        raise ConfigurationError(
            "what is to be evaluated? Set held_out, eval_mixture or benchmark, or eval_every to 0 "
            "and eval_first to false"
        )
