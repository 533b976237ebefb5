# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Mixtures: which data sets are trained together, and how often.

The grammar is the reference's, with ``%``::

    mixture = part { "+" part }
    part    = name [ "*" times ] [ "@" subset ] [ "%" share ]

``name*N`` goes through a data set N times an epoch.  ``name@subset`` leaves out the rows whose
numbers ``<slice folder>/subset/name.json`` lists.  ``name%0.1`` takes a tenth, chosen by a fixed
seed.  A named mixture stands for its parts.  Text from ``#`` to the end of a line is a comment,
blanks and line ends around a part do not count.  The parts are sorted by their text, as the
reference does; a part given twice stays twice.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.training.data.registry import DatasetSpec, Registry

#: more parts than any mixture has; named mixtures that contain each other could grow without end
_MOST_PARTS = 10_000

_PART = re.compile(r"(?P<name>[^*@%]+)(?P<suffixes>(?:[*@%][^*@%]*)*)")
_SUFFIX = re.compile(r"([*@%])([^*@%]*)")
_SUBSET = re.compile(r"[A-Za-z0-9._-]+")

_RGBD = (
    "2D_choice_qa + 2D_reasoning_template_qa + 3D_choice_qa + 3D_reasoning_template_qa"
    " + 3D_vacant_qa + 3D_multi_view_qa + 3D_visual_choice_qa + simulation_dataset"
)


def _twins(parts: str) -> str:
    """The same parts without depth."""
    return " + ".join(f"{part.strip()}_RGB" for part in parts.split("+"))


_RUN = (
    _RGBD + " + 3D_vacant_qa + simulation_dataset"
    " + sat_176k + refcoco + refcoco_plus + refcocog + embspatial_127k + embspatial_12k"
)
_PAPER = f"{_RGBD} + {_twins(_RGBD)}"

#: Named mixtures.  Data sets that are not RefSpatial's must be registered before they are used.
NAMED_MIXTURES: dict[str, str] = {
    "refspatial": _PAPER,
    "refspatial_rgbd": _RGBD,
    "refspatial_rgb": _twins(_RGBD),
    # the paper, appendix D.3: depth is aligned on RGB-D alone
    "align_paper": _RGBD,
    # the alignment of April 2025; later runs took the mixture of the SFT
    "align_april": _RGBD,
    # the paper, appendix D.3: 8.5 M rows with what is registered here without twins
    "sft_paper": _PAPER
    + " + llava_lrv_965k + refcoco + refcoco_plus + refcocog + sat_176k + embspatial_127k",
    # the run behind the released weights: each with its twin, vacant and simulator twice;
    # without the 572 samples that it took from a benchmark (BLINK)
    "sft_released": f"{_RUN} + {_twins(_RUN)} + llava_lrv_965k",
}


@dataclass(frozen=True)
class Part:
    """One data set of a mixture.

    Attributes:
        spec: The data set.
        times: Passes an epoch.
        subset: Name of the list of rows that are left out; empty for none.
        share: Share of its samples, in (0, 1].
    """

    spec: DatasetSpec
    times: int = 1
    subset: str = ""
    share: float = 1.0

    @property
    def text(self) -> str:
        """In the grammar."""
        return _Term(self.spec.name, self.times, self.subset, self.share).text


@dataclass(frozen=True)
class _Term:
    """A part by name, before it is looked up."""

    name: str
    times: int = 1
    subset: str = ""
    share: float = 1.0

    @property
    def text(self) -> str:
        text = self.name + (f"*{self.times}" if self.times != 1 else "")
        text += f"@{self.subset}" if self.subset else ""
        return text + (f"%{self.share:g}" if self.share != 1.0 else "")


def expand(mixture: str, registry: Registry) -> list[Part]:
    """The parts of a mixture in the order in which samples are numbered.

    Args:
        mixture: Text in the grammar.
        registry: Knows its names.

    Raises:
        ConfigurationError: not in the grammar, unknown names (all of them, with the nearest
            known ones), a mixture that contains itself.
    """
    terms = sorted(_terms(mixture, registry.mixtures, ()), key=lambda term: term.text)
    parts, unknown = [], {}
    for term in terms:
        try:
            spec = registry.find(term.name)
        except ConfigurationError as error:
            unknown[term.name] = error
            continue
        parts.append(Part(spec, term.times, term.subset, term.share))
    if len(unknown) == 1:
        raise next(iter(unknown.values()))
    if unknown:
        raise ConfigurationError(
            f"unknown data sets {', '.join(unknown)}; register them in a YAML file "
            "(--registry), or leave them out of the mixture"
        )
    return parts


def mixture_digest(parts: list[Part]) -> str:
    """A name for the order of a mixture's data sets: resuming needs the same one."""
    return hashlib.sha256("+".join(part.text for part in parts).encode()).hexdigest()[:16]


def _terms(mixture: str, named: Mapping[str, str], inside: tuple[str, ...]) -> list[_Term]:
    text = "\n".join(line.partition("#")[0] for line in mixture.splitlines())
    if not text.strip():
        raise ConfigurationError("the mixture is empty")
    terms: list[_Term] = []
    for part in text.split("+"):
        term = _parse(part.strip(), mixture)
        if term.name in inside:
            raise ConfigurationError(f"the mixture {term.name!r} contains itself")
        if term.name not in named:
            terms.append(term)
        else:
            members = _terms(named[term.name], named, (*inside, term.name))
            terms += [_combined(term, member) for member in members]
        if len(terms) > _MOST_PARTS:
            raise ConfigurationError(f"the mixture has more than {_MOST_PARTS} parts")
    return terms


def _combined(outer: _Term, inner: _Term) -> _Term:
    """What is said of a named mixture holds for each of its members."""
    if outer.subset and inner.subset:
        raise ConfigurationError(f"{outer.text}: its member {inner.text} has a subset already")
    times = outer.times * inner.times
    return _Term(inner.name, times, outer.subset or inner.subset, outer.share * inner.share)


def _parse(part: str, mixture: str) -> _Term:
    shown = f"in the mixture {' '.join(mixture.split())[:200]!r}"
    match = _PART.fullmatch(part)
    if not match:
        raise ConfigurationError(f"{part!r} {shown} is not name[*times][@subset][%share]")
    found: dict[str, str] = {}
    for mark, value in _SUFFIX.findall(match["suffixes"]):
        if mark in found:
            raise ConfigurationError(f"{part!r} {shown} has {mark!r} twice")
        found[mark] = value.strip()
    times, share, subset = found.get("*", "1"), found.get("%", "1"), found.get("@", "")
    if not re.fullmatch(r"[0-9]{1,6}", times) or int(times) < 1:
        raise ConfigurationError(f"{part!r} {shown}: {times!r} is not a number of passes from 1 on")
    if "@" in found and (not _SUBSET.fullmatch(subset) or subset in (".", "..")):
        raise ConfigurationError(f"{part!r} {shown}: {subset!r} is not the name of a subset")
    return _Term(match["name"].strip(), int(times), subset, _share(share, part, shown))


def _share(text: str, part: str, shown: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0.0 < share <= 1.0:
        raise ConfigurationError(f"{part!r} {shown}: {text!r} is not a share in (0, 1]")
    return share
