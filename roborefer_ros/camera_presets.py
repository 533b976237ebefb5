# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Camera presets: which topics a driver publishes, as YAML files in ``config/cameras``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roborefer_ros.files import read_yaml
from roborefer_ros.ros_compat.environment import share_directory

#: names that a preset remaps, relative to the node's namespace
TOPIC_NAMES = ("rgb/image", "depth/image", "rgb/camera_info", "depth/camera_info", "imu")


@dataclass(frozen=True)
class CameraPreset:
    """What the node must know about a camera driver.

    Attributes:
        remappings: name out of ``TOPIC_NAMES`` -> the driver's topic.
        parameters: Parameters of the node that this camera needs.
        camera_namespace: Names that all topics begin with, where the driver has such an argument.
        camera_name: The names after those, as the driver's argument of that name.
    """

    remappings: dict[str, str]
    parameters: dict[str, Any]
    camera_namespace: str = ""
    camera_name: str = ""

    def topics(
        self, *, namespace: str = "", camera_namespace: str = "", camera_name: str = ""
    ) -> dict[str, str]:
        """The remappings for a driver that was started with other names.

        Args:
            namespace: Namespace of the node, in which the driver runs, too; empty is the root.
            camera_namespace: Instead of the preset's; one with a leading "/" is not within
                ``namespace``, "/" alone is the root.
            camera_name: Instead of the preset's.
        """
        usual = _joined(self.camera_namespace, self.camera_name)
        outer = "" if camera_namespace.startswith("/") else namespace
        prefix = _joined(
            outer, camera_namespace or self.camera_namespace, camera_name or self.camera_name
        )
        moved = {}
        for name, topic in self.remappings.items():
            inside = usual and not topic.startswith(f"{usual}/")
            moved[name] = topic if inside else prefix + topic.removeprefix(usual)
        return moved


def _joined(*names: str) -> str:
    """Names as the beginning of a topic: each with a slash before it; empty where all are."""
    return "".join(f"/{part}" for name in names for part in name.split("/") if part)


def preset_names() -> list[str]:
    """The presets that come with the package."""
    return sorted(path.stem for path in (share_directory() / "config" / "cameras").glob("*.yaml"))


def load_preset(name: str) -> CameraPreset:
    """Read a preset by its name, or any YAML file of the same form by its path.

    Raises:
        ValueError: there is none of that name, or the file has another form.
    """
    path = Path(name).expanduser()
    if path.suffix not in (".yaml", ".yml"):
        path = share_directory() / "config" / "cameras" / f"{name}.yaml"
    if not path.is_file():
        raise ValueError(
            f"no camera preset {name!r}; known: {', '.join(preset_names())}, or the path of a "
            "YAML file"
        )
    content = read_yaml(path)
    content = content if isinstance(content, dict) else {}
    remappings, parameters = content.get("remappings") or {}, content.get("parameters") or {}
    if not isinstance(remappings, dict):
        remappings = {}
    missing = [topic for topic in TOPIC_NAMES[:3] if topic not in remappings]
    unknown = [topic for topic in remappings if topic not in TOPIC_NAMES]
    if missing or unknown or not isinstance(parameters, dict):
        raise ValueError(
            f"{path}: 'remappings' must map {', '.join(TOPIC_NAMES[:3])} (and may map "
            f"{' and '.join(TOPIC_NAMES[3:])}) to topics, 'parameters' the node's parameters to "
            "values"
        )
    names = [str(content.get(key) or "") for key in ("camera_namespace", "camera_name")]
    return CameraPreset({k: str(v) for k, v in remappings.items()}, dict(parameters), *names)
