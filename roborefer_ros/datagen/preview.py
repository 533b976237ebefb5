# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``preview.html``: some pictures with their questions and answers, for a look."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

from roborefer_ros.datagen.qa import MULTI_VIEW, VISUAL
from roborefer_ros.files import write_text
from roborefer_ros.pointing.prompts import POINT_SUFFIX

_MOST_SCENES, _MOST_QUESTIONS = 16, 14
_POINT = re.compile(r"\((\d\.\d+), (\d\.\d+)\)")
_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Generated questions</title><style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; color: #222 }
figure { position: relative; margin: 0; width: 26rem; flex: none }
figure img { width: 100%; display: block }
figure svg { position: absolute; inset: 0; width: 100%; height: 100% }
section { display: flex; gap: 1.5rem; border-top: 1px solid #ddd; padding: 1.5rem 0 }
li { margin-bottom: .7rem } pre { margin: .2rem 0; color: #555; white-space: pre-wrap }
b { font-weight: 600 } small { color: #777 } table { border-spacing: 1rem 0 }
circle { fill: #e00; stroke: #fff; stroke-width: .003 } text { font-size: .035px; fill: #fff }
</style></head><body>
"""


class Preview:
    """Collects the first scenes that have questions.

    Args:
        folder: Of the data set.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._scenes: list[list[dict[str, Any]]] = []

    def add(self, entries: list[dict[str, Any]]) -> None:
        """The questions that a scene kept."""
        usual = [entry for entry in entries if entry["part"] not in (VISUAL, MULTI_VIEW)]
        if usual and len(self._scenes) < _MOST_SCENES:
            self._scenes.append(usual[:_MOST_QUESTIONS])

    def write(self, stats: dict[str, Any]) -> None:
        """Write the page."""
        head = (
            f"<h1>{stats['questions']} questions about {stats['scenes']['used']} scenes</h1>"
            + _table("Skipped scenes", stats["scenes"]["skipped"])
            + _table("Steps", stats["steps"])
            + _table("Forms", stats["forms"])
            + _table("Relations", stats["relations"])
        )
        body = "".join(map(_section, self._scenes))
        write_text(self._folder / "preview.html", f"{_HEAD}{head}{body}</body></html>\n")


def _table(title: str, counts: dict[str, int]) -> str:
    if not counts:
        return ""
    cells = ", ".join(f"{html.escape(name)} {count}" for name, count in counts.items())
    return f"<p><b>{title}:</b> {cells}</p>\n"


def _section(entries: list[dict[str, Any]]) -> str:
    marks, items = [], []
    for number, entry in enumerate(entries, 1):
        question = html.escape(entry["question"].removesuffix(POINT_SUFFIX).strip())
        answer = html.escape(entry["answer"])
        thought = entry.get("think", {}).get("thinking", "")
        shown = f"<pre>{html.escape(thought)}</pre>" if thought else ""
        items.append(
            f"<li>{question}<br>{shown}<b>{answer}</b> <small>{html.escape(entry['part'])}, "
            f"{entry['steps']} step(s)</small></li>"
        )
        found = _POINT.search(entry["answer"])
        if found:
            x, y = found[1], found[2]
            marks.append(
                f'<circle cx="{x}" cy="{y}" r=".009"/><text x="{x}" y="{y}">{number}</text>'
            )
    picture = html.escape(f"3D/image/{entries[0]['image'][0]}", quote=True)
    svg = f'<svg viewBox="0 0 1 1" preserveAspectRatio="none">{"".join(marks)}</svg>'
    return (
        f'<section><figure><img loading="lazy" src="{picture}" alt="scene">{svg}</figure>'
        f"<ol>{''.join(items)}</ol></section>\n"
    )
