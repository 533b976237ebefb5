# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether the words of an instruction ask for a thing or for a free spot."""

from __future__ import annotations

import re
from dataclasses import dataclass

from roborefer_ros.frame import Mode

_FREE = r"(?:free|empty|vacant|open|unoccupied|clear)"
_ROOM = r"(?:space|spot|area|region|place|room)s?"
_FREE_ROOM = re.compile(rf"\b{_FREE}\s+{_ROOM}\b", re.IGNORECASE)
_PLACING = re.compile(
    r"^(?:please\s+)?(?:put|place|set)\b.*\b(?:on|in|into|next|beside|between|down)\b", re.I
)


@dataclass(frozen=True)
class InstructionReading:
    """What the words of an instruction ask for.

    Attributes:
        mode: ``Mode.OBJECT`` or ``Mode.FREE_SPACE``.
        reason: which words decided it.
        two_steps: the instruction holds two actions; the mode is that of the first.
    """

    mode: Mode
    reason: str
    two_steps: bool = False


def resolve_mode(instruction: str) -> tuple[Mode, str]:
    """Whether an instruction asks for a thing or for a free spot, and which words decided it."""
    reading = read_instruction(instruction)
    return reading.mode, reading.reason


def read_instruction(instruction: str, asked: Mode = Mode.AUTO) -> InstructionReading:
    """What the words ask for; a mode that was asked for stands, whatever the words say."""
    reading = _read(instruction)
    if asked == Mode.AUTO:
        return reading
    return InstructionReading(Mode(asked), "asked for", reading.two_steps)


def _read(instruction: str) -> InstructionReading:
    for pattern in (_FREE_ROOM, _PLACING):
        found = pattern.search(instruction)
        if found:
            return InstructionReading(Mode.FREE_SPACE, f'"{found.group()}"')
    return InstructionReading(Mode.OBJECT, "no words of placing")
