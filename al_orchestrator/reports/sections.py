"""The details of a comparison as plain tables, for the terminal and for pages alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Group, JustifyMethod, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from al_orchestrator.reports.details import STAGES, CellDetails, Cost, Overlap, Recalls
from al_orchestrator.reports.health import FALL, Health
from al_orchestrator.reports.tables import with_ends, with_half

SHOWN_SUSPECTS = 12


@dataclass(frozen=True)
class Section:
    """A table in words."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def sections_of(details: CellDetails, *, baseline: str | None) -> list[Section]:
    """The tables of one cell; those without anything to tell are left out."""
    return [
        *_health(details.health, baseline),
        *_recalls(details.recalls),
        *_costs(details.costs),
        *_overlap(details.overlap),
    ]


def render_sections(details: CellDetails, *, baseline: str | None) -> RenderableType:
    """The same for the terminal."""
    parts: list[RenderableType] = [Text(details.title, style="bold underline")]
    for section in sections_of(details, baseline=baseline):
        table = Table(
            title=escape(section.title),
            title_justify="left",
            title_style="bold",
            box=SIMPLE_HEAD,
            pad_edge=False,
            collapse_padding=True,
        )
        for number, name in enumerate(section.header):
            is_name = number == 0
            justify: JustifyMethod = "left" if is_name else "right"
            table.add_column(escape(name), justify=justify, no_wrap=is_name)
        for row in section.rows:
            table.add_row(*map(escape, row))
        parts += [table, *(Text(note, style="dim") for note in section.notes)]
    return Group(*parts)


def health_note(health: Health) -> str | None:
    """One line on suspect rounds, or None."""
    if not health.suspects:
        return None
    rounds, runs = len(health.suspects), len({suspect.run for suspect in health.suspects})
    return (
        f"{rounds} suspect {'round' if rounds == 1 else 'rounds'} in {runs} "
        f"{'run' if runs == 1 else 'runs'} (a fall of {FALL:g}, or training cut off); they count "
        "above, and --details tells what is left without them"
    )


def _health(health: Health, baseline: str | None) -> Iterator[Section]:
    if not health.suspects:
        return
    shown = health.suspects[:SHOWN_SUSPECTS]
    more = len(health.suspects) - len(shown)
    yield Section(
        title="suspect rounds",
        header=("run", "labels", "why"),
        rows=tuple((each.run, f"{each.labels:,}", each.why) for each in shown),
        notes=(f"and {more} more",) if more else (),
    )
    if health.rows:
        yield Section(
            title=f"AULC − {baseline}, told against accidents",
            header=("group", "median", "without suspects", "seeds left out"),
            rows=tuple(
                (
                    row.group,
                    f"{row.median:+.4f}",
                    "–" if row.without is None else with_ends(row.without),
                    ", ".join(map(str, row.left_out)) or "none",
                )
                for row in health.rows
            ),
        )


def _recalls(recalls: Sequence[Recalls]) -> Iterator[Section]:
    if not recalls:
        return
    classes = list(recalls[0].recalls)
    yield Section(
        title="recall of each class on the test set, at the end",
        header=("group", *classes),
        rows=tuple(
            (each.group, *(with_half(each.recalls[name], digits=3) for name in classes))
            for each in recalls
            if each.recalls.keys() == recalls[0].recalls.keys()
        ),
    )


def _costs(costs: Sequence[Cost]) -> Iterator[Section]:
    if not costs:
        return
    yield Section(
        title="cost of a run, in the mean",
        header=("group", "labels", "validation", *(f"{s} s" for s in STAGES), "GPU s"),
        rows=tuple(
            (
                each.group,
                f"{each.labels:,.0f}"
                + (f" + {each.looked_at:,.0f} looked at" if each.looked_at else ""),
                f"{each.validation:,.0f}",
                *(f"{each.seconds[stage]:,.1f}" for stage in STAGES),
                f"{each.gpu_seconds:,.1f}",
            )
            for each in costs
        ),
        notes=("wall time of each stage as it ran, with whatever ran beside it",),
    )


def _overlap(overlap: Overlap | None) -> Iterator[Section]:
    if overlap is None:
        return
    chance = overlap.by_chance
    yield Section(
        title="who asked for the same: shared ÷ all of two groups, seed sets apart",
        header=("", *overlap.groups),
        rows=tuple(
            (name, *("" if share is None else f"{share:.3f}" for share in row))
            for name, row in zip(overlap.groups, overlap.in_all, strict=True)
        ),
        notes=() if chance is None else (f"two random draws of that size share {chance:.3f}",),
    )
