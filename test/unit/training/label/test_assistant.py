# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The model behind the page: loading, answers without points, failures."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from roborefer_ros.errors import CheckpointNotFoundError, ConfigurationError
from roborefer_ros.pointing.factory import open_pointer
from roborefer_ros.training.label.assistant import Assistant

RGB = np.zeros((8, 8, 3), np.uint8)


def asked(assistant: Assistant, question: str) -> Any:
    """The answer to a question."""
    return assistant.submit(RGB, None, question).result(60)


def test_points_words_and_a_missing_thing_are_told_apart() -> None:
    assistant = Assistant("echo", lambda: open_pointer("echo"))
    assert asked(assistant, "[(0.25, 0.5)]").points == ((0.25, 0.5),)
    assert asked(assistant, "there is no mug in the picture").not_there
    answer = asked(assistant, "sorry")
    assert not answer.points
    assert not answer.not_there
    assert answer.remark
    assistant.close()


def test_a_model_that_cannot_be_opened_is_told() -> None:
    asked_already = threading.Event()

    def opener() -> Any:
        asked_already.wait(60)
        raise CheckpointNotFoundError("there is no such folder")

    assistant = Assistant("roborefer:/nowhere", opener)
    assert assistant.state == "loading"
    answer = assistant.submit(RGB, None, "the mug")
    asked_already.set()
    with pytest.raises(CheckpointNotFoundError, match="no such folder"):
        answer.result(60)
    assert assistant.state == "there is no such folder"
    with pytest.raises(ConfigurationError, match="no such folder"):
        assistant.submit(RGB, None, "the mug")
    assistant.close()


def test_without_a_model_nothing_is_asked() -> None:
    assistant = Assistant("", lambda: open_pointer("echo"))
    assert assistant.state == "none"
    with pytest.raises(ConfigurationError, match="--model"):
        assistant.submit(RGB, None, "the mug")
    assistant.close()
