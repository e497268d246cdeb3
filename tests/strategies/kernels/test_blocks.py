from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from strategies.kernels.blocks import BLOCK_ROWS, map_blocks, one_blas_thread


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("num_rows", [0, 1, BLOCK_ROWS, 3 * BLOCK_ROWS + 5])
def test_answers_come_in_block_order_and_cover_all_rows(num_rows: int, threads: int) -> None:
    blocks = map_blocks(lambda block: list(range(num_rows))[block], num_rows, threads=threads)
    assert [row for block in blocks for row in block] == list(range(num_rows))


def test_the_grid_of_blocks_does_not_depend_on_threads() -> None:
    grids = [map_blocks(lambda block: block, 5 * BLOCK_ROWS - 1, threads=k) for k in (1, 2, 7)]
    assert grids[0] == grids[1] == grids[2]


def test_products_are_equal_bit_for_bit_for_any_number_of_threads() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((3 * BLOCK_ROWS + 17, 33), np.float32)
    columns = rng.standard_normal((33, 21), np.float32)
    products = [
        np.concatenate(map_blocks(lambda block: rows[block] @ columns, len(rows), threads=k))
        for k in (1, 2, 7)
    ]
    assert products[0].tobytes() == products[1].tobytes() == products[2].tobytes()


def test_an_error_in_a_block_reaches_the_caller() -> None:
    def fail(block: slice) -> None:
        raise ValueError(f"block at {block.start}")

    with pytest.raises(ValueError, match="block at 0"):
        map_blocks(fail, 3 * BLOCK_ROWS, threads=2)


def test_an_error_leaves_nobody_at_work() -> None:
    at_work, is_left = threading.Event(), threading.Event()
    seen: list[bool] = []

    def of_block(block: slice) -> None:
        if block.start == 0:
            assert at_work.wait(10)
            raise ValueError("in the first block")
        at_work.set()
        is_left.wait(0.1)
        seen.append(is_left.is_set())

    with pytest.raises(ValueError, match="in the first block"):
        map_blocks(of_block, 2, threads=2, block_rows=1)
    is_left.set()
    assert seen == [False]


def test_threads_share_the_blocks_and_stay() -> None:
    together = threading.Barrier(3)

    def of_block(_: slice) -> int:
        together.wait(10)  # passes only if three are at work at once
        return threading.get_ident()

    found = [set(map_blocks(of_block, 3, threads=3, block_rows=1)) for _ in range(2)]
    assert found[0] == found[1]
    assert len(found[0]) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own() -> None:
    def of_block(block: slice) -> int:
        together.wait(10)
        return int(block.start)

    together = threading.Barrier(2)
    assert map_blocks(of_block, 2, threads=2, block_rows=1) == [0, 1]
    child = os.fork()
    if child == 0:
        status = 1
        try:
            together = threading.Barrier(2)
            status = int(map_blocks(of_block, 2, threads=2, block_rows=1) != [0, 1])
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_blas_threads_are_given_back() -> None:
    from threadpoolctl import threadpool_info

    before = [library["num_threads"] for library in threadpool_info()]
    inside: set[int] = set()

    def look() -> None:
        found = (lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas")
        inside.update(found)

    with one_blas_thread():
        with one_blas_thread():
            look()
        look()  # the inner one has not given back what the outer one holds
    assert inside == {1}
    assert [library["num_threads"] for library in threadpool_info()] == before


LATE_SCIPY = """
from threadpoolctl import threadpool_info
from strategies.kernels.blocks import one_blas_thread

def threads():
    return sorted(lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas")

with one_blas_thread():
    import scipy.linalg
    with one_blas_thread():
        print(threads())
print(threads())
"""


def test_the_blas_that_scipy_brings_along_is_kept_at_one_thread_too() -> None:
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
    command = [sys.executable, "-c", LATE_SCIPY]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    inside, after = (json.loads(line) for line in found.stdout.splitlines())
    assert inside == [1] * len(inside)
    assert after == [2] * len(inside)
