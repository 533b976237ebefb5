# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Packages, weights and settings: what is installed, and what is missing.

Every check is a function without arguments that returns a ``Check`` and never raises; ROS 2,
torch and the rest are looked at but never needed.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from roborefer_ros.doctor.check import Check
from roborefer_ros.errors import ConfigurationError
from roborefer_ros.files import read_text
from roborefer_ros.models.depth_network import SIZES, parse_depth_network
from roborefer_ros.ros_compat import environment

#: the published checkpoint that the README starts with
CHECKPOINT = "Zhoues/RoboRefer-2B-SFT"
#: the newest Python that the ROS 2 wheels are built for
NEWEST_PYTHON = (3, 13)


# --- the parts -------------------------------------------------------------------------


def check_python() -> Check:
    """Version of Python."""
    detail = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] > NEWEST_PYTHON:
        newest = ".".join(map(str, NEWEST_PYTHON))
        return Check("Python", "warn", detail, f"tested up to {newest}; ROS 2 wheels end there")
    return Check("Python", "ok", detail)


def check_ros() -> Check:
    """rclpy, and where it comes from."""
    try:
        rclpy = importlib.import_module("rclpy")
    except ImportError as error:
        remedy = "source a ROS 2 distribution, or run `make setup` in a clone and . scripts/env.sh"
        return Check("ROS 2", "missing", str(error), remedy)
    distribution = os.environ.get("ROS_DISTRO")
    if distribution:
        return Check(
            "ROS 2", "ok", f"distribution {distribution}, {Path(str(rclpy.__file__)).parent}"
        )
    version = _version("ros-rclpy") or "unknown version"
    return Check("ROS 2", "ok", f"Python wheels, rclpy {version}")


def check_rmw() -> Check:
    """The middleware."""
    try:
        name = importlib.import_module("rclpy.utilities").get_rmw_implementation_identifier()
    except Exception as error:  # a missing library surfaces as many kinds of error
        return Check("middleware", "missing", str(error), "install an RMW, e.g. rmw_fastrtps_cpp")
    return Check("middleware", "ok", name)


def check_messages() -> Check:
    """Whether roborefer_msgs is built and sourced."""
    try:
        importlib.import_module("roborefer_ros.nodes.interfaces")
    except ImportError as error:
        what, _, remedy = str(error).partition("\n")
        return Check("roborefer_msgs", "missing", what, remedy)
    return Check("roborefer_msgs", "ok", "built and importable")


def check_companions() -> Check:
    """Real packages or fallbacks."""
    ros_compat = importlib.import_module("roborefer_ros.ros_compat")
    found = []
    for name in ("cv_bridge", "message_filters", "tf2_ros"):
        try:
            module = getattr(ros_compat, name)
        except ImportError as error:
            return Check(
                "cv_bridge, tf2_ros, ...", "missing", f"{name}: {error}", "see ROS 2 above"
            )
        found.append(f"{name} {'fallback' if ros_compat.is_fallback(module) else 'real'}")
    return Check("cv_bridge, tf2_ros, ...", "ok", ", ".join(found))


#: run in a process of its own: with the wrong NumPy or OpenCV it ends in a segmentation fault
_CONVERT_BAYER = """
import numpy, cv2
from cv_bridge import CvBridge
from sensor_msgs.msg import Image
image = Image(height=4, width=4, encoding="bayer_rggb8", step=4, data=bytes(16))
CvBridge().imgmsg_to_cv2(image, "rgb8")
"""


def check_numpy_opencv() -> Check:
    """Whether cv_bridge, which is compiled against NumPy and OpenCV, works with those found."""
    name = "NumPy, OpenCV"
    versions = []
    for module in ("numpy", "cv2"):
        try:
            versions.append(f"{module} {importlib.import_module(module).__version__}")
        except Exception as error:  # an extension of another ABI raises many kinds of error
            return Check(name, "missing", f"{module}: {error}", "pip install roborefer_ros")
    detail = ", ".join(versions)
    if importlib.util.find_spec("cv_bridge") is None:
        return Check(name, "ok", f"{detail}; no cv_bridge that must fit")
    command = [sys.executable, "-c", _CONVERT_BAYER]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return Check(name, "warn", f"{detail}; cv_bridge did not answer within 60 s")
    if done.returncode == 0:
        return Check(name, "ok", f"{detail}; cv_bridge converts with them")
    reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    return Check(
        name,
        "broken",
        f"{detail} do not fit the distribution's cv_bridge ({reason})",
        "pip uninstall numpy opencv-python opencv-python-headless   (in this environment)\n"
        "sudo apt-get install python3-numpy python3-opencv",
    )


def check_torch() -> Check:
    """Torch and what it can compute on."""
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        return Check("torch", "missing", str(error), _pip("model"))
    if not torch.cuda.is_available():
        remedy = "" if shutil.which("nvidia-smi") is None else "install a torch built for CUDA"
        return Check("torch", "warn", f"{torch.__version__}, no CUDA device: CPU only", remedy)
    names = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        names.append(f"{name} ({free / 2**30:.1f} of {total / 2**30:.1f} GiB free)")
    return Check("torch", "ok", f"{torch.__version__}, {'; '.join(names)}")


def check_transformers() -> Check:
    """transformers, whose Qwen2 and SigLIP the network is made of."""
    version = _version("transformers")
    if version is None:
        return Check("transformers", "missing", "not installed", _pip("model"))
    return Check("transformers", "ok", version)


def check_open3d() -> Check:
    """Open3D: its wheel needs system libraries, so it is really imported."""
    if importlib.util.find_spec("open3d") is None:
        return Check("open3d", "warn", "not installed: no simulated camera", _pip("sim"))
    try:
        module = importlib.import_module("open3d")
    except (ImportError, OSError) as error:
        remedy = "sudo apt-get install libusb-1.0-0 libgl1 libgomp1 libegl1 libx11-6"
        return Check("open3d", "warn", str(error), remedy)
    return Check("open3d", "ok", str(module.__version__))


def check_demo_weights() -> Check:
    """The small checkpoint that comes with the package."""
    folder = Path(__file__).parents[1] / "demo_checkpoint"
    size = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    if not size:
        return Check(
            "demo checkpoint", "missing", f"no weights in {folder}", "install the package again"
        )
    return Check("demo checkpoint", "ok", f"{size / 1e6:.1f} MB (spec roborefer:demo)")


def check_checkpoint() -> Check:
    """Whether the published weights are in the Hugging Face cache."""
    return _check_hub_cache("RoboRefer weights", CHECKPOINT, "llm/*.safetensors")


def check_depth_network() -> Check:
    """The network that predicts the depth picture; fetched when first used.

    Any size will do for whoever names it; the defaults need theirs.
    """
    name = "depth network weights"
    used = parse_depth_network("auto", _has_gpu())
    checks = {
        size: _check_hub_cache(name, repository, "*.safetensors")
        for size, repository in SIZES.items()
    }
    wanted = next(size for size, repository in SIZES.items() if repository == used.source)
    others = [size for size, check in checks.items() if check.status == "ok" and size != wanted]
    also = f"; {', '.join(others)}: there, too" if others else ""
    chosen = checks[wanted]
    remedy = chosen.remedy
    if chosen.status != "ok" and others:
        remedy += f"   (or set depth_network to '{others[0]}')"
    detail = f"{wanted}, which the defaults use here ({used.reason}): {chosen.detail}{also}"
    return Check(name, chosen.status, detail, remedy)


def _has_gpu() -> bool:
    try:
        return bool(importlib.import_module("torch").cuda.is_available())
    except ImportError:
        return False


def check_fast_dds() -> Check:
    """The shared-memory profile, without which images above 0.5 MB are lost."""
    name = "Fast DDS profile"
    if os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp") != "rmw_fastrtps_cpp":
        return Check(name, "ok", f"not used by {os.environ['RMW_IMPLEMENTATION']}")
    variable = environment.profile_variable()
    value = os.environ.get(variable, "")
    try:
        shipped = environment.share_directory() / "config" / "fastdds_shm.xml"
    except FileNotFoundError as error:
        return Check(name, "warn", str(error))
    remedy = f"export {variable}={shipped}   (the launch files and the demo do it themselves)"
    if not value:
        return Check(name, "warn", "none: camera images between processes will be lost", remedy)
    if not Path(value).is_file():
        return Check(name, "warn", f"{variable} names {value}, which does not exist", remedy)
    try:
        profile = read_text(Path(value))
    except ConfigurationError as error:
        return Check(name, "warn", str(error), remedy)
    if "SHM" not in profile:
        return Check(name, "warn", f"{value} configures no shared memory", remedy)
    return Check(name, "ok", value)


def check_remote_extra() -> Check:
    """What models on other machines need."""
    return _check_extra("remote", ("httpx",))


def check_serve_extra() -> Check:
    """What the GPU server needs."""
    return _check_extra("serve", ("fastapi", "uvicorn"))


def check_eval_extra() -> Check:
    """What the benchmarks need."""
    return _check_extra("eval", ("pyarrow", "jinja2", "matplotlib", "tqdm"))


# --- helpers ---------------------------------------------------------------------------


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _pip(extra: str) -> str:
    """The line that installs an extra: from the clone where there is one, else by name."""
    clone = Path(__file__).resolve().parents[2]
    source = str(clone) if (clone / "setup.py").is_file() else "roborefer_ros"
    return f"pip install '{source}[{extra}]'"


def _check_hub_cache(name: str, repository: str, weights: str) -> Check:
    """Whether a hub repository was downloaded: ``weights`` is a pattern within a snapshot."""
    remedy = f"hf download {repository}"
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    folder = cache / f"models--{repository.replace('/', '--')}"
    found = [path for path in sorted(folder.glob(f"snapshots/*/{weights}")) if path.exists()]
    if not found:
        return Check(name, "warn", f"{repository} is not in {cache}", remedy)
    unfinished = list(folder.glob("blobs/*.incomplete"))
    if unfinished:
        return Check(name, "warn", f"{repository}: {len(unfinished)} files unfinished", remedy)
    snapshot = folder / "snapshots" / found[0].relative_to(folder / "snapshots").parts[0]
    return Check(name, "ok", f"{repository} in {snapshot}")


def _check_extra(extra: str, modules: tuple[str, ...]) -> Check:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        return Check(f"extra {extra}", "warn", f"without {', '.join(missing)}", _pip(extra))
    return Check(f"extra {extra}", "ok", ", ".join(f"{name} {_version(name)}" for name in modules))
