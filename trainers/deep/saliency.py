"""Where in an image the evidence for a class lies, by gradients.

The class explained is the one the learner answers with. A learner that averages over views of an
image (crops, mirrors) is explained on one of them, the image or its central crop as it stands, so
that a map has one place for each pixel; outside of a crop it is zero. Networks are computed in
float32 whatever the learner's own precision. Gradients and Grad-CAM are captum's.

Legend: ``N`` images, ``B`` of them at a time, ``Ch, H, W`` image, ``C`` classes, ``s`` side of a
crop, ``h, w`` last map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.base import PredictTask, Saliency, TrainingError
from trainers.deep.attacks import whole_float32, without_gradients
from trainers.deep.compute import Mode
from trainers.deep.images import Normaliser, Pixels
from trainers.deep.networks import Network
from trainers.deep.scoring import block_size, evaluating
from trainers.deep.seeding import generator

Floats = npt.NDArray[np.float32]
Classify = Callable[[Tensor], Tensor]


class OneView(nn.Module):
    """Images (B, Ch, H, W), normalised -> logits (B, C) of each image's one view."""

    def __init__(self, network: Network, mode: Mode) -> None:
        super().__init__()
        self.network = network
        self._mode = mode

    def forward(self, images: Tensor) -> Tensor:
        seen = self._mode.arrange(self.network.central_view(images))
        return cast("Tensor", self.network.head(self.network.encoder(seen)))


def saliency_maps(task: PredictTask, network: Network, mode: Mode) -> Floats:
    """(N, H, W) of `task.rows` by `task.saliency`, none of it negative.

    Args:
        task: Images, rows, and how they are explained.
        network: On the task's device, in the layout of `mode`.
        mode: How the network is computed, but for the precision.

    Raises:
        TrainingError: Grad-CAM is asked of a network without a last map.
    """
    assert task.saliency is not None  # PredictTask saw that it is given
    pixels, normalise = (
        Pixels(task.images, task.rows, task.device),
        Normaliser(task.images, task.device),
    )
    found = np.empty((len(pixels), *pixels.shape[:2]), np.float32)
    view = OneView(network, mode)
    with evaluating(view), without_gradients(network), whole_float32(task.device):
        for block in _blocks(len(pixels), block_size(pixels.shape, task.device)):
            images = normalise(pixels.take(torch.arange(block.start, block.stop)))
            answers = network(mode.arrange(images))[0].argmax(1)
            maps = _explained(view, images, answers, task.saliency, task.seed)
            found[block] = maps.cpu().numpy()
    return found


def _explained(
    view: OneView, images: Tensor, classes: Tensor, saliency: Saliency, seed: int
) -> Tensor:
    """(B, H, W)."""
    match saliency.method:
        case "gradient":
            return gradient_maps(view, images, classes)
        case "smoothgrad":
            size = block_size((*images.shape[2:], images.shape[1]), images.device.type)
            return smooth_gradient_maps(view, images, classes, saliency, seed, size)
        case "gradcam":
            maps = class_activation_maps(view, _last_map(view.network), images, classes)
            return _in_place(maps, view.network, (images.shape[2], images.shape[3]))


def _last_map(network: Network) -> nn.Module:
    found = getattr(network.encoder, "last_map", None)
    if not isinstance(found, nn.Module):
        raise TrainingError(
            f"{network.plan.encoder} has no last map whose places are those of the image, so "
            "Grad-CAM has nothing to weigh; take gradient or smoothgrad"
        )
    return found


def gradient_maps(classify: Classify, images: Tensor, classes: Tensor) -> Tensor:
    """(B, H, W): the largest |gradient| of a class's logit among a pixel's channels.

    Simonyan, Vedaldi & Zisserman 2013, arXiv 1312.6034, section 3.1.
    """
    return _gradients(classify, images, classes).abs().amax(1)


def smooth_gradient_maps(
    classify: Classify,
    images: Tensor,
    classes: Tensor,
    saliency: Saliency,
    seed: int,
    batch_size: int,
) -> Tensor:
    """(B, H, W): as `gradient_maps`, of the mean gradient over noisy copies of an image.

    Smilkov et al. 2017, arXiv 1706.03825, section 3. The noise is normal, and its deviation a share
    of the span between the least and the greatest value of the image. Every image is given the same
    draws, so a map does not hang on the images around it. They come from a generator of our own:
    captum's NoiseTunnel would read the global one.
    """
    shape = (saliency.samples, *images.shape[1:])
    draws = torch.randn(shape, generator=generator(seed, "smoothgrad")).to(images.device)
    spans = images.flatten(1).amax(1) - images.flatten(1).amin(1)
    maps = []
    for image, span, own in zip(images, spans, classes, strict=True):
        total = torch.zeros_like(image)
        for block in _blocks(len(draws), batch_size):
            copies = image + saliency.noise * span * draws[block]
            total += _gradients(classify, copies, own.expand(len(copies))).sum(0)
        maps.append((total / len(draws)).abs().amax(0))
    return torch.stack(maps)


def class_activation_maps(
    classify: nn.Module, last_map: nn.Module, images: Tensor, classes: Tensor
) -> Tensor:
    """(B, h, w) of Grad-CAM: the channels of the last map, weighted by what they do for a class.

    A channel's weight is the mean over places of the logit's gradient by it; what speaks against
    the class is cut off at zero (Selvaraju et al. 2017, arXiv 1610.02391, equations 1 and 2).

    Args:
        classify: Images -> logits (B, C).
        last_map: The part of it whose output (B, channels, h, w) is looked at.
        images: (B, Ch, H, W).
        classes: (B,).
    """
    # captum takes a second to import, and most runs do without.
    from captum.attr import LayerGradCam

    maps: Tensor = LayerGradCam(classify, last_map).attribute(
        images.detach().requires_grad_(), target=classes, relu_attributions=True
    )
    return maps.detach()[:, 0]


def _gradients(classify: Classify, images: Tensor, classes: Tensor) -> Tensor:
    """(B, Ch, H, W) of each image's own logit."""
    from captum.attr import Saliency as Gradient

    points = images.detach().requires_grad_()
    slopes: Tensor = Gradient(classify).attribute(points, target=classes, abs=False)
    return slopes.detach()


def _in_place(maps: Tensor, network: Network, size: tuple[int, int]) -> Tensor:
    """(B, h, w) of a view -> (B, H, W) of the image, smoothly, zero outside of the view."""
    whole = maps.new_zeros((len(maps), 1, *size))
    seen = whole if network.crops is None else network.crops.central(whole)  # the same memory
    larger = F.interpolate(maps[:, None], seen.shape[2:], mode="bilinear", align_corners=False)
    seen.copy_(larger)
    return whole[:, 0]


def _blocks(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
