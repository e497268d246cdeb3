"""Errors cross processes, so all of them survive pickling and say the same afterwards."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path

import pytest

from al_orchestrator import errors
from al_orchestrator.errors import AloError, JobFailed, WorkerLost

ALL = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, Exception) and kind.__module__ == errors.__name__
]
OF_JOBS = [kind for kind in ALL if issubclass(kind, JobFailed)]


def example(kind: type[AloError]) -> AloError:
    if issubclass(kind, JobFailed):
        return kind("fit failed on gpu-1 (pid 7)", "Traceback …\n", Path("/runs/a/worker.log"))
    return kind("budget 5 is below 1; raise budget.total")


def test_the_module_defines_errors_of_one_tree() -> None:
    assert len(ALL) >= 11
    assert all(issubclass(kind, AloError) for kind in ALL)


def test_the_tree_in_the_docstring_names_every_error() -> None:
    assert [kind.__name__ for kind in ALL if kind.__name__ not in (errors.__doc__ or "")] == []


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_an_error_is_the_same_after_pickling(kind: type[AloError]) -> None:
    error = example(kind)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == str(error)
    assert copy.args == error.args
    assert vars(copy) == vars(error)
    assert copy.exit_code == error.exit_code


@pytest.mark.parametrize("kind", OF_JOBS, ids=lambda kind: kind.__name__)
def test_a_failed_job_says_what_then_the_traceback_then_where_its_log_is(
    kind: type[JobFailed],
) -> None:
    assert str(example(kind)) == (
        "fit failed on gpu-1 (pid 7)\nTraceback …\nlog: /runs/a/worker.log"
    )


def test_a_failed_job_without_traceback_and_log_is_one_line() -> None:
    assert str(WorkerLost("the worker died")) == "the worker died"
