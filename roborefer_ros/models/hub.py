# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Repositories of the Hugging Face hub as folders, so that one set of checks serves both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from roborefer_ros.errors import CheckpointNotFoundError


def is_hub_id(source: str) -> bool:
    """Whether this can be ``owner/name`` of the hub, and is not a directory here."""
    path = Path(source).expanduser()
    if path.is_dir() or path.is_absolute() or source.startswith((".", "~")):
        return False
    return source.count("/") == 1 and all(source.split("/"))


def snapshot(
    hub_id: str,
    revision: str | None,
    patterns: Sequence[str],
    *,
    ignored: Sequence[str] = (),
    what: str = "",
    otherwise: str = "download it elsewhere and give the folder",
) -> Path:
    """The folder of a repository in the hub's cache, fetched where it is not there.

    Args:
        hub_id: ``owner/name``.
        revision: Branch, tag or commit; None is the newest.
        patterns: Names of the files that are wanted.
        ignored: Names of files that are not, although a pattern says so.
        what: Kind of the model, for the message, with a space behind it.
        otherwise: What else the user can do, for the message.

    Raises:
        CheckpointNotFoundError: it is neither in the cache nor can it be fetched.
    """
    from huggingface_hub import snapshot_download

    try:
        path = snapshot_download(
            hub_id,
            revision=revision,
            allow_patterns=list(patterns),
            ignore_patterns=list(ignored) or None,
        )
    except Exception as error:  # the hub client raises a dozen unrelated classes
        said = (str(error).strip().splitlines() or [""])[0][:300]
        raise CheckpointNotFoundError(
            f"{what}{hub_id} is neither a folder nor reachable on the Hugging Face hub "
            f"({type(error).__name__}: {said}); check the name and the network, or {otherwise}"
        ) from error
    return Path(path)
