"""Learning curves, statistics and tables of finished and unfinished runs.

Reads plain values (`RunCurve`, `Round`), never the ledger. Axis legend: ``R`` rounds, ``S`` seeds.
"""

from __future__ import annotations

from al_orchestrator.reports.cells import Cell, Row
from al_orchestrator.reports.comparison import Comparison, compare
from al_orchestrator.reports.curves import RunCurve, aulc, mean_over_rounds
from al_orchestrator.reports.plots import plot_cell, plot_cells
from al_orchestrator.reports.statistics import Interval, t_interval
from al_orchestrator.reports.tables import as_text, render_table, round_table
from al_orchestrator.reports.terminal import chart

__all__ = [
    "Cell",
    "Comparison",
    "Interval",
    "Row",
    "RunCurve",
    "as_text",
    "aulc",
    "chart",
    "compare",
    "mean_over_rounds",
    "plot_cell",
    "plot_cells",
    "render_table",
    "round_table",
    "t_interval",
]
