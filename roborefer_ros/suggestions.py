# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What to say about a name that is unknown."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], most: int = 3) -> str:
    """``; did you mean A or B?``, or what is known where nothing is near.

    Capitals do not count, nor whether words are joined by ``-`` or ``_``.

    Args:
        name: Unknown name.
        known: Names that would have been right.
        most: Greatest number of names that are suggested.
    """
    names = sorted(set(known))
    folded = {_folded(candidate): candidate for candidate in names}
    close = difflib.get_close_matches(_folded(name), folded, n=most, cutoff=0.6)
    if close:
        return f"; did you mean {' or '.join(folded[match] for match in close)}?"
    return f"; known are {', '.join(names)}" if names else ""


def _folded(name: str) -> str:
    return name.lower().replace("-", "_")
