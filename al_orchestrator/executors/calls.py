"""One call carried out where the resources are: its output kept, its failure told in words.

This is the one place where a failure becomes `JobFailed`, the same in this process and on a
worker, so that it makes no difference to a reader where a function ran.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import platform
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NoReturn, TextIO, TypeVar

from threadpoolctl import threadpool_limits

from al_orchestrator.errors import AloError, JobFailed
from strategies.base import StrategyError
from trainers.base import TrainingError

T = TypeVar("T")


@dataclass(frozen=True)
class Call(Generic[T]):
    """What is to run."""

    function: Callable[..., T]
    args: tuple[Any, ...]

    @property
    def name(self) -> str:
        """`FerClassifier.fit`, for people."""
        function = getattr(self.function, "func", self.function)  # what a partial wraps
        return getattr(function, "__qualname__", type(function).__name__)


@dataclass(frozen=True)
class Answer(Generic[T]):
    """The function returned."""

    value: T

    def unwrap(self) -> T:
        return self.value


@dataclass(frozen=True)
class Failure:
    """It did not; the error can be pickled, whatever the function raised."""

    error: AloError

    def unwrap(self) -> NoReturn:
        raise self.error


Outcome = Answer[T] | Failure


def prepare_log(log: Path) -> Path:
    """Makes sure the log exists, and returns its absolute path.

    The caller creates the file and the worker only appends to it: a worker that does not find
    it does not see the caller's storage.
    """
    log = log.absolute()
    log.parent.mkdir(parents=True, exist_ok=True)
    log.touch()
    return log


def carry_out(
    call: Call[T],
    log: Path,
    *,
    threads: int | None,
    deliver: Callable[[T], T] = lambda answer: answer,
) -> Outcome[T]:
    """Runs the call; what it prints and logs goes to `log`, and so does the traceback.

    Args:
        call: What to run.
        log: An existing file; it is appended to.
        threads: Of BLAS and OpenMP; None leaves them as they are.
        deliver: Carries the answer to the caller; what it raises is a failure of the call.
    """
    try:
        # Without O_CREAT, see `prepare_log`.
        with (
            os.fdopen(os.open(log, os.O_WRONLY | os.O_APPEND), "w", buffering=1) as stream,
            _recorded(stream),
            limited_threads(threads),
        ):
            return _attempt(call, log, stream, deliver)
    except FileNotFoundError:
        return Failure(_no_shared_storage(call.name, log))
    except OSError as error:
        return Failure(JobFailed(f"{call.name} cannot write its log on {here()}: {error}", log=log))


def _attempt(call: Call[T], log: Path, stream: TextIO, deliver: Callable[[T], T]) -> Outcome[T]:
    try:
        return Answer(deliver(call.function(*call.args)))
    # SystemExit too: a library that calls sys.exit must not end the controller.
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the place where failures become words
        text = traceback.format_exc()
        stream.write(text)
        return Failure(_in_words(error, call.name, text, log))


def here() -> str:
    """Where this process is, for people."""
    return f"{platform.node()} (pid {os.getpid()})"


def _in_words(error: BaseException, name: str, text: str, log: Path) -> AloError:
    if isinstance(error, AloError) and _survives_pickling(error):
        return error
    if isinstance(error, (TrainingError, StrategyError)):
        # Written for people: the traceback stays in the log.
        return JobFailed(f"{name} failed on {here()}: {error}", log=log)
    last_line = "".join(traceback.format_exception_only(error)).strip()
    return JobFailed(f"{name} failed on {here()}: {last_line}", text, log)


def _survives_pickling(error: AloError) -> bool:
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)
    except (pickle.PicklingError, TypeError, AttributeError):
        return False


def _no_shared_storage(name: str, log: Path) -> JobFailed:
    return JobFailed(
        f"{name} could not start: {here()} does not see {log}. The workspace must be on storage "
        "that every node mounts at the same path; move it there, or run with ray.address 'local'"
    )


@contextlib.contextmanager
def limited_threads(count: int | None) -> Iterator[None]:
    """Lets BLAS and OpenMP use `count` threads, both libraries that are loaded and those to come.

    The number of threads changes the order of sums and so the last bits of results; that is why
    it is set and not left to what the machine happens to have.
    """
    if count is None:
        yield
        return
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(count)))
    try:
        with threadpool_limits(count):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@contextlib.contextmanager
def _recorded(stream: TextIO) -> Iterator[None]:
    """Sends what Python code prints and logs to `stream`; logging also goes where it went."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
            yield
    finally:
        root.removeHandler(handler)


@contextlib.contextmanager
def descriptors_to(log: Path) -> Iterator[None]:
    """Sends descriptors 1 and 2 of this process to `log`.

    For workers, whose output is nobody else's: it catches what C libraries and child processes
    print, and the stack of a crash, which Ray writes to descriptor 2. Ray runs workers unbuffered,
    so nothing has to be flushed.
    """
    target = os.open(log, os.O_WRONLY | os.O_APPEND)
    saved = os.dup(1), os.dup(2)
    os.dup2(target, 1)
    os.dup2(target, 2)
    try:
        yield
    finally:
        os.dup2(saved[0], 1)
        os.dup2(saved[1], 2)
        for descriptor in (*saved, target):
            os.close(descriptor)
