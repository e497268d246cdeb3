"""Contrastive pretraining: two views of one image attract, all others repel."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from trainers.pretraining import Pretrainer

if TYPE_CHECKING:
    from trainers.encoders import Encoder


class SimCLR(Pretrainer):
    """NT-Xent on two views of every image (Chen et al. 2020, arXiv 2002.05709).

    Differs: SGD instead of LARS, as ActiveFER has it; its factor temperature/0.07 on the loss,
    which only scales the learning rate, is left out.
    """

    name: Literal["simclr"] = "simclr"
    temperature: float = Field(default=0.1, gt=0)
    """Of the softmax over cosine similarities."""
    hidden: int | None = Field(default=None, ge=1)
    """Width of the projection's hidden layer; the embedding's if not given."""
    projection: int = Field(default=128, ge=1)
    """Width of what is compared."""

    def refusal(self, encoder: Encoder, image_shape: tuple[int, int, int]) -> str | None:  # noqa: ARG002
        return None


class SupCon(SimCLR):
    """Supervised contrast: all views of one class attract (Khosla et al. 2020, arXiv 2004.11362).

    The form with the sum outside of the logarithm (their L_out, equation 2). Only labels of the
    seed set are ever read, so it runs once these are answered. ActiveFER's command reads the labels
    of the whole pool; here a row without a label has none.
    """

    reads_labels: ClassVar[bool] = True

    name: Literal["supcon"] = "supcon"  # type: ignore[assignment]
    unlabelled: Literal["leave_out", "contrast"] = "leave_out"
    """Images of the pool without a label: not seen, or seen as SimCLR sees them, each attracting
    its own other view alone."""
