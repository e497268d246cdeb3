"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

# Several test processes share the cores. A thread that waits for another one is to sleep: spinning,
# it would keep the other one from its core. Read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no failure: no test is timed.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Keeps files that start Ray on one of several test processes: two Rays cost two starts.

    The groups of xdist 3.8 would do, but pytest 9.2 does not tell them any more.
    """
    from xdist.scheduler import LoadScopeScheduling

    tests = Path(__file__).parent
    with_ray = {
        path.relative_to(tests.parent).as_posix()
        for path in tests.rglob("test_*.py")
        if any(_marks_ray(file) for file in (path, path.with_name("conftest.py")))
    }

    class ByRay(LoadScopeScheduling):  # type: ignore[misc] # xdist gives no types
        def _split_scope(self, nodeid: str) -> str:
            return "ray" if nodeid.partition("::")[0] in with_ray else nodeid

    return ByRay(config, log)


def _marks_ray(file: Path) -> bool:
    return file.exists() and "pytest.mark.ray" in file.read_text(encoding="utf-8")
