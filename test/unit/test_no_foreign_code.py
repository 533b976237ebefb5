# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""No line of the project lets a checkpoint's own code run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("roborefer_ros", "benchmarks", "test", "scripts", "launch")

#: methods of transformers that take ``trust_remote_code``; without a plain "no" they ask
LOADERS = {"from_pretrained"}


def calls(path: Path) -> Iterator[ast.Call]:
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def offences(path: Path) -> Iterator[str]:
    for call in calls(path):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        given = {k.arg: k.value for k in call.keywords if k.arg}
        if name in LOADERS:
            value = given.get("trust_remote_code")
            if not isinstance(value, ast.Constant) or value.value is not False:
                yield f"{path}:{call.lineno}: {name} without trust_remote_code=False"
        elif "trust_remote_code" in given:
            value = given["trust_remote_code"]
            if not isinstance(value, ast.Constant) or value.value is not False:
                yield f"{path}:{call.lineno}: trust_remote_code is not False"
        if name == "load" and isinstance(call.func, ast.Attribute):
            owner = call.func.value
            if isinstance(owner, ast.Name) and owner.id == "torch":
                value = given.get("weights_only")
                if not isinstance(value, ast.Constant) or value.value is not True:
                    yield f"{path}:{call.lineno}: torch.load without weights_only=True"


def test_every_loader_says_no_to_foreign_code() -> None:
    files = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(files) > 150
    found = [text for path in files for text in offences(path)]
    assert not found, "\n".join(found)


def test_the_walk_finds_what_it_looks_for(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(
        "AutoTokenizer.from_pretrained(f)\nA.from_pretrained(f, trust_remote_code=yes)\n"
        "A.from_pretrained(f, **more)\nload(f, trust_remote_code=True)\ntorch.load(f)\n"
        "A.from_pretrained(f, trust_remote_code=False)\ntorch.load(f, weights_only=True)\n"
    )
    lines = [text.split(":")[1] for text in offences(tmp_path / "x.py")]
    assert lines == ["1", "2", "3", "4", "5"]
