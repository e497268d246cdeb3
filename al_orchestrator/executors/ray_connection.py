"""This process's one connection to Ray, and what the cluster at its end has."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from typing import Any

import ray
import ray.exceptions

from al_orchestrator.errors import ConfigError
from al_orchestrator.executors.placement import Node, usable_cores
from al_orchestrator.executors.ray_environment import prepare_ray_environment
from al_orchestrator.executors.scratch import ScratchFolder
from al_orchestrator.executors.settings import RaySettings

_CONNECT_S = 10.0


class Connection:
    """A Ray that was there already is used and left open; one of our own is closed."""

    def __init__(self, settings: RaySettings) -> None:
        """Connects.

        Raises:
            ConfigError: Ray cannot be started here, or no cluster answers.
        """
        self._scratch: ScratchFolder | None = None
        self._ours = not ray.is_initialized()
        self._name = "the Ray this process belongs to"
        if not self._ours:
            return
        prepare_ray_environment(embedded=settings.address == "local")
        logging.getLogger("ray").setLevel(logging.ERROR)
        try:
            if settings.address == "local":
                self._embed(settings)
            else:
                self._attach(settings.address)
        except (ray.exceptions.RayError, RuntimeError, OSError, ValueError) as error:
            self.close()
            raise ConfigError(_no_ray(settings.address, error)) from error

    def __str__(self) -> str:
        return self._name

    def _embed(self, settings: RaySettings) -> None:
        self._scratch = ScratchFolder()
        self._name = "Ray in this process"
        _init(
            # Not None: that would join whatever cluster RAY_ADDRESS or a file in /tmp names.
            address="local",
            num_cpus=settings.num_cpus or usable_cores(),
            object_store_memory=settings.object_store_mib * 2**20,
            include_dashboard=False,
            _temp_dir=str(self._scratch.path),
        )

    def _attach(self, address: str) -> None:
        # Ray takes the one of the environment where it is to find a cluster, and only there.
        found = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
        _check_that_someone_listens(found)
        _init(address=address)
        self._name = f"Ray cluster at {ray.get_runtime_context().gcs_address}"

    def close(self) -> None:
        if self._ours:
            ray.shutdown()
        if self._scratch is not None:
            self._scratch.remove()


def nodes() -> list[Node]:
    """The machines of the cluster that are up."""
    found: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call] # Ray gives no type
    return [
        Node(
            name=node["NodeManagerHostname"],
            cpus=int(node["Resources"].get("CPU", 0)),
            gpus=int(node["Resources"].get("GPU", 0)),
        )
        for node in found
        if node["Alive"]
    ]


def _check_that_someone_listens(address: str) -> None:
    """Asks now what Ray would find out after minutes, if it names a host and a port."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()


def _init(**arguments: Any) -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGUSR1)}
    ray.init(logging_level=logging.ERROR, configure_logging=False, log_to_driver=False, **arguments)
    if threading.current_thread() is threading.main_thread():
        # Ray installs handlers of its own, with which SIGTERM ends in an abort.
        for each, handler in before.items():
            signal.signal(each, handler)


def _no_ray(address: str, error: Exception) -> str:
    reason = str(error).strip().partition("\n")[0].partition(". ")[0]
    if address == "local":
        return (
            f"Ray could not be started here: {reason}; set executor to 'in_process' to go without"
        )
    return (
        f"no Ray cluster answers at ray.address {address!r}: {reason}; start one with "
        "`ray start --head`, correct the address, or set it to 'local'"
    )
