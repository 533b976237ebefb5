# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The options of ``roborefer serve``, and the settings that they and the environment make."""

from __future__ import annotations

import argparse
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from roborefer_ros.arguments import (
    DTYPES,
    THINK,
    ArgumentParser,
    device,
    non_negative_float,
    positive_int,
)
from roborefer_ros.inference.options import ModelOptions
from roborefer_ros.server.settings import (
    DEFAULT_PORT,
    MIB,
    ConnectionLimits,
    Limits,
    Settings,
    is_loopback,
)
from roborefer_ros.types import Think

#: environment variable that holds the bearer token, for the server as for its clients
TOKEN_VARIABLE = "ROBOREFER_API_KEY"

_MIN_TOKEN_CHARACTERS = 16


@dataclass(frozen=True)
class ServeOptions:
    """What ``roborefer serve`` is asked for.

    Attributes:
        model: What the model is opened with.
        settings: Everything but the model.
        depth_network: Network that makes depth pictures from RGB where none came; None for none.
        ray: Configuration of replicas on Ray Serve; None runs the model in this process.
        tls_certificate: PEM file; None serves plain HTTP.
        tls_key: PEM file; None where the certificate's file holds it.
        quiet: Whether warnings only are logged.
        think: Whether reasoning is asked for where a request does not say it.
    """

    model: ModelOptions
    settings: Settings
    depth_network: str | None = None
    ray: Path | None = None
    tls_certificate: str | None = None
    tls_key: str | None = None
    quiet: bool = False
    think: Think = Think.AUTO


def read_options(arguments: Sequence[str]) -> ServeOptions:
    """Read the command line and the environment.

    Args:
        arguments: Those after ``roborefer serve``.

    Raises:
        SystemExit: An argument cannot be read, or a server that everyone could reach would let
            everyone in.
    """
    options = _parser().parse_args(arguments)
    cache_bytes = (round(options.image_cache_mib * MIB), round(options.prompt_cache_mib * MIB))
    model = ModelOptions(
        options.model,
        device=options.device,
        dtype=options.dtype,
        max_new_tokens=options.max_new_tokens,
        max_batch=options.max_batch,
        cache_bytes=cache_bytes,
        name=served_name(options.model),
    )
    return ServeOptions(
        model=model,
        settings=_settings(options),
        depth_network=options.depth_network,
        ray=options.ray,
        tls_certificate=options.tls_certificate,
        tls_key=options.tls_key,
        quiet=options.quiet,
        think=Think[options.think.upper()],
    )


def served_name(spec: str) -> str:
    """The model's name for clients: a hub id as it is, of a path its last folder only."""
    scheme, _, source = spec.partition(":")
    if scheme not in ("roborefer", "transformers"):
        return spec
    if os.path.isabs(source) or source.count("/") > 1 or source.startswith("."):
        source = os.path.basename(source.rstrip("/"))
    return f"{scheme}:{source}"


def _settings(options: argparse.Namespace) -> Settings:
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if token and (len(token) < _MIN_TOKEN_CHARACTERS or not token.isascii() or " " in token):
        raise SystemExit(
            f"roborefer serve: the token in {TOKEN_VARIABLE} must have at least "
            f"{_MIN_TOKEN_CHARACTERS} ASCII characters and no blanks; make one with "
            "`openssl rand -hex 32`"
        )
    if not token and not is_loopback(options.host) and not options.insecure:
        raise SystemExit(
            f"roborefer serve: --host {options.host} lets other machines in, and there is no "
            f"token. Set {TOKEN_VARIABLE} (`export {TOKEN_VARIABLE}=$(openssl rand -hex 32)`), "
            "or pass --insecure if everyone who reaches this port may use the model"
        )
    _check_tls(options.tls_certificate, options.tls_key)
    return Settings(
        host=options.host,
        port=options.port,
        token=token or None,
        max_queued=options.max_queue,
        batch_wait_s=options.batch_wait_ms / 1000.0,
        drain_s=options.drain_s,
        require_depth=options.require_depth,
        limits=Limits(
            body_bytes=round(options.max_body_mib * MIB),
            bodies_bytes=round(options.max_bodies_mib * MIB),
            decoded_bytes=round(options.max_decoded_mib * MIB),
            body_s=options.body_s,
            pixels=round(options.max_megapixels * 1e6),
            images=options.max_images,
            instruction_characters=options.max_instruction_length,
            timeout_s=options.timeout_s,
            new_tokens=options.max_new_tokens,
        ),
        connections=ConnectionLimits(
            total=options.max_connections,
            per_peer=options.max_connections_per_peer,
            head_s=options.head_s,
        ),
    )


def _check_tls(certificate: str | None, key: str | None) -> None:
    """Before a model is loaded; a key alone would leave the server without encryption."""
    if certificate is None and key is None:
        return
    try:
        if certificate is None:
            raise ValueError("--tls-key needs --tls-certificate")
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:
        raise SystemExit(
            f"roborefer serve: TLS cannot be set up with certificate {certificate} and key {key} "
            f"({error}); give PEM files, e.g. of `openssl req -x509 -newkey rsa:2048 -nodes`"
        ) from error


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="roborefer serve",
        description="Answer over HTTP: POST /query (the reference's contract), /v1/point, "
        "/v1/chat/completions; GET /ui, /healthz, /readyz, /metrics.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--model", default="roborefer:demo", help="a pointer's spec")
    parser.add_argument("--device", type=device, default="auto")
    parser.add_argument("--dtype", choices=DTYPES, default="auto")
    parser.add_argument(
        "--depth-network",
        nargs="?",
        const="auto",
        metavar="SPEC",
        help="make depth pictures from RGB where none came, with this network: small, base, large, "
        "a hub id[@revision], a folder or .pth file; without a value auto: large (the "
        "reference's) on a GPU, else small",
    )
    parser.add_argument(
        "--think",
        choices=THINK,
        default="auto",
        help="ask for reasoning steps where a request does not say it; auto: checkpoints that were "
        "trained to reason are asked for them",
    )
    parser.add_argument(
        "--require-depth",
        action="store_true",
        help="refuse questions that lack a depth picture when there is no depth network, instead "
        "of answering from RGB alone",
    )
    parser.add_argument(
        "--ray", type=Path, metavar="YAML", help="replicas of the model on Ray Serve"
    )
    net = parser.add_argument_group("network")
    net.add_argument("--host", default="127.0.0.1")
    net.add_argument("--port", type=_port, default=DEFAULT_PORT)
    net.add_argument(
        "--insecure", action="store_true", help=f"other hosts without {TOKEN_VARIABLE}"
    )
    net.add_argument("--tls-certificate", help="PEM file; the server speaks HTTPS")
    net.add_argument("--tls-key", help="PEM file")
    net.add_argument("--quiet", action="store_true", help="log warnings only")
    work = parser.add_argument_group("many clients")
    work.add_argument("--max-queue", type=positive_int, default=128, help="requests that may wait")
    work.add_argument("--max-batch", type=positive_int, default=8, help="queries answered together")
    work.add_argument(
        "--batch-wait-ms", type=non_negative_float, default=2.0, help="wait for others"
    )
    work.add_argument(
        "--image-cache-mib", type=non_negative_float, default=256.0, help="encoded pictures"
    )
    work.add_argument(
        "--prompt-cache-mib", type=non_negative_float, default=512.0, help="prompts' beginnings"
    )
    work.add_argument(
        "--drain-s", type=non_negative_float, default=30.0, help="to complete after SIGTERM"
    )
    limits = parser.add_argument_group("limits of a request")
    limits.add_argument("--timeout-s", type=non_negative_float, default=60.0)
    limits.add_argument("--max-new-tokens", type=positive_int, default=512)
    limits.add_argument("--max-instruction-length", type=positive_int, default=2000)
    limits.add_argument("--max-images", type=positive_int, default=8)
    limits.add_argument(
        "--max-megapixels", type=non_negative_float, default=40.0, help="of one picture"
    )
    limits.add_argument("--max-body-mib", type=non_negative_float, default=32.0)
    limits.add_argument(
        "--max-bodies-mib", type=non_negative_float, default=512.0, help="of all, together"
    )
    limits.add_argument(
        "--max-decoded-mib",
        type=non_negative_float,
        default=2048.0,
        help="pictures of all, decoded",
    )
    limits.add_argument("--max-connections", type=positive_int, default=2048, help="of all peers")
    limits.add_argument(
        "--max-connections-per-peer", type=positive_int, default=256, help="of one address"
    )
    limits.add_argument(
        "--head-s", type=non_negative_float, default=10.0, help="for a header to arrive"
    )
    limits.add_argument(
        "--body-s", type=non_negative_float, default=30.0, help="for a body to arrive"
    )
    return parser


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value < 65536:
        raise argparse.ArgumentTypeError(f"{text} is no port; they are 0 (any free one) to 65535")
    return value
