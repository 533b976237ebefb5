# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What Prometheus can read from the server; no label holds anything that a client sent."""

from __future__ import annotations

from collections.abc import Iterator
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
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

import roborefer_ros
from roborefer_ros.inference.model import CacheStats

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class _Pictures(Collector):
    """Reads a cache's own counts when Prometheus asks."""

    def __init__(self, kept: CacheStats) -> None:
        self._kept = kept

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        name, kept = "roborefer_encoded_picture", self._kept
        yield CounterMetricFamily(f"{name}_hits", "Pictures found encoded.", kept.hits)
        yield CounterMetricFamily(f"{name}_misses", "Pictures encoded.", kept.misses)
        yield GaugeMetricFamily(f"{name}_bytes", "Memory of encoded pictures.", kept.size_bytes)


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
            "http_request_duration_seconds",
            "From the request's head to the end of the reply.",
            ["route"],
            buckets=_SECONDS,
            **common,
        )
        self.errors = Counter(
            "errors", "Failed requests by number of the error.", ["code"], **common
        )
        self.queued = Gauge("queued_requests", "Requests that wait for the model.", **common)
        self.running = Gauge("running_requests", "Requests in the model.", **common)
        self.queue_seconds = Histogram(
            "queue_wait_seconds", "Wait for the model.", buckets=_SECONDS, **common
        )
        self.batch_size = Histogram(
            "batch_size", "Queries answered together.", buckets=(1, 2, 4, 8, 16, 32, 64), **common
        )
        self.stage_seconds = Histogram(
            "stage_duration_seconds", "Stages of an answer.", ["stage"], buckets=_SECONDS, **common
        )
        self.tokens = Counter("generated_tokens", "Tokens of all answers.", **common)
        self.ready = Gauge("ready", "1 while the server takes requests.", **common)
        build = Gauge("build_info", "Version of the package.", ["version"], **common)
        build.labels(roborefer_ros.__version__).set(1)

    def watch_pictures(self, kept: CacheStats) -> None:
        """Tell of a cache of encoded pictures as well."""
        self.registry.register(_Pictures(kept))

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return bytes(generate_latest(self.registry))
