"""What one process does to others: Rays side by side, clusters joined, nothing left behind."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from al_orchestrator.executors import Executor

pytestmark = pytest.mark.ray


def own_pid() -> int:
    return os.getpid()


@pytest.fixture
def ray_address(ray_executor: Executor) -> str:
    del ray_executor  # It started the Ray that is asked here.
    import ray

    return str(ray.get_runtime_context().gcs_address)


def processes_that_name(text: str) -> list[str]:
    """Command lines of processes that run and name `text`."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(file.read_text().replace("\0", " "))
    return [line for line in lines if text in line]


def in_a_process_of_its_own(script: str, cwd: Path | None = None, **environment: str | Path) -> str:
    """What `script` prints; anything on the standard error is a failure."""
    inherited = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=inherited | {name: str(value) for name, value in environment.items()},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


@pytest.mark.slow
def test_a_second_ray_on_this_machine_comes_and_goes_without_a_trace(
    ray_executor: Executor, ray_address: str, tmp_path: Path, log: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    script = """
        import os, ray
        from pathlib import Path
        from al_orchestrator.errors import WorkerLost
        from al_orchestrator.executors import RaySettings, Resources, open_executor

        def kill_yourself():
            os.kill(os.getpid(), 9)

        executor = open_executor("ray", RaySettings(num_cpus=1), Resources())
        print(executor.describe())
        print(ray.get_runtime_context().gcs_address)
        scratch = ray._private.worker.global_worker.node.get_temp_dir_path()
        print(scratch, Path(scratch).is_dir())
        try:
            executor.submit(kill_yourself, log=Path("worker.log")).result()
        except WorkerLost:
            print("lost")
        executor.close()
        print(Path(scratch).exists())
    """
    pid = ray_executor.submit(own_pid, log=log).result()
    lines = in_a_process_of_its_own(script, HOME=home, cwd=tmp_path).splitlines()
    description, address, scratch, lost, scratch_is_left = lines
    assert description == "Ray in this process: 1 worker with 1 CPU, device cpu (no GPU there)"
    assert address != ray_address
    assert lost == "lost"
    folder, was_there = scratch.split()
    assert (was_there, scratch_is_left) == ("True", "False")
    assert processes_that_name(folder) == []
    assert list(home.iterdir()) == []
    assert ray_executor.submit(own_pid, log=log).result() == pid


def test_a_running_cluster_is_joined_and_left_running(
    ray_executor: Executor, ray_address: str, tmp_path: Path, log: Path
) -> None:
    script = f"""
        from pathlib import Path
        from al_orchestrator.executors import RaySettings, Resources, open_executor

        settings = RaySettings(address="{ray_address}")
        executor = open_executor("ray", settings, Resources(cpus_per_worker=1))
        print(executor.describe())
        print(executor.submit(sum, [1, 2, 3], log=Path("worker.log")).result())
        executor.close()
    """
    pid = ray_executor.submit(own_pid, log=log).result()
    # An address that is given is the one that is meant, whatever the shell has.
    answers = in_a_process_of_its_own(script, cwd=tmp_path, RAY_ADDRESS="127.0.0.1:1")
    description, answer = answers.splitlines()
    assert description.startswith("Ray cluster at ")
    assert answer == "6"
    assert ray_executor.submit(own_pid, log=log).result() == pid


@pytest.mark.slow
def test_workers_see_the_gpus_they_were_given_and_no_others(tmp_path: Path) -> None:
    script = """
        import json, os, ray
        from pathlib import Path
        from al_orchestrator.errors import ConfigError
        from al_orchestrator.executors import RaySettings, Resources, open_executor
        from al_orchestrator.executors.ray_environment import prepare_ray_environment

        def visible(): return os.environ.get("CUDA_VISIBLE_DEVICES")

        def seen_by(**request):
            resources = Resources(cpus_per_worker=1, **request)
            executor = open_executor("ray", RaySettings(), resources)
            jobs = [executor.submit(visible, log=Path("log")) for _ in range(resources.workers)]
            print(json.dumps([executor.device, executor.describe(), [j.result() for j in jobs]]))
            executor.close()

        prepare_ray_environment(embedded=True)
        # Ray believes what it is told: no GPU is needed to learn what workers would be given.
        quiet = {"configure_logging": False, "log_to_driver": False}
        ray.init(address="local", num_cpus=2, num_gpus=1, **quiet)
        seen_by(workers=2, gpus_per_worker=0.5)
        seen_by(device="cpu")
        seen_by(workers=2, gpus_per_worker=1)
        try:
            seen_by(workers=2, gpus_per_worker=1, device="cuda")
        except ConfigError as error:
            print(json.dumps(str(error)))
    """
    lines = in_a_process_of_its_own(script, cwd=tmp_path).splitlines()
    halves, on_cpu, too_few, refused = (json.loads(line) for line in lines)
    assert (halves[0], halves[2]) == ("cuda", ["0", "0"])
    assert (on_cpu[0], on_cpu[2]) == ("cpu", [""])
    assert (too_few[0], too_few[2]) == ("cpu", ["", ""])
    assert "device cpu (2 workers x 1 GPU asked for, 1 there)" in too_few[1]
    assert refused.startswith("device 'cuda': 2 workers x 1 GPU asked for, 1 there; lower")


@pytest.mark.slow
def test_what_is_kept_open_serves_all_that_comes_and_is_closed_at_its_end(tmp_path: Path) -> None:
    script = """
        from al_orchestrator.executors import RaySettings, Resources, keeping_ray_open
        from al_orchestrator.executors import run_side_by_side

        def call(number):
            settings = RaySettings(num_cpus=1)
            told = {"starts_workers": False, "ended": lambda one: print(one.name, one.why)}
            run_side_by_side(print, {number: number}, settings, Resources(), **told)

        with keeping_ray_open():
            for number in "12":
                call(number)
                import ray
                print(ray.get_runtime_context().gcs_address)
        print(ray.is_initialized())
        call("3")
        print(ray.is_initialized())
    """
    lines = in_a_process_of_its_own(script, cwd=tmp_path).splitlines()
    first, address, second, other_address, left, third, left_by_third = lines
    assert (first, second, third) == ("1 None", "2 None", "3 None")
    assert address == other_address
    assert (left, left_by_third) == ("False", "False")


@pytest.mark.parametrize("address", ["auto", "127.0.0.1:1"])
def test_an_address_where_no_ray_listens_is_refused_with_the_way_out(address: str) -> None:
    # Processes of their own: this one is connected already.
    script = f"""
        from al_orchestrator.errors import ConfigError
        from al_orchestrator.executors import RaySettings, Resources, open_executor
        try:
            open_executor("ray", RaySettings(address="{address}"), Resources())
        except ConfigError as error:
            print(error)
    """
    message = in_a_process_of_its_own(script, RAY_ADDRESS="127.0.0.1:1")
    assert message.startswith(f"no Ray cluster answers at ray.address '{address}': ")
    assert "`ray start --head`" in message
