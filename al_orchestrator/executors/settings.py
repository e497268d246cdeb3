"""What YAML may set of where work runs."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class RaySettings(BaseModel):
    """Which Ray to use. Operational: free to change between one start of a run and the next."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    address: str = Field(default="local", pattern=r"^(local|auto|[\w.\-]+:\d{1,5})$")
    """`local` starts Ray inside this process; `auto` or `host:port` joins a running cluster."""
    num_cpus: int | None = Field(default=None, ge=1)
    """Cores that a Ray started by `local` may use; none given: all this process may use."""
    object_store_mib: int = Field(default=128, ge=75)
    """Shared memory of a Ray started by `local`; images are memory-mapped and need none of it."""

    @model_validator(mode="after")
    def _cores_only_for_a_ray_of_our_own(self) -> Self:
        if self.address != "local" and self.num_cpus is not None:
            raise ValueError(
                f"num_cpus {self.num_cpus} goes with address 'local' only: the cluster at "
                f"{self.address!r} knows its own cores; leave num_cpus out"
            )
        return self


class Resources(BaseModel):
    """What every worker is given. Operational: free to change between starts of a run."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    workers: int = Field(default=1, ge=1)
    """Calls that run at the same time; further ones wait in line."""
    cpus_per_worker: int | None = Field(default=None, ge=1)
    """Cores, and so threads, of a worker; none given: a node's cores shared out evenly."""
    gpus_per_worker: float = Field(default=1.0, ge=0)
    """GPUs of a worker, whole or a part of one; taken where they exist, see `device`."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: the GPUs asked for, or the CPU where there are too few; `cuda`: those or nothing."""

    @model_validator(mode="after")
    def _gpus_make_sense(self) -> Self:
        if self.gpus_per_worker > 1 and self.gpus_per_worker != int(self.gpus_per_worker):
            raise ValueError(
                f"gpus_per_worker {self.gpus_per_worker:g} must be whole above 1: a worker can "
                "share one GPU but not several"
            )
        if self.device == "cuda" and self.gpus_per_worker == 0:
            raise ValueError("device 'cuda' needs gpus_per_worker above 0")
        return self

    def beside_others(self) -> Resources:
        """The same for one of many runs: cores that are not given are one, not all of a node."""
        if self.cpus_per_worker is not None:
            return self
        return self.model_copy(update={"cpus_per_worker": 1})
