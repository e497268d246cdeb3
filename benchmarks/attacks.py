"""Attacks on many images at once against one image at a time, on an untrained network.

Run ``python -m benchmarks.attacks``. Two plain forms are timed on a few images each: the same code
with a batch of one, and the loop as it is often published, which is given one image, runs one
backward pass for each class and lets it compute the gradients of all weights too. Ratios are of
images a second, by the clock and of the processor; where others use the machine too, trust the
latter.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.base import Attack
from trainers.deep.attacks import least_changes, without_gradients
from trainers.deep.compute import Mode
from trainers.deep.networks import Network, Plan, build_network
from trainers.deep.scoring import block_size, evaluating
from trainers.deep.seeding import generator
from trainers.encoders import DEFAULT_WIDTHS

Seconds = npt.NDArray[np.float64]  # (2,) by the clock, of the processor
Found = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Target:
    """A network and the images it is attacked on."""

    network: Network
    images: Tensor
    mode: Mode

    def batched(self, attack: Attack, count: int, batch_size: int) -> Found:
        with evaluating(self.network), without_gradients(self.network):
            return least_changes(
                lambda points: self.network(self.mode.arrange(points))[0],
                lambda rows: self.images[rows],
                count,
                attack,
                batch_size,
            )

    def one_by_one(self, attack: Attack, count: int) -> Found:
        """As published: every gradient is asked for, and most are thrown away."""
        self.network.eval()
        plain = _plain_deepfool if attack.method == "deepfool" else _plain_bim
        found = [plain(self.network, image[None], attack) for image in self.images[:count]]
        return np.array(found, np.float32)


def _plain_deepfool(network: Network, image: Tensor, attack: Attack) -> float:
    change = torch.zeros_like(image)
    first: int | None = None
    for _ in range(attack.max_steps + 1):
        point = (image + (1 + attack.overshoot) * change).requires_grad_()
        logits = network(point)[0][0]
        answer = int(logits.argmax())
        first = answer if first is None else first
        if answer != first:
            return float(change.norm())
        slopes: list[Tensor] = []
        for logit in logits:
            point.grad = None
            torch.autograd.backward(logit, retain_graph=True)
            assert point.grad is not None
            slopes.append(point.grad.clone())
        ways = [
            (float((logits[first] - logits[k]).detach() / (slopes[k] - slopes[first]).norm()), k)
            for k in range(len(logits))
            if k != first
        ]
        way, nearest = min(ways)
        slope = slopes[nearest] - slopes[first]
        change = change + (way + 1e-4) / slope.norm() * slope
    return float("inf")


def _plain_bim(network: Network, image: Tensor, attack: Attack) -> float:
    point, first = image.clone(), None
    for _ in range(attack.max_steps + 1):
        point = point.detach().requires_grad_()
        logits = network(point)[0]
        answer = logits.argmax(1)
        first = answer if first is None else first
        if bool(answer != first):
            return float((point - image).detach().norm())
        torch.autograd.backward(F.cross_entropy(logits, first))
        assert point.grad is not None
        point = point + attack.step * point.grad.sign()
    return float("inf")


def timed(work: Callable[[], Found]) -> tuple[Seconds, Found]:
    started = np.array([time.perf_counter(), time.process_time()])
    found = work()
    return np.array([time.perf_counter(), time.process_time()]) - started, found


def compare(target: Target, attack: Attack, alone: int, batch_size: int) -> None:
    count = len(target.images)
    together, many = timed(partial(target.batched, attack, count, batch_size))
    one, _ = timed(partial(target.batched, attack, alone, 1))
    plain, slow = timed(partial(target.one_by_one, attack, alone))
    by_one, by_plain = (times / alone * count / together for times in (one, plain))
    print(
        f"{attack.method}: {count / together[0]:,.1f} images/s; by the clock {by_one[0]:.1f} times "
        f"a batch of one, {by_plain[0]:.1f} times the plain loop; of the processor "
        f"{by_one[1]:.1f} and {by_plain[1]:.1f} times"
    )
    is_apart = np.abs(many[:alone] / slow - 1).max()
    print(f"  distances differ from the plain loop's by {is_apart:.1e} of them at most")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="resnet10_narrow")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--alone", type=int, default=16, help="images of the plain forms")
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    size, alone = options.size, options.alone
    mode = Mode("float32", channels_last=True, threads=options.threads)
    plan = Plan(options.encoder, DEFAULT_WIDTHS.get(options.encoder, 0), 1, 7, 0.0)
    network = mode.place(build_network(plan, generator(0)), "cpu")
    # The same few images again and again, so that all forms have the same work on each.
    few = torch.randn((alone, 1, size, size), generator=generator(1))
    target = Target(network, few.repeat(max(1, options.images // alone), 1, 1, 1), mode)
    batch_size = block_size((size, size, 1), "cpu")
    target.batched(Attack("bim", 1, 0.05, 0.02), batch_size, batch_size)  # to warm up
    print(f"{options.encoder}, {size} pixels, {options.threads} threads, batch {batch_size}")
    for method in ("deepfool", "bim"):
        compare(target, Attack(method, 50, step=0.05, overshoot=0.02), alone, batch_size)


if __name__ == "__main__":
    main()
