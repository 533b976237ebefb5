# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A run killed with SIGKILL while it saves: the old checkpoint or the new one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_tabletop import tiny_data, tiny_recipe

#: Forks a trainer per moment.  The trainer kills itself at its n-th step on the file system, as
#: Python's audit events tell it: opening, renaming, removing, calling renameat2.
DRIVER = r"""
import hashlib, json, os, shutil, signal, sys
from pathlib import Path

import torch
torch.set_num_threads(1)
from roborefer_ros.files import restore_folder
from roborefer_ros.models.roborefer.checkpoint import load_roborefer
from roborefer_ros.cli.sft import main
import matplotlib.backends.backend_svg, matplotlib.figure
import roborefer_ros.training.sft.loop, roborefer_ros.training.sft.report
import roborefer_ros.training.tabletop.task

base, command = Path(sys.argv[1]), sys.argv[2:]
EVENTS = {"open", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "ctypes.dlsym", "os.mkdir"}

def train(out, steps, kill_at):
    '''Steps on the file system that the run took; None where it was killed.'''
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        seen = 0
        def hook(event, values):
            nonlocal seen
            if event not in EVENTS:
                return
            # torch and safetensors write outside Python; their files show by what is around them.
            if event != "ctypes.dlsym" and str(out) not in str(values[0]):
                return
            seen += 1
            if seen == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(hook)
        status = main([*command, "--output", str(out), "--max-steps", str(steps)])
        os.write(writer, str(seen).encode())
        os._exit(status)
    os.close(writer)
    _, status = os.waitpid(child, 0)
    text = os.read(reader, 100).decode()
    os.close(reader)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return None
    assert status == 0
    return int(text)

def digests(checkpoint):
    files = sorted(checkpoint.glob("*/model.safetensors"))
    return {f.parent.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files}

train(base / "first", 1, 0)
old = digests(base / "first/export")
shutil.copytree(base / "first", base / "whole")
total = train(base / "whole", 2, 0)
new = digests(base / "whole/export")
kinds = []
for number in range(6):
    moment = 1 + number * (total - 1) // 5
    out = base / f"killed{number}"
    shutil.copytree(base / "first", out)
    killed = train(out, 2, moment) is None
    had_it = (out / "export").is_dir()
    restore_folder(out / "export")  # as the next run does, and nothing else
    found = digests(out / "export")
    load_roborefer(out / "export")
    kind = "old" if found == old else "new" if found == new else "mixed"
    assert train(out, 2, 0) is not None  # the same command goes on
    left = sorted(p.name for p in out.iterdir())
    kinds.append([moment, killed, had_it, kind, digests(out / "export") == new, left])
print(json.dumps({"total": total, "differ": all(old[k] != new[k] for k in old), "kinds": kinds}))
"""


@pytest.mark.timeout(900)
def test_killed_at_any_moment_of_a_save(tmp_path: Path) -> None:
    data, recipe = tiny_data(tmp_path / "data"), tiny_recipe(tmp_path)
    often = ["--save-every", "1", "--export-every", "1", "--keep-best", "false"]
    command = ["--data", str(data), "--recipe", str(recipe), "--device", "cpu", *often]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(tmp_path), *command],
        capture_output=True, text=True, timeout=600, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["differ"]
    assert result["total"] > 20
    kinds = result["kinds"]
    assert sum(killed for _, killed, *_ in kinds) >= 4
    assert {kind for _, _, _, kind, *_ in kinds} == {"old", "new"}
    for moment, _, _, _, goes_on, left in kinds:
        assert goes_on, moment
        assert left == [
            "evaluation", "export", "finished.json", "log.jsonl", "recipe.yaml", "report.html",
            "state", "tokenizer",
        ], moment  # fmt: skip
