#!/usr/bin/env python3
# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Make the environment that `make demo` and `make test` use; runs again only add what is missing.

With a ROS 2 distribution sourced, `.venv` sits on top of it and only the Python packages are
added.  Without one, ROS 2 itself is installed into `.venv` from Python wheels.  Either way
`roborefer_msgs` is built with colcon into `install/`.  Only the standard library is used here.

    python3 scripts/setup_environment.py [--venv .venv] [--only packages|messages|test-tools]

TORCH_INDEX_URL in the environment chooses another index for torch; on Linux,
https://download.pytorch.org/whl/cpu has builds of a tenth of the size, without CUDA.  Where `uv` is
installed, it installs everything but torch.
"""

from __future__ import annotations

import argparse
import ctypes.util
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
FALLBACK_MESSAGES = ROOT / "roborefer_ros" / "ros_compat" / "tf2_msgs"
OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 13)

#: shared library (as the linker knows it) -> Debian package; what Open3D's wheel loads
SYSTEM_LIBRARIES = {
    "usb-1.0": "libusb-1.0-0",
    "GL": "libgl1",
    "gomp": "libgomp1",
    "EGL": "libegl1",
    "X11": "libx11-6",
}

#: any of them draws the pages that the tests look at
BROWSERS = ("chromium", "chromium-headless-shell", "google-chrome")

_started = time.monotonic()


def say(text: str) -> None:
    """Print one line of progress with the seconds since the start."""
    print(f"[setup {time.monotonic() - _started:5.0f} s] {text}", flush=True)


def fail(text: str) -> None:
    """Say what is wrong and how to mend it, and stop."""
    sys.exit(f"[setup] {text}")


# --- the machine -----------------------------------------------------------------------


def sourced_distribution() -> str | None:
    """Name of the ROS 2 distribution that is sourced in this shell, if this Python can use it."""
    name = os.environ.get("ROS_DISTRO")
    if not name or not os.environ.get("AMENT_PREFIX_PATH"):
        return None
    probe = subprocess.run([sys.executable, "-c", "import rclpy"], capture_output=True, text=True)
    if probe.returncode:
        fail(
            f"ROS 2 {name} is sourced, but {sys.executable} cannot import its rclpy. Run with the "
            f"distribution's Python (`make PYTHON=/usr/bin/python3 setup`), or use a shell "
            f"without it to take ROS 2 from Python wheels.\n{probe.stderr.strip()}"
        )
    return name


def check_python() -> None:
    """Stop on a Python that has no wheels for what is needed."""
    if not OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON:
        fail(
            f"Python {sys.version.split()[0]} is not supported; 3.{OLDEST_PYTHON[1]} to "
            f"3.{NEWEST_PYTHON[1]} are. Choose one: `make PYTHON=python3.12 setup`"
        )


def apt_command() -> list[str] | None:
    """The prefix that runs apt-get without asking, or None when that is not possible."""
    if not shutil.which("apt-get"):
        return None
    if os.geteuid() == 0:
        return ["apt-get"]
    if (
        shutil.which("sudo")
        and not subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode
    ):
        return ["sudo", "-n", "apt-get"]
    return None


def install_system_packages(needs_wheels: bool) -> None:
    """Install the missing compiler and shared libraries, or print the line that does."""
    missing = [deb for lib, deb in SYSTEM_LIBRARIES.items() if not ctypes.util.find_library(lib)]
    if needs_wheels and not shutil.which("g++") and not shutil.which("c++"):
        missing.append("g++")
    if needs_wheels and not shutil.which("make"):
        missing.append("make")
    if not missing:
        return
    apt = apt_command()
    line = f"apt-get install --no-install-recommends {' '.join(missing)}"
    if apt is None:
        fail(f"these system packages are missing; install them and run again:\n    sudo {line}")
    say(f"system packages: {' '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run([*apt, "update", "-qq"], env=environment, check=False)
    command = [*apt, "install", "-y", "-qq", "--no-install-recommends", *missing]
    if subprocess.run(command, env=environment, stdout=subprocess.DEVNULL).returncode:
        fail(f"apt-get failed; install them by hand and run again:\n    sudo {line}")


def install_browser() -> None:
    """Have a browser for the tests of the pages; without one those are skipped.

    Installed only by root on Debian, which is what a CI machine is: elsewhere Chromium is no apt
    package (Ubuntu's is a snap), and on a desk people choose their browser themselves.
    """
    if any(map(shutil.which, BROWSERS)):
        return
    line = "apt-get install --no-install-recommends chromium fonts-dejavu-core"
    skipped = "no Chromium: the tests that look at the pages in a browser are skipped"
    release = Path("/etc/os-release")
    is_debian = release.exists() and re.search(r"^ID=\"?debian", release.read_text(), re.MULTILINE)
    if not is_debian or os.geteuid() != 0 or not shutil.which("apt-get"):
        say(f"{skipped}. On Debian, `sudo {line}` brings it")
        return
    say("system packages for the tests: chromium fonts-dejavu-core")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], env=environment, check=False)
    command = [*line.split(), "-y", "-qq"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        say(f"{skipped}. `{line}` failed:\n{done.stderr.strip()[-2000:]}")


# --- Python packages -------------------------------------------------------------------


def make_venv(venv: Path, distribution: str | None) -> Path:
    """Create the virtual environment where there is none; returns its Python."""
    python = venv / "bin" / "python"
    if not python.exists():
        say(f"virtual environment in {venv}")
        on_top = ["--system-site-packages"] if distribution else []
        # A shell in which another wheel-based ROS 2 runs would leak its library path to the child.
        if subprocess.run(
            [sys.executable, "-m", "venv", *on_top, str(venv)], env=clean_environment()
        ).returncode:
            fail(
                f"could not create {venv}; on Debian and Ubuntu: sudo apt-get install python3-venv"
            )
    return python


def clean_environment() -> dict[str, str]:
    """The environment without what another venv with ROS 2 wheels left in it."""
    environment = dict(os.environ)
    if environment.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None):
        environment.pop("LD_LIBRARY_PATH", None)
    return environment


def pip_install(python: Path, title: str, *arguments: str, uv: bool = False) -> None:
    """One installation; its output is shown only when it fails (or with VERBOSE=1).

    Args:
        python: Python of the virtual environment.
        title: Line of progress.
        arguments: Arguments that pip and uv both know.
        uv: Whether uv may do it, where it is installed: it resolves in seconds.
    """
    say(title)
    quiet = [] if os.environ.get("VERBOSE") else ["-q"]
    program = shutil.which("uv") if uv else None
    if program:
        command = [program, "pip", "install", "--python", str(python), *quiet, *arguments]
    else:
        pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check"]
        command = [*pip, *quiet, *arguments]
    if subprocess.run(command, env=clean_environment()).returncode:
        fail(f"{'uv' if program else 'pip'} failed; the command was:\n    {' '.join(command)}")


def install_packages(venv: Path, distribution: str | None) -> None:
    """The packages of the node, the demo and the server; torch first, so that no other comes."""
    python = make_venv(venv, distribution)
    index = os.environ.get("TORCH_INDEX_URL")
    chosen = ["--index-url", index] if index else []
    keep = kept_packages(python) if distribution else []
    pip_install(python, "torch (the largest download)", *chosen, *keep, "-r", _file("torch.txt"))
    files = ["core.txt"] if distribution else ["images.txt", "core.txt", "ros-kilted.txt"]
    arguments = [part for name in files for part in ("-r", _file(name))]
    build = ["setuptools>=64,<80"]  # colcon still runs `setup.py install` and `develop`
    if not distribution and not shutil.which("cmake"):
        build.append("cmake<4")
    source = f"ROS 2 {distribution}" if distribution else "ROS 2 Kilted from Python wheels"
    # uv does not see the packages of the distribution below the virtual environment.
    uv = distribution is None
    pip_install(python, f"packages on top of {source}", *build, *keep, *arguments, uv=uv)
    if not distribution:
        adapt_wheel_paths(python)
    pip_install(
        python, "roborefer_ros itself", "--no-deps", "--no-build-isolation", "-e", str(ROOT)
    )


def install_test_tools(venv: Path, distribution: str | None) -> None:
    """What `make test` needs beyond the packages, a browser included."""
    python = make_venv(venv, distribution)
    keep = kept_packages(python) if distribution else []
    pip_install(python, "test tools", *keep, "-r", _file("dev.txt"), uv=distribution is None)


def _file(name: str) -> str:
    return str(REQUIREMENTS / name)


def kept_packages(python: Path) -> list[str]:
    """Arguments that leave NumPy and OpenCV to the ROS 2 distribution below the environment.

    Its cv_bridge is compiled against them: another NumPy or OpenCV above ends in a segmentation
    fault at the first image that it converts.
    """
    code = "import numpy, cv2; print(numpy.__version__, cv2.__version__)"
    found = subprocess.run(
        [str(python), "-c", code], capture_output=True, text=True, env=clean_environment()
    )
    if found.returncode:
        fail(
            "the ROS 2 distribution has no usable NumPy and OpenCV; install them and run again:\n"
            f"    sudo apt-get install python3-numpy python3-opencv\n{found.stderr.strip()}"
        )
    numpy, _, opencv = found.stdout.strip().partition(" ")
    say(f"NumPy {numpy} and OpenCV {opencv} of the distribution stay")
    constraints = python.parent.parent / "distribution-constraints.txt"
    constraints.write_text(f"numpy=={numpy}\n", encoding="utf-8")
    return ["-c", str(constraints)]


def adapt_wheel_paths(python: Path) -> None:
    """Point the CMake files of the ROS 2 wheels at this Python, not the one that built them.

    uv links the files of its cache into each environment: a file is replaced, never written into,
    or other environments would be told this one's paths.
    """
    code = (
        "import json, sys, sysconfig, numpy; print(json.dumps([sys.prefix, "
        "sysconfig.get_paths()['include'], numpy.get_include()]))"
    )
    prefix, include, numpy_include = json.loads(subprocess.check_output([str(python), "-c", code]))
    built = r"/opt/python/cp3\d+-cp3\d+"
    replacements = [
        (
            re.compile(r"/[^\s\";]+/lib/python3\.\d+/site-packages/numpy/(?:_core|core)/include"),
            numpy_include,
        ),
        (re.compile(built + r"/include/python3\.\d+"), include),
    ]
    for folder in (Path(prefix, "share"), Path(prefix, "lib", "cmake")):
        for path in folder.rglob("*.cmake"):
            old = path.read_text(encoding="utf-8", errors="surrogateescape")
            new = old
            for pattern, replacement in replacements:
                new = pattern.sub(lambda _match, text=replacement: text, new)
            if new != old:
                adapted = path.with_suffix(".adapted")
                adapted.write_text(new, encoding="utf-8", errors="surrogateescape")
                adapted.replace(path)


# --- message packages ------------------------------------------------------------------


def build_messages(venv: Path, distribution: str | None) -> None:
    """Build roborefer_msgs (and the fallback tf2_msgs without a distribution) into install/."""
    sources = [ROOT / "roborefer_msgs"] + ([] if distribution else [FALLBACK_MESSAGES])
    stamp = ROOT / "install" / ".messages-stamp"
    fingerprint = message_fingerprint(sources, venv, distribution)
    if stamp.exists() and stamp.read_text() == fingerprint:
        return
    names = " and ".join(path.name for path in sources)
    say(f"colcon builds {names} (about 20 s)")
    environment = clean_environment()
    environment["PATH"] = f"{venv / 'bin'}{os.pathsep}{environment['PATH']}"
    environment["VIRTUAL_ENV"] = str(venv)
    if not distribution:
        environment["AMENT_PREFIX_PATH"] = environment["CMAKE_PREFIX_PATH"] = str(venv)
    python = venv / "bin" / "python"
    command = [
        str(python), "-m", "colcon", "build", "--base-paths", *map(str, sources),
        "--packages-select", *(path.name for path in sources),
        "--event-handlers", "status-", "desktop_notification-",
        "--cmake-args", "-DBUILD_TESTING=OFF", f"-DPython3_EXECUTABLE={python}",
        "--no-warn-unused-cli",
    ]  # fmt: skip
    # A build folder of another Python or another place keeps paths that are wrong here.
    for path in sources:
        shutil.rmtree(ROOT / "build" / path.name, ignore_errors=True)
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if result.returncode:
        fail(f"colcon failed:\n{result.stdout}\n{result.stderr}")
    stamp.write_text(fingerprint)


def message_fingerprint(sources: list[Path], venv: Path, distribution: str | None) -> str:
    """Changes whenever the messages must be built again."""
    digest = hashlib.sha256(f"{ROOT} {venv} {distribution} {sys.version_info[:2]}".encode())
    for source in sources:
        for path in sorted(p for p in source.rglob("*") if p.is_file()):
            digest.update(str(path.relative_to(source)).encode() + path.read_bytes())
    return digest.hexdigest()


def main() -> None:
    """Run the steps that were asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="default: .venv")
    parser.add_argument(
        "--only",
        choices=["packages", "messages", "test-tools"],
        help="one step; default: packages and messages",
    )
    options = parser.parse_args()
    check_python()
    distribution = sourced_distribution()
    venv = options.venv.absolute()
    if options.only == "test-tools":
        install_browser()
        install_test_tools(venv, distribution)
        return
    if options.only != "messages":
        install_system_packages(needs_wheels=distribution is None)
        install_packages(venv, distribution)
    if options.only != "packages":
        build_messages(venv, distribution)
    say("ready")


if __name__ == "__main__":
    main()
