# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Proxy variables: what is set is told without its password, what cannot work is named."""

from __future__ import annotations

import pytest

from roborefer_ros.doctor.proxies import check_proxies


def test_no_proxy_is_fine() -> None:
    assert check_proxies({}).status == "ok"


def test_what_is_set_is_told_without_the_password() -> None:
    check = check_proxies(
        {"HTTPS_PROXY": "http://user:secret@proxy:3128", "no_proxy": "localhost,[::1]"}
    )
    assert check.status == "ok"
    assert "HTTPS_PROXY=http://user:***@proxy:3128" in check.detail
    assert "no_proxy=localhost,[::1]" in check.detail
    assert "secret" not in check.detail


@pytest.mark.parametrize(
    "value", ["http://proxy:port", "gopher://proxy", "http://", "http://[::1", "http://proxy:0"]
)
def test_values_that_no_program_can_use_are_named(value: str) -> None:
    check = check_proxies({"all_proxy": value})
    assert check.is_failure
    assert "all_proxy" in check.detail
    assert "unset" in check.remedy
