"""How fast selection is, against its plain forms and against the machine, measured in one run.

    python benchmarks/selection.py --candidates 28000 --batch 1435

Plain forms do the same work one pass a pick; they are timed for a few picks and scaled up, which
is marked ``~``. The read bandwidth and the matrix product rate are measured beside them, so ratios
hold on a busy machine too, roughly. Nothing is asserted here.
"""

from __future__ import annotations

import argparse
import os
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from strategies import (
    BADGE,
    Candidates,
    CoreSet,
    EntropySampling,
    LeastConfidence,
    MarginSampling,
    QueryStrategy,
    RandomSampling,
)
from strategies.base import Doubles, Floats
from strategies.kernels.blocks import BLOCK_ROWS, map_blocks


@dataclass(frozen=True)
class Pool:
    """A pool like a learner's: Gaussian clusters seen through a softmax head."""

    log_probs: Floats
    embeddings: Floats
    labelled: Floats

    @classmethod
    def drawn(cls, num: int, width: int, classes: int, num_labelled: int) -> Pool:
        rng = np.random.default_rng(0)
        clusters = rng.standard_normal((50, width), np.float32)
        points = rng.standard_normal((num + num_labelled, width), np.float32)
        points += clusters[rng.integers(0, 50, len(points))]
        logits = points[:num] @ rng.standard_normal((width, classes), np.float32) * 0.15
        logits -= logits.max(axis=1, keepdims=True)
        log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return cls(log_probs, points[:num], points[num:])

    def candidates(self) -> Candidates:
        return Candidates(
            ids=np.arange(len(self.log_probs)),
            log_probs=self.log_probs,
            embeddings=self.embeddings,
            labelled_ids=np.arange(len(self.log_probs), len(self.log_probs) + len(self.labelled)),
            labelled_embeddings=self.labelled,
        )

    def residuals(self) -> Floats:
        residuals: Floats = np.exp(self.log_probs)
        residuals[np.arange(len(residuals)), residuals.argmax(axis=1)] -= 1
        return residuals


def seconds(work: Callable[[], object], repeats: int) -> float:
    """The fastest of some runs: what the work costs when others disturb it least."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def extra_memory_mib(work: Callable[[], object]) -> float:
    """Peak of what numpy and Python allocate during `work`."""
    tracemalloc.start()
    work()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / 2**20


def k_centre_a_product_a_pick(pool: Pool, picks: int) -> None:
    points = pool.embeddings
    squares = np.einsum("nd,nd->n", points, points)
    nearest = np.full(len(points), np.inf, np.float32)
    row = 0
    for _ in range(picks):
        distances = squares + squares[row] - 2 * (points @ points[row])
        np.minimum(nearest, distances, out=nearest)
        row = int(nearest.argmax())


def k_centre_by_differences(pool: Pool, picks: int) -> None:
    points = pool.embeddings
    nearest = np.full(len(points), np.inf, np.float32)
    row = 0
    for _ in range(picks):
        np.minimum(nearest, ((points - points[row]) ** 2).sum(axis=1), out=nearest)
        row = int(nearest.argmax())


def seeding_a_product_a_pick(pool: Pool, picks: int) -> None:
    points, residuals = pool.embeddings, pool.residuals()
    squares = np.einsum("nd,nd->n", points, points) * np.einsum("nc,nc->n", residuals, residuals)
    draw_each(squares, picks, lambda row: (points @ points[row]) * (residuals @ residuals[row]))


def seeding_materialised(pool: Pool, picks: int) -> None:
    residuals = pool.residuals()
    gradients = (residuals[:, :, None] * pool.embeddings[:, None, :]).reshape(len(residuals), -1)
    squares = np.einsum("ng,ng->n", gradients, gradients)
    draw_each(squares, picks, lambda row: gradients @ gradients[row])


def draw_each(squares: Floats, picks: int, products: Callable[[int], Floats]) -> None:
    """k-means++ with a pass over the pool for each pick; `products` is <g, g_row> for all g."""
    rng = np.random.default_rng(0)
    nearest: Doubles = np.full(len(squares), np.inf)
    row = int(squares.argmax())
    for _ in range(picks):
        distances = squares + squares[row] - 2 * products(row)
        np.minimum(nearest, np.maximum(distances, 0), out=nearest)
        nearest[row] = 0
        cumulative = nearest.cumsum()
        row = int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))


def read_rate(points: Floats) -> float:
    """Bytes a second of reading the embeddings once in blocks, on all threads."""
    ones = np.ones(points.shape[1], np.float32)
    took = seconds(lambda: map_blocks(lambda block: points[block] @ ones, len(points)), 5)
    return points.nbytes / took


def product_rate(points: Floats) -> float:
    """Operations a second of a product with 256 columns in blocks, on all threads."""
    columns = np.ascontiguousarray(points[:256])
    took = seconds(lambda: map_blocks(lambda rows: columns @ points[rows].T, len(points)), 3)
    return 2 * points.size * len(columns) / took


def report_cheap(pool: Candidates, batch: int, repeats: int) -> None:
    for strategy in (RandomSampling(), LeastConfidence(), MarginSampling(), EntropySampling()):
        took = seconds(partial(ask, strategy, pool, batch), repeats)
        print(f"{strategy.name:18} {took:8.4f} s")


def ask(strategy: QueryStrategy, pool: Candidates, batch: int) -> object:
    return strategy.select(pool, batch, np.random.default_rng(1))


def report_geometry(pool: Pool, arguments: argparse.Namespace) -> None:
    candidates, batch, few = pool.candidates(), arguments.batch, arguments.plain_picks
    bandwidth, peak = read_rate(pool.embeddings), product_rate(pool.embeddings)
    print(
        f"machine: reads {bandwidth / 1e9:.1f} GB/s, multiplies {peak / 1e9:.0f} GFLOP/s, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n"
    )
    one_pass = (batch + len(pool.labelled)) * pool.embeddings.nbytes / bandwidth
    one_product = 2 * (batch + len(pool.labelled)) * pool.embeddings.size / peak
    print(f"{'':10}{'s':>9}{'MiB':>7}  of reading   of product    a pass a pick      naive")
    plain = {
        BADGE(): (seeding_a_product_a_pick, seeding_materialised),
        CoreSet(): (k_centre_a_product_a_pick, k_centre_by_differences),
    }
    for strategy, (passes, naive) in plain.items():
        selecting = partial(ask, strategy, candidates, batch)
        took, memory = seconds(selecting, arguments.repeats), extra_memory_mib(selecting)
        slow = [seconds(partial(f, pool, few), 1) * batch / few for f in (passes, naive)]
        print(
            f"{strategy.name:10}{took:9.3f}{memory:7.1f}{one_pass / took:11.2f}x"
            f"{one_product / took:12.2f}x   ~{slow[0]:6.1f} s {slow[0] / took:5.1f}x"
            f"   ~{slow[1]:6.0f} s {slow[1] / took:5.0f}x"
        )
    print(
        "\nof reading: time to read the pool once for each pick, over the time taken (a form that"
        "\nreads it for each pick stays below 1). of product: time of one product of the pool with"
        f"\nall picks in blocks of {BLOCK_ROWS} rows, over the time taken (a form that meets every"
        "\nrow with every pick stays below 1)."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, default=28_000)
    parser.add_argument("--batch", type=int, default=1_435)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--classes", type=int, default=7)
    parser.add_argument("--labelled", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--plain-picks", type=int, default=10)
    arguments = parser.parse_args()
    pool = Pool.drawn(arguments.candidates, arguments.width, arguments.classes, arguments.labelled)
    print(
        f"{arguments.candidates:,} candidates x {arguments.width}, {arguments.classes} classes, "
        f"{arguments.labelled:,} labelled, batch {arguments.batch:,}"
    )
    took = seconds(pool.candidates, arguments.repeats)
    print(f"{'checks':18} {took:8.4f} s")
    report_cheap(pool.candidates(), arguments.batch, arguments.repeats)
    report_geometry(pool, arguments)


if __name__ == "__main__":
    main()
