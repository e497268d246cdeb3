"""What a round costs beyond its work: ledger, messages, worker calls, invariants.

Run as ``python -m benchmarks.rounds``. The work is what the worker itself says it spent on fitting,
evaluating and predicting, plus the selection; the rest of a round's wall time is overhead. Round 0
also starts the worker, so it is printed apart.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from al_orchestrator import Experiment, load_config
from al_orchestrator.pool import Pool

EXPERIMENT = """\
dataset: {{name: faces, image_size: 24, num_train: {pool}, num_val: 100, num_test: 300}}
strategy: {{name: badge}}
trainer: {{name: fer_classifier, encoder: {{name: resnet10_narrow}}, epochs: 5, batch_size: 32}}
budget: {{initial: 100, batch_size: 50, rounds: {rounds}}}
validation: {{size: 100}}
executor: {executor}
tracking: {{name: {tracking}}}
"""


def work_of(pool: Pool, number: int) -> float:
    """Seconds of the round that the worker or the strategy itself used."""
    trained = pool.stage(number, "train") or {}
    scored = pool.stage(number, "score") or {}
    selected = next(r for r in pool.rounds() if r.number == number).seconds.get("select", 0.0)
    seconds: list[float] = [
        *trained.get("seconds", {}).values(),
        *scored.get("seconds", {}).values(),
    ]
    return sum(seconds) + selected


def measure(arguments: argparse.Namespace, executor: str, tracking: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "overhead.yaml"
        path.write_text(
            EXPERIMENT.format(
                pool=arguments.pool, rounds=arguments.rounds, executor=executor, tracking=tracking
            )
        )
        walls = []
        with Experiment.open(load_config(path), Path(folder) / "runs") as experiment:
            last = time.perf_counter()
            for _ in experiment.rounds():
                walls.append(time.perf_counter() - last)
                last = time.perf_counter()
            ledger = experiment.run.ledger
        with Pool(ledger, read_only=True) as pool:
            over = [wall - work_of(pool, number) for number, wall in enumerate(walls)]
            works = [work_of(pool, number) for number in range(len(walls))]
    print(
        f"{executor:>10} + {tracking:<8} round 0 {over[0]:6.2f} s   later rounds "
        f"median {statistics.median(over[1:]):.3f} s  max {max(over[1:]):.3f} s   "
        f"(work: median {statistics.median(works[1:]):.2f} s)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=8)
    arguments = parser.parse_args()
    for executor in ("in_process", "ray"):
        for tracking in ("nothing", "mlflow"):
            measure(arguments, executor, tracking)


if __name__ == "__main__":
    main()
