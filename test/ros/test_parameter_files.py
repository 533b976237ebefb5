# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What is written about the parameters is what the table says."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from roborefer_ros.lifting import LiftingOptions
from roborefer_ros.nodes.parameter_table import LIFTING_PREFIX, PARAMETERS
from roborefer_ros.nodes.parameters import NodeOptions, default_options

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("form", "file"), [("yaml", "config/roborefer.yaml"), ("markdown", "docs/parameters.md")]
)
def test_files_are_printed_from_the_table(form: str, file: str) -> None:
    command = [sys.executable, "-m", "roborefer_ros.nodes.parameters", form]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert text.strip() in (ROOT / file).read_text(), f"print {file} anew with {command[1:]}"


def test_yaml_values_are_the_defaults() -> None:
    content = yaml.safe_load((ROOT / "config/roborefer.yaml").read_text())
    (values,) = content.values()
    values = dict(values["ros__parameters"])
    flat = {**values, **{LIFTING_PREFIX + k: v for k, v in values.pop("lifting").items()}}
    flat.pop("lifting", None)
    assert flat == {spec.name: spec.default for spec in PARAMETERS}


def test_every_parameter_reaches_the_node() -> None:
    names = {spec.name for spec in PARAMETERS}
    plain = {field.name for field in fields(NodeOptions)} - {"lifting"}
    lifting = {LIFTING_PREFIX + field.name for field in fields(LiftingOptions)}
    assert names == plain | lifting
    assert default_options().lifting == LiftingOptions()
    for spec in PARAMETERS:
        assert len(spec.description) > 15, spec.name
        if spec.type in (int, float):
            assert spec.minimum is not None, spec.name
