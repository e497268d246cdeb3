"""What `alo predict` costs beyond its network: one image, many images, and the whole command.

Run as ``python -m benchmarks.predicting``. A learner is trained for one epoch on drawn faces, which
are then asked for as PNG files. Bare is the same network's forward pass over the same images, as
one normalised tensor in memory, in blocks of the same size; asking also reads the checkpoint and
decodes, packs and normalises images. Both are timed in turn, and the ratio is what is left of the
bare network's speed, 1 at best. Where others use the machine too, trust the ratio of processor
time.
The command is a process of its own, start and imports included.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from al_orchestrator import Experiment, load_config
from al_orchestrator.datasets import load
from al_orchestrator.predicting import Learner, learner_of, predict_files
from al_orchestrator.run_dir import Workspace
from trainers import Images
from trainers.deep.compute import Mode
from trainers.deep.images import Normaliser
from trainers.deep.networks import Network, load_learner
from trainers.deep.scoring import block_size, evaluating

EXPERIMENT = """\
name: asked
dataset: {{name: faces, image_size: {size}, num_train: {count}, num_test: 14}}
strategy: {{name: random}}
trainer:
  name: fer_classifier
  encoder: {{name: {encoder}}}
  epochs: 1
  compute: {{precision: float32, channels_last: true, threads: {threads}}}
budget: {{initial: 64, batch_size: 1, rounds: 1}}
executor: in_process
tracking: {{name: nothing}}
"""

Seconds = npt.NDArray[np.float64]  # (2,) by the clock, of the processor


@dataclass(frozen=True, eq=False)
class Asked:
    """A learner, files, and the tensor and network they come down to."""

    learner: Learner
    files: list[Path]
    tensor: Tensor  # (N, Ch, H, W)
    network: Network
    mode: Mode

    def bare(self, count: int) -> npt.NDArray[np.float32]:
        """(count, C) log-probabilities of the first images."""
        _, channels, height, width = self.tensor.shape
        size = block_size((height, width, channels), "cpu")
        with evaluating(self.network):
            blocks = [
                self.network(self.mode.arrange(block))[0].log_softmax(1)
                for block in torch.split(self.tensor[:count], size)
            ]
        return torch.cat(blocks).numpy()

    def asked(self, count: int) -> npt.NDArray[np.float32]:
        return predict_files(self.learner, self.files[:count]).log_probs


def prepare(options: argparse.Namespace, root: Path) -> Asked:
    """Trains the learner and writes its images as files."""
    config = root / "asked.yaml"
    config.write_text(
        EXPERIMENT.format(
            size=options.size,
            count=options.images,
            encoder=options.encoder,
            threads=options.threads,
        )
    )
    with Experiment.open(load_config(config), root) as experiment:
        list(experiment.rounds())
    learner = learner_of(Workspace(root).run("asked"))
    packed = load(root / "datasets" / learner.manifest.fingerprint)
    rows = np.flatnonzero(packed.manifest.splits == "train")
    pixels = np.load(packed.images)[rows]
    files = [root / f"{row}.png" for row in rows.tolist()]
    for file, image in zip(files, pixels, strict=True):
        Image.fromarray(image.squeeze()).save(file)
    normalise = Normaliser(Images(packed.images, packed.manifest.mean, packed.manifest.std), "cpu")
    mode = Mode("float32", channels_last=True, threads=options.threads)
    network = mode.place(load_learner(learner.checkpoint)[0], "cpu")
    tensor = normalise(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    return Asked(learner, files, tensor, network, mode)


def now() -> Seconds:
    return np.array([time.perf_counter(), time.process_time()])


def timed(work: Callable[[int], object], count: int) -> Seconds:
    started = now()
    work(count)
    return now() - started


def in_turn(asked: Asked, count: int, repeats: int) -> tuple[Seconds, Seconds]:
    """(repeats, 2) of the bare network and of asking."""
    timed(asked.bare, count), timed(asked.asked, count)  # to warm up
    pairs = [(timed(asked.bare, count), timed(asked.asked, count)) for _ in range(repeats)]
    return np.array([bare for bare, _ in pairs]), np.array([whole for _, whole in pairs])


def show_latency(asked: Asked, repeats: int) -> None:
    bare, whole = in_turn(asked, 1, repeats)
    for name, times in (("bare network", bare), ("asked", whole)):
        middle, high = 1000 * np.percentile(times[:, 0], [50, 95])
        print(f"  one image, {name:<14} p50 {middle:8.2f} ms   p95 {high:8.2f} ms   n {repeats}")
    clock, processor = np.median(bare, axis=0) / np.median(whole, axis=0)
    print(f"  one image: {clock:.3f} of the bare network's speed, {processor:.3f} of the processor")


def show_throughput(asked: Asked, repeats: int) -> None:
    count = len(asked.files)
    bare, whole = in_turn(asked, count, repeats)
    slowest = np.percentile(whole[:, 0], 95)
    for n, kind in enumerate(("clock", "processor")):
        network, all_of_it = np.median(bare[:, n]), np.median(whole[:, n])
        print(
            f"  {count:,} images, by the {kind}: bare network {count / network:,.0f} images/s, "
            f"asked {count / all_of_it:,.0f}: {network / all_of_it:.3f} of the bare network"
        )
    print(f"  {count:,} images, asked: p95 {slowest:.2f} s, n {repeats}")
    apart = np.abs(np.exp(asked.bare(count)) - np.exp(asked.asked(count))).max()
    print(f"  probabilities differ by {apart:.1e} at most")


def show_command(asked: Asked, root: Path, repeats: int) -> None:
    words = [sys.executable, "-m", "al_orchestrator", "predict", "asked", str(asked.files[0])]
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        subprocess.run([*words, "--root", str(root)], check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    middle, high = np.percentile(times, [50, 95])
    print(f"  `alo predict` of one image   p50 {middle:8.2f} s    p95 {high:8.2f} s    n {repeats}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="resnet10_narrow")
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=5, help="of many images, and the command")
    parser.add_argument("--single", type=int, default=50, help="repeats of one image")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        asked = prepare(options, root)
        print(f"{options.encoder}, {options.size} pixels, {asked.mode}")
        show_latency(asked, options.single)
        show_throughput(asked, options.repeats)
        show_command(asked, root, options.repeats)


if __name__ == "__main__":
    main()
