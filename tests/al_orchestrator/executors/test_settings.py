"""Which requests for resources make sense."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from al_orchestrator.executors import RaySettings, Resources


@pytest.mark.parametrize("address", ["local", "auto", "gpu-1.lab:6379", "10.0.0.7:6379"])
def test_an_address_is_local_auto_or_a_host_and_port(address: str) -> None:
    assert RaySettings(address=address).address == address


@pytest.mark.parametrize("address", ["", "gpu-1", "ray://gpu-1:10001", "gpu-1:", "gpu 1:6379"])
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(ValidationError, match="address"):
        RaySettings(address=address)


def test_cores_are_not_given_to_a_cluster_that_knows_its_own() -> None:
    with pytest.raises(ValidationError, match="leave num_cpus out"):
        RaySettings(address="auto", num_cpus=4)


def test_a_worker_may_share_one_gpu_but_not_several() -> None:
    assert Resources(gpus_per_worker=0.25).gpus_per_worker == 0.25
    assert Resources(gpus_per_worker=2).gpus_per_worker == 2
    with pytest.raises(ValidationError, match=r"gpus_per_worker 1\.5 must be whole above 1"):
        Resources(gpus_per_worker=1.5)


def test_cuda_without_a_gpu_is_a_contradiction() -> None:
    with pytest.raises(ValidationError, match="needs gpus_per_worker above 0"):
        Resources(device="cuda", gpus_per_worker=0)
