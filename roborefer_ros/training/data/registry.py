# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Names of data sets: RefSpatial's sixteen, and one's own from YAML.

A data set is one JSON file with conversations, a folder of pictures and, for RGB-D, a folder of
depth pictures.  ``NAME_RGB`` is the same JSON without the depth; it exists for every data set that
has depth, as the reference registers them by hand.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.files import read_yaml
from roborefer_ros.suggestions import nearest

LOG = logging.getLogger(__name__)

Kind = Literal["refspatial", "llava"]
DepthEncoding = Literal["near-bright", "metric"]

#: question-answer pairs of one training sample, as the authors cut their conversations
MAX_TURNS = 15
MAX_TURNS_SIMULATOR = 10

#: characters of a question and its answer; beyond them the released data has runaway text
MAX_PAIR_CHARS = 500

RGB_SUFFIX = "_RGB"

_RESERVED = "+*@%#"

#: name -> (JSON, pictures, depth pictures), below RefSpatial's folder
REFSPATIAL_FILES: dict[str, tuple[str, str, str]] = {
    "2D_choice_qa": ("2D/choice_qa.json", "2D/image", "2D/depth"),
    "2D_reasoning_template_qa": ("2D/reasoning_template_qa.json", "2D/image", "2D/depth"),
    "3D_choice_qa": ("3D/choice_qa.json", "3D/image", "3D/depth"),
    "3D_reasoning_template_qa": ("3D/reasoning_template_qa.json", "3D/image", "3D/depth"),
    "3D_vacant_qa": ("3D/vacant_qa.json", "3D/image", "3D/depth"),
    "3D_multi_view_qa": (
        "3D/multi_view_qa.json",
        "3D/image_multi_view",
        "3D/depth_multi_view",
    ),
    # pictures with boxes and points drawn on; the depth is the undrawn frame's
    "3D_visual_choice_qa": ("3D/visual_choice_qa.json", "3D/image_visual_choice", "3D/depth"),
    "simulation_dataset": ("Simulator/metadata.json", "Simulator/image", "Simulator/depth"),
}


@dataclass(frozen=True)
class DatasetSpec:
    """Where a data set lies and how its rows are read.

    Attributes:
        name: Of the data set.
        data: JSON list (or JSON lines) of its rows.
        image: Folder of the pictures; None for text alone.
        depth: Folder of the depth pictures; None for RGB.
        kind: ``refspatial`` or ``llava`` (instruction data, with or without pictures).
        max_turns: Most question-answer pairs of one sample; longer rows become several samples.
        max_pair_chars: Longest question and answer together, characters; None for any.
        keep_prefix: Whether the pairs before a break in the order of speakers are kept.
        drop_malformed: Whether pairs with garbled directions or ranks are dropped.
        absolute_paths: Whether rows may name pictures by absolute paths.
        depth_encoding: ``near-bright`` (as RefSpatial's) or ``metric`` (large is far).
        think: How ``think`` is learned: ``none``, ``append`` or ``mixed:P``; None leaves it to
            the reader of the mixture.
    """

    name: str
    data: Path
    image: Path | None = None
    depth: Path | None = None
    kind: Kind = "refspatial"
    max_turns: int | None = None
    max_pair_chars: int | None = None
    keep_prefix: bool = False
    drop_malformed: bool = False
    absolute_paths: bool = False
    depth_encoding: DepthEncoding = "near-bright"
    think: str | None = None

    def without_depth(self) -> DatasetSpec:
        """The RGB twin."""
        return replace(self, name=self.name + RGB_SUFFIX, depth=None)


@dataclass(frozen=True)
class Registry:
    """Data sets and named mixtures by name.

    Attributes:
        datasets: By name, without the twins.
        mixtures: Named mixtures: text in the mixture grammar.
    """

    datasets: Mapping[str, DatasetSpec]
    mixtures: Mapping[str, str] = field(default_factory=dict)

    def names(self) -> list[str]:
        """All names of data sets, twins included, sorted."""
        twins = {name + RGB_SUFFIX for name, spec in self.datasets.items() if spec.depth}
        return sorted({*self.datasets, *twins})

    def find(self, name: str) -> DatasetSpec:
        """The data set of a name.

        Raises:
            ConfigurationError: unknown; the message names the nearest ones.
        """
        if name in self.datasets:
            return self.datasets[name]
        base = self.datasets.get(name.removesuffix(RGB_SUFFIX))
        if name.endswith(RGB_SUFFIX) and base is not None and base.depth is not None:
            return base.without_depth()
        known = [*self.names(), *self.mixtures]
        raise ConfigurationError(f"unknown data set {name!r}{nearest(name, known)}")


def refspatial(root: Path) -> dict[str, DatasetSpec]:
    """RefSpatial's eight data sets with depth (their twins follow from them).

    Args:
        root: The folder with ``2D``, ``3D`` and ``Simulator``.
    """
    return {
        name: DatasetSpec(
            name,
            root / data,
            root / image,
            root / depth,
            max_turns=MAX_TURNS_SIMULATOR if name == "simulation_dataset" else MAX_TURNS,
            max_pair_chars=MAX_PAIR_CHARS,
        )
        for name, (data, image, depth) in REFSPATIAL_FILES.items()
    }


def open_registry(root: Path, files: Iterable[Path] = ()) -> Registry:
    """RefSpatial's data sets, the authors' mixtures, and those of YAML files.

    A name that a later file has, too, is that file's; a warning says so.

    Args:
        root: RefSpatial's folder.
        files: YAML: ``datasets`` and ``mixtures``, or data sets by name at the top level.

    Raises:
        ConfigurationError: a file is missing, no YAML, or has an unknown or wrong entry.
    """
    from roborefer_ros.training.data.mixtures import NAMED_MIXTURES

    datasets, mixtures = refspatial(root), dict(NAMED_MIXTURES)
    for path in files:
        own = read_registry(path)
        for name in sorted({*own.datasets, *own.mixtures} & {*datasets, *mixtures}):
            LOG.warning("%s: its %s replaces the one known before", path, name)
            datasets.pop(name, None)
            mixtures.pop(name, None)
        datasets.update(own.datasets)
        mixtures.update(own.mixtures)
    return Registry(datasets, mixtures)


def read_registry(path: Path) -> Registry:
    """The data sets and mixtures of a YAML file; paths are relative to the file or to ``root``.

    Raises:
        ConfigurationError: see ``open_registry``.
    """
    table = read_yaml(path)
    if not isinstance(table, dict) or not table:
        raise ConfigurationError(f"{path} names no data sets")
    if table.keys() & {"datasets", "mixtures"}:
        _check_keys(table, ("datasets", "mixtures"), str(path))
        datasets, mixtures = table.get("datasets") or {}, table.get("mixtures") or {}
    else:
        datasets, mixtures = table, {}
    for section, what in ((datasets, "datasets"), (mixtures, "mixtures")):
        if not isinstance(section, dict):
            raise ConfigurationError(f"{path}: {what} must map names to entries")
        for name in section:
            _check_name(name, path)
    for name, text in mixtures.items():
        if not isinstance(text, str):
            raise ConfigurationError(f"{path}: mixture {name} must be a text such as a+b*2")
    specs = {name: _spec(name, entry, path) for name, entry in datasets.items()}
    return Registry(specs, mixtures)


def own_dataset(
    data: Path, images: Path | None, depth: Path | None = None, kind: Kind = "refspatial"
) -> DatasetSpec:
    """A data set that no registry names; its name is that of the JSON file.

    Args:
        data: JSON file.
        images: Folder of the pictures; the JSON may name absolute paths, too.
        depth: Folder of the depth pictures.
        kind: See ``DatasetSpec``.
    """
    name = "".join("_" if c in _RESERVED or c.isspace() else c for c in data.stem) or "own"
    return DatasetSpec(name, data, images, depth, kind, max_turns=MAX_TURNS, absolute_paths=True)


_TYPES: dict[str, tuple[type, str]] = {
    "data": (str, "a path"),
    "image": (str, "a path"),
    "depth": (str, "a path"),
    "root": (str, "a path"),
    "type": (str, "refspatial or llava"),
    "think": (str, "none, append or mixed:P"),
    "max_turns": (int, "a number from 1 on"),
    "max_pair_chars": (int, "a number from 1 on"),
    "keep_prefix": (bool, "true or false"),
    "drop_malformed": (bool, "true or false"),
    "absolute_paths": (bool, "true or false"),
    "depth_encoding": (str, "near-bright or metric"),
}


def _spec(name: str, entry: Any, path: Path) -> DatasetSpec:
    where = f"{path}: {name}"
    if not isinstance(entry, dict):
        raise ConfigurationError(f"{where} must have entries such as data and image")
    _check_keys(entry, _TYPES, where)
    if "data" not in entry:
        raise ConfigurationError(f"{where} has no data (the JSON file)")
    for key, value in entry.items():
        expected, meaning = _TYPES[key]
        if value is None:
            continue
        wrong = type(value) is not expected
        if wrong or value == "" or (expected is int and value < 1):
            raise ConfigurationError(f"{where}: {key} is {value!r}, not {meaning}")
    kind: Any = entry.get("type") or "refspatial"
    if kind not in ("refspatial", "llava"):
        raise ConfigurationError(f"{where}: type {kind!r}{nearest(kind, ('refspatial', 'llava'))}")
    encoding: Any = entry.get("depth_encoding") or "near-bright"
    if encoding not in ("near-bright", "metric"):
        raise ConfigurationError(
            f"{where}: depth_encoding is {encoding!r}, not near-bright or metric"
        )
    if entry.get("think"):
        from roborefer_ros.training.data.rows import ThinkMode

        ThinkMode.parse(entry["think"])
    root = path.parent / Path(entry.get("root") or ".").expanduser()

    def folder(key: str) -> Path | None:
        return root / Path(entry[key]).expanduser() if entry.get(key) else None

    is_refspatial = kind == "refspatial"
    data = folder("data")
    assert data is not None
    return DatasetSpec(
        name=name,
        data=data,
        image=folder("image"),
        depth=folder("depth"),
        kind=kind,
        max_turns=entry.get("max_turns", MAX_TURNS if is_refspatial else None),
        max_pair_chars=entry.get("max_pair_chars", MAX_PAIR_CHARS if is_refspatial else None),
        keep_prefix=bool(entry.get("keep_prefix")),
        drop_malformed=bool(entry.get("drop_malformed")),
        absolute_paths=bool(entry.get("absolute_paths")),
        depth_encoding=encoding,
        think=entry.get("think"),
    )


def _check_name(name: Any, path: Path) -> None:
    if not isinstance(name, str) or not name.strip():
        raise ConfigurationError(f"{path}: {name!r} is not a name; put it in quotes")
    bad = sorted({c for c in name if c in _RESERVED or c.isspace()})
    if bad:
        raise ConfigurationError(f"{path}: the name {name!r} must not contain {bad[0]!r}")


def _check_keys(table: Mapping[Any, Any], known: Iterable[str], where: str) -> None:
    for key in table:
        if key not in known:
            raise ConfigurationError(f"{where}: unknown entry {key!r}{nearest(str(key), known)}")
