# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The work on Ray Data, across machines that share the output folder and the source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from roborefer_ros.datagen.generate import Runner, make_shard
from roborefer_ros.datagen.source import Source
from roborefer_ros.datagen.write import Options
from roborefer_ros.errors import ConfigurationError
from roborefer_ros.private_ray import prepare_ray


def on_ray(address: str) -> Runner:
    """Runs shards as tasks of Ray Data.

    Args:
        address: Of a Ray cluster ("auto", "ray://HOST:PORT"), or "local" for this machine.

    Raises:
        ConfigurationError: Ray is not installed, or there is no cluster.
    """
    prepare_ray(address == "local")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigurationError(
            f"--ray needs Ray Data: pip install 'ray[data]>=2.52' ({error})"
        ) from error

    def run(
        folder: Path, source: Source, shards: Sequence[tuple[int, list[str]]], options: Options
    ) -> Iterator[int]:
        try:
            ray.init(address, ignore_reinit_error=True, log_to_driver=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConfigurationError(f"no Ray cluster at {address}: {error}") from error
        target = folder.resolve()

        def work(row: dict[str, Any]) -> dict[str, int]:
            names = [str(name) for name in row["names"]]
            return {"scenes": make_shard(target, source, int(row["shard"]), names, options)}

        items = [{"shard": shard, "names": names} for shard, names in shards]
        for row in ray.data.from_items(items, override_num_blocks=len(items)).map(work).iter_rows():
            yield int(row["scenes"])

    return run
