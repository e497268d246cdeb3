"""Why a worker died, told from what it left behind: Ray's report and its own log."""

from __future__ import annotations

import re
from pathlib import Path

_TAIL_LINES = 20
_TAIL_BYTES = 16 * 1024

# First match wins. Ray's general report ends in a list of common causes, which proves nothing;
# so the patterns name what it says only when it knows.
_CAUSES = (
    (r"low on memory", "stopped by Ray because its machine ran out of memory"),
    (r"node (has )?died|node .*dead", "its machine is gone"),
    (r"exit code (\d+)", r"it ended itself with exit code \1"),
    (r"End of file", "it crashed, or was killed (for want of memory, or by hand)"),
)


def cause_of_death(report: str) -> str:
    """Ray's report in plain words; its own first line where it is of an unknown kind."""
    for pattern, words in _CAUSES:
        found = re.search(pattern, report)
        if found:
            return found.expand(words)
    return report.partition("\n")[0]


def last_words(log: Path, start: int) -> str:
    """The last lines that were written to `log` after byte `start`, or nothing."""
    with log.open("rb") as file:
        file.seek(max(start, log.stat().st_size - _TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()[-_TAIL_LINES:]
    return "\n".join(["last lines of its log:", *lines]) if lines else ""
