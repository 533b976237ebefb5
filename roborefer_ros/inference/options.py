# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What opening a model takes, as one value that travels from a command line to a process."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HttpLimits:
    """What a call to a server may take.

    Attributes:
        total_s: Longest call, all attempts and waits, seconds.
        connect_s: Longest wait for a connection, seconds.
        silence_s: Longest wait for a single byte from the server, seconds.
        reply_bytes: Greatest size of one reply, bytes.
        attempts: Number of tries in all; only what cannot have delivered text is repeated.
        back_off_s: Wait before the second attempt, seconds; doubles each time, with jitter.
    """

    total_s: float = 120.0
    connect_s: float = 5.0
    silence_s: float = 60.0
    reply_bytes: int = 8 * 1024 * 1024
    attempts: int = 3
    back_off_s: float = 0.25


@dataclass(frozen=True)
class ModelOptions:
    """What opening a model takes.

    Attributes:
        spec: Kind of the model and where it is, ``roborefer:<folder or hub id>`` and the like.
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:<n>``.
        dtype: ``auto`` (bfloat16 on CUDA, float32 on a CPU), ``float32``, ``float16`` or
            ``bfloat16``.
        max_new_tokens: Greatest length of an answer, tokens; ``max_tokens`` in the spec wins.
        use_depth: Whether a model with a depth branch is shown depth pictures.
        max_batch: Greatest number of requests that are answered together, or are on their way to
            a server at a time; None leaves it to the model.
        cache_bytes: Memory for encoded pictures and for prompts that have been read, bytes; None
            keeps those of the last question.
        name: Name of the model for clients; the spec where it is empty.
        http_limits: What a call to a server may take; None follows the spec.
    """

    spec: str
    device: str = "auto"
    dtype: str = "auto"
    max_new_tokens: int = 512
    use_depth: bool = True
    max_batch: int | None = None
    cache_bytes: tuple[int, int] | None = None
    name: str = ""
    http_limits: HttpLimits | None = None

    @property
    def scheme(self) -> str:
        """Kind of the model, such as ``roborefer``."""
        return self.spec.partition(":")[0]

    @property
    def source(self) -> str:
        """Folder, hub id or address, with its options."""
        return self.spec.partition(":")[2]
