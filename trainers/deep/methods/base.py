"""The contract of a pretraining method's networks.

Legend: ``B`` images of a minibatch, ``Ch`` channels, ``h, w`` view, ``D`` embedding width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainers.deep.gang import ALONE, Gang
from trainers.deep.networks import Plan, build_encoder, draw_weights


@dataclass(frozen=True, eq=False)
class Batch:
    """A minibatch, or this process's share of one, as a method sees it; images are normalised."""

    first: Tensor  # (B, Ch, h, w)
    second: Tensor  # (B, Ch, h, w), another view of the same images
    faces: Tensor | None  # (B, Ch, s, s) as they are, only resized; for a method with `face_size`
    classes: Tensor  # (B,) int64; -1 where nobody knows
    rng: torch.Generator  # of this step's other chance, on the CPU; the same in all processes
    gang: Gang = ALONE  # the processes that have the other shares


class Method(nn.Module, ABC):
    """An encoder, and what is trained with it and thrown away.

    Built on the meta device and filled in by `draw`, so that no global generator is read.
    """

    face_size: int | None = None

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.encoder = build_encoder(plan)

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The loss under "loss", and its terms by name, each () float32.

        The mean over the processes of `batch.gang` is that of the whole minibatch.
        """

    def after_step(self) -> None:
        """Called after each step of the optimiser."""

    def draw(self, rng: torch.Generator) -> None:
        """Draws every weight, the encoder's first."""
        draw_weights(self.encoder, rng)

    def weights_to_keep(self) -> Mapping[str, Tensor]:
        """The encoder's state dict."""
        return self.encoder.state_dict()
