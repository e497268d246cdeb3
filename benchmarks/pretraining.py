"""Images a second of a SimCLR step, and of its views alone, against the seeds' way of doing it.

Run ``python -m benchmarks.pretraining``. The other side is what contrastive code bases do: an image
at a time with Pillow and torchvision, a DataLoader in the process, float32, the same network. Both
sides are timed in turn, in one process, so quote the ratio, not the rates. Pixels are random.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from trainers import Encoder, Images, PretrainTask
from trainers.deep import pretrain as loop
from trainers.deep.methods import Batch
from trainers.deep.pretrain_progress import Progress, begin
from trainers.recipes import Compute
from trainers.simclr import SimCLR

SIZE = 48


class OneByOne(Dataset[tuple[Tensor, Tensor]]):
    """Two views of an image, made when it is asked for."""

    def __init__(self, pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
        self._pixels = pixels
        self._view = transforms.Compose(
            [
                transforms.RandomResizedCrop(SIZE, scale=(0.2, 1.0)),
                transforms.RandomHorizontalFlip(),
                transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
                transforms.RandomGrayscale(p=0.2),
                transforms.ToTensor(),
                transforms.Normalize((0.5,), (0.2,)),
            ]
        )

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        image = Image.fromarray(self._pixels[row])
        return self._view(image), self._view(image)


def seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--encoder", default="resnet10_narrow")
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16"])
    args = parser.parse_args()
    pixels = np.random.default_rng(0).integers(0, 256, (args.images, SIZE, SIZE), dtype=np.uint8)
    encoder = Encoder.model_validate({"name": args.encoder})
    method = SimCLR(batch_size=args.batch, compute=Compute(precision=args.precision))
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "images.npy", pixels[..., None])
        task = PretrainTask(
            images=Images(Path(folder) / "images.npy", mean=(0.5,), std=(0.2,)),
            rows=np.arange(args.images),
            seed=0,
            out_dir=Path(folder),
            cache_dir=Path(folder),
            device="cpu",
        )
        compare(method, encoder, task, pixels)


def train(progress: Progress, made: Iterator[Batch]) -> None:
    progress.method.train()
    for batch in made:
        with progress.mode.autocast("cpu"):
            loss = progress.method.losses(batch)["loss"]
        progress.optimizer.zero_grad()
        torch.autograd.backward(loss)
        progress.optimizer.step()


def exhaust(made: Iterator[Batch]) -> None:
    for _ in made:
        pass


def compare(
    method: SimCLR,
    encoder: Encoder,
    task: PretrainTask,
    pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
) -> None:
    ours = begin(method, encoder, task)
    material = loop.material_of(method, task)
    plain = method.model_copy(update={"compute": Compute(channels_last=False)})
    theirs = begin(plain, encoder, task)

    def batches() -> Iterator[Batch]:
        return loop.batches_of(method, task, ours, material, 1)

    def one_by_one() -> Iterator[Batch]:
        loader = DataLoader(OneByOne(pixels), method.batch_size, shuffle=True, drop_last=True)
        for first, second in loader:
            unknown = torch.full((len(first),), -1)
            yield Batch(first, second, None, unknown, torch.Generator())

    train(ours, batches())  # to warm up
    count = len(pixels) // method.batch_size * method.batch_size
    print(f"{count} images of {SIZE} x {SIZE}, two views each, {encoder.name}, {ours.mode}")
    views = min(seconds(lambda: exhaust(batches())) for _ in range(3))
    views_theirs = min(seconds(lambda: exhaust(one_by_one())) for _ in range(2))
    step = min(seconds(lambda: train(ours, batches())) for _ in range(2))
    step_theirs = min(seconds(lambda: train(theirs, one_by_one())) for _ in range(2))
    print(f"{'':14}{'images/s':>10}{'one by one':>12}{'ratio':>8}")
    for name, mine, other in (("views alone", views, views_theirs), ("step", step, step_theirs)):
        print(f"{name:14}{count / mine:10,.0f}{count / other:12,.0f}{other / mine:7.1f}x")
    print(f"views are {views / step:.1%} of a step")


if __name__ == "__main__":
    main()
