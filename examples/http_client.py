#!/usr/bin/env python3
# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Ask ``roborefer serve`` with the standard library alone.

python examples/http_client.py http://127.0.0.1:25547 picture.png "the red mug"
"""

from __future__ import annotations

import base64
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path


def main(url: str, picture: str, instruction: str) -> int:
    """Print the points, normalised to the image's edges."""
    body = {
        "image": base64.b64encode(Path(picture).read_bytes()).decode(),
        "instruction": instruction,
    }
    request = urllib.request.Request(
        f"{url}/v1/point", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            answer = json.load(reply)
    except urllib.error.HTTPError as error:
        print(f"{error.code}: {json.load(error)['error']['message']}", file=sys.stderr)
        return 1
    for point in answer["points"]:
        print(f"x {point['x']:.3f}  y {point['y']:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
