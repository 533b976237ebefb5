# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Every defect of the released text is counted and handled; what is left is learned."""

from __future__ import annotations

from typing import Any

import pytest
from lookalike import turns

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.pointing.prompts import REASONING_SUFFIX
from roborefer_ros.training.data.defects import Defect, form_mismatch, is_malformed, is_runaway
from roborefer_ros.training.data.rows import (
    Pair,
    Rules,
    ThinkMode,
    read_row,
    render_think,
    shuffled,
)

GOOD = ("Is it?", "Yes.")
LONG = "x" * 501


def row(conversations: Any, **more: Any) -> dict[str, Any]:
    return {
        "id": "r",
        "image": ["a.png"],
        "depth": ["a.png"],
        "conversations": conversations,
        **more,
    }


def speakers(*names: str) -> list[dict[str, str]]:
    return [{"from": name, "value": f"text {i}"} for i, name in enumerate(names)]


@pytest.mark.parametrize(
    ("raw", "defect", "pairs"),
    [
        (None, Defect.MALFORMED_ROW, None),
        ({"id": 1}, Defect.MALFORMED_ROW, None),
        (row([{"from": "human"}]), Defect.MALFORMED_ROW, None),
        (row(turns(*GOOD), image=[3]), Defect.MALFORMED_ROW, None),
        (row([]), Defect.NO_PAIRS, None),
        (row(speakers("human", "gpt", "gpt", "human")), Defect.TURN_ORDER, None),
        (row(speakers("human", "human", "gpt", "gpt")), Defect.TURN_ORDER, None),
        (row(speakers("human", "gpt", "gpt")), Defect.TURN_ORDER, None),
        (row(turns(*GOOD, "left over")), Defect.ODD_TURNS, 1),
        (row(speakers("human", "gpt", "user", "gpt")), Defect.UNKNOWN_ROLE, 1),
        (row(turns(*GOOD, "<image>\n", "Yes.")), Defect.EMPTY_TEXT, 1),
        (row(turns(*GOOD, "Why?", " ")), Defect.EMPTY_TEXT, 1),
        (
            row(turns(*GOOD, "Where is " + "/".join(["yellow cup"] * 6), "x")),
            Defect.RUNAWAY_NAME,
            1,
        ),
        (row(turns(*GOOD, "Why?", LONG)), Defect.LONG_PAIR, 1),
        (row(turns(*GOOD, "Go fromt to left", "x")), Defect.MALFORMED_TEXT, 2),
        (row(turns("<image>\n<image>\nSame?", "No.")), Defect.SURPLUS_PLACEHOLDERS, None),
        (row(turns("<image>\nSame?", "No."), image=["a", "b"]), Defect.FEWER_PLACEHOLDERS, 1),
        (row(turns(*GOOD), think=[{"thinking": "a"}] * 2), Defect.THINK_COUNT, 1),
        (row(turns(*GOOD), think=[{"thinking": 3}]), Defect.THINK_COUNT, 1),
        (row(turns(*GOOD), think="text"), Defect.THINK_COUNT, 1),
    ],
)
def test_each_defect_is_named_and_loses_what_it_must(
    raw: Any, defect: Defect, pairs: int | None
) -> None:
    reading = read_row(raw, 0, Rules(max_pair_chars=500))
    assert defect in reading.defects
    assert (reading.row and len(reading.row.pairs)) == pairs


def test_a_good_row_has_no_defects() -> None:
    reading = read_row(row(turns("<image>\nIs it?", "Yes.")), 0, Rules(500))
    assert reading.defects == ()
    assert reading.row is not None
    assert reading.row.pairs == (Pair("Is it?", "Yes."),)


@pytest.mark.parametrize("names", ["a.png", ["a.png"]])
def test_names_are_a_text_or_a_list(names: Any) -> None:
    reading = read_row(row(turns(*GOOD), image=names, depth=names), 0, Rules())
    assert reading.row is not None
    assert reading.row.images == reading.row.depths == ("a.png",)


def test_rows_without_pictures_and_ids_are_read() -> None:
    reading = read_row({"conversations": turns(*GOOD)}, 7, Rules())
    assert reading.row is not None
    assert (reading.row.id, reading.row.images) == ("7", ())


def test_halves_of_surrogate_pairs_do_not_reach_the_tokenizer() -> None:
    reading = read_row(row(turns("Is it \ud83d?", "Yes \U0001f600.")), 0, Rules())
    assert reading.row is not None
    assert reading.row.pairs == (Pair("Is it ??", "Yes \U0001f600."),)


def test_a_leading_system_turn_is_kept() -> None:
    raw = row([{"from": "system", "value": "Be brief."}, *turns(*GOOD)])
    reading = read_row(raw, 0, Rules())
    assert reading.row is not None
    assert reading.row.system == "Be brief."


def test_the_standing_request_for_a_format_does_not_make_a_pair_long() -> None:
    question = "Point to the cup. Your answer should be formatted as " + "x" * 600
    reading = read_row(row(turns(question, "[(0.1, 0.2)]")), 0, Rules(500))
    assert reading.defects == ()


def test_the_prefix_before_a_break_can_be_kept() -> None:
    raw = row(speakers("human", "gpt", "gpt", "human", "human", "gpt"))
    reading = read_row(raw, 0, Rules(keep_prefix=True))
    assert reading.row is not None
    assert len(reading.row.pairs) == 1


def test_garbled_text_can_be_dropped() -> None:
    reading = read_row(row(turns(*GOOD, "the 1th cup", "x")), 0, Rules(drop_malformed=True))
    assert reading.row is not None
    assert len(reading.row.pairs) == 1


@pytest.mark.parametrize(
    ("text", "garbled"),
    [
        ("fromt to left", True), ("ranks  in proximity", True), ("the 1th", True), ("21th", True),
        ("3th", True), ("11th 12th 13th 4th 111th", False), ("from left", False),
        ("ranks 2 in proximity", False), ("1st 2nd 3rd", False), ("booth", False),
    ],
)  # fmt: skip
def test_garbled_directions_and_ranks(text: str, garbled: bool) -> None:
    assert is_malformed(text) is garbled


@pytest.mark.parametrize(
    ("text", "runaway"),
    [
        ("yellow/yellow/yellow/yellow/yellow", True),
        ("the red cup/red cup/red cup/red cup/red cup is left", True),
        ("a/b/a/b/a/b/a/b", False), ("either/or/and/not/if", False), ("a/a/a/a", False),
        ("http://x//////y", False),
    ],
)  # fmt: skip
def test_runaway_names(text: str, runaway: bool) -> None:
    assert is_runaway(text) is runaway


def test_foreign_answers_show_in_their_form() -> None:
    assert form_mismatch("Please point to the cup.", "text") is Defect.TEXT_FOR_POINT
    assert form_mismatch("Is it left? (A) yes (B) no", "point") is Defect.POINT_FOR_TEXT
    assert form_mismatch("How far is it?", "point") is Defect.POINT_FOR_TEXT
    assert form_mismatch("Please point to the cup.", "point") is None
    assert form_mismatch("Which point is nearer? (A) red (B) blue", "choice") is None


# --- rendering -------------------------------------------------------------------------

THOUGHT = Pair("Point to it.", "[(0.1, 0.2)]", 0, "kind", "Step 1: [Position] [cup]: [(0.1, 0.2)]")


def test_reasoning_is_appended_in_its_tags() -> None:
    shown = render_think(THOUGHT)
    assert shown.question == f"Point to it. {REASONING_SUFFIX}"
    assert shown.answer == f"<think>\n{THOUGHT.thinking}\n</think>\n<answer>[(0.1, 0.2)]</answer>"


def test_the_mixed_share_depends_on_row_and_pair_alone() -> None:
    mode = ThinkMode.parse("mixed:0.3")
    shown = [mode.shows(f"row{i}", THOUGHT) for i in range(4000)]
    assert 0.27 < sum(shown) / 4000 < 0.33
    assert shown == [mode.shows(f"row{i}", THOUGHT) for i in range(4000)]
    assert all(ThinkMode.parse("append").shows(f"{i}", THOUGHT) for i in range(50))
    assert not any(ThinkMode.parse("none").shows(f"{i}", THOUGHT) for i in range(50))
    assert not ThinkMode.parse("append").shows("r", Pair("a", "b"))


@pytest.mark.parametrize("text", ["", "mixed", "mixed:2", "mixed:-1", "mixed:nan", "all"])
def test_other_think_modes_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="think is"):
        ThinkMode.parse(text)


def test_shuffled_pairs_depend_on_seed_epoch_and_row() -> None:
    pairs = [Pair(f"q{i}", f"a{i}", i) for i in range(8)]
    assert shuffled(pairs, 1, 0, 5) == shuffled(pairs, 1, 0, 5)
    assert len({shuffled(pairs, 1, epoch, 5) for epoch in range(4)}) == 4
    assert sorted(p.number for p in shuffled(pairs, 1, 0, 5)) == list(range(8))
