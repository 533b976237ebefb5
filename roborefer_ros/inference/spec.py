# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What a spec string carries after its colon: a server, and options like ``?family=molmo2``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

from roborefer_ros.errors import InvalidPointerSpecError

#: what looks like a secret is refused without being repeated: specs stand in logs and launch files
_SECRETS = {"key", "api_key", "apikey", "token", "password", "secret"}


def parse_bool(text: str) -> bool:
    """``true``/``false``, ``1``/``0``, ``yes``/``no``.

    Raises:
        ValueError: something else.
    """
    lowered = text.lower()
    if lowered not in {"true", "1", "yes", "false", "0", "no"}:
        raise ValueError("say true or false")
    return lowered in {"true", "1", "yes"}


def positive_int(text: str) -> int:
    """A whole number from 1 up.

    Raises:
        ValueError: something else.
    """
    value = int(text)
    if value < 1:
        raise ValueError("must be 1 or more")
    return value


def count(text: str) -> int:
    """A whole number from 0 up.

    Raises:
        ValueError: something else.
    """
    value = int(text)
    if value < 0:
        raise ValueError("must not be negative")
    return value


def seconds(text: str) -> float:
    """A time of more than 0 and at most 3600 s.

    Raises:
        ValueError: something else.
    """
    value = float(text)
    if not 0.0 < value <= 3600.0:
        raise ValueError("must be more than 0 and at most 3600 s")
    return value


def one_of(*choices: str) -> Callable[[str], str]:
    """A reader that takes only these words."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"say one of {', '.join(choices)}")
        return text

    return read


def read_options(query: str, readers: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    """Read ``a=1&b=2`` with one reader for each known option.

    Raises:
        InvalidPointerSpecError: unknown option, unreadable value, or what looks like a secret.
    """
    options: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in readers:
            if name.lower() in _SECRETS:
                raise InvalidPointerSpecError(
                    f"a spec must not hold secrets (option {name!r}); put the key into the "
                    "environment variable ROBOREFER_API_KEY, or name another with key_env="
                )
            raise InvalidPointerSpecError(
                f"the spec has no option {name!r}; known are {', '.join(sorted(readers))}"
            )
        try:
            options[name] = readers[name](text)
        except (ValueError, OverflowError) as error:
            raise InvalidPointerSpecError(
                f"the spec's option {name}={text!r} cannot be read: {error}"
            ) from error
    return options


def split_server(spec: str) -> SplitResult:
    """Split ``scheme://host[:port][/path][?options]``.

    Raises:
        InvalidPointerSpecError: no host, a bad port, user name or password, or a fragment.
    """
    try:
        parts = urlsplit(spec)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidPointerSpecError(f"the server's address cannot be read: {error}") from error
    if parts.username is not None or parts.password is not None:
        raise InvalidPointerSpecError(
            "a spec must not hold a user name or password; put the key into the environment "
            "variable ROBOREFER_API_KEY"
        )
    if not host or parts.fragment:
        raise InvalidPointerSpecError(
            f"{spec!r} names no server; say e.g. openai://localhost:8000/v1?model=NAME or "
            "roborefer-http://localhost:25547"
        )
    return parts


def base_url(parts: SplitResult, tls: bool | None, default_port: int | None = None) -> str:
    """The http(s) address of a server.

    TLS is on for port 443, for no port (without a default one), and where ``tls`` says so.
    """
    port = parts.port or default_port
    secure = tls if tls is not None else port in (None, 443)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    address = f"{host}:{port}" if port else host
    return f"{'https' if secure else 'http'}://{address}{parts.path.rstrip('/')}"
