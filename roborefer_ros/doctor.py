# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer doctor``: what is installed, what is missing, and the line that mends it.

Every check is a function without arguments that returns a ``Check`` and never raises; ROS 2,
torch and the rest are looked at but never needed.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from roborefer_ros import __version__
from roborefer_ros.standalone import environment

Status = Literal["ok", "warn", "missing"]

#: the published checkpoint that the README starts with
CHECKPOINT = "Zhoues/RoboRefer-2B-SFT"
#: what makes its depth picture from RGB (depth_source "model", its default)
DEPTH_NETWORK = "depth-anything/Depth-Anything-V2-Small-hf"
#: the newest Python that the ROS 2 wheels are built for
NEWEST_PYTHON = (3, 13)
#: one camera image of 4K and some: below this, large images do not fit into the segment
SHM_WANTED_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class Check:
    """One line of the report.

    Attributes:
        name: what was looked at.
        status: ``missing`` means that something cannot work, ``warn`` that it works less well.
        detail: what was found.
        remedy: what to do about it; empty when nothing.
    """

    name: str
    status: Status
    detail: str
    remedy: str = ""


# --- the parts -------------------------------------------------------------------------


def check_python() -> Check:
    """Version of Python."""
    detail = f"{platform.python_version()} at {sys.executable}"
    if NEWEST_PYTHON < sys.version_info[:2]:
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
    """Real packages or stand-ins."""
    standalone = importlib.import_module("roborefer_ros.standalone")
    found = []
    for name in ("cv_bridge", "message_filters", "tf2_ros"):
        try:
            module = getattr(standalone, name)
        except ImportError as error:
            return Check(
                "cv_bridge, tf2_ros, ...", "missing", f"{name}: {error}", "see ROS 2 above"
            )
        found.append(f"{name} {'stand-in' if standalone.is_standin(module) else 'real'}")
    return Check("cv_bridge, tf2_ros, ...", "ok", ", ".join(found))


def check_torch() -> Check:
    """torch and what it can compute on."""
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
    folder = Path(__file__).parent / "demo_brain"
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
    """The network whose depth picture those weights were trained with; fetched when first used."""
    return _check_hub_cache("depth network weights", DEPTH_NETWORK, "*.safetensors")


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
    if "SHM" not in Path(value).read_text(encoding="utf-8", errors="replace"):
        return Check(name, "warn", f"{value} configures no shared memory", remedy)
    return Check(name, "ok", value)


def check_shared_memory() -> Check:
    """Room in /dev/shm; containers often have 64 MB, of which one participant takes all."""
    name = "shared memory"
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return Check(name, "warn", "no /dev/shm on this system")
    usage = shutil.disk_usage(folder)
    detail = f"/dev/shm has {usage.free / 2**20:.0f} of {usage.total / 2**20:.0f} MiB free"
    if usage.free < SHM_WANTED_BYTES:
        return Check(name, "warn", detail, "docker run --shm-size=1g, or --ipc=host")
    return Check(name, "ok", detail)


def check_remote_extra() -> Check:
    """What models on other machines need."""
    return _check_extra("remote", ("httpx",))


def check_serve_extra() -> Check:
    """What the GPU server needs."""
    return _check_extra("serve", ("fastapi", "uvicorn"))


def check_eval_extra() -> Check:
    """What the benchmarks need."""
    return _check_extra("eval", ("pyarrow", "jinja2", "matplotlib", "tqdm"))


CHECKS: tuple[Callable[[], Check], ...] = (
    check_python,
    check_ros,
    check_rmw,
    check_messages,
    check_companions,
    check_fast_dds,
    check_shared_memory,
    check_torch,
    check_transformers,
    check_open3d,
    check_demo_weights,
    check_checkpoint,
    check_depth_network,
    check_remote_extra,
    check_serve_extra,
    check_eval_extra,
)


# --- helpers ---------------------------------------------------------------------------


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _pip(extra: str) -> str:
    """The line that installs an extra: from the clone where there is one, else by name."""
    clone = Path(__file__).resolve().parents[1]
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


# --- the report ------------------------------------------------------------------------


def collect() -> list[Check]:
    """Run all checks, in the order of the report."""
    return [check() for check in CHECKS]


def format_report(checks: Sequence[Check]) -> str:
    """The report as text: one line per check, its remedy indented below."""
    marks = {"ok": "ok  ", "warn": "warn", "missing": "MISS"}
    width = max(len(check.name) for check in checks)
    lines = [f"roborefer_ros {__version__}"]
    for check in checks:
        lines.append(f"{marks[check.status]}  {check.name:<{width}}  {check.detail}")
        lines += [f"      {'':<{width}}  -> {line.strip()}" for line in check.remedy.splitlines()]
    return "\n".join(lines)


def run(as_json: bool = False) -> int:
    """Print the report; 1 when something is missing, else 0."""
    checks = collect()
    if as_json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        print(format_report(checks))
    return 1 if any(check.status == "missing" for check in checks) else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``roborefer doctor``."""
    parser = argparse.ArgumentParser(
        prog="roborefer doctor",
        description="Say what is installed, what is missing and what to do.",
    )
    parser.add_argument("--json", action="store_true", help="machine-readable")
    return run(as_json=parser.parse_args(argv).json)


if __name__ == "__main__":
    sys.exit(main())
