"""SimCLR and SupCon: an encoder and a projection whose directions are compared."""

from __future__ import annotations

import torch
from torch import Tensor

from trainers.deep.losses.contrastive import sup_con
from trainers.deep.methods.base import Batch, Method
from trainers.deep.nets.mlp import ProjectionHead
from trainers.deep.networks import Plan
from trainers.simclr import SimCLR


class Contrast(Method):
    """Both views of all images pass the encoder together, as in the published code."""

    def __init__(self, settings: SimCLR, plan: Plan) -> None:
        super().__init__(plan)
        width = int(self.encoder.embedding_width)  # type: ignore[arg-type]
        self.projection = ProjectionHead(width, settings.hidden or width, settings.projection)
        self._temperature = settings.temperature
        self._reads_labels = settings.reads_labels

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        both = torch.cat([batch.first, batch.second])
        first, second = self.projection(self.encoder(both)).float().chunk(2)
        gang = batch.gang
        groups = batch.classes if self._reads_labels else torch.full_like(batch.classes, -1)
        loss = sup_con(
            gang.gather(first),
            gang.gather(second),
            gang.gather(groups),
            self._temperature,
            share=(gang.rank, gang.size),
        )
        return {"loss": loss}

    def draw(self, rng: torch.Generator) -> None:
        super().draw(rng)
        self.projection.draw(rng)
