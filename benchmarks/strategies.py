"""Every strategy at pool scale: seconds, memory, and both against the machine, in one run.

    python -m benchmarks.strategies --candidates 28000 --batch 500
    python -m benchmarks.strategies --only typiclust probcover --batch 1435

Columns: seconds of the fastest of some runs; memory that numpy and Python allocate at their peak,
beside the pool; and how many readings of the embeddings, at the bandwidth measured just before,
would have taken as long. Strategies that are not meant for the size asked for are given the batch
in ``SMALL`` instead, and say so. Nothing is asserted here.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace
from functools import partial
from typing import get_args

import numpy as np

from benchmarks.selection import Pool, extra_memory_mib, read_rate
from strategies import AnyStrategy, Candidates, Head, QueryStrategy, StrategyError, Validation
from strategies.base import Doubles, Floats

SMALL = {"batchbald": 20, "bait": 35}
"""Batches of strategies that are meant for small ones."""


def drawn(arguments: argparse.Namespace) -> Candidates:
    """A pool with every signal a strategy may ask for."""
    classes, width, num = arguments.classes, arguments.width, arguments.candidates
    pool = Pool.drawn(num, width, classes, arguments.labelled)
    rng = np.random.default_rng(1)
    draws = pool.log_probs[:, None] + rng.standard_normal((num, 10, classes), np.float32) / 2
    seen = rng.integers(0, num, 700)
    return Candidates(
        ids=np.arange(num),
        log_probs=pool.log_probs,
        embeddings=pool.embeddings,
        mc_log_probs=log_softmax(draws),
        flip_distances=rng.random(num, np.float32),
        labelled_ids=np.arange(num, num + arguments.labelled),
        labelled_log_probs=log_softmax(
            rng.standard_normal((arguments.labelled, classes), np.float32)
        ),
        labelled_embeddings=pool.labelled,
        labelled_labels=rng.integers(0, classes, arguments.labelled),
        head=Head(
            weight=rng.standard_normal((classes, width), np.float32) * np.float32(0.15),
            bias=np.zeros(classes, np.float32),
        ),
        validation=Validation(
            log_probs=pool.log_probs[seen],
            embeddings=pool.embeddings[seen],
            labels=rng.integers(0, classes, len(seen)),
        ),
    )


def log_softmax(logits: Floats | Doubles) -> Floats:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    normalised: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return normalised.astype(np.float32)


def ask(strategy: QueryStrategy, pool: Candidates, batch: int) -> object:
    return strategy.select(pool, batch, np.random.default_rng(1))


def report(strategy: QueryStrategy, pool: Candidates, batch: int, repeats: int, rate: float) -> str:
    given = {name: getattr(pool, name) for name in strategy.needs}
    # Checking the pool is the caller's, once for a round.
    candidates = replace(Candidates(ids=pool.ids), **given)
    asking = partial(ask, strategy, candidates, batch)
    started = time.perf_counter()
    try:
        asking()
    except StrategyError as error:
        return f"refused: {error}"
    took = time.perf_counter() - started
    for _ in range(repeats - 1 if took < 5 else 0):
        started = time.perf_counter()
        asking()
        took = min(took, time.perf_counter() - started)
    memory = extra_memory_mib(asking) if took < 60 else float("nan")
    assert pool.embeddings is not None  # drawn with every signal
    return f"{took:9.3f} s {memory:9.1f} MiB {took * rate / pool.embeddings.nbytes:11.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, default=28_000)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--classes", type=int, default=7)
    parser.add_argument("--labelled", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[])
    arguments = parser.parse_args()
    pool = drawn(arguments)
    assert pool.embeddings is not None
    rate = read_rate(pool.embeddings)
    print(
        f"{arguments.candidates:,} candidates x {arguments.width}, {arguments.classes} classes, "
        f"{arguments.labelled:,} labelled, batch {arguments.batch:,}; "
        f"reads {rate / 1e9:.1f} GB/s, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n"
    )
    print(f"{'':18}{'batch':>6}{'time':>11}{'memory':>14}{'readings':>12}")
    for kind in get_args(get_args(AnyStrategy)[0]):
        strategy = kind()
        if arguments.only and strategy.name not in arguments.only:
            continue
        batch = min(SMALL.get(strategy.name, arguments.batch), arguments.batch)
        words = report(strategy, pool, batch, arguments.repeats, rate)
        print(f"{strategy.name:18}{batch:6,}{words}", flush=True)


if __name__ == "__main__":
    main()
