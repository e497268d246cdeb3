"""Row work over a fixed grid of blocks, shared between threads without changing a bit.

A result may depend on the grid (BLAS rounds the edge of a matrix differently), so the grid is a
constant and BLAS runs on one thread inside a block; threads only decide which block is done when.
What `map_blocks` returns is in block order, and so is every sum made of it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

from threadpoolctl import ThreadpoolController

BLOCK_ROWS = 1024
"""Rows of a block: divides 4,096, the unit of sharding, and lets few cores share a small pool."""

NARROW_ROWS = 8192
"""Rows of a block where a row is a few numbers and is worked on alone."""

Result = TypeVar("Result")

# The number of BLAS threads is a setting of the whole process: two kernels that set and restore it
# in turns would leave it wrong.
_BLAS_IS_OURS = threading.RLock()
_HERE = threading.local()  # what this thread holds at one thread already


def map_blocks(
    work: Callable[[slice], Result],
    num_rows: int,
    *,
    threads: int | None = None,
    block_rows: int | None = None,
) -> list[Result]:
    """Calls `work` for each block of rows and returns the answers in block order.

    Args:
        work: Called with a slice of rows, from several threads at once; must call neither
            `map_blocks` nor `one_blas_thread`, whose lock the caller holds until all are done.
        num_rows: N; blocks cover it without gaps.
        threads: How many blocks at a time; by default as many as BLAS was given at the start.
        block_rows: Rows of a block, by default `BLOCK_ROWS`. Another number only where no row's
            answer can depend on its neighbours, as in arithmetic row by row.
    """
    step = block_rows or BLOCK_ROWS
    blocks = [slice(k, min(k + step, num_rows)) for k in range(0, num_rows, step)]
    num_threads = min(threads or _default_threads(), len(blocks))
    with one_blas_thread():
        if num_threads <= 1:
            return [work(block) for block in blocks]
        return _shared(work, blocks, num_threads - 1)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keeps BLAS on one thread: for equal bits, and since small products only wait for others."""
    _default_threads()  # read before the limit is set, and remembered
    blas, held = _blas(), getattr(_HERE, "blas", None)
    if blas is held:  # to limit it again takes as long as a small block
        yield
        return
    with _BLAS_IS_OURS, blas.limit(limits=1):
        _HERE.blas = blas
        try:
            yield
        finally:
            _HERE.blas = held


def _shared(work: Callable[[slice], Result], blocks: list[slice], num_helpers: int) -> list[Result]:
    """The caller begins at once; helpers that wake in time take blocks off it.

    Small blocks are done before anyone wakes, and nobody is waited for who has not begun.

    Raises:
        Exception: Of the first block whose work failed.
    """
    left = deque(enumerate(blocks))
    answers: dict[int, Result] = {}
    errors: dict[int, Exception] = {}

    def help_out() -> None:
        while left:
            try:
                number, block = left.popleft()
            except IndexError:  # another was quicker
                return
            try:
                answers[number] = work(block)
            except Exception as error:  # noqa: BLE001 - raised below
                errors[number] = error
                left.clear()

    pool = _helpers(num_helpers, os.getpid())
    helping = [pool.submit(help_out) for _ in range(num_helpers)]
    try:
        help_out()
    finally:
        left.clear()
        begun = [helper for helper in helping if not helper.cancel()]
        wait(begun)
    if errors:
        raise errors[min(errors)]
    return [answers[number] for number in range(len(blocks))]


@cache
def _helpers(count: int, process: int) -> ThreadPoolExecutor:  # noqa: ARG001 - a key
    """Threads that stay: to start one takes longer than a small block does.

    A fork takes none of them along, so each process has its own.
    """
    return ThreadPoolExecutor(count, thread_name_prefix="blocks")


def _blas() -> ThreadpoolController:
    return _loaded_blas("scipy.linalg" in sys.modules)


@cache
def _loaded_blas(with_scipy: bool) -> ThreadpoolController:  # noqa: ARG001 - a key
    # Looks through the loaded libraries, which takes milliseconds; numpy's own is always there, and
    # scipy brings another one once it is used.
    return ThreadpoolController().select(user_api="blas")


@cache
def _default_threads() -> int:
    with _BLAS_IS_OURS:
        return max((library.num_threads for library in _blas().lib_controllers), default=1)
