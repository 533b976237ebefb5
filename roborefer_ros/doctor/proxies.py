# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Proxy settings of the environment, which models on other machines are asked through."""

from __future__ import annotations

import os
import re
import urllib.parse
from collections.abc import Mapping

from roborefer_ros.doctor.check import Check

_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")


def check_proxies(environment: Mapping[str, str] | None = None) -> Check:
    """The proxy variables that are set, and values that no program can use.

    Args:
        environment: Variables of the process; those of this one by default.
    """
    environment = os.environ if environment is None else environment
    name = "proxies"
    found, bad = [], []
    for variable in (*_VARIABLES, *map(str.lower, _VARIABLES)):
        value = environment.get(variable, "")
        if value:
            found.append(f"{variable}={without_password(value)}")
            reason = _why_unusable(value)
            if reason:
                bad.append(f"{variable} {reason}")
    for variable in ("NO_PROXY", "no_proxy"):
        if environment.get(variable):
            found.append(f"{variable}={environment[variable]}")
    if bad:
        remedy = "export VARIABLE=http://host:port, or unset it"
        return Check(name, "broken", "; ".join(bad), remedy)
    if not found:
        return Check(name, "ok", "none set")
    return Check(name, "ok", f"{', '.join(found)}; never used for this machine itself")


def without_password(url: str) -> str:
    """The address without the password in it."""
    return re.sub(r"(?<=:)[^:/@]*(?=@)", "***", url)


def _why_unusable(value: str) -> str:
    try:
        parts = urllib.parse.urlsplit(value if "://" in value else f"http://{value}")
        port = parts.port
    except ValueError as error:
        return f"is not an address: {error}"
    if parts.scheme not in _SCHEMES:
        return f"has the scheme '{parts.scheme}'; known are {', '.join(_SCHEMES)}"
    if not parts.hostname:
        return f"names no host: '{without_password(value)}'"
    if port == 0:
        return "has port 0"
    return ""
