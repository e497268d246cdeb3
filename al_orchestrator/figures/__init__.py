"""Pictures for people: arrays in, image files out, the same bytes each time.

Legend of axes: ``B`` images of a batch, ``H, W`` image, ``Ch`` channels, ``C`` classes, ``R``
rounds, ``S`` seeds. Matplotlib is imported when a figure is drawn, and never through `pyplot`, so
figures may be drawn in any thread.
"""

from __future__ import annotations

from al_orchestrator.figures.bars import Bar, grouped_bars
from al_orchestrator.figures.canvas import SUFFIXES
from al_orchestrator.figures.classes import class_histogram, confusion_matrix
from al_orchestrator.figures.contact_sheet import contact_sheet
from al_orchestrator.figures.curves import Curve, learning_curves
from al_orchestrator.figures.reliability import reliability_diagram
from al_orchestrator.figures.saliency import Scale, min_max, saliency_sheet

__all__ = [
    "SUFFIXES",
    "Bar",
    "Curve",
    "Scale",
    "class_histogram",
    "confusion_matrix",
    "contact_sheet",
    "grouped_bars",
    "learning_curves",
    "min_max",
    "reliability_diagram",
    "saliency_sheet",
]
