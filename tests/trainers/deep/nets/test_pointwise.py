"""The strided 1x1 convolution: equal to torch's, and safe where torch's is not."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from trainers.deep.nets.pointwise import FEW_CHANNELS, PointwiseConv

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("channels", [1, 8, FEW_CHANNELS, 32])
@pytest.mark.parametrize("side", [7, 8])
def test_values_and_gradients_are_those_of_a_convolution(channels: int, side: int) -> None:
    ours = PointwiseConv(channels, 16, 2)
    theirs = nn.Conv2d(channels, 16, 1, 2, bias=False)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(3, channels, side, side, generator=torch.Generator().manual_seed(0))
    results = []
    for layer in (ours.double(), theirs.double()):
        seen = x.double().requires_grad_()
        out = layer(seen)
        out.square().sum().backward()
        results.append((out, seen.grad, layer.weight.grad))
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(one, two)


def test_a_narrow_network_on_large_images_keeps_its_memory_whole() -> None:
    """With torch's own convolution this ends in a corrupted heap on CPUs with AVX-512."""
    code = """
import torch
from trainers.deep.nets.resnet_cifar import CifarResNet
network = CifarResNet(blocks=(1, 1, 1, 1), width=8, in_channels=1)
network.to(memory_format=torch.channels_last)
for _ in range(2):
    images = torch.rand(128, 1, 64, 64).contiguous(memory_format=torch.channels_last)
    network(images).sum().backward()
grads = [weight.grad for weight in network.parameters()]
assert all(grad.isfinite().all() for grad in grads)
print("whole")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "whole"), done.stderr[-500:]
