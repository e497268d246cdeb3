"""Executors of both kinds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from al_orchestrator.executors import Executor, RaySettings, Resources, open_executor
from al_orchestrator.executors.ray_environment import prepare_ray_environment


@pytest.fixture(scope="module")
def ray_executor(ray_of: Callable[[int], None]) -> Iterator[Executor]:
    """One worker of two CPUs; four more CPUs are there for further executors."""
    ray_of(6)
    executor = open_executor("ray", RaySettings(), Resources(cpus_per_worker=2))
    yield executor
    executor.close()


@pytest.fixture
def two_workers(ray_executor: Executor) -> Iterator[Executor]:
    """Two workers of one CPU on the same Ray."""
    del ray_executor  # It holds the connection that is joined here.
    executor = open_executor("ray", RaySettings(), Resources(workers=2, cpus_per_worker=1))
    yield executor
    executor.close()


@pytest.fixture(
    params=["in_process", pytest.param("ray", marks=pytest.mark.ray)], ids=["in_process", "ray"]
)
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    if request.param == "ray":
        yield request.getfixturevalue("ray_executor")
    else:
        yield open_executor("in_process", RaySettings(), Resources(cpus_per_worker=2))


@pytest.fixture(scope="module", autouse=True)
def functions_of_this_module_travel_by_value(request: pytest.FixtureRequest) -> Iterator[None]:
    """Workers cannot import test modules: how they are named is pytest's own affair."""
    if not any(item.get_closest_marker("ray") for item in request.node.session.items):
        yield
        return
    prepare_ray_environment(embedded=True)
    from ray import cloudpickle

    module = sys.modules[request.module.__name__]
    cloudpickle.register_pickle_by_value(module)  # type: ignore[no-untyped-call] # Ray gives no type
    yield
    cloudpickle.unregister_pickle_by_value(module)  # type: ignore[no-untyped-call] # as above


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "attempt-1" / "worker.log"
