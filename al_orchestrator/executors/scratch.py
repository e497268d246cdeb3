"""Folders for a running Ray's sockets and spilled objects, removed with their owner.

Ray leaves its session folders behind for ever. Here each Ray gets a folder of its own, locked by
the process that started it; what a killed predecessor left is removed at the next start.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path


class ScratchFolder:
    """A folder that belongs to this process while it lives."""

    # Not below $TMPDIR: the path of a socket has 107 bytes in all, and Ray uses most of them.
    def __init__(self, parent: Path = Path("/tmp")) -> None:
        prefix = f"alo-ray-{os.getuid()}-"
        _remove_abandoned(parent, prefix)
        # Named so that others see it only once it is locked.
        unlocked = Path(tempfile.mkdtemp(prefix=f".{prefix}", dir=parent))
        self._lock = _lock(unlocked)
        self.path = unlocked.rename(unlocked.with_name(unlocked.name.removeprefix(".")))

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _remove_abandoned(parent: Path, prefix: str) -> None:
    for folder in parent.glob(f"{prefix}*"):
        lock = _lock(folder)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """A descriptor that holds the folder, or None where somebody else does."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # gone meanwhile, or another user's
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
