"""Suspect rounds, and what stands behind a comparison: recalls, cost, overlap."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from al_orchestrator.reports import RunCurve, as_text, compare, render_table
from al_orchestrator.reports.comparison_page import comparison_page
from al_orchestrator.reports.curves import Background
from al_orchestrator.reports.details import CellDetails, details_of
from al_orchestrator.reports.sections import health_note, render_sections

MakeRun = Callable[..., RunCurve]
METRIC = "test/accuracy"


def background(
    *batches: str,
    converged: Sequence[bool | None] = (None, None, None),
    train: float = 1.0,
) -> Background:
    """A run over the pool a…z whose batches are the letters of words."""
    return Background(
        classes=("happy", "sad"),
        pool=26,
        read_batches=lambda: tuple(frozenset(word) for word in batches),
        converged=tuple(converged),
        labels=sum(map(len, batches)),
        validation=5,
        looked_at=0,
        seconds={"train": train, "score": 2.0, "query": 9.0},
        gpu_seconds=train,
    )


def only(runs: list[RunCurve], metric: str = METRIC) -> CellDetails:
    [details] = details_of(compare(runs, metric), runs)
    return details


def pair(make_run: MakeRun, seeds: int, margin: dict[int, list[float]]) -> list[RunCurve]:
    """Level runs of random at .5 and of margin at .6, but for the seeds given."""
    return [
        *(make_run("random", seed, [0.5, 0.5, 0.5]) for seed in range(seeds)),
        *(make_run("margin", s, margin.get(s, [0.5, 0.6, 0.6])) for s in range(seeds)),
    ]


def test_a_fall_is_suspect_and_its_pair_is_left_out_of_the_second_line(make_run: MakeRun) -> None:
    runs = pair(make_run, 4, {2: [0.5, 0.6, 0.2]})
    health = only(runs).health
    assert [(s.run, s.labels) for s in health.suspects] == [("faces-margin-2", 30)]
    assert "0.200 after 0.600" in health.suspects[0].why
    [row] = health.rows
    assert row.left_out == (2,)
    assert row.without is not None
    assert row.without.mean == pytest.approx(0.075)  # (0.05 + 0.1) / 2 of level and rising part
    assert row.without.n == 3
    assert row.median == pytest.approx(0.075)
    # The main table keeps all four.
    main = next(r for r in compare(runs, METRIC).cells[0].rows if r.group == "margin")
    assert main.difference is not None
    assert main.difference.interval.n == 4
    assert "1 suspect round in 1 run" in str(health_note(health))


@pytest.mark.parametrize(("end", "is_suspect"), [(0.551, False), (0.549, True)])
def test_five_points_are_the_border_of_a_fall(
    make_run: MakeRun, end: float, is_suspect: bool
) -> None:
    runs = pair(make_run, 2, {0: [0.5, 0.6, end]})
    assert bool(only(runs).health.suspects) is is_suspect


def test_a_slow_fall_below_the_start_of_random_is_suspect(make_run: MakeRun) -> None:
    runs = pair(make_run, 2, {1: [0.5, 0.46, 0.42]})
    [suspect] = only(runs).health.suspects
    assert (suspect.group, suspect.seed, suspect.labels) == ("margin", 1, 30)
    assert "below the 0.500" in suspect.why


def test_losses_are_not_judged_by_falls(make_run: MakeRun) -> None:
    runs = [
        make_run(group, seed, [0.9, 0.5, 0.4], metric="test/nll")
        for group in ("random", "margin")
        for seed in range(2)
    ]
    assert only(runs, "test/nll").health.suspects == ()


def test_a_fit_cut_off_is_suspect_where_most_end_by_themselves(make_run: MakeRun) -> None:
    ended = background("ab", "cd", converged=(True, True, True))
    cut = background("ab", "cd", converged=(True, True, False))
    runs = [
        make_run("random", 0, [0.5] * 3, background=ended),
        make_run("margin", 0, [0.5] * 3, background=cut),
    ]
    [suspect] = only(runs).health.suspects
    assert (suspect.run, suspect.labels) == ("faces-margin-0", 30)
    capped = background("ab", "cd", converged=(False,) * 3)
    runs = [make_run(group, 0, [0.5] * 3, background=capped) for group in ("random", "margin")]
    assert only(runs).health.suspects == ()  # a fixed length of training is no accident


def test_recall_of_each_class_is_read_where_the_curves_end(make_run: MakeRun) -> None:
    def run(group: str, seed: int, sad: float) -> RunCurve:
        recalls = {"test/recall/0": [0.1, 0.2, 0.9], "test/recall/1": [0.0, 0.0, sad]}
        return make_run(group, seed, [0.5] * 3, background=background("ab", "cd"), **recalls)

    runs = [run("random", 0, 0.2), run("random", 1, 0.4), run("margin", 0, 0.8)]
    found = {each.group: each.recalls for each in only(runs).recalls}
    assert found["random"]["sad"].mean == pytest.approx(0.3)
    assert found["random"]["sad"].n == 2
    assert found["margin"]["sad"].mean == pytest.approx(0.8)
    assert list(found["margin"]) == ["happy", "sad"]


def test_costs_are_means_over_the_runs_of_a_group(make_run: MakeRun) -> None:
    runs = [
        make_run("random", 0, [0.5] * 3, background=background("abc", "def", train=1.0)),
        make_run("random", 1, [0.5] * 3, background=background("abc", "defg", train=3.0)),
    ]
    [cost] = only(runs).costs
    assert (cost.runs, cost.labels, cost.validation) == (2, 6.5, 5.0)
    assert cost.seconds == {"train": 2.0, "score": 2.0, "select": 0.0}
    assert cost.gpu_seconds == 2.0


def test_overlap_is_intersection_over_union_without_the_seed_set(make_run: MakeRun) -> None:
    runs = [
        make_run("random", 0, [0.5] * 3, background=background("xyz", "abc", "def")),
        make_run("margin", 0, [0.5] * 3, background=background("xyz", "bcd", "gha")),
    ]
    overlap = only(runs).overlap
    assert overlap is not None
    assert overlap.groups == ("random", "margin")  # the order of the table
    assert overlap.by_round == {"random, margin": (0.5, 0.0)}
    shared, union = len({*"abcd"}), len({*"abcdefgh"})
    assert overlap.in_all == ((None, shared / union), (shared / union, None))
    common = 6 * 6 / 23
    assert overlap.by_chance == pytest.approx(common / (12 - common))


def test_overlap_is_paired_by_seed(make_run: MakeRun) -> None:
    runs = [
        make_run("random", 0, [0.5] * 3, background=background("xyz", "abc")),
        make_run("random", 1, [0.5] * 3, background=background("xyz", "def")),
        make_run("margin", 1, [0.5] * 3, background=background("xyz", "def")),
    ]
    overlap = only(runs).overlap
    assert overlap is not None
    assert overlap.in_all[0][1] == 1.0


def test_curves_from_a_file_have_no_details_and_nothing_breaks(make_run: MakeRun) -> None:
    details = only(pair(make_run, 2, {}))
    assert (details.recalls, details.costs, details.overlap) == ((), (), None)
    assert "faces" in as_text(render_sections(details, baseline="random"))


def test_terminal_page_and_json_tell_the_same(make_run: MakeRun) -> None:
    recalls = {"test/recall/0": [0.1, 0.2, 0.25], "test/recall/1": [0.0, 0.0, 0.75]}
    runs = [
        make_run("random", 0, [0.5, 0.6, 0.3], background=background("xyz", "abc"), **recalls),
        make_run("m<b>", 0, [0.5, 0.6, 0.7], background=background("xyz", "abd"), **recalls),
    ]
    comparison = compare(runs, METRIC, baseline="random")
    [details] = details_of(comparison, runs)
    shown = as_text(render_sections(details, baseline="random"))
    page = comparison_page(comparison, runs, title="t")
    for text in ("0.300 after 0.600", "0.250", "0.500", "cost of a run"):
        assert text in shown
        assert text in page
    assert "m&lt;b&gt;" in page
    plain = json.loads(json.dumps(details.to_json()))
    assert plain["health"]["suspects"][0]["labels"] == 30
    assert plain["overlap"]["in_all"][0][1] == 0.5


def test_what_is_done_against_the_protocol_stands_above_all(make_run: MakeRun) -> None:
    runs = [
        make_run("random", 0, [0.5] * 3),
        replace(make_run("margin", 0, [0.5] * 3), marks=("the test set chose the epoch",)),
    ]
    comparison = compare(runs, METRIC)
    assert comparison.watermark == "the test set chose the epoch"
    first = as_text(render_table(comparison)).splitlines()[0]
    assert first == "NOT BY THE PROTOCOL: the test set chose the epoch"
    page = comparison_page(comparison, runs, title="t")
    assert page.index("the test set chose the epoch") < page.index("Verdicts")
