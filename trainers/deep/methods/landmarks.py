"""SimFLE: BYOL, and a masked autoencoder that is shown what the encoder finds most active.

Gradients reach the encoder from L_s and L_d, the autoencoder from L_r and L_d, and the grouping
convolution from L_g alone.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import cast

import torch
from torch import Tensor

from trainers.deep.losses.simfle import (
    distillation,
    group_similarity,
    grouping_loss,
    reconstruction,
)
from trainers.deep.methods.base import Batch
from trainers.deep.methods.bootstrap import Bootstrap
from trainers.deep.nets.facemae import FACE_MAE, FaceMAE
from trainers.deep.nets.mlp import MLPHead
from trainers.deep.nets.semantic_masking import SemanticMasking, kept_tokens
from trainers.deep.networks import Plan
from trainers.deep.statistics import untouched_statistics
from trainers.simfle import SimFLE


class Landmarks(Bootstrap):
    """The whole method; names of terms are those of the paper."""

    def __init__(self, settings: SimFLE, plan: Plan) -> None:
        super().__init__(plan, settings.hidden, settings.projection, settings.momentum)
        width = int(self.encoder.embedding_width)  # type: ignore[arg-type]
        face = FACE_MAE[settings.face_mae](plan.in_channels)
        self.masking = SemanticMasking(width, settings.groups)
        self.face_mae = FaceMAE(face)
        self.distil_face = MLPHead(width, settings.hidden, settings.projection)
        self.distil_landmarks = MLPHead(face.width, settings.hidden, settings.projection)
        self.face_size = face.image_size
        self._side = face.side
        self._keep = kept_tokens(face.side**2, settings.mask_ratio)
        self._settings = settings

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        settings, seen = self._settings, self.predict(batch)
        faces = cast("Tensor", batch.faces)
        activations = self.masking.activations(self._maps(faces)).float()
        gang = batch.gang
        group = torch.randint(0, settings.groups, (gang.size * len(faces),), generator=batch.rng)
        scores = self.masking.patch_scores(
            activations, gang.share(group).to(faces.device), faces.shape[-1], self._side
        )
        painted = self.face_mae(faces, scores, self._keep)
        terms = {
            "similarity": seen.loss,
            "reconstruction": reconstruction(
                painted.predicted.float(), painted.target.float(), painted.masked
            ),
            "distillation": distillation(
                [
                    *(self.distil_face(y).float() for y in seen.embeddings),
                    self.distil_landmarks(painted.tokens_mean).float(),
                ],
                settings.temperature,
            ),
            "grouping": grouping_loss(gang.mean(group_similarity(activations)), settings.groups),
        }
        loss = (
            terms["similarity"]
            + terms["reconstruction"]
            + settings.distillation * terms["distillation"]
            + settings.grouping * terms["grouping"]
        )
        return {"loss": loss, **terms}

    def draw(self, rng: torch.Generator) -> None:
        super().draw(rng)
        for part in (self.masking, self.face_mae, self.distil_face, self.distil_landmarks):
            part.draw(rng)

    def _maps(self, faces: Tensor) -> Tensor:
        """(B, C, h, w) of the faces, without a gradient to the encoder."""
        moves = self._settings.face_statistics
        with torch.no_grad(), nullcontext() if moves else untouched_statistics(self.encoder):
            return cast("Tensor", self.encoder.maps(faces))  # type: ignore[operator]
