# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer sft --ray cluster.yaml``: Ray Train starts the processes that torchrun would.

Each worker runs the same command; Ray joins them to torch's process group and starts them again
when a machine is lost, and they go on from the last state.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from roborefer_ros.errors import ConfigurationError, DependencyMissingError
from roborefer_ros.files import read_yaml
from roborefer_ros.private_ray import prepare_ray
from roborefer_ros.suggestions import nearest

#: environment variables of the workers that a run may need
_PASSED_ON = ("OMP_NUM_THREADS", "NCCL_SOCKET_IFNAME", "NCCL_IB_HCA", "WANDB_MODE", "HF_HOME")


@dataclass(frozen=True)
class Cluster:
    """What a run asks a Ray cluster for.

    Attributes:
        address: Of the cluster: ``auto``, ``ray://HOST:10001``, or ``local`` for this machine.
        workers: Processes of the run.
        gpus: GPUs of a worker; 0 trains on CPUs.
        cpus: CPU cores of a worker, those of its loader included.
        placement: How workers are spread: ``PACK`` (few machines), ``SPREAD``, ``STRICT_PACK`` or
            ``STRICT_SPREAD``.
        max_failures: How often the run is started again when a worker is lost; -1 for always.
        env: Environment variables of the workers.
    """

    address: str = "auto"
    workers: int = 1
    gpus: int = 1
    cpus: int = 8
    placement: str = "PACK"
    max_failures: int = 3
    env: dict[str, str] = field(default_factory=dict)


_PLACEMENTS = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")


def read_cluster(path: Path) -> Cluster:
    """A cluster from YAML.

    Raises:
        ConfigurationError: the file cannot be read, or an entry is unknown or wrong.
    """
    table = read_yaml(path) or {}
    if not isinstance(table, dict):
        raise ConfigurationError(f"{path} must map names to values, as workers: 8")
    known = {entry.name: entry.type for entry in fields(Cluster)}
    for key, value in table.items():
        if key not in known:
            raise ConfigurationError(f"{path}: unknown entry {key!r}{nearest(str(key), known)}")
        default = getattr(Cluster(), key)
        if type(value) is not type(default):
            raise ConfigurationError(
                f"{path}: {key} is {value!r}; it must be like {default or {'NAME': 'value'}!r}"
            )
    cluster = Cluster(**{**table, "env": {k: str(v) for k, v in table.get("env", {}).items()}})
    if cluster.workers < 1 or cluster.gpus < 0 or cluster.cpus < 1 or cluster.max_failures < -1:
        raise ConfigurationError(
            f"{path}: workers and cpus must be 1 or more, gpus 0 or more, max_failures -1 or more"
        )
    if cluster.placement not in _PLACEMENTS:
        raise ConfigurationError(
            f"{path}: placement is {cluster.placement!r}; known are {', '.join(_PLACEMENTS)}"
        )
    return cluster


def start(cluster: Cluster, arguments: Sequence[str], output: Path) -> int:
    """Run a command of ``roborefer sft`` on a cluster, until it ends.

    Args:
        cluster: What is asked for.
        arguments: Of the command, without ``--ray``.
        output: Folder of the run, on a disk that all machines share.

    Returns:
        Exit status of the command.

    Raises:
        DependencyMissingError: Ray Train is not installed.
        ConfigurationError: the run failed; the message is that of the worker.
    """
    is_local = cluster.address == "local"
    prepare_ray(is_local)
    try:
        import ray
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer
    except ImportError as error:
        raise DependencyMissingError(
            f"--ray needs Ray Train ({error}): pip install 'roborefer_ros[ray,train]'"
        ) from error
    env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    where: dict[str, Any] = {"address": cluster.address}
    if is_local:  # what the run asks for is there, whatever the machine has
        where = {"include_dashboard": False, "num_cpus": 1 + cluster.workers * cluster.cpus}
    ray.init(runtime_env={"env_vars": {**env, **cluster.env}}, ignore_reinit_error=True, **where)
    trainer = TorchTrainer(
        worker,
        train_loop_config={"arguments": list(arguments), "folder": str(Path.cwd())},
        torch_config=TorchConfig(backend="nccl" if cluster.gpus else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=cluster.workers,
            use_gpu=cluster.gpus > 0,
            resources_per_worker=_resources(cluster),
            placement_strategy=cluster.placement,
        ),
        run_config=RunConfig(
            name="ray",
            storage_path=str(output.resolve()),
            failure_config=FailureConfig(max_failures=cluster.max_failures),
        ),
    )
    try:
        trainer.fit()
    except Exception as error:  # of Ray's own kinds, around that of the worker
        said = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
        raise ConfigurationError(f"the run on Ray failed: {said[-1][:500]}") from error
    finally:
        ray.shutdown()
    return 0


def worker(config: dict[str, Any]) -> None:
    """What Ray runs in each worker, whose process group it has made.

    Args:
        config: ``arguments`` of the command, and ``folder`` that its paths are relative to.

    Raises:
        ConfigurationError: the command failed.
    """
    from roborefer_ros.cli.sft import main

    folder = Path(config["folder"])
    if folder.is_dir():
        os.chdir(folder)
    status = main(config["arguments"])
    if status:
        raise ConfigurationError(f"roborefer sft ended with status {status}; its log says why")


def _resources(cluster: Cluster) -> dict[str, float]:
    resources: dict[str, float] = {"CPU": cluster.cpus}
    if cluster.gpus:
        resources["GPU"] = cluster.gpus
    return resources
