# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From the parameters to a pipeline that is ready to answer."""

from __future__ import annotations

import contextlib

import numpy as np
import rclpy.logging

from roborefer_ros.errors import (
    DepthNetworkRequiredError,
    NoPointInAnswerError,
    PointOutsideImageError,
)
from roborefer_ros.inference.options import ModelOptions
from roborefer_ros.models.depth_network import open_depth_network
from roborefer_ros.nodes.parameters import NodeOptions
from roborefer_ros.pipeline import DepthEstimator, ReferPipeline
from roborefer_ros.pointing.bundled import BUNDLED, calibration_of, is_bundled
from roborefer_ros.types import Think

_WARM_UP_SIZE = (480, 640)


def open_pipeline(options: NodeOptions) -> ReferPipeline:
    """Load the model (and the depth network where one is asked for) and warm it up.

    Raises:
        CheckpointNotFoundError, CheckpointInvalidError, ModelOutOfMemoryError,
        DependencyMissingError, InvalidPointerSpecError, ConfigurationError, Backend*Error
    """
    from roborefer_ros.pointing.factory import open_pointer

    source = _depth_source(options)
    pointer = open_pointer(
        ModelOptions(
            _model_spec(options),
            device=options.device,
            dtype=options.dtype,
            max_new_tokens=options.max_new_tokens,
            # Where depth is required, a model that has a use for it is refused below.
            use_depth=source != "none" or options.require_depth,
        ),
        think=Think[options.think.upper()],
    )
    try:
        if source == "none" and pointer.uses_depth:
            raise DepthNetworkRequiredError(
                f"{options.model} takes a depth picture, and depth_source is 'none'; set it to "
                "'sensor' or 'model', or require_depth to false"
            )
        needs_estimator = source == "model" and pointer.uses_depth
        estimator: DepthEstimator | None = None
        depth_name = ""
        if needs_estimator:
            estimator = open_depth_network(
                options.depth_network, options.device, options.dtype, _tell
            )
            depth_name = estimator.label
        pipeline = ReferPipeline(
            pointer=pointer,
            depth_estimator=estimator,
            depth_name=depth_name,
            require_depth=options.require_depth,
            calibration=calibration_of(options.model),
            is_demo=is_bundled(options.model),
        )
        if options.warm_up:
            _warm_up(pipeline)
    except BaseException:
        pointer.close()
        raise
    return pipeline


def _model_spec(options: NodeOptions) -> str:
    """The model, with what 'auto' means for a RoboRefer server: it makes the depth picture.

    The robot then needs no depth network.
    """
    scheme, _, query = options.model.partition("?")
    if (
        options.depth_source == "auto"
        and scheme.startswith("roborefer-http:")
        and not any(part.startswith("depth=") for part in query.split("&"))
    ):
        return f"{scheme}?{query}&depth=server" if query else f"{scheme}?depth=server"
    return options.model


def _depth_source(options: NodeOptions) -> str:
    """'sensor', 'model' or 'none'; what 'auto' stands for."""
    if options.depth_source != "auto":
        return options.depth_source
    # The bundled network was trained on the converted depth of the simulated camera.
    return "sensor" if options.model == BUNDLED else "model"


def _tell(line: str) -> None:
    rclpy.logging.get_logger("roborefer").info(line)


def _warm_up(pipeline: ReferPipeline) -> None:
    """One answer that nobody reads, so that the first goal finds kernels and caches in place."""
    height, width = _WARM_UP_SIZE
    rgb = np.full((height, width, 3), 128, dtype=np.uint8)
    depth = np.full((height, width), 128, dtype=np.uint8) if pipeline.pointer.uses_depth else None
    if pipeline.depth_estimator is not None and depth is not None:
        depth = pipeline.depth_estimator(rgb)
    # There is nothing to see.
    with contextlib.suppress(NoPointInAnswerError, PointOutsideImageError):
        pipeline.pointer.point(rgb, depth, "the object", max_points=1)
