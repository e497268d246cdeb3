"""BYOL: an online network predicts the projection of a slower target network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainers.deep.losses.regression import symmetric
from trainers.deep.methods.base import Batch, Method
from trainers.deep.nets.mlp import MLPHead
from trainers.deep.networks import Plan, build_encoder


@dataclass(frozen=True, eq=False)
class Predicted:
    """What two views gave."""

    embeddings: tuple[Tensor, Tensor]  # (B, D) each, with gradient
    loss: Tensor  # (), the sum of both directions


class Bootstrap(Method):
    """The target has batch-norm statistics of its own; its parameters alone follow the other's."""

    def __init__(self, plan: Plan, hidden: int, projection: int, momentum: float) -> None:
        super().__init__(plan)
        width = int(self.encoder.embedding_width)  # type: ignore[arg-type]
        self.projector = MLPHead(width, hidden, projection)
        self.predictor = MLPHead(projection, hidden, projection)
        self.target_encoder = build_encoder(plan).requires_grad_(False)
        self.target_projector = MLPHead(width, hidden, projection).requires_grad_(False)
        self._momentum = momentum

    def predict(self, batch: Batch) -> Predicted:
        embeddings = self.encoder(batch.first), self.encoder(batch.second)
        predicted = [self.predictor(self.projector(y)).float() for y in embeddings]
        with torch.no_grad():
            targets = [
                self.target_projector(self.target_encoder(view)).float()
                for view in (batch.first, batch.second)
            ]
        return Predicted(embeddings, symmetric(*predicted, *targets))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": self.predict(batch).loss}

    def after_step(self) -> None:
        """ξ ← m ξ + (1 - m) θ, of parameters alone."""
        for target, online in self._pairs():
            with torch.no_grad():
                torch._foreach_lerp_(
                    [*target.parameters()], [*online.parameters()], 1 - self._momentum
                )

    def draw(self, rng: torch.Generator) -> None:
        super().draw(rng)
        self.projector.draw(rng)
        self.predictor.draw(rng)
        for target, online in self._pairs():
            target.load_state_dict(online.state_dict())

    def _pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        return [
            (self.target_encoder, self.encoder),
            (self.target_projector, self.projector),
        ]
