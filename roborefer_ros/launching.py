# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the launch files decide, apart from launch itself."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.files import read_yaml

MODEL_CHOICES = (
    "roborefer:Zhoues/RoboRefer-2B-SFT (the released weights; also a folder), "
    "roborefer-http://HOST:PORT or openai://HOST:PORT/MODEL (a server), "
    "transformers:MODEL (another vision-language model), "
    "roborefer:demo (the bundled network: simulated scenes only, not for a robot), "
    "echo (no model: repeats the point in the instruction)"
)


def existing_params_file(path: str) -> list[str]:
    """The parameter file, in a list; an empty list where none is given.

    Raises:
        ConfigurationError: it is not there, or cannot be read.
    """
    if not path:
        return []
    full = os.path.expanduser(path)
    if not os.path.isfile(full) or not os.access(full, os.R_OK):
        raise ConfigurationError(f"params_file: there is no readable file {full}")
    return [full]


def check_model(model: str, params_files: list[str]) -> None:
    """Refuse to start a robot with a model that nobody chose.

    Raises:
        ConfigurationError: neither the argument nor the parameter file names one.
    """
    if model or any(_names_model(path) for path in params_files):
        return
    raise ConfigurationError(f"the argument model:= is required; it is one of: {MODEL_CHOICES}")


def _names_model(path: str) -> bool:
    def found(content: Any) -> bool:
        if not isinstance(content, dict):
            return False
        values = content.get("ros__parameters")
        if isinstance(values, dict) and values.get("model"):
            return True
        return any(found(value) for value in content.values())

    try:
        return found(read_yaml(Path(path)))
    except ConfigurationError as error:
        raise ConfigurationError(f"params_file {path} cannot be read: {error}") from None


def as_bool(name: str, text: str) -> bool:
    """The value of a launch argument that is true or false.

    Raises:
        ConfigurationError: it is neither.
    """
    if text.lower() in ("true", "1"):
        return True
    if text.lower() in ("false", "0"):
        return False
    raise ConfigurationError(f"{name} must be true or false, not {text!r}")


def as_seconds(name: str, text: str) -> float:
    """The value of a launch argument that is a time.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value < 86400.0:
        raise ConfigurationError(f"{name} must be a number of seconds from 0 on, not {text!r}")
    return value


def rviz_config(
    template: Path, namespace: str, node_name: str, topics: Mapping[str, str], fixed_frame: str
) -> str:
    """Write an RViz configuration for a node of any name.

    Args:
        template: For a node ``/roborefer`` with the simulated camera.
        namespace: Namespace of the node.
        node_name: Name of the node.
        topics: Topics of the camera, by the names of ``camera_presets.TOPIC_NAMES``.
        fixed_frame: Frame to draw in; empty keeps the template's.

    Returns:
        Path of the new file.
    """
    content = yaml.safe_load(template.read_text(encoding="utf-8"))
    manager = content["Visualization Manager"]
    own = "".join(f"/{part}" for part in f"{namespace}/{node_name}".split("/") if part)
    for display in manager["Displays"]:
        topic = display.get("Topic")
        if topic and topic["Value"].startswith("/roborefer/"):
            topic["Value"] = own + topic["Value"].removeprefix("/roborefer")
        elif topic:
            topic["Value"] = topics["rgb/image"]
    if fixed_frame:
        manager["Global Options"]["Fixed Frame"] = fixed_frame
    handle, path = tempfile.mkstemp(prefix="roborefer-", suffix=".rviz")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        yaml.safe_dump(content, file, sort_keys=False)
    return path
