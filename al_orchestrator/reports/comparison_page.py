"""A comparison as one HTML page with curves to point at; it opens anywhere, offline."""

from __future__ import annotations

import importlib.metadata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from al_orchestrator.figures.curves import COLOURS, REFERENCE, Curve
from al_orchestrator.reports.cells import Cell
from al_orchestrator.reports.comparison import Comparison
from al_orchestrator.reports.curves import RunCurve
from al_orchestrator.reports.details import details_of
from al_orchestrator.reports.plots import mean_curve
from al_orchestrator.reports.sections import sections_of
from al_orchestrator.reports.tables import cell_notes, cells_of, penalty_notes, penalty_rows

if TYPE_CHECKING:
    from markupsafe import Markup


_CAPTION = "Means with 95 % t intervals over seeds; thin lines are single seeds."
_CAPTION_OF_ONE_SEED = "Single runs: one seed a group, so there is no interval."


def comparison_page(
    comparison: Comparison,
    runs: Sequence[RunCurve],
    *,
    title: str,
    card: Mapping[str, str] | None = None,
) -> str:
    """The page of a comparison: verdicts, curves and table of each cell, who beats whom.

    Args:
        comparison: Of `runs`.
        runs: Whose curves are drawn.
        title: Stands above all.
        card: What a reader has to know before believing a number.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("al_orchestrator.reports"), autoescape=True, undefined=StrictUndefined
    )
    penalty = comparison.penalty
    return environment.get_template("comparison.html").render(
        title=title,
        metric=comparison.metric,
        verdicts=comparison.verdicts,
        regimes=len({cell.regime for cell in comparison.cells}),
        cells=[
            {
                "title": cell.title,
                "range": f"{cell.low:,} to {cell.high:,} labels",
                "end": f"at {cell.high:,}",
                "baseline": cell.baseline,
                "figure": _figure(cell, runs, comparison.metric, with_library=number == 0),
                "caption": _CAPTION if cell.has_intervals else _CAPTION_OF_ONE_SEED,
                "rows": [cells_of(row, escaped=False) for row in cell.rows],
                "notes": cell_notes(cell),
                "sections": sections_of(more, baseline=cell.baseline),
            }
            for number, (cell, more) in enumerate(
                zip(comparison.cells, details_of(comparison, runs), strict=True)
            )
        ],
        marks=comparison.marks,
        groups=penalty.groups,
        penalty=penalty_rows(penalty) if any(map(any, penalty.points)) else [],
        penalty_notes=penalty_notes(comparison),
        alpha=f"{penalty.alpha:g}",
        notes=comparison.notes,
        card=card or {},
        runs=sorted(runs, key=lambda run: (run.cell, run.group, run.seed)),
        version=importlib.metadata.version("al-orchestrator"),
    )


def _figure(cell: Cell, runs: Sequence[RunCurve], metric: str, *, with_library: bool) -> Markup:
    """The cell's curves as a part of a page; the first one brings the library along."""
    import plotly.graph_objects as go
    from markupsafe import Markup

    members: dict[str, list[RunCurve]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.seed):
        if run.cell == cell.key:
            members[run.group].append(run)
    figure = go.Figure()
    colours = iter(COLOURS * (1 + len(cell.rows) // len(COLOURS)))
    for row in cell.rows:
        is_reference = row.group == cell.baseline
        curve = mean_curve(members[row.group], metric, is_reference=is_reference)
        for trace in _traces(curve, REFERENCE if is_reference else next(colours)):
            figure.add_trace(trace)
    figure.update_layout(
        template="simple_white",
        height=430,
        margin={"l": 60, "r": 20, "t": 36, "b": 50},
        xaxis_title="labels",
        yaxis_title=metric,
        hovermode="x unified",
        legend={"title": {"text": "a click hides, two show alone"}},
    )
    library: bool | str = "inline" if with_library else False
    options = {"displaylogo": False, "responsive": True}
    name = f"curves-{'-'.join(str(part) for part in cell.key)}".replace(" ", "-").replace("=", "-")
    html = figure.to_html(
        full_html=False,
        include_plotlyjs=library,
        config=options,
        div_id=name,
        include_mathjax=False,
    )
    return Markup(html)


def _traces(curve: Curve, colour: str) -> list[Any]:
    """The band, the seeds, and the mean on top of them."""
    import plotly.graph_objects as go

    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    shared = {"legendgroup": curve.name, "showlegend": False, "hoverinfo": "skip"}
    traces: list[Any] = []
    if curve.low is not None and curve.high is not None:
        traces.append(
            go.Scatter(
                x=[*curve.labels, *curve.labels[::-1]],
                y=[*curve.high, *curve.low[::-1]],
                mode="lines",
                fill="toself",
                fillcolor=f"rgba({red},{green},{blue},0.15)",
                line={"width": 0},
                **shared,
            )
        )
    for labels, values in curve.runs:
        line = {"color": f"rgba({red},{green},{blue},0.3)", "width": 1}
        traces.append(go.Scatter(x=[*labels], y=[*values], mode="lines", line=line, **shared))
    dash = "dash" if curve.is_reference else "solid"
    traces.append(
        go.Scatter(
            x=[*curve.labels],
            y=[*curve.mean],
            name=curve.name,
            legendgroup=curve.name,
            mode="lines+markers",
            line={"color": colour, "width": 2.5, "dash": dash},
            hovertemplate="%{y:.4f}",
        )
    )
    return traces
