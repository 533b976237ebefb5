# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The pictures of a folder, and the depth that belongs to them.

Depth of a picture ``a/b.jpg`` is looked for as ``DEPTH/a/b.png`` (``DEPTH`` is the folder
``depth`` unless another is named), as ``a/b_depth.png``, and for ``rgb.*`` (a recording) as
``a/depth.png``.  What training reads is a copy in the form the network knows: 8 bits, relative,
near is bright.
"""

from __future__ import annotations

import io
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from roborefer_ros.errors import ConfigurationError, RoboReferError
from roborefer_ros.files import path_inside, write_bytes
from roborefer_ros.image_files import read_picture
from roborefer_ros.pointing.depth_input import relative_depth_from_metric
from roborefer_ros.training.data.pictures import Picture, open_rgb, shape_mismatch

LOG = logging.getLogger(__name__)

MOST_PICTURES = 20_000

#: folder of the depth pictures that training reads, beside the pictures
PREPARED = "depth_8bit"

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")

_DEPTH_FOLDERS = ("depth", "depths", PREPARED)

#: longer side of what the page shows, pixels
_SHOWN = 2048

#: EXIF: how a viewer is to turn the picture; training and the models read it as it is stored
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class OwnPicture:
    """A picture that can be labelled.

    Attributes:
        name: Path below the folder, with ``/``.
        depth: File of its depth as it was found, or None.
    """

    name: str
    depth: Path | None = None

    @property
    def prepared_name(self) -> str:
        """Of the depth picture for training, below ``PREPARED``."""
        return str(Path(self.name).with_suffix(".png"))


def find_pictures(folder: Path, depth_folder: Path | None = None) -> list[OwnPicture]:
    """All pictures of a folder and its sub-folders, sorted by name.

    Args:
        folder: Of the pictures.  Hidden folders, folders of depth and links that lead out of it are
            left out.
        depth_folder: Of their depth; ``folder/depth`` without it.

    Raises:
        ConfigurationError: There are none, too many, or two that differ in their suffix alone.
    """
    names: list[str] = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in _DEPTH_FOLDERS)
        if depth_folder is not None:
            folders[:] = [f for f in folders if Path(place, f).resolve() != depth_folder.resolve()]
        relative = Path(place).relative_to(folder)
        names += [(relative / file).as_posix() for file in files if _is_picture(file)]
        if len(names) > MOST_PICTURES:
            raise ConfigurationError(
                f"{folder} holds more than {MOST_PICTURES} pictures; label a part of them"
            )
    pictures = []
    stems: dict[str, str] = {}
    for name in sorted(names):
        try:
            name.encode()
            path_inside(folder, name)
        except (ConfigurationError, UnicodeEncodeError) as error:
            LOG.warning("left out: %s", str(error)[:300])
            continue
        stem = str(Path(name).with_suffix(""))
        if stem in stems:
            raise ConfigurationError(
                f"{folder}: {name} and {stems[stem]} would share their depth picture; rename one"
            )
        stems[stem] = name
        pictures.append(OwnPicture(name, _depth_of(folder, name, depth_folder)))
    if not pictures:
        raise ConfigurationError(f"{folder} holds no pictures ({', '.join(SUFFIXES)}) to label")
    return pictures


def shown_picture(folder: Path, picture: OwnPicture) -> tuple[bytes, str]:
    """What the page shows: the pixels as training reads them, and a remark or nothing.

    Raises:
        ConfigurationError: The file is missing, damaged, or leads out of the folder.
    """
    path = path_inside(folder, picture.name)
    pixels = open_rgb(path).pixels
    height, width = pixels.shape[:2]
    scale = min(1.0, _SHOWN / max(height, width))
    image = Image.fromarray(pixels)
    if scale < 1.0:
        image = image.resize((max(1, round(width * scale)), max(1, round(height * scale))))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92)
    return buffer.getvalue(), _remark(path)


def read_pixels(folder: Path, picture: OwnPicture) -> Picture:
    """The picture, ``[H, W, 3]`` uint8.

    Raises:
        ConfigurationError: See ``shown_picture``.
    """
    return open_rgb(path_inside(folder, picture.name)).pixels


def prepared_depth(folder: Path, picture: OwnPicture) -> npt.NDArray[np.uint8] | None:
    """The depth picture for network and training, which is written where it is missing.

    16 bits are taken as metric (a camera's millimetres), 8 bits as relative with near = bright.

    Args:
        folder: Of the pictures.
        picture: One of them.

    Returns:
        ``[H, W]`` uint8, or None without usable depth; the log says why it is not.
    """
    if picture.depth is None:
        return None
    target = folder / PREPARED / picture.prepared_name
    try:
        depth: npt.NDArray[Any] = read_picture(picture.depth, cv2.IMREAD_UNCHANGED)
        if depth.ndim == 3:
            depth = depth[..., 0]
        if depth.dtype == np.uint16:
            relative = relative_depth_from_metric(np.where(depth > 0, depth, np.nan))
        elif depth.dtype == np.uint8:
            relative = np.asarray(depth, np.uint8)
        else:
            raise ConfigurationError(f"{picture.depth} holds {depth.dtype}, not 8 or 16 bits")
        height, width = read_pixels(folder, picture).shape[:2]
        size, rgb_size = (relative.shape[1], relative.shape[0]), (width, height)
        if wrong := shape_mismatch(folder / picture.name, picture.depth, rgb_size, size):
            raise ConfigurationError(wrong)
    except RoboReferError as error:
        LOG.warning("%s is labelled without depth: %s", picture.name, error)
        return None
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        done, data = cv2.imencode(".png", np.repeat(relative[..., None], 3, axis=2))
        assert done
        write_bytes(target, data.tobytes())
    return relative


def _is_picture(file: str) -> bool:
    path = Path(file)
    is_depth = path.stem == "depth" or path.stem.endswith("_depth")
    return path.suffix.lower() in SUFFIXES and not is_depth and not file.startswith(".")


def _depth_of(folder: Path, name: str, depth_folder: Path | None) -> Path | None:
    path = Path(name)
    candidates = [(depth_folder or folder / "depth") / path.with_suffix(".png")]
    candidates.append(folder / path.with_name(f"{path.stem}_depth.png"))
    if path.stem == "rgb":
        candidates.append(folder / path.with_name("depth.png"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _remark(path: Path) -> str:
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # Pillow's readers of EXIF raise anything; the picture itself was read
        return ""
    if turned in (None, 1):
        return ""
    return (
        "The file asks viewers to turn this picture. Training and the models read it as it is "
        "stored, which is how it is shown here."
    )
