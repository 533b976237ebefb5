# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The process environment: what is added, and what the user set stays."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from roborefer_ros.ros_compat import environment


def test_everything_missing_is_added() -> None:
    result = environment.prepare_environment({})
    assert Path(result["FASTDDS_DEFAULT_PROFILES_FILE"]).is_file()
    assert int(result["MALLOC_MMAP_THRESHOLD_"]) == environment.MMAP_THRESHOLD_BYTES
    assert int(result["MALLOC_TRIM_THRESHOLD_"]) == environment.TRIM_THRESHOLD_BYTES
    assert result["ROS_LOG_DIR"], "rclpy cannot start without a home or a log folder"


def test_what_the_user_set_stays() -> None:
    mine = {
        "HOME": "/home/robot",
        "FASTDDS_DEFAULT_PROFILES_FILE": "/mine.xml",
        "MALLOC_MMAP_THRESHOLD_": "1",
        "MALLOC_TRIM_THRESHOLD_": "2",
    }
    assert environment.prepare_environment(dict(mine)) == mine


@pytest.mark.parametrize(
    ("distribution", "variable"),
    [
        ("humble", "FASTRTPS_DEFAULT_PROFILES_FILE"),
        ("jazzy", "FASTRTPS_DEFAULT_PROFILES_FILE"),
        ("kilted", "FASTDDS_DEFAULT_PROFILES_FILE"),
        ("", "FASTDDS_DEFAULT_PROFILES_FILE"),
    ],
)
def test_variable_is_the_one_this_fast_dds_reads(distribution: str, variable: str) -> None:
    result = environment.prepare_environment({"ROS_DISTRO": distribution})
    assert [name for name in result if name.endswith("PROFILES_FILE")] == [variable]


def test_profile_of_the_other_fast_dds_counts_as_set() -> None:
    result = environment.prepare_environment({"FASTRTPS_DEFAULT_PROFILES_FILE": "/mine.xml"})
    assert "FASTDDS_DEFAULT_PROFILES_FILE" not in result


def test_profile_has_a_segment_for_images() -> None:
    root = ET.parse(environment.share_directory() / "config" / "fastdds_shm.xml").getroot()
    space = {"f": root.tag.partition("}")[0].strip("{")}
    kinds = {
        t.findtext("f:transport_id", namespaces=space): t.findtext("f:type", namespaces=space)
        for t in root.iterfind(".//f:transport_descriptor", space)
    }
    used = [e.text for e in root.iterfind(".//f:userTransports/f:transport_id", space)]
    assert {kinds[name] for name in used if name} == {"SHM", "UDPv4"}
    segment = root.findtext(".//f:segment_size", namespaces=space)
    assert segment is not None
    assert int(segment) == 64 * 2**20
    participant = root.find("f:participant", space)
    assert participant is not None
    assert participant.get("is_default_profile") == "true"


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")
def test_allocator_keeps_freed_images() -> None:
    """A freed 3 MB block is reused: few page faults in a loop that faults without the setting."""
    code = """
import resource, sys
if sys.argv[1] == "tuned":
    from roborefer_ros.ros_compat.environment import tune_allocator
    assert tune_allocator()
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
libc.mallopt(-8, 1)  # one arena
if sys.argv[1] != "tuned":
    libc.mallopt(-3, 128 * 1024)  # glibc's default threshold, without its adaptation
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    block = libc.malloc(3_000_000)
    ctypes.memset(block, 1, 3_000_000)
    libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

    def faults(how: str) -> int:
        command = [sys.executable, "-c", code, how]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    tuned, plain = faults("tuned"), faults("plain")
    assert tuned < 3_000, "about one round of 733 pages"
    assert plain > 50_000, "each of the 100 rounds faults its pages in again"


def test_share_directory_needs_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    inside = tmp_path / "lib" / "roborefer_ros" / "ros_compat"
    monkeypatch.setattr(environment, "__file__", str(inside / "environment.py"))
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"/nowhere:{tmp_path / 'overlay'}")
    monkeypatch.setattr(environment.sysconfig, "get_path", lambda _name: str(tmp_path / "venv"))
    with pytest.raises(FileNotFoundError, match=r"source install/setup\.bash"):
        environment.share_directory()
    for prefix in ("venv", "overlay"):  # the overlay wins over the environment
        folder = tmp_path / prefix / "share" / "roborefer_ros"
        folder.mkdir(parents=True)
        (folder / "package.xml").touch()
        assert environment.share_directory() == folder
