# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The doctor: each check names what is wrong and the line that mends it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from roborefer_ros.cli import doctor
from roborefer_ros.doctor import installed, report
from roborefer_ros.doctor.check import Check
from roborefer_ros.models.depth_network import SIZES
from roborefer_ros.ros_compat import environment


def test_report_has_every_check_once() -> None:
    checks = report.collect()
    names = [check.name for check in checks]
    assert len(set(names)) == len(names) == len(report.CHECKS)
    text = report.format_report(checks)
    for check in checks:
        assert check.detail in text
        assert (
            check.status == "ok"
            or check.remedy
            or check.name in ("torch", "shared memory", "NumPy, OpenCV")
        )


def test_exit_code_tells_whether_something_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fine = Check("a", "warn", "could be better", "do this")
    broken = Check("b", "missing", "is not there", "do that")
    monkeypatch.setattr(report, "CHECKS", (lambda: fine,))
    assert doctor.main([]) == 0
    monkeypatch.setattr(report, "CHECKS", (lambda: fine, lambda: broken))
    assert doctor.main([]) == 1
    printed = capsys.readouterr().out
    assert "MISS  b  is not there" in printed
    assert "-> do that" in printed


def test_json_is_the_same_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "CHECKS", (installed.check_python,))
    assert doctor.main(["--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["name"] == "Python"
    assert set(entry) == {"name", "status", "detail", "remedy"}


def test_missing_packages_name_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed.importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setattr(installed, "_version", lambda _name: None)
    for check, extra in (
        (installed.check_open3d(), "sim"),
        (installed.check_transformers(), "model"),
        (installed.check_remote_extra(), "remote"),
        (installed.check_serve_extra(), "serve"),
        (installed.check_eval_extra(), "eval"),
    ):
        assert check.status != "ok"
        assert f"[{extra}]'" in check.remedy


def test_ros_that_cannot_be_imported_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(installed.importlib, "import_module", refuse)
    check = installed.check_ros()
    assert check.status == "missing"
    assert "make setup" in check.remedy
    assert installed.check_torch().status == "missing"
    assert installed.check_messages().status == "missing"


def test_fast_dds_profile_states(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ROS_DISTRO", "RMW_IMPLEMENTATION", "FASTDDS_DEFAULT_PROFILES_FILE"):
        monkeypatch.delenv(name, raising=False)
    check = installed.check_fast_dds()
    assert check.status == "warn"
    assert "export FASTDDS_DEFAULT_PROFILES_FILE=" in check.remedy
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", str(tmp_path / "gone.xml"))
    assert "does not exist" in installed.check_fast_dds().detail
    (tmp_path / "udp.xml").write_text("<profiles/>")
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", str(tmp_path / "udp.xml"))
    assert "no shared memory" in installed.check_fast_dds().detail
    shipped = environment.share_directory() / "config" / "fastdds_shm.xml"
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", str(shipped))
    assert installed.check_fast_dds().status == "ok"
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_cyclonedds_cpp")
    assert "not used by" in installed.check_fast_dds().detail


@pytest.mark.parametrize(
    ("check", "repository", "weights"),
    [
        (installed.check_checkpoint, installed.CHECKPOINT, "llm/model.safetensors"),
        (installed.check_depth_network, SIZES["small"], "model.safetensors"),
    ],
)
def test_weights_are_found_in_the_cache(
    check: Callable[[], Check],
    repository: str,
    weights: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr(installed, "_has_gpu", lambda: False)
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


@pytest.mark.parametrize(("has_gpu", "wanted"), [(False, "small"), (True, "large")])
def test_every_size_of_the_depth_network_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, has_gpu: bool, wanted: str
) -> None:
    """The defaults' own must be there; others are told, and how to use them instead."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(installed, "_has_gpu", lambda: has_gpu)

    def add(size: str) -> None:
        folder = tmp_path / f"models--{SIZES[size].replace('/', '--')}" / "snapshots/0123"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").touch()

    missing = installed.check_depth_network()
    assert missing.status == "warn"
    assert "there, too" not in missing.detail
    assert missing.remedy == f"hf download {SIZES[wanted]}"
    add("base")
    other = installed.check_depth_network()
    assert other.status == "warn"
    assert "base: there, too" in other.detail
    assert other.remedy.endswith("(or set depth_network to 'base')")
    add(wanted)
    found = installed.check_depth_network()
    assert found.status == "ok"
    assert found.detail.startswith(f"{wanted}, which the defaults use")
    assert ("there is a GPU" in found.detail) == has_gpu


def test_what_auto_is_agrees_with_the_loader() -> None:
    depth_anything = pytest.importorskip("roborefer_ros.models.depth_anything")
    assert SIZES["small"] == depth_anything.DEFAULT_SOURCE


def test_a_bayer_image_that_kills_the_process_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cv_bridge.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    check = installed.check_numpy_opencv()
    assert check.status == "broken"
    assert "exit status -11" in check.detail
    assert "apt-get install python3-numpy python3-opencv" in check.remedy
