"""A fit against the bare loop it wraps: same network, batch, precision and number of steps.

Run ``python -m benchmarks.training``. The bare loop has its images in memory as normalised floats
and does nothing but step; a fit also makes views, counts, logs and writes checkpoints. Fits and
bare loops are timed in turn; the ratio is what is left of the bare loop's speed, 1 at best. Where
others use the machine too, trust the ratio of processor time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from trainers import Examples, FERClassifier, Images, TrainTask
from trainers.base import Rows
from trainers.deep.compute import Mode
from trainers.deep.networks import Plan, build_network
from trainers.deep.optimizing import make_optimizer
from trainers.deep.seeding import generator
from trainers.recipes import StopRules

Seconds = npt.NDArray[np.float64]  # (2,) by the clock, of the processor


def now() -> Seconds:
    return np.array([time.perf_counter(), time.process_time()])


def bare_loop(trainer: FERClassifier, mode: Mode, count: int, size: int) -> Seconds:
    """Seconds of all epochs: by the clock, and of the processor."""
    plan = Plan(trainer.encoder.name, trainer.encoder.width or 16, 1, 7, 0.0)
    network = mode.place(build_network(plan, generator(0)), "cpu").train()
    optimizer = make_optimizer(trainer.optimizer, network.parameters())
    images = mode.arrange(torch.randn(count, 1, size, size, generator=generator(1)))
    labels = torch.randint(0, 7, (count,), generator=generator(2))
    started = now()
    for _ in range(trainer.epochs):
        batches = zip(
            torch.split(images, trainer.batch_size),
            torch.split(labels, trainer.batch_size),
            strict=True,
        )
        for batch, targets in batches:
            with mode.autocast("cpu"):
                logits, _ = network(batch)
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(logits, targets))
            optimizer.step()
    return now() - started


def whole_fit(trainer: FERClassifier, images: Images, labels: Rows, root: Path) -> Seconds:
    """Seconds of a fit without evaluation; start, log and checkpoints included."""
    everything, nothing = np.arange(len(labels)), Examples(np.arange(0), np.arange(0))
    out_dir = Path(tempfile.mkdtemp(dir=root))
    task = TrainTask(
        images=images,
        num_classes=7,
        labelled=Examples(everything, labels),
        validation=nothing,
        test=nothing,
        seed=0,
        out_dir=out_dir,
        cache_dir=root / "cache",
        device="cpu",
    )
    started = now()
    trainer.fit(task)
    return now() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="resnet10_narrow")
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    trainer = FERClassifier.model_validate(
        {
            "encoder": {"name": options.encoder},
            "epochs": options.epochs,
            "batch_size": options.batch_size,
            "stopping": StopRules(
                max_train_accuracy=None, saturation_window=None, divergence_every=None
            ),
            "compute": {"precision": options.precision, "threads": options.threads},
        }
    )
    mode = Mode(options.precision, channels_last=True, threads=options.threads)
    shape = (options.images, options.size, options.size, 1)
    labels = np.random.default_rng(1).integers(0, 7, options.images)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        np.save(root / "x.npy", np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
        images = Images(root / "x.npy", mean=(0.5,), std=(0.25,))
        bare: list[Seconds] = []
        fit: list[Seconds] = []
        for _ in range(options.repeats):
            bare.append(bare_loop(trainer, mode, options.images, options.size))
            fit.append(whole_fit(trainer, images, labels, root))
    seen = options.images * options.epochs
    print(f"{trainer.encoder.name}, {options.size} pixels, batch {options.batch_size}, {mode}")
    for n, kind in enumerate(("clock", "processor")):
        fastest, fitted = (min(times[n] for times in side) for side in (bare, fit))
        print(
            f"by the {kind}: bare loop {seen / fastest:,.0f} images/s, fit {seen / fitted:,.0f}: "
            f"{fastest / fitted:.3f} of the bare loop"
        )


if __name__ == "__main__":
    main()
