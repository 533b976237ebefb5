# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""One half of a bond, by a clock that the test holds."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy")

from roborefer_ros.nodes.bond import BondState


class Half:
    """The state with what it sent and said."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.sent: list[bool] = []
        self.said: list[str] = []
        self.state = BondState(
            "roborefer", 4.0, self.sent.append, self.said.append, lambda: self.now_s
        )


def test_alone_it_beats_for_ever() -> None:
    half = Half()
    for half.now_s in (0.0, 10.0, 1000.0):
        half.state.beat()
    assert half.sent == [True] * 3
    assert not half.said


def test_its_own_status_and_other_bonds_are_not_the_manager() -> None:
    half = Half()
    half.state.on_message("roborefer", half.state.instance, True)
    half.state.on_message("controller_server", "manager", True)
    half.now_s = 100.0
    half.state.beat()
    assert half.sent == [True]


def test_a_silent_manager_breaks_it() -> None:
    half = Half()
    half.state.on_message("roborefer", "manager", True)
    half.now_s = 4.0
    half.state.beat()
    assert half.sent == [True]
    half.now_s = 4.1
    half.state.beat()
    half.state.beat()
    assert half.sent == [True, False, False, False]
    assert "bond_timeout" in half.said[0]


def test_a_manager_that_says_farewell_gets_one() -> None:
    half = Half()
    half.state.on_message("roborefer", "manager", True)
    half.state.on_message("roborefer", "manager", False)
    assert half.sent == [False] * 3
    assert half.state.is_broken
    assert not half.said


def test_the_farewell_is_said_once() -> None:
    half = Half()
    half.state.break_()
    half.state.break_()
    assert half.sent == [False] * 3
