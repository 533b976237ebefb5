# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Names, twins, registries and the mixture grammar."""

from __future__ import annotations

from pathlib import Path

import pytest

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.training.data.mixtures import NAMED_MIXTURES, expand, mixture_digest
from roborefer_ros.training.data.registry import REFSPATIAL_FILES, Registry, open_registry

EXTRA = ("sat_176k", "refcoco", "refcoco_plus", "refcocog", "embspatial_127k", "embspatial_12k")


@pytest.fixture
def registry() -> Registry:
    return open_registry(Path("RefSpatial"))


def yaml_file(folder: Path, text: str) -> Path:
    path = folder / "own.yaml"
    path.write_text(text)
    return path


def texts(mixture: str, registry: Registry) -> list[str]:
    return [part.text for part in expand(mixture, registry)]


def test_refspatial_has_sixteen_names_and_the_twins_have_no_depth(registry: Registry) -> None:
    names = registry.names()
    assert len(names) == 16
    for name in REFSPATIAL_FILES:
        spec, twin = registry.find(name), registry.find(f"{name}_RGB")
        assert spec.depth is not None
        assert twin.depth is None
        assert (spec.data, spec.image) == (twin.data, twin.image)


def test_two_views_and_drawn_pictures_have_folders_of_their_own(registry: Registry) -> None:
    views, drawn = registry.find("3D_multi_view_qa"), registry.find("3D_visual_choice_qa")
    assert (views.image, views.depth) == (
        Path("RefSpatial/3D/image_multi_view"),
        Path("RefSpatial/3D/depth_multi_view"),
    )
    assert (drawn.image, drawn.depth) == (
        Path("RefSpatial/3D/image_visual_choice"),
        Path("RefSpatial/3D/depth"),
    )


def test_a_typo_names_the_nearest(registry: Registry) -> None:
    with pytest.raises(ConfigurationError, match=r"unknown data set '2D_choise_qa'.*2D_choice_qa"):
        expand("2D_choise_qa+3D_vacant_qa", registry)
    with pytest.raises(ConfigurationError, match="did you mean .*simulation_dataset"):
        registry.find("simulation_datset")


def test_parts_are_sorted_by_their_text_and_repeats_stay(tmp_path: Path) -> None:
    own = open_registry(tmp_path, [yaml_file(tmp_path, "a: {data: a.json}\nb: {data: b.json}")])
    assert texts("b+a+b*2@sub+a", own) == ["a", "a", "b", "b*2@sub"]
    assert texts("a+b*2@subset%0.1", own) == ["a", "b*2@subset%0.1"]
    assert texts(" a   # the first\n + b*2  # twice\n", own) == ["a", "b*2"]
    part = expand("b*2@subset%0.1", own)[0]
    assert (part.times, part.subset, part.share) == (2, "subset", 0.1)


@pytest.mark.parametrize(
    "mixture",
    ["", "  # nothing", "a+", "+a", "a*0", "a*x", "a*", "a**2", "a%0", "a%1.5", "a%nan", "a@", "*2"]
    + ["a@../x", "a@..", "a@b/c", "a*2*3", "a%0.1%0.2", "a*9999999"],
)
def test_what_is_not_in_the_grammar_is_refused(mixture: str, tmp_path: Path) -> None:
    own = open_registry(tmp_path, [yaml_file(tmp_path, "a: {data: a.json}")])
    with pytest.raises(ConfigurationError):
        expand(mixture, own)


def test_named_mixtures_stand_for_their_members_at_any_depth(tmp_path: Path) -> None:
    text = (
        "datasets: {a: {data: a.json}, b: {data: b.json}}\nmixtures: {ab: a+b*2, all: ab*3+a%0.5}"
    )
    own = open_registry(tmp_path, [yaml_file(tmp_path, text)])
    assert texts("all", own) == ["a%0.5", "a*3", "b*6"]


def test_a_mixture_that_contains_itself_is_refused(tmp_path: Path) -> None:
    own = open_registry(tmp_path, [yaml_file(tmp_path, "mixtures: {x: y, y: 2D_choice_qa+x}")])
    with pytest.raises(ConfigurationError, match="contains itself"):
        expand("x", own)


def test_the_authors_mixtures_expand_once_their_other_data_is_registered(tmp_path: Path) -> None:
    lines = [f"{name}: {{data: {name}.json, image: i, depth: d}}" for name in EXTRA]
    lines.append("llava_lrv_965k: {data: llava.json, image: i, type: llava}")
    own = open_registry(tmp_path, [yaml_file(tmp_path, "\n".join(lines))])
    counts = {name: len(expand(name, own)) for name in NAMED_MIXTURES}
    assert counts == {
        "refspatial": 16, "refspatial_rgbd": 8, "refspatial_rgb": 8, "align_paper": 8,
        "align_april": 8, "sft_paper": 22, "sft_released": 2 * (8 + 2 + 6) + 1,
    }  # fmt: skip
    released = texts("sft_released", own)
    for twice in ("3D_vacant_qa", "3D_vacant_qa_RGB", "simulation_dataset"):
        assert released.count(twice) == 2
    assert all(part.spec.depth for part in expand("align_paper", own))


def test_what_is_missing_for_a_mixture_is_named_at_once(registry: Registry) -> None:
    with pytest.raises(ConfigurationError, match=r"unknown data sets .*llava.*refcoco.*--registry"):
        expand("sft_paper", registry)


def test_own_data_gets_a_twin_only_where_it_has_depth(tmp_path: Path) -> None:
    path = yaml_file(tmp_path, "cups: {data: c.json, image: i, depth: d}\ntext: {data: t.json}")
    own = open_registry(tmp_path, [path])
    assert {"cups_RGB", "text"} <= set(own.names())
    assert "text_RGB" not in own.names()
    assert own.find("cups").data == tmp_path / "c.json"


def test_an_own_name_wins_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = yaml_file(tmp_path, "2D_choice_qa: {data: mine.json, image: i}")
    assert open_registry(tmp_path, [path]).find("2D_choice_qa").data == tmp_path / "mine.json"
    assert "2D_choice_qa" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {dta: x.json}", "unknown entry 'dta'; did you mean data"),
        ("a: {image: x}", "has no data"),
        ("a: {data: x, max_turns: 0}", "max_turns is 0"),
        ("a: {data: x, max_turns: true}", "max_turns is True"),
        ("a: {data: x, type: refspatal}", "did you mean refspatial"),
        ("a: {data: x, think: often}", "think is 'often'"),
        ("a+b: {data: x}", "must not contain"),
        ("a: [1, 2]", "must have entries"),
        ("[1, 2]", "names no data sets"),
        ("a: {", "is not YAML"),
        ("!!python/object/apply:os.system ['true']", "is not YAML"),
        ("mixtures: {m: [a]}", "must be a text"),
    ],
)
def test_registries_are_read_strictly(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=message):
        open_registry(tmp_path, [yaml_file(tmp_path, text)])


def test_the_digest_tells_mixtures_apart(registry: Registry) -> None:
    one, two = expand("2D_choice_qa", registry), expand("2D_choice_qa*2", registry)
    assert mixture_digest(one) != mixture_digest(two) == mixture_digest(two)
