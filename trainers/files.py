"""Files that appear whole or not at all.

A twin of the orchestrator's, in a few lines: a worker needs nothing else of that room.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

EPOCH_CHECKPOINT = "epoch.pt"
"""What a fit leaves after an epoch, in its own folder, to go on from."""

FINISHED_MEMBER = "finished.json"
"""What the fit of an ensemble leaves of a member that is done, in the member's folder."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path; on a clean exit it becomes `path`, durably and at once.

    The temporary name is nobody else's, so several workers may write the same file: one wins, and
    every reader sees a whole one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Waits until a file, or the entries of a folder, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def member_folder(folder: Path, number: int) -> Path:
    """Where a fit of an ensemble has its member of this number, from 0."""
    return folder / f"member-{number}"


def digest_of_members(digests: Iterable[str]) -> str:
    """sha256 over the members' digests, in their order."""
    return hashlib.sha256("\0".join(digests).encode()).hexdigest()
