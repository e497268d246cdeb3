"""The last layer of a classifier, and dropout whose chance is its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from trainers.deep.seeding import generator


class SeededDropout(nn.Module):
    """Dropout that draws from a generator of its own, never from the global one.

    In training every item has its own mask, from the generator that `reseed` sets. Inside
    `posterior_draw` one mask serves all items, in evaluation mode too: one draw of the posterior
    is one network (Gal & Ghahramani 2016, arXiv 1506.02142).
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self._generator = torch.Generator()
        self._mask: Tensor | None = None  # (D,) of the current posterior draw

    def reseed(self, seed: int, *purpose: str | int) -> None:
        self._generator = generator(seed, *purpose)

    @contextmanager
    def posterior_draw(self, width: int, seed: int, draw: int) -> Iterator[None]:
        """Inside, item after item is masked by the mask of this draw, of `width` entries."""
        kept = torch.rand(width, generator=generator(seed, "posterior", draw)) >= self.p
        self._mask = kept / (1 - self.p)
        try:
            yield
        finally:
            self._mask = None

    def forward(self, x: Tensor) -> Tensor:
        if self._mask is not None:
            return x * self._mask.to(x.device)
        if not self.training or self.p == 0:
            return x
        kept = torch.rand(x.shape, generator=self._generator) >= self.p
        return x * (kept / (1 - self.p)).to(x.device)


class DropPath(nn.Module):
    """In training, leaves out a whole item's share with chance p (Huang et al. 2016).

    arXiv 1603.09382. What is kept grows by 1/(1-p). Draws from a generator of its own.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self._generator = torch.Generator()

    def reseed(self, seed: int, *purpose: str | int) -> None:
        self._generator = generator(seed, *purpose)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        shape = (len(x), *(1 for _ in x.shape[1:]))
        kept = torch.rand(shape, generator=self._generator) >= self.p
        return x * (kept / (1 - self.p)).to(x.device, x.dtype)


class LinearHead(nn.Module):
    """Dropout, then logits (B, C) = embeddings (B, D) @ weight.T + bias."""

    def __init__(self, embedding_width: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = SeededDropout(dropout)
        self.linear = nn.Linear(embedding_width, num_classes)

    def forward(self, embeddings: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.dropout(embeddings))
        return logits
