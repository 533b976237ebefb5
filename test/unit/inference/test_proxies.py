# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Proxies of every form, and none for this machine."""

from __future__ import annotations

import http.server
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roborefer_ros.errors import BackendUnreachableError, ConfigurationError
from roborefer_ros.inference.http_session import HttpLimits, HttpSession
from roborefer_ros.inference.proxies import proxy_for, shown

PROXY = "http://proxy.example:3128"


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://127.0.0.1:8000/v1",
            "http://localhost",
            "http://[::1]:25547",
            "https://127.9.9.9",
        ),
        *(
            "http://0.0.0.0:1",
            "http://[::ffff:127.0.0.1]",
            "http://gpu.localhost",
            "http://LOCALHOST.",
        ),
    ],
)
def test_never_for_this_machine(url: str) -> None:
    every = dict.fromkeys(("http_proxy", "HTTPS_PROXY", "ALL_PROXY", "https_proxy"), PROXY)
    assert proxy_for(url, every) is None


@pytest.mark.parametrize(
    ("url", "environment", "proxy"),
    [
        ("http://gpu", {"HTTP_PROXY": PROXY}, PROXY),
        ("https://gpu", {"HTTP_PROXY": PROXY}, None),
        ("https://gpu", {"ALL_PROXY": "socks5://p:1"}, "socks5://p:1"),
        ("http://gpu", {"http_proxy": "p:1", "HTTP_PROXY": "q:2"}, "http://p:1"),
        ("http://gpu", {"http_proxy": "[fd00::1]:3128"}, "http://[fd00::1]:3128"),
        ("http://gpu", {"http_proxy": " "}, None),
        ("http://gpu", {"http_proxy": "http://u:p@q:2/"}, "http://u:p@q:2"),
    ],
)
def test_which_variable_counts(url: str, environment: dict[str, str], proxy: str | None) -> None:
    assert proxy_for(url, environment) == proxy


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("*", "http://gpu", True),
        ("localhost,127.0.0.1,[::1]", "http://gpu", False),
        ("[fd00::1]", "http://[fd00::1]:8000", True),
        ("fd00::/8", "http://[fd12::1]", True),
        ("[fd00::]/8", "http://[fd12::1]", True),
        ("fd00::/8", "http://[fe80::1]", False),
        ("[fd00::1]:8000", "http://[fd00::1]:8000", True),
        ("[fd00::1]:8000", "http://[fd00::1]:9000", False),
        ("10.0.0.0/8", "http://10.1.2.3:8000", True),
        ("10.0.0.0/8", "http://11.1.2.3", False),
        ("gpu:8000", "http://gpu:8000", True),
        ("gpu:8000", "http://gpu:9000", False),
        ("gpu:443", "https://gpu", True),
        (".lab.example", "http://gpu.lab.example", True),
        ("*.lab.example", "http://gpu.lab.example", True),
        ("lab.example", "http://GPU.LAB.example", True),
        ("lab.example", "http://otherlab.example", False),
        ("a b\tgpu", "http://gpu", True),
        ("http://gpu/", "http://gpu", True),
        ("not/a/network,,:,[,999.1.1.1/99", "http://gpu", False),
        ("not/a/network,[", "http://10.0.0.1", False),
    ],
)
def test_exceptions(no_proxy: str, url: str, direct: bool) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        found = proxy_for(url, {"http_proxy": PROXY, "https_proxy": PROXY, name: no_proxy})
        assert (found is None) == direct


@given(st.text(max_size=30), st.sampled_from(["http://gpu", "http://[fd00::1]", "http://10.0.0.1"]))
def test_no_exception_list_raises(text: str, url: str) -> None:
    assert proxy_for(url, {"http_proxy": PROXY, "no_proxy": text}) in (PROXY, None)


@pytest.mark.parametrize(
    "value",
    [
        "ftp://p:1",
        "http://",
        "http://p:secret0",
        "http://p:99999",
        "http://[secret",
        "http://s ecret",
    ],
)
def test_bad_values_are_named_by_their_variable_only(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", value)
    with pytest.raises(ConfigurationError, match="HTTP_PROXY") as caught:
        HttpSession("http://gpu:8000")
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_errors_name_the_proxy_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://me:hunter2@127.0.0.1:9")
    session = HttpSession("http://gpu.example", limits=HttpLimits(attempts=1))
    with pytest.raises(BackendUnreachableError) as caught:
        session.exchange("GET", "/")
    session.close()
    assert "through the proxy http://127.0.0.1:9" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert shown("http://a:b@c:1") == "http://c:1"


def test_the_key_for_a_local_server_meets_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two real servers: the one that the variable names hears nothing."""
    heard: list[tuple[int, str | None]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append((self.server.server_port, self.headers.get("Authorization")))  # type: ignore[attr-defined]
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    servers = [http.server.HTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    local, proxy = servers
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.server_port}")
    monkeypatch.setenv("NO_PROXY", "[::1],fd00::/8")
    session = HttpSession(f"http://127.0.0.1:{local.server_port}", key="k" * 20)
    assert session.exchange("GET", "/") == b"{}"
    session.close()
    assert heard == [(local.server_port, "Bearer " + "k" * 20)]
    for server in servers:
        server.shutdown()
        server.server_close()
