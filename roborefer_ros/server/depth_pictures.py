# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Depth pictures made from RGB, for requests that bring none."""

from __future__ import annotations

import threading
from collections import OrderedDict

from roborefer_ros.errors import RoboReferError
from roborefer_ros.inference.model import Picture
from roborefer_ros.pipeline import DepthEstimator
from roborefer_ros.server.replies import public_error


class DepthPictures:
    """A depth network for several threads, and the pictures that it made last.

    Args:
        estimator: RGB to relative inverse depth; used by one thread at a time.
        capacity: pictures that are kept for the next question about the same frame.
    """

    def __init__(self, estimator: DepthEstimator, capacity: int = 32) -> None:
        self._estimator = estimator
        self._capacity = capacity
        self._made: OrderedDict[bytes, Picture] = OrderedDict()
        self._one_at_a_time = threading.Lock()

    def of(self, image: Picture) -> Picture:
        """The depth picture of an image.

        Raises:
            ModelOutOfMemoryError, ModelFailedError
        """
        with self._one_at_a_time:
            made = self._made.get(image.digest)
            if made is None:
                try:
                    made = Picture.of(self._estimator(image.pixels))
                except RoboReferError:
                    raise
                except Exception as error:
                    raise public_error(error) from error
                self._made[image.digest] = made
                if len(self._made) > self._capacity:
                    self._made.popitem(last=False)
            else:
                self._made.move_to_end(image.digest)
            return made
