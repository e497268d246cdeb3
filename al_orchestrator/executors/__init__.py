"""Where work runs: in this process, or on Ray.

Importing this room loads neither Ray nor torch; `open_executor` loads what the kind needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Literal, TypeVar

from al_orchestrator.executors.base import Ended, Executor, Job
from al_orchestrator.executors.settings import RaySettings, Resources

__all__ = [
    "Ended",
    "Executor",
    "Job",
    "RaySettings",
    "Resources",
    "keeping_ray_open",
    "open_executor",
    "run_side_by_side",
]


T = TypeVar("T")

_kept: list[ExitStack] = []


@contextmanager
def keeping_ray_open() -> Iterator[None]:
    """Calls of `run_side_by_side` within share the Ray that the first of them starts, if any."""
    with ExitStack() as stack:
        _kept.append(stack)
        try:
            yield
        finally:
            _kept.remove(stack)


def open_executor(
    kind: Literal["ray", "in_process"], ray: RaySettings, resources: Resources
) -> Executor:
    """Starts what is needed to run functions; the caller closes it.

    Raises:
        ConfigError: The cluster cannot be reached, or has not what is asked for.
    """
    if kind == "in_process":
        from al_orchestrator.executors.in_process import InProcessExecutor

        return InProcessExecutor(resources)
    from al_orchestrator.executors.ray_environment import prepare_ray_environment

    prepare_ray_environment(embedded=ray.address == "local")
    from al_orchestrator.executors.ray_cluster import RayExecutor

    return RayExecutor(ray, resources)


def run_side_by_side(
    function: Callable[[T], None],
    tasks: Mapping[str, T],
    ray: RaySettings,
    resources: Resources,
    *,
    starts_workers: bool,
    ended: Callable[[Ended], None],
) -> None:
    """Calls `function(task)` for every task, as many at once as there is room for.

    Args:
        function: Picklable; what it raises ends its own call only.
        tasks: By name; picklable.
        ray: Which Ray.
        resources: Of one call; cores not given are one.
        starts_workers: Whether a call starts `resources.workers` workers of that size itself, and
            needs nothing beside them.
        ended: Told of each call as it ends, in this process.

    Raises:
        ConfigError: No node has what one call asks for, or there is no Ray.
    """
    from al_orchestrator.executors.ray_environment import prepare_ray_environment

    prepare_ray_environment(embedded=ray.address == "local")
    from al_orchestrator.executors.trials import run_trials

    with ExitStack() as own:
        until = _kept[0] if _kept else own
        run_trials(
            function, tasks, ray, resources, until, starts_workers=starts_workers, ended=ended
        )
