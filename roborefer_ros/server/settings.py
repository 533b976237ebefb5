# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What can be set about the server; ``main.py`` turns the command line into it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from roborefer_ros.pipeline import DEFAULT_MAX_INSTRUCTION_LENGTH

#: of the reference's server
DEFAULT_PORT = 25547

MIB = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """What a request may hold and take; checked before anything is decoded.

    Attributes:
        body_bytes: Greatest body of one request.
        bodies_bytes: Greatest sum of the bodies of all requests that are being received or
            answered, together.
        decoded_bytes: Greatest memory of decoding and the decoded pictures of all requests,
            together.
        cpu_s: processor time that decoding a picture may take, whole seconds.
        body_s: until a request has arrived in full, seconds.
        silence_s: without a byte of a body that is not complete, seconds.
        json_values: Greatest number of values of one body, about: its commas, colons and opening
            brackets.
        pixels: width times height of one picture.
        images: pictures of one kind (RGB or depth) in one request.
        instruction_characters: Greatest length of an instruction or a text.
        timeout_s: longest time from arrival to answer; a request may ask for less.
        new_tokens: Greatest number of tokens of one answer.
    """

    body_bytes: int = 32 * MIB
    bodies_bytes: int = 512 * MIB
    decoded_bytes: int = 2048 * MIB
    cpu_s: int = 10
    body_s: float = 30.0
    silence_s: float = 10.0
    json_values: int = 10_000
    pixels: int = 40_000_000
    images: int = 8
    instruction_characters: int = DEFAULT_MAX_INSTRUCTION_LENGTH
    timeout_s: float = 60.0
    new_tokens: int = 512


@dataclass(frozen=True)
class ConnectionLimits:
    """What a connection may hold and take, before anything of a request is looked at.

    Attributes:
        total: connections in all.
        per_peer: Greatest number of connections of one address (of one /64 network with IPv6).
        head_bytes: Greatest size of a request's line and header.
        head_fields: Greatest number of fields of its header.
        head_s: until a head has arrived in full, seconds.
        keep_alive_s: until the next request begins, seconds.
        write_s: Longest time in which the client reads nothing of its reply, seconds.
    """

    total: int = 2048
    per_peer: int = 256
    head_bytes: int = 32 * 1024
    head_fields: int = 100
    head_s: float = 10.0
    keep_alive_s: float = 60.0
    write_s: float = 30.0


@dataclass(frozen=True)
class Settings:
    """Everything but the model.

    Attributes:
        host, port: where the server listens.
        token: bearer token that requests must carry; None lets everyone in.
        max_queued: requests that may wait; beyond it they are refused with 429.
        batch_wait_s: how long the first request of a batch waits for others, seconds.
        drain_s: after SIGTERM, accepted requests get so long to complete, seconds.
        require_depth: refuse ``enable_depth`` without depth pictures where no network can make
            them; else such questions are answered from RGB alone.
        limits: Limits of one request.
        connections: limits of connections.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    token: str | None = field(default=None, repr=False)
    max_queued: int = 128
    batch_wait_s: float = 0.002
    drain_s: float = 30.0
    require_depth: bool = False
    limits: Limits = field(default_factory=Limits)
    connections: ConnectionLimits = field(default_factory=ConnectionLimits)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
