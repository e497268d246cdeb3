"""Random views as contrastive methods want them, all images of a minibatch at once.

As in `trainers.deep.views` a view is drawn apart from being applied: what is drawn is a small table
of numbers, one row an image, the same whatever the batches and the device.

Legend: ``B`` images, ``Ch`` channels, ``H, W`` image, ``h, w`` view.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.augmentations import ContrastiveViews

TRIES = 10

_GREY = (0.299, 0.587, 0.114)  # of red, green and blue, as in ITU-R BT.601

_BOX, _FLIP, _JITTERED, _FACTORS, _IS_GREY, _SIGMA = (
    slice(0, 4),
    4,
    5,
    slice(6, 10),
    10,
    11,
)
_COLUMNS = 12
"""top, left, height, width · mirrored · jittered · brightness, contrast, saturation factors and hue
shift · turned grey · deviation of the blur, 0 for none."""


class RandomViews:
    """Resized crops, mirrored, with other colours, perhaps grey, perhaps blurred.

    The laws are those of torchvision's transforms of single images (Chen et al. 2020, arXiv
    2002.05709, appendix A, and ActiveFER). Differs: colours change in the fixed order brightness,
    contrast, saturation, hue, where torchvision draws an order for each image; values are not
    rounded to whole grey levels in between; an image none of whose ten boxes fits is taken whole.
    """

    def __init__(self, settings: ContrastiveViews, image_shape: tuple[int, int, int]) -> None:
        """Prepares views of images (H, W, Ch)."""
        height, width, self._channels = image_shape
        self._settings = settings
        self._image = torch.tensor([height, width], dtype=torch.float64)
        self.size = (settings.size or height, settings.size or width)
        """(h, w) of a view."""

    def draw(self, count: int, rng: torch.Generator) -> Tensor:
        """(count, 12) float64: what is to be done to so many images."""
        settings = self._settings
        uniform = torch.rand((count, 9), generator=rng, dtype=torch.float64)
        draws = torch.zeros(count, _COLUMNS, dtype=torch.float64)
        draws[:, _BOX] = self._boxes(count, rng)
        draws[:, _FLIP] = (uniform[:, 0] < 0.5) if settings.flip else 0.0
        draws[:, _JITTERED] = uniform[:, 1] < settings.jitter
        strengths = (settings.brightness, settings.contrast, settings.saturation)
        for column, strength in enumerate(strengths):
            low, high = max(0.0, 1 - strength), 1 + strength
            draws[:, 6 + column] = low + (high - low) * uniform[:, 2 + column]
        draws[:, 9] = settings.hue * (2 * uniform[:, 5] - 1)
        draws[:, _IS_GREY] = uniform[:, 6] < settings.grey
        least, most = settings.blur_sigma
        sigma = least + (most - least) * uniform[:, 7]
        draws[:, _SIGMA] = torch.where(uniform[:, 8] < settings.blur, sigma, 0.0)
        return draws

    def apply(self, pixels: Tensor, draws: Tensor) -> Tensor:
        """(B, Ch, H, W) uint8 and their (B, 12) draws -> (B, Ch, h, w) float32 in 0..255."""
        images = resized_crop(pixels, draws[:, _BOX], self.size, draws[:, _FLIP] > 0)
        images = self._coloured(images, draws.to(torch.float32))
        if self._settings.blur:
            images = blurred(images, draws[:, _SIGMA].to(torch.float32), self._blur_kernel)
        return images

    @property
    def _blur_kernel(self) -> int:
        """Pixels; about a tenth of the view, as in the paper, and odd."""
        return self._settings.blur_kernel or max(3, round(0.1 * self.size[0]) // 2 * 2 + 1)

    def _boxes(self, count: int, rng: torch.Generator) -> Tensor:
        """(count, 4): top, left, height, width; area and logarithm of the aspect are uniform."""
        settings = self._settings
        uniform = torch.rand((count, TRIES, 4), generator=rng, dtype=torch.float64)
        share = settings.min_area + (settings.max_area - settings.min_area) * uniform[..., 0]
        # The square root of width over height.
        tilt = torch.exp((uniform[..., 1] - 0.5) * math.log(settings.max_aspect))
        side = (share * self._image.prod()).sqrt()
        sides = torch.stack([side / tilt, side * tilt], dim=-1).round()
        fits = ((sides >= 1) & (sides <= self._image)).all(-1)
        rows, first = torch.arange(count), fits.to(torch.int8).argmax(1)
        chosen = torch.where(fits.any(1)[:, None], sides[rows, first], self._image)
        corners = (uniform[rows, first, 2:] * (self._image - chosen + 1)).floor()
        return torch.cat([corners, chosen], dim=1)

    def _coloured(self, images: Tensor, draws: Tensor) -> Tensor:
        settings, jittered = self._settings, draws[:, _JITTERED] > 0
        factors = torch.where(jittered[:, None], draws[:, _FACTORS][:, :3], 1.0)
        if settings.jitter and settings.brightness:
            images = brightened(images, factors[:, 0])
        if settings.jitter and settings.contrast:
            images = contrasted(images, factors[:, 1])
        if self._channels != 3:  # grey: it has no colours
            return images
        if settings.jitter and settings.saturation:
            images = saturated(images, factors[:, 2])
        if settings.jitter and settings.hue:
            images = hue_turned(images, torch.where(jittered, draws[:, 9], 0.0))
        if settings.grey:
            is_grey = (draws[:, _IS_GREY] > 0)[:, None, None, None]
            images = torch.where(is_grey, greyed(images).expand_as(images), images)
        return images


def resized_crop(pixels: Tensor, boxes: Tensor, size: tuple[int, int], mirrored: Tensor) -> Tensor:
    """Boxes (B, 4) of (B, Ch, H, W), resized to (B, Ch, h, w) float32, some of them mirrored.

    Resampling is a linear map of each axis, so all of it is two small matrix products: rows (h, H)
    @ image (H, W) @ columns (W, w). Smoothed where the box is larger than the view.
    """
    boxes = boxes.to(torch.float32)
    top, left, height, width = boxes.unbind(1)
    nobody = torch.zeros_like(mirrored)
    rows = _resampling(top, height, pixels.shape[2], size[0], nobody)
    columns = _resampling(left, width, pixels.shape[3], size[1], mirrored)
    return rows[:, None] @ pixels.to(torch.float32) @ columns.mT[:, None]


def _resampling(start: Tensor, length: Tensor, pixels: int, size: int, mirrored: Tensor) -> Tensor:
    """(B, size, pixels): weights of the pixels in each of `size` places along the box.

    A triangle around the place, as wide as a pixel of the box or of the view, whichever is larger,
    cut off at the box and made to sum to 1: bilinear with smoothing, as PIL and torchvision have
    it. Pixel centres lie at halves.
    """
    at = torch.arange(pixels, device=start.device) + 0.5
    places = torch.arange(size, device=start.device) + 0.5
    within = places * (length / size)[:, None]
    within = torch.where(mirrored[:, None], within.flip(1), within)
    if float(length.max()) <= size:
        # Beyond the outermost centres of the box its edge continues: no cut, no sum to mend.
        within = torch.minimum(within.clamp_(min=0.5), (length - 0.5)[:, None])
        away = (at - (start[:, None] + within)[:, :, None]).abs_()
        return away.neg_().add_(1).clamp_(min=0)
    away = (at - (start[:, None] + within)[:, :, None]).abs_()
    weights = (1 - away / (length / size).clamp(min=1)[:, None, None]).clamp_(min=0)
    weights *= ((at > start[:, None]) & (at < (start + length)[:, None]))[:, None]
    return weights.div_(weights.sum(2, keepdim=True))


def brightened(images: Tensor, factors: Tensor) -> Tensor:
    """Values times the factor of each image (B,)."""
    return (images * _each(factors)).clamp_(0, 255)


def contrasted(images: Tensor, factors: Tensor) -> Tensor:
    """Blended with the mean of the grey image: 0 leaves that mean alone, 1 the image."""
    mean = greyed(images).mean((1, 2, 3), keepdim=True)
    factors = _each(factors)
    return (images * factors).add_(mean * (1 - factors)).clamp_(0, 255)


def saturated(images: Tensor, factors: Tensor) -> Tensor:
    """Blended with the grey image: 0 leaves grey, 1 the image."""
    grey, factors = greyed(images), _each(factors)
    return (images * factors).add_(grey * (1 - factors)).clamp_(0, 255)


def greyed(images: Tensor) -> Tensor:
    """(B, 3 or 1, h, w) -> (B, 1, h, w)."""
    if images.shape[1] == 1:
        return images
    weights = torch.tensor(_GREY, device=images.device)[:, None, None]
    return (images * weights).sum(1, keepdim=True)


def hue_turned(images: Tensor, shifts: Tensor) -> Tensor:
    """Hue moved by a share of the circle (B,), saturation and value in HSV as they are."""
    rgb = images / 255
    value, _ = rgb.max(1)
    least, _ = rgb.min(1)
    chroma = value - least
    safe = torch.where(chroma > 0, chroma, 1.0)
    red, green, blue = rgb.unbind(1)
    hue = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    hue = (hue / 6 + shifts[:, None, None]) % 1.0
    # The channel n of a hue: value - chroma * clamp(min(k, 4 - k), 0, 1), k = (n + 6 hue) mod 6.
    offsets = torch.tensor([5.0, 3.0, 1.0], device=images.device)[None, :, None, None]
    k = (offsets + 6 * hue[:, None]) % 6
    away = torch.minimum(k, 4 - k).clamp_(0, 1)
    return (value[:, None] - chroma[:, None] * away) * 255


def blurred(images: Tensor, sigmas: Tensor, kernel: int) -> Tensor:
    """A Gaussian of each image's deviation (B,) in pixels over `kernel` of them; 0 for none."""
    half = kernel // 2
    at = torch.arange(-half, half + 1, device=images.device, dtype=torch.float32)
    weights = torch.exp(-0.5 * (at / sigmas.clamp(min=1e-3)[:, None]) ** 2)
    weights = torch.where(sigmas[:, None] > 0, weights, (at == 0).to(torch.float32))
    weights /= weights.sum(1, keepdim=True)
    batch, channels, height, width = images.shape
    padded = F.pad(images, (half, half, half, half), mode="reflect")
    each = weights.repeat_interleave(channels, 0)  # a filter of its own for every plane
    planes = padded.reshape(1, batch * channels, height + 2 * half, width + 2 * half)
    planes = F.conv2d(planes, each[:, None, :, None], groups=batch * channels)
    planes = F.conv2d(planes, each[:, None, None, :], groups=batch * channels)
    return planes.reshape(batch, channels, height, width)


def _each(factors: Tensor) -> Tensor:
    return factors[:, None, None, None]
