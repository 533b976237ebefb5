# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Proxy settings of the environment, which models on other machines are asked through."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from roborefer_ros.doctor.check import Check
from roborefer_ros.errors import ConfigurationError
from roborefer_ros.inference.proxies import checked_proxy

_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


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
            try:
                checked_proxy(variable, value)
            except ConfigurationError as error:
                bad.append(str(error))
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
