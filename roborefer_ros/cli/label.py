# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer label``: label one's own pictures on a local page, for ``roborefer sft``."""

from __future__ import annotations

import argparse
import functools
import logging
import secrets
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from roborefer_ros.arguments import (
    DTYPES,
    ArgumentParser,
    check_readable,
    check_writable,
    device,
    exit_status,
    non_negative_int,
    positive_float,
)
from roborefer_ros.errors import ConfigurationError, DependencyMissingError, RoboReferError

DEFAULT_PORT = 25548

_HOST = "127.0.0.1"


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the page until told to stop; returns the exit status."""
    options = _parser().parse_args(argv)
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        return _label(options)
    except RoboReferError as error:
        print(f"roborefer label: {error}", file=sys.stderr)
        return exit_status(error)
    except OSError as error:
        print(f"roborefer label: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(
        prog="roborefer label",
        description="A page on this machine alone: click the point, accept or correct the model's "
        "answer, or say that the thing is not there. The rows are written to FOLDER/labels.json "
        "after every change, in the form that roborefer dataset and roborefer sft read.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="pictures, or saved goals")
    parser.add_argument(
        "--model", default="", metavar="SPEC", help="proposes answers, e.g. roborefer:demo"
    )
    parser.add_argument("--device", type=device, default="auto", help="auto, cpu, cuda, cuda:<n>")
    parser.add_argument("--dtype", choices=DTYPES, default="auto")
    parser.add_argument(
        "--timeout", type=positive_float, default=120.0, metavar="S", help="longest answer, seconds"
    )
    parser.add_argument(
        "--depth",
        type=Path,
        metavar="DIR",
        help="depth pictures of the same names (.png): 16 bit metric, or 8 bit with near bright; "
        "default: FOLDER/depth, NAME_depth.png, or depth.png beside rgb.png",
    )
    parser.add_argument(
        "--port", type=non_negative_int, default=DEFAULT_PORT, help="0 takes a free one"
    )
    return parser


def _label(options: argparse.Namespace) -> int:
    check_readable("FOLDER", options.folder, folder=True)
    check_writable("FOLDER", options.folder, folder=True)
    if options.depth:
        check_readable("--depth", options.depth, folder=True)
    try:
        import uvicorn

        from roborefer_ros.server.connections import BoundedProtocol, Connections
        from roborefer_ros.server.settings import ConnectionLimits
        from roborefer_ros.training.label.app import build_app
    except ImportError as error:
        raise DependencyMissingError(
            f"the page needs FastAPI, uvicorn and prometheus_client ({error}); "
            "pip install 'roborefer_ros[label]'"
        ) from error
    from roborefer_ros.training.label.assistant import Assistant
    from roborefer_ros.training.label.goals import import_goals
    from roborefer_ros.training.label.pictures import find_pictures
    from roborefer_ros.training.label.store import LabelStore

    folder = options.folder.resolve()
    with LabelStore(folder) as store:
        new = import_goals(folder)
        if new:
            print(f"{new} saved goals taken into {folder / 'goals'}", file=sys.stderr)
        pictures = find_pictures(folder, options.depth)
        listening = _listen(options.port)
        port = listening.getsockname()[1]
        token = secrets.token_urlsafe(24)
        assistant = Assistant(options.model, _opener(options), options.timeout)
        app = build_app(folder, pictures, store, assistant, token=token, port=port)
        limits = ConnectionLimits(total=64, per_peer=64)
        places = Connections(limits.total, limits.per_peer)
        protocol: Any = functools.partial(BoundedProtocol, limits=limits, places=places)
        config = uvicorn.Config(
            app, http=protocol, log_config=None, access_log=False, server_header=False,
            timeout_keep_alive=int(limits.keep_alive_s), timeout_graceful_shutdown=3, ws="none",
        )  # fmt: skip
        done = len(store.counts())
        print(f"{len(pictures)} pictures, {done} labelled. Open this address, Ctrl+C ends:")
        print(f"  http://{_HOST}:{port}/#token={token}", flush=True)
        with suppress(KeyboardInterrupt):  # uvicorn raises it again when it has stopped
            uvicorn.Server(config).run(sockets=[listening])
        _tell(folder, store.summary())
    return 0


def _listen(port: int) -> socket.socket:
    """On loopback only; elsewhere, an SSH tunnel is what keeps strangers out."""
    try:
        return socket.create_server((_HOST, port))
    except (OSError, OverflowError) as error:
        raise ConfigurationError(
            f"--port: cannot listen on {_HOST}, port {port} ({error}); --port chooses another"
        ) from error


def _opener(options: argparse.Namespace) -> Any:
    def opener() -> Any:
        from roborefer_ros.pointing.factory import open_pointer

        return open_pointer(options.model, device=options.device, dtype=options.dtype)

    return opener


def _tell(folder: Path, summary: dict[str, int]) -> None:
    if not summary["pictures"]:
        print("nothing was labelled")
        return
    depth = f", {summary['with_depth']} with depth" if summary["with_depth"] else ""
    print(
        f"{summary['pictures']} pictures{depth}, {summary['questions']} questions, "
        f"{summary['not_there']} of them about what is not there: {folder / 'labels.json'}\n"
        f"next: roborefer dataset check --registry {folder / 'dataset.yaml'} --mixture own"
    )


if __name__ == "__main__":
    sys.exit(main())
