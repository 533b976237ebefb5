# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What ``roborefer serve`` checks before it loads a model."""

from __future__ import annotations

import socket

import pytest

from roborefer_ros.cli.serve import main


def test_a_port_in_use_is_told_before_the_model_is_loaded() -> None:
    """The model does not exist: were it looked for first, that would be the error."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit, match=rf"port {port} .*--port"):
            main(["--port", str(port), "--model", "roborefer:/nowhere"])
    assert main(["--port", str(port), "--model", "roborefer:/nowhere"]) == 1


def test_an_address_of_another_machine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOREFER_API_KEY", "0123456789abcdef")
    with pytest.raises(SystemExit, match="cannot listen on 192.0.2.1"):
        main(["--host", "192.0.2.1", "--model", "roborefer:/nowhere"])
