"""What all tests share."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Several test processes share the cores. A thread that waits for another one is to sleep: spinning,
# it would keep the other one from its core. Read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if processes := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no failure: no test is timed.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

if TYPE_CHECKING:
    from al_orchestrator.executors.ray_connection import Connection


class OneRay:
    """The Ray that tests in this process join: one at a time, kept as long as its size will do."""

    def __init__(self) -> None:
        self._num_cpus = 0
        self._connection: Connection | None = None
        self._shell = pytest.MonkeyPatch()

    def of(self, num_cpus: int, home: Path) -> None:
        """Sees to it that a Ray with so many cores runs, whose home folder is this."""
        from al_orchestrator.executors import RaySettings
        from al_orchestrator.executors.ray_environment import prepare_ray_environment

        if num_cpus == self._num_cpus:
            return
        self.close()
        self._shell.setenv("HOME", str(home))
        # What a user's shell may have set, and must not matter.
        self._shell.setenv("OMP_NUM_THREADS", "7")
        self._shell.setenv("RAY_ADDRESS", "192.0.2.1:6379")
        prepare_ray_environment(embedded=True)
        from al_orchestrator.executors.ray_connection import Connection

        self._connection = Connection(RaySettings(num_cpus=num_cpus))
        self._num_cpus = num_cpus

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection, self._num_cpus = None, 0
        self._shell.undo()


@pytest.fixture(scope="session")
def ray_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home folder of every Ray that tests share."""
    return tmp_path_factory.mktemp("home")


_ONE_RAY = OneRay()


@pytest.fixture(scope="session")
def ray_of(ray_home: Path) -> Iterator[Callable[[int], None]]:
    """Call it with a number of cores, and a Ray that has them is there to be joined."""
    yield lambda num_cpus: _ONE_RAY.of(num_cpus, ray_home)
    _ONE_RAY.close()


@pytest.fixture(scope="session")
def mlflow_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's file as it is before the first run; building it takes seconds."""
    from al_orchestrator.tracking import MLflowTracking, RunIdentity

    workspace = tmp_path_factory.mktemp("mlflow")
    MLflowTracking().connect(workspace).open(RunIdentity("k", "n", "first", workspace))
    return workspace / "mlflow.db"


@pytest.fixture
def with_mlflow(tmp_path: Path, mlflow_file: Path) -> Path:
    """A workspace that has this file."""
    shutil.copy(mlflow_file, tmp_path / "mlflow.db")
    return tmp_path


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """Nobody waits for the end of the session to be rid of Ray."""
    if nextitem is None or not nextitem.get_closest_marker("ray"):
        _ONE_RAY.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests first, so that no test process is left with them at the end."""
    folders = ("recovery", "integration", "trainers")

    def rank(item: pytest.Item) -> int:
        if item.get_closest_marker("ray"):
            return 0
        folder = item.path.relative_to(_TESTS).parts[0]
        return 1 + (folders.index(folder) if folder in folders else len(folders))

    items.sort(key=rank)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """A file goes to one of several test processes; all that is on Ray goes to one of them.

    And all that is killed: its processes are forked from one that has loaded torch.

    The groups of xdist 3.8 would do, but pytest 9.2 does not tell them any more.
    """
    from xdist.scheduler import LoadScopeScheduling

    files = sorted(_TESTS.rglob("test_*.py"))
    forking = [_name(path) for path in files if _FORKS.search(path.read_text(encoding="utf-8"))]
    on_ray = [pattern for path in files for pattern in _on_ray(path)]

    class ByRay(LoadScopeScheduling):  # type: ignore[misc] # xdist gives no types
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            test = nodeid.partition("[")[0]
            if file in on_ray or test in on_ray:
                return "ray"
            return "forked" if file in forking else file

    config.option.loadscopereorder = False  # they are in order already
    return ByRay(config, log)


_TESTS = Path(__file__).parent
_FORKS = re.compile(r"^from (killing|forked) import", re.MULTILINE)
_MARKED = re.compile(r"^@pytest\.mark\.ray\n(?:@.*\n)*def (\w+)", re.MULTILINE)


def _name(path: Path) -> str:
    return path.relative_to(_TESTS.parent).as_posix()


def _on_ray(path: Path) -> list[str]:
    """The file, where its folder or all of it is marked so; else the tests that are."""
    text, shared = path.read_text(encoding="utf-8"), path.with_name("conftest.py")
    file = _name(path)
    if "pytest.mark.ray" in text.partition("\n\n\n")[0]:
        return [file]
    if shared.exists() and shared != _TESTS / "conftest.py" and "mark.ray" in shared.read_text():
        return [file]
    return [f"{file}::{name}" for name in _MARKED.findall(text)]
