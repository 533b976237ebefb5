# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""``roborefer serve``: load a model and answer over HTTP until told to stop."""

from __future__ import annotations

import functools
import logging
import socket
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from roborefer_ros.arguments import exit_status
from roborefer_ros.errors import DependencyMissingError, RoboReferError
from roborefer_ros.models.depth_network import open_depth_network
from roborefer_ros.pointing.factory import open_pointer
from roborefer_ros.pointing.pointer import Pointer
from roborefer_ros.server.options import ServeOptions, read_options
from roborefer_ros.server.settings import Settings

_logger = logging.getLogger("roborefer_ros.server")


def main(argv: Sequence[str] | None = None) -> int:
    """Serve; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = read_options(arguments)
    logging.basicConfig(
        level=logging.WARNING if options.quiet else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    # Pillow warns of what the server refuses or does not need (sizes, broken EXIF).
    warnings.filterwarnings("ignore", module="PIL")
    # httpx tells the URL of every request, which can hold a key.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        return _serve(options)
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


def _serve(options: ServeOptions) -> int:
    try:
        import uvicorn

        from roborefer_ros.server.app import build_app
        from roborefer_ros.server.connections import BoundedProtocol, Connections, allow_files
    except ImportError as error:
        raise DependencyMissingError(
            f"the server needs FastAPI, uvicorn and prometheus_client ({error}); "
            "pip install 'roborefer_ros[serve]'"
        ) from error

    settings = options.settings
    _check_address(settings)
    pointer, workers = _opened(options)
    estimator = None
    if options.depth_network is not None:
        estimator = open_depth_network(
            options.depth_network, options.model.device, tell=_logger.info
        )
    app = build_app(settings, pointer, depth_estimator=estimator, workers=workers)

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
        pointer.name,
        "s" if options.tls_certificate else "",
        settings.host,
        settings.port,
        "with a token" if settings.token else "without a token",
        pointer.model.max_batch,
    )
    server = Server(config)
    server.run()
    return 0 if server.started else 1


def _opened(options: ServeOptions) -> tuple[Pointer, int]:
    """The model, and the number of threads that call it."""
    if options.ray is None:
        return open_pointer(options.model, think=options.think), 1
    from roborefer_ros.server.ray_model import open_ray_pointer
    from roborefer_ros.server.ray_model import read_options as read_ray_options

    ray = read_ray_options(options.ray)
    settings = options.settings
    pointer = open_ray_pointer(
        ray,
        options.model,
        max_queued=settings.max_queued,
        batch_wait_s=settings.batch_wait_s,
        think=options.think,
    )
    return pointer, ray.concurrency
