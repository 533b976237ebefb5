# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The doctor: each check names what is wrong and the line that mends it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from roborefer_ros import doctor
from roborefer_ros.standalone import environment


def test_report_has_every_check_once() -> None:
    checks = doctor.collect()
    names = [check.name for check in checks]
    assert len(set(names)) == len(names) == len(doctor.CHECKS)
    text = doctor.format_report(checks)
    for check in checks:
        assert check.detail in text
        assert check.status == "ok" or check.remedy or check.name in ("torch", "shared memory")


def test_exit_code_tells_whether_something_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fine = doctor.Check("a", "warn", "could be better", "do this")
    broken = doctor.Check("b", "missing", "is not there", "do that")
    monkeypatch.setattr(doctor, "CHECKS", (lambda: fine,))
    assert doctor.main([]) == 0
    monkeypatch.setattr(doctor, "CHECKS", (lambda: fine, lambda: broken))
    assert doctor.main([]) == 1
    report = capsys.readouterr().out
    assert "MISS  b  is not there" in report
    assert "-> do that" in report


def test_json_is_the_same_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "CHECKS", (doctor.check_python,))
    assert doctor.main(["--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["name"] == "Python"
    assert set(entry) == {"name", "status", "detail", "remedy"}


def test_missing_packages_name_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setattr(doctor, "_version", lambda _name: None)
    for check, extra in (
        (doctor.check_open3d(), "sim"),
        (doctor.check_transformers(), "model"),
        (doctor.check_remote_extra(), "remote"),
        (doctor.check_serve_extra(), "serve"),
        (doctor.check_eval_extra(), "eval"),
    ):
        assert check.status != "ok"
        assert f"[{extra}]'" in check.remedy


def test_ros_that_cannot_be_imported_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(doctor.importlib, "import_module", refuse)
    check = doctor.check_ros()
    assert check.status == "missing"
    assert "make setup" in check.remedy
    assert doctor.check_torch().status == "missing"
    assert doctor.check_messages().status == "missing"


def test_fast_dds_profile_states(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ROS_DISTRO", "RMW_IMPLEMENTATION", "FASTDDS_DEFAULT_PROFILES_FILE"):
        monkeypatch.delenv(name, raising=False)
    check = doctor.check_fast_dds()
    assert check.status == "warn"
    assert "export FASTDDS_DEFAULT_PROFILES_FILE=" in check.remedy
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", str(tmp_path / "gone.xml"))
    assert "does not exist" in doctor.check_fast_dds().detail
    (tmp_path / "udp.xml").write_text("<profiles/>")
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", str(tmp_path / "udp.xml"))
    assert "no shared memory" in doctor.check_fast_dds().detail
    shipped = environment.share_directory() / "config" / "fastdds_shm.xml"
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", str(shipped))
    assert doctor.check_fast_dds().status == "ok"
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_cyclonedds_cpp")
    assert "not used by" in doctor.check_fast_dds().detail


@pytest.mark.parametrize(
    ("check", "repository", "weights"),
    [
        (doctor.check_checkpoint, doctor.CHECKPOINT, "llm/model.safetensors"),
        (doctor.check_depth_network, doctor.DEPTH_NETWORK, "model.safetensors"),
    ],
)
def test_weights_are_found_in_the_cache(
    check: Callable[[], doctor.Check],
    repository: str,
    weights: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert check().status == "warn"
    assert repository in check().remedy
    folder = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
    file = folder / "snapshots" / "0123abcd" / weights
    file.parent.mkdir(parents=True)
    file.touch()
    assert check().status == "ok"
    assert check().detail.endswith("snapshots/0123abcd")
    (folder / "blobs").mkdir()
    (folder / "blobs" / "1234.incomplete").touch()
    assert "unfinished" in check().detail


def test_the_depth_network_is_the_one_that_is_used() -> None:
    depth_anything = pytest.importorskip("roborefer_ros.models.depth_anything")
    assert doctor.DEPTH_NETWORK == depth_anything.DEFAULT_SOURCE


def test_small_shared_memory_is_warned_about(monkeypatch: pytest.MonkeyPatch) -> None:
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor.Path, "is_dir", lambda _self: True)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _path: usage(64 << 20, 0, 64 << 20))
    check = doctor.check_shared_memory()
    assert check.status == "warn"
    assert "--shm-size" in check.remedy
