from __future__ import annotations

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


def test_blas_threads_are_given_back() -> None:
    from threadpoolctl import threadpool_info

    before = [library["num_threads"] for library in threadpool_info()]
    with one_blas_thread(), one_blas_thread():
        inside = [
            library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"
        ]
    assert set(inside) == {1}
    assert [library["num_threads"] for library in threadpool_info()] == before
