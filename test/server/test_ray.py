# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Two replicas on Ray Serve; one is killed under load."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import httpx
import psutil
import pytest
from serving import TINY, Start  # type: ignore[import-not-found]

# Not imported here: Ray reads its environment once, and other tests of this process set it first.
if find_spec("ray") is None:
    pytest.skip("Ray is not installed", allow_module_level=True)

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.server.ray_model import RayOptions, read_options

CONFIGURATION = """
concurrency: 8
deployment:
  num_replicas: 2
  max_ongoing_requests: 4
  ray_actor_options: {num_cpus: 0.5}
"""


def listens_at(root: int) -> set[str]:
    """Addresses at which a process and those below it listen."""
    parent = psutil.Process(root)
    found = set()
    for process in [parent, *parent.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    found.add(connection.laddr.ip)
    return found


def replicas(root: int) -> list[int]:
    """Processes below the server that hold a model, by the title that Ray gives them."""
    found, below = [], {root}
    for entry in sorted(int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()):
        try:
            parent = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
            title = Path(f"/proc/{entry}/cmdline").read_bytes()
        except OSError:
            continue
        if parent in below:
            below.add(entry)
            if b"ServeReplica:roborefer" in title:
                found.append(entry)
    return found


def stranger(folder: Path) -> str:
    """What Ray tells someone on this machine who does not know the cluster's token."""
    environment = {key: os.environ[key] for key in os.environ if not key.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", "import ray; ray.init(address='auto')"],
        env={**environment, "TMPDIR": str(folder), "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode != 0, "a stranger was let in"
    return done.stderr


@pytest.mark.timeout(600)
def test_a_replica_dies_under_load(start: Start, image: str, tmp_path: Path) -> None:
    configuration = tmp_path / "ray.yaml"
    configuration.write_text(CONFIGURATION)
    served = start(
        *("--model", TINY, "--max-new-tokens", "400", "--ray", str(configuration)),
        *("--timeout-s", "300"),
        within_s=300,
    )
    body = {"image_url": [image], "text": "Where is the mug?"}
    asked = 40

    def ask(_: int) -> httpx.Response:
        return httpx.post(f"{served.url}/query", json=body, timeout=300)

    before = replicas(served.process.pid)
    assert len(before) == 2
    assert {ip.removeprefix("::ffff:") for ip in listens_at(served.process.pid)} == {"127.0.0.1"}
    assert "token" in stranger(served.folder).lower()
    ask(0)
    started = time.monotonic()
    ask(0)
    took_s = time.monotonic() - started
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(ask, number) for number in range(asked)]
        while sum(future.done() for future in futures) < 6:
            time.sleep(0.01)
        # Answers of a batch end together; in the middle of the next ones both replicas are busy.
        time.sleep(0.5 * took_s)
        os.kill(before[0], signal.SIGKILL)
        replies = [future.result() for future in futures]
    assert Counter(reply.status_code for reply in replies) == {200: asked}
    assert len({reply.json()["answer"] for reply in replies}) == 1
    assert "a replica was lost" in served.log.read_text(), "it had died idle: nothing was tested"
    # Each was answered once: the server wrote as many replies as there were requests.
    route = 'roborefer_http_requests_total{route="/query",status="200"}'
    assert served.metric(route) == asked + 2
    assert before[0] not in replicas(served.process.pid)
    served.stop()


def test_configuration_is_checked(tmp_path: Path) -> None:
    file = tmp_path / "ray.yaml"
    file.write_text(CONFIGURATION)
    options = read_options(file)
    assert options == RayOptions("", 8, options.deployment)
    assert options.deployment["num_replicas"] == 2
    for text in ("replicas: 2", "[1]", "{", "concurrency: 0", "deployment: 3"):
        file.write_text(text)
        with pytest.raises(ConfigurationError, match="ray.yaml"):
            read_options(file)
