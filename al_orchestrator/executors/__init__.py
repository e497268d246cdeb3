"""Where work runs: in this process, or on Ray.

Importing this room loads neither Ray nor torch; `open_executor` loads what the kind needs.
"""

from __future__ import annotations

from typing import Literal

from al_orchestrator.executors.base import Executor, Job
from al_orchestrator.executors.settings import RaySettings, Resources

__all__ = ["Executor", "Job", "RaySettings", "Resources", "open_executor"]


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
