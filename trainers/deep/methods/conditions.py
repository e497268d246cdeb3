"""VICReg: an encoder and an expander, whose outputs must be alike, spread and uncorrelated."""

from __future__ import annotations

import torch
from torch import Tensor

from trainers.deep.losses.vicreg import vicreg_terms
from trainers.deep.methods.base import Batch, Method
from trainers.deep.nets.mlp import Expander
from trainers.deep.networks import Plan
from trainers.vicreg import VICReg


class Conditions(Method):
    """Views pass one after the other, each with batch-norm statistics of its own."""

    def __init__(self, settings: VICReg, plan: Plan) -> None:
        super().__init__(plan)
        width = int(self.encoder.embedding_width)  # type: ignore[arg-type]
        self.expander = Expander(width, settings.hidden, settings.projection)
        self._settings = settings

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        first = self.expander(self.encoder(batch.first)).float()
        second = self.expander(self.encoder(batch.second)).float()
        # Variances and covariances are those of the whole minibatch, in every process.
        terms = vicreg_terms(batch.gang.gather(first), batch.gang.gather(second))
        weights = self._settings
        loss = (
            weights.invariance * terms.invariance
            + weights.variance * terms.variance
            + weights.covariance * terms.covariance
        )
        return {
            "loss": loss,
            "invariance": terms.invariance,
            "variance": terms.variance,
            "covariance": terms.covariance,
        }

    def draw(self, rng: torch.Generator) -> None:
        super().draw(rng)
        self.expander.draw(rng)
