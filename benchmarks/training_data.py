# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Training data: index of a large JSON (memory, second start), order of samples, rows per second.

The index is built in a process of its own, whose peak memory is told, beside a process that loads
the same file whole, as the reference does.  The loader reads pictures of 1024x768 with depth and
tiles them as the released 2B checkpoints ask for: 13 tiles of 448 pixels each, no network.

    python -m benchmarks.training_data [--megabytes 300] [--rows 64] [--workers 0 2]
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from roborefer_ros.training.data.dataset import MixtureDataset
from roborefer_ros.training.data.items import ItemDataset, item_loader, open_processor
from roborefer_ros.training.data.mixtures import Part
from roborefer_ros.training.data.registry import DatasetSpec
from roborefer_ros.training.data.sampler import Layout, MixtureSampler

TINY = Path(__file__).parents[1] / "test/data/golden/tiny-2b-style"

_MEASURED = """
import json, sys, time
from pathlib import Path
started, busy = time.perf_counter(), time.process_time()
if sys.argv[2] == "whole":
    rows = len(json.load(open(sys.argv[1])))
else:
    from roborefer_ros.training.data.index import open_index
    from roborefer_ros.training.data.rows import Rules
    imported, busy = time.perf_counter(), time.process_time()
    rows = len(open_index(Path(sys.argv[1]), Rules(500)))
    started = imported
seconds, busy = time.perf_counter() - started, time.process_time() - busy
peak = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024
told = {"rows": rows, "seconds": round(seconds, 3), "cpu_s": round(busy, 2)}
print(json.dumps({**told, "peak_mib": round(peak)}))
"""


def large_json(path: Path, megabytes: int) -> None:
    """Rows of ten pairs, as RefSpatial's templates have them."""
    with path.open("w") as file:
        file.write("[")
        number = 0
        while file.tell() < megabytes * 1_000_000:
            pairs = [
                text
                for k in range(10)
                for text in (
                    {
                        "from": "human",
                        "value": f"Please point to cup {number} left of box {k}.",
                    },
                    {"from": "gpt", "value": f"[(0.{(number * 7 + k) % 1000:03d}, 0.{k}5)]"},
                )
            ]
            names = [f"{number:016x}.jpg"]
            row = {"id": str(number), "image": names, "depth": names, "conversations": pairs}
            file.write(("," if number else "") + json.dumps(row))
            number += 1
        file.write("]")


def measured(path: Path, how: str) -> dict[str, float]:
    """Rows, seconds and peak memory of a process that opens the file."""
    command = [sys.executable, "-c", _MEASURED, str(path), how]
    result: dict[str, float] = json.loads(
        subprocess.check_output(command, stderr=subprocess.DEVNULL)
    )
    return result


def pictures(folder: Path, rows: int) -> DatasetSpec:
    """Pictures of camera size with depth, and their JSON."""
    rng = np.random.default_rng(0)
    table = []
    for number in range(rows):
        small = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(small).resize((1024, 768)).save(folder / f"{number}.jpg")
        ramp = np.linspace(0, 255, 768).astype(np.uint8)[:, None].repeat(1024, 1)
        Image.fromarray(ramp[..., None].repeat(3, 2)).save(folder / f"{number}.png")
        turns = [
            {"from": ("human", "gpt")[k % 2], "value": f"Where is cup {k // 2}? [(0.1, 0.{k})]"}
            for k in range(30)
        ]
        names = {"image": [f"{number}.jpg"], "depth": [f"{number}.png"]}
        table.append({"id": number, **names, "conversations": turns})
    (folder / "rows.json").write_text(json.dumps(table))
    return DatasetSpec("camera", folder / "rows.json", folder, folder, max_turns=15)


def loader_rate(spec: DatasetSpec, workers: int) -> tuple[float, float, int]:
    """Rows per second, CPU seconds of this process per row, and tiles of a picture."""
    processor = open_processor(TINY)
    vision = copy.deepcopy(processor.config.vision)
    vision.image_size = 448
    processor.config = dataclasses.replace(processor.config, vision=vision)
    data = MixtureDataset([Part(spec)])
    batches = list(MixtureSampler(data.lengths, Layout(1, 1)).batches(0))
    started, busy = time.perf_counter(), time.process_time()
    tiles = 0
    for batch in item_loader(ItemDataset(data, processor), batches, workers):
        assert batch[0].fitted is not None
        tiles = batch[0].fitted.item.images.counts[0]
    busy = (time.process_time() - busy) / len(batches)
    return len(batches) / (time.perf_counter() - started), busy, tiles


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "large.json"
        large_json(path, arguments.megabytes)
        for title, how in (
            ("loaded whole", "whole"),
            ("index, first start", "index"),
            ("index, second start", "index"),
        ):
            print(f"{title}: {measured(path, how)}")
        for lengths, world in (([62_500] * 16, 1), ([1_000_000] * 16, 8), ([1_000_000] * 16, 1)):
            started = time.process_time()
            MixtureSampler(lengths, Layout(world, 1)).order(0)
            seconds = time.process_time() - started
            print(f"order of {sum(lengths)} rows, 16 sets, {world} ranks: {seconds:.2f} s of CPU")
        spec = pictures(Path(name), arguments.rows)
        for workers in arguments.workers:
            rate, busy, tiles = loader_rate(spec, workers)
            own = "" if workers else f", {busy:.3f} s of CPU a row"
            print(f"loader, {workers} workers, {tiles} + {tiles} tiles: {rate:.1f} rows/s{own}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
