# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What Prometheus can read from the server; no label holds anything that a client sent."""

from __future__ import annotations

from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

import roborefer_ros

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The server's counters, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        common: dict[str, Any] = {"namespace": "roborefer", "registry": self.registry}
        self.requests = Counter(
            "http_requests", "Requests answered.", ["route", "status"], **common
        )
        self.request_seconds = Histogram(
            "http_request_seconds",
            "From the request's head to the end of the reply.",
            ["route"],
            buckets=_SECONDS,
            **common,
        )
        self.errors = Counter(
            "errors", "Failed requests by number of the error.", ["code"], **common
        )
        self.queued = Gauge("queued_requests", "Requests that wait for the model.", **common)
        self.queue_seconds = Histogram(
            "queue_seconds", "Wait for the model.", buckets=_SECONDS, **common
        )
        self.batch_size = Histogram(
            "batch_size", "Queries answered together.", buckets=(1, 2, 4, 8, 16, 32, 64), **common
        )
        self.stage_seconds = Histogram(
            "stage_seconds", "Stages of an answer.", ["stage"], buckets=_SECONDS, **common
        )
        self.tokens = Counter("generated_tokens", "Tokens of all answers.", **common)
        self.cache_hits = Gauge("encoded_picture_hits", "Pictures found encoded.", **common)
        self.cache_misses = Gauge("encoded_picture_misses", "Pictures encoded.", **common)
        self.cache_bytes = Gauge("encoded_picture_bytes", "Memory of encoded pictures.", **common)
        self.ready = Gauge("ready", "1 while the server takes requests.", **common)
        build = Gauge("build_info", "Version of the package.", ["version"], **common)
        build.labels(roborefer_ros.__version__).set(1)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return bytes(generate_latest(self.registry))
