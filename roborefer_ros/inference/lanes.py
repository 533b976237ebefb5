# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Two CUDA streams, so that both vision towers are computed at the same time.

Each tower has weights of its own, so their tiles cannot be one batch.  Where a picture has few
tiles, one tower alone does not fill a GPU; side by side they do.  On a CPU everything is done
in order.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class Lanes:
    """The current stream of a device and one beside it.

    Args:
        device: Device of the network.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._side: Any = None

    @contextmanager
    def beside(self, wanted: bool = True) -> Iterator[None]:
        """Do a block in the side stream, after all that the current stream was given before.

        Args:
            wanted: Whether there is something else to do meanwhile.
        """
        if self._device.type != "cuda" or not wanted:
            yield
            return
        if self._side is None:
            self._side = torch.cuda.Stream(self._device)
        # Memory of earlier blocks, freed meanwhile, may still be read by the current stream.
        self._side.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._side):
            yield

    def join(self) -> None:
        """Wait until both streams have done their work."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
