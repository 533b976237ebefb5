# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The rows of a large JSON file, one at a time."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.files import MIB, decode_text, is_lfs_pointer, lfs_message, open_regular

_CHUNK = 4 * MIB

#: Characters of one row: a few thousand pairs.
ROW_LIMIT = 32 * MIB

_BLANKS = re.compile(r"[ \t\r\n]*")
_BETWEEN = re.compile(r"[ \t\r\n]*,?[ \t\r\n]*")


class _Window:
    """A part of the text that moves through the file."""

    def __init__(self, path: Path) -> None:
        self.path, self.text, self.at, self.is_last, self.bytes = path, "", 0, False, 0
        self._file = open_regular(path)
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()

    def more(self) -> None:
        """Drop what is done and read a chunk."""
        data = self._file.read(_CHUNK)
        if not self.bytes:
            if is_lfs_pointer(data):
                raise ConfigurationError(lfs_message(self.path))
            if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
                decode_text(data[:4], self.path)  # raises: names the encoding
        try:
            text = self._decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            at = self.bytes + error.start
            raise ConfigurationError(
                f"{self.path} is not UTF-8 (byte 0x{error.object[error.start]:02x} near offset "
                f"{at}); save it as UTF-8"
            ) from error
        self.bytes += len(data)
        self.text, self.at = self.text[self.at :] + text, 0
        self.is_last = not data

    def skip(self, pattern: re.Pattern[str]) -> str:
        """Skip what matches (blanks); the next character, empty at the end of the file."""
        while True:
            match = pattern.match(self.text, self.at)
            assert match is not None
            self.at = match.end()
            if self.at < len(self.text):
                return self.text[self.at]
            if self.is_last:
                return ""
            self.more()

    def close(self) -> None:
        self._file.close()


def json_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Text and value of each element of a JSON list, or of each line of JSON lines.

    The text is that of the file where it has one line, else it is written compactly.  A few
    chunks of 4 MiB are in memory at a time.

    Args:
        path: Of the file.

    Raises:
        ConfigurationError: not JSON of this kind, not UTF-8, a row beyond ``ROW_LIMIT``; the
            message tells the row.
    """
    window = _Window(path)
    try:
        first = window.skip(_BLANKS)
        if first not in ("[", "{"):
            raise ConfigurationError(f"{path} is not a JSON list of rows")
        is_list = first == "["
        window.at += is_list
        number = 0
        next_one = window.skip(_BLANKS)
        while next_one and not (is_list and next_one == "]"):
            yield _row(window, number)
            number += 1
            before = window.skip(_BLANKS)
            if is_list and before not in (",", "]"):
                raise ConfigurationError(f"{path} is not JSON: no , or ] after row {number - 1}")
            next_one = window.skip(_BETWEEN if is_list else _BLANKS)
            if is_list and before == "," and next_one == "]":
                raise ConfigurationError(f"{path} is not JSON: a , without a row after it")
        if is_list:
            if not next_one:
                raise ConfigurationError(f"{path} ends within its list, after row {number - 1}")
            window.at += 1
            if window.skip(_BLANKS):
                raise ConfigurationError(f"{path} is not JSON: there is text after its list")
    finally:
        window.close()


_DECODER = json.JSONDecoder()


def _row(window: _Window, number: int) -> tuple[str, Any]:
    while True:
        try:
            value, end = _DECODER.raw_decode(window.text, window.at)
            # A number could go on behind the window.
            if end < len(window.text) or window.is_last:
                break
        except json.JSONDecodeError as error:
            if window.is_last:
                reason = error.msg
                raise ConfigurationError(
                    f"{window.path} is not JSON at row {number}: {reason}"
                ) from error
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(
                f"{window.path}: row {number} is nested too deep, or has a number of thousands "
                "of digits"
            ) from error
        if len(window.text) - window.at > ROW_LIMIT:
            raise ConfigurationError(
                f"{window.path} is not JSON at row {number}, or the row has more than "
                f"{ROW_LIMIT} characters"
            )
        window.more()
    text = window.text[window.at : end]
    window.at = end
    if "\n" in text or not text.isascii():
        text = json.dumps(value, separators=(",", ":"))
    return text, value
