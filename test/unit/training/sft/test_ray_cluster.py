# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Ray Train starts what torchrun starts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from own_rows import own_rows
from sft_golden import GOLDEN

from roborefer_ros.cli.sft import main
from roborefer_ros.errors import ConfigurationError
from roborefer_ros.private_ray import prepare_ray
from roborefer_ros.training.sft.ray_cluster import Cluster, read_cluster

TINY = ["--recipe", "tiny", "--model", str(GOLDEN / "tiny-2b-style"), "--device", "cpu"]


def begin_ray() -> None:
    """A local cluster; Ray gives its own processes 30 s to start, which a busy machine exceeds."""
    prepare_ray(is_local=True)
    import ray

    for last in (False,) * 9 + (True,):
        try:
            ray.init(include_dashboard=False, num_cpus=3)
            return
        except Exception:
            ray.shutdown()
            if last:
                raise


@pytest.mark.timeout(900)
def test_two_workers_of_ray_learn_what_one_process_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[4]))
    data = [*own_rows(tmp_path, 4), "--index-dir", str(tmp_path / "index")]
    (tmp_path / "cluster.yaml").write_text("{address: local, workers: 2, gpus: 0, cpus: 1}")
    command = [*TINY, *data, "--max-steps", "2", "--global-batch", "2", "--device-batch", "1"]
    begin_ray()
    ray = ["--ray", str(tmp_path / "cluster.yaml"), "--parallel", "ddp"]
    assert main([*command, *ray, "--output", str(tmp_path / "two")]) == 0
    assert main([*command, "--output", str(tmp_path / "one")]) == 0
    logs = {}
    for name in ("one", "two"):
        lines = (tmp_path / name / "log.jsonl").read_text().splitlines()
        logs[name] = [entry["loss"] for entry in map(json.loads, lines) if "loss" in entry]
    assert "2 process(es), ddp" in (tmp_path / "two/log.jsonl").read_text()
    assert logs["two"] == pytest.approx(logs["one"], abs=1e-4)
    assert (tmp_path / "two/export/config.json").exists()


def test_a_cluster_is_read_with_its_defaults(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text("workers: 16\nenv: {NCCL_DEBUG: INFO, N: 3}\n")
    assert read_cluster(path) == Cluster(workers=16, env={"NCCL_DEBUG": "INFO", "N": "3"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("worker: 2", "unknown entry 'worker'; did you mean workers?"),
        ("workers: two", "workers is 'two'; it must be like 1"),
        ("workers: 0", "workers and cpus must be 1 or more"),
        ("gpus: true", "gpus is True; it must be like 1"),
        ("placement: TIGHT", "known are PACK, SPREAD"),
        ("- 1", "must map names to values"),
    ],
)
def test_a_wrong_cluster_names_the_entry(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "cluster.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        read_cluster(tmp_path / "cluster.yaml")


def test_ray_needs_a_folder_that_is_shared(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, "--data", "x.json", "--ray", "c.yaml", "--dry-run"]) == 2
    assert "--ray needs --output" in capsys.readouterr().err
