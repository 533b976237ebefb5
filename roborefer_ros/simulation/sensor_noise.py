# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What an active stereo camera makes of exact depth (RealSense D435).

Noise: ``sigma_z = Z^2 * s / (f * B)`` with s the sub-pixel error of the matching
(Grunnet-Jepsen, Sweetser, Woodfill, "Best-Known-Methods for Tuning Intel RealSense D400",
Intel, rev. 2.0), f of the depth imager at 90 degrees and B = 50 mm.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

BASELINE_M = 0.050

#: the imager's focal length is half its width (90 degrees), and it runs at up to 1280 columns
_IMAGER_WIDTH_PX = 1280


def depth_sigma_m(
    depth_m: npt.NDArray[np.floating], subpixel: float = 0.09
) -> npt.NDArray[np.floating]:
    """Standard deviation of the depth reading, metres, per reading."""
    sigma: npt.NDArray[np.floating] = depth_m**2 * subpixel / (0.5 * _IMAGER_WIDTH_PX * BASELINE_M)
    return sigma


def d435_depth(
    depth_m: npt.NDArray[np.floating],
    rng: np.random.Generator,
    *,
    subpixel: float = 0.09,
    normals: npt.NDArray[np.floating] | None = None,
    focal_px: float | None = None,
    hole_rate: float = 0.003,
) -> npt.NDArray[np.uint16]:
    """Turn exact depth into a D435-like ``16UC1`` image.

    Holes appear where the second imager cannot see (left of near edges), where the surface
    turns away by more than 80 degrees, and in small random specks.

    Args:
        depth_m: ``[H, W]`` metres, NaN where nothing is hit.
        rng: source of the noise.
        subpixel: matching error; 0.09 for textured, 0.2 for poorly textured surfaces.
        normals: ``[H, W, 3]`` in the camera frame, facing the camera.
        focal_px: Focal length of the picture, pixels; sets the width of the stereo shadow. None:
            0.8 of its width.
        hole_rate: share of the pixels lost in specks.

    Returns:
        ``[H, W]`` uint16 millimetres, 0 = no reading.
    """
    depth = np.nan_to_num(np.asarray(depth_m, np.float32), nan=0.0, posinf=0.0)
    valid = depth > 0
    valid &= ~stereo_shadow(depth, focal_px or 0.8 * depth.shape[1])
    if normals is not None:
        valid &= -normals[..., 2] > np.cos(np.deg2rad(80.0))
    valid &= ~_specks(depth.shape, hole_rate, rng)
    noisy = depth + rng.standard_normal(depth.shape, np.float32) * depth_sigma_m(depth, subpixel)
    millimetres = np.clip(np.rint(noisy * 1000.0), 0, 65535)
    result: npt.NDArray[np.uint16] = np.where(valid, millimetres, 0).astype(np.uint16)
    return result


def stereo_shadow(
    depth: npt.NDArray[np.float32], focal_px: float, baseline_m: float = BASELINE_M
) -> npt.NDArray[np.bool_]:
    """Pixels hidden from the other imager by something nearer to their right.

    Args:
        depth: ``[H, W]`` metres, 0 where nothing is hit.
        focal_px: Of the picture.
        baseline_m: Distance of the two imagers, or of imager and projector.
    """
    inverse = np.divide(1.0, depth, out=np.zeros_like(depth), where=depth > 0)
    hidden = np.zeros(depth.shape, bool)
    widest = int(np.ceil(focal_px * baseline_m * float(inverse.max()))) if inverse.max() else 0
    for shift in range(1, min(widest, depth.shape[1] - 1) + 1):
        # Seen from a baseline away, a pixel `shift` columns to the right covers this one
        # when its disparity is larger by at least `shift`.
        gap = focal_px * baseline_m * (inverse[:, shift:] - inverse[:, :-shift])
        hidden[:, :-shift] |= gap >= shift
    return hidden


def _specks(shape: tuple[int, ...], rate: float, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Small round holes that cover about ``rate`` of the image."""
    if rate <= 0:
        return np.zeros(shape, bool)
    seeds = (rng.random(shape, np.float32) < rate / 9.0).astype(np.uint8)
    return cv2.dilate(seeds, np.ones((3, 3), np.uint8)).astype(bool)
