"""What each pretraining method makes of two views: its networks and its loss."""

from __future__ import annotations

from trainers.byol import BYOL
from trainers.deep.methods.base import Batch, Method
from trainers.deep.networks import Plan
from trainers.pretraining import Pretrainer
from trainers.simclr import SimCLR
from trainers.simfle import SimFLE
from trainers.vicreg import VICReg

__all__ = ["Batch", "Method", "method_of"]


def method_of(pretrainer: Pretrainer, plan: Plan) -> Method:
    """The method of a pretrainer, with weights yet to be drawn."""
    match pretrainer:
        case SimCLR():
            from trainers.deep.methods.contrast import Contrast

            return Contrast(pretrainer, plan)
        case BYOL():
            from trainers.deep.methods.bootstrap import Bootstrap

            return Bootstrap(plan, pretrainer.hidden, pretrainer.projection, pretrainer.momentum)
        case VICReg():
            from trainers.deep.methods.conditions import Conditions

            return Conditions(pretrainer, plan)
        case SimFLE():
            from trainers.deep.methods.landmarks import Landmarks

            return Landmarks(pretrainer, plan)
    raise AssertionError(f"{pretrainer.name} has no method")
