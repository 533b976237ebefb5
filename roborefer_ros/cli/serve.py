# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer serve``: load a model and answer over HTTP until told to stop."""

from __future__ import annotations

import argparse
import functools
import logging
import socket
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from roborefer_ros.arguments import exit_status
from roborefer_ros.errors import DependencyMissingError, RoboReferError
from roborefer_ros.server.engine_factory import open_depth_estimator, open_engine
from roborefer_ros.server.options import parse_arguments, read_settings
from roborefer_ros.server.settings import Settings

_logger = logging.getLogger("roborefer_ros.server")


def main(argv: Sequence[str] | None = None) -> int:
    """Serve; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = parse_arguments(arguments)
    logging.basicConfig(
        level=logging.WARNING if options.quiet else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    # Pillow warns of what the server refuses or does not need (sizes, broken EXIF).
    warnings.filterwarnings("ignore", module="PIL")
    # httpx tells the URL of every request, which can hold a key.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        settings = read_settings(options)
        return _serve(options, settings, arguments)
    except RoboReferError as error:
        print(f"roborefer serve: {error}", file=sys.stderr)
        return exit_status(error)


def _check_address(settings: Settings) -> None:
    """Before a model is loaded, which can take minutes; uvicorn binds only then.

    Raises:
        SystemExit: nothing can listen there.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        socket.create_server((settings.host, settings.port), family=family).close()
    except OSError as error:
        reason = str(error.strerror or error).partition(" (")[0]
        raise SystemExit(
            f"roborefer serve: cannot listen on {settings.host}, port {settings.port} "
            f"({reason}); is a server running there already? --port chooses another"
        ) from error


def _serve(options: argparse.Namespace, settings: Settings, arguments: Sequence[str]) -> int:
    try:
        import uvicorn

        from roborefer_ros.server.app import build_app
        from roborefer_ros.server.connections import BoundedProtocol, Connections, allow_files
    except ImportError as error:
        raise DependencyMissingError(
            f"the server needs FastAPI, uvicorn and prometheus_client ({error}); "
            "pip install 'roborefer_ros[serve]'"
        ) from error

    _check_address(settings)
    engine = open_engine(options) if options.ray is None else _ray_engine(options, arguments)
    app = build_app(settings, engine, depth_estimator=open_depth_estimator(options))

    class Server(uvicorn.Server):
        """Tells the application when it is asked to stop."""

        def handle_exit(self, sig: int, frame: Any) -> None:
            """Called by the signals' handler."""
            app.state.draining = True
            super().handle_exit(sig, frame)

        async def shutdown(self, sockets: Any = None) -> None:
            """Let accepted requests complete; those that cannot are told so."""
            import asyncio

            scheduler = app.state.service.scheduler
            timer = asyncio.get_running_loop().call_later(settings.drain_s, scheduler.abort)
            await super().shutdown(sockets)
            timer.cancel()

    limits = settings.connections
    places = Connections(allow_files(limits.total), limits.per_peer)
    config = uvicorn.Config(
        app,
        http=functools.partial(BoundedProtocol, limits=limits, places=places),  # type: ignore[arg-type]
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,  # the gate's own log has the times and leaves out query strings
        server_header=False,
        timeout_keep_alive=limits.keep_alive_s,  # type: ignore[arg-type]
        timeout_graceful_shutdown=int(settings.drain_s) + 5,
        ssl_certfile=options.tls_certificate,
        ssl_keyfile=options.tls_key,
        ws="none",
    )
    _logger.info(
        "%s on http%s://%s:%d (page: /ui), %s, batches of up to %d",
        engine.name,
        "s" if options.tls_certificate else "",
        settings.host,
        settings.port,
        "with a token" if settings.token else "without a token",
        engine.max_batch,
    )
    server = Server(config)
    server.run()
    return 0 if server.started else 1


def _ray_engine(options: argparse.Namespace, arguments: Sequence[str]) -> Any:
    from roborefer_ros.server.ray_engine import RayEngine, read_options

    return RayEngine(read_options(options.ray), arguments)
