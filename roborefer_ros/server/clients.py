# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Who asks: what a client cannot choose (its address) before what it can (a header)."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

#: of an ``X-Client-ID``; the rest is cut off
_NAME_CHARACTERS = 64


class Client(NamedTuple):
    """One that takes turns with others.

    Attributes:
        peer: the address, as ``peer_of`` gives it.
        name: Name that the client gives itself, to take turns with others of its peer; may be
            empty.
    """

    peer: str
    name: str = ""


def peer_of(host: str | None) -> str:
    """What counts as one peer: an IPv4 address, or the /64 network of an IPv6 address.

    Whoever has one IPv6 address usually has 2^64 of them.
    """
    try:
        address = ipaddress.ip_address((host or "").partition("%")[0])
    except ValueError:
        return host or "-"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def client_of(host: str | None, name: str) -> Client:
    """The client of a request.

    Args:
        host: Address of the connection; None where there is none.
        name: Value of its ``X-Client-ID``; empty without.
    """
    return Client(peer_of(host), name[:_NAME_CHARACTERS])
