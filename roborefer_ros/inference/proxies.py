# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Which proxy a request goes through, from the environment: HTTP_PROXY, ALL_PROXY, NO_PROXY.

httpx reads these variables too, but ends in a traceback over some that curl takes (``[::1]``,
``fd00::/8``), sends local requests, with their key, through a company's proxy, and names none.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from roborefer_ros.errors import ConfigurationError

_SCHEMES = ("http", "https", "socks5", "socks5h")


def proxy_for(url: str, environment: Mapping[str, str]) -> str | None:
    """The proxy for a server, or None: never one for this machine itself.

    Args:
        url: Address of the server.
        environment: Variables; names in small letters win, as with curl.

    Raises:
        ConfigurationError: The variable that counts holds no address of a proxy.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if is_loopback(host) or _is_excepted(host, _port(parts.scheme, parts.port), environment):
        return None
    for name in (f"{parts.scheme}_proxy", "all_proxy"):
        # HTTP_PROXY in capitals can be set by a request where a program runs as CGI.
        names = [name] if name == "http_proxy" and "REQUEST_METHOD" in environment else []
        for variable in names or (name, name.upper()):
            value = environment.get(variable, "").strip()
            if value:
                return checked_proxy(variable, value)
    return None


def shown(proxy: str) -> str:
    """A proxy as it may stand in messages: without user name and password."""
    parts = urlsplit(proxy)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its name or number."""
    host = host.rstrip(".").lower()
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback or address.is_unspecified


def _port(scheme: str, port: int | None) -> int:
    return port or (443 if scheme == "https" else 80)


def checked_proxy(variable: str, value: str) -> str:
    """The address of a proxy, with its scheme.

    Args:
        variable: Name of the variable that holds it, for the message.
        value: Value of the variable.

    Raises:
        ConfigurationError: It is no address of a proxy; the message does not repeat it.
    """
    proxy = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(proxy)
        port = parts.port
    except ValueError as error:
        raise _bad(variable, "its host or port cannot be read") from error
    if parts.scheme not in _SCHEMES:
        raise _bad(variable, f"its scheme is not one of {', '.join(_SCHEMES)}")
    if not parts.hostname or any(c.isspace() or not c.isprintable() for c in proxy):
        raise _bad(variable, "it names no host")
    if port == 0:
        raise _bad(variable, "its port is 0")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    login = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    return f"{parts.scheme}://{login}{host}" + (f":{port}" if port else "")


def _bad(variable: str, why: str) -> ConfigurationError:
    # Not the value: it can hold a password.
    return ConfigurationError(
        f"the environment variable {variable} holds no address of a proxy ({why}); set it to "
        "http://HOST:PORT, or unset it"
    )


def _is_excepted(host: str, port: int, environment: Mapping[str, str]) -> bool:
    """Whether NO_PROXY names the host; entries that cannot be read name none, as with curl."""
    text = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    return any(_names(entry, host, port) for entry in text.replace(",", " ").split())


def _names(entry: str, host: str, port: int) -> bool:
    entry = entry.lower().rpartition("://")[2].rstrip("/")
    if entry == "*":
        return True
    name, wanted = _split_port(entry)
    if wanted is not None and wanted != port:
        return False
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        name = name.removeprefix("*").strip(".")
        host = host.rstrip(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))
    try:
        network = ipaddress.ip_network(name.replace("[", "").replace("]", ""), strict=False)
    except ValueError:
        return False
    return address in network


def _split_port(entry: str) -> tuple[str, int | None]:
    """``host:port``, ``[v6]:port``; a bare IPv6 address has colons of its own."""
    name, colon, port = entry.rpartition(":")
    if colon and port.isdigit() and (":" not in name or name.endswith("]")):
        return name, int(port)
    return entry, None
