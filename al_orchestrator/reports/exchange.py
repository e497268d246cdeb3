"""Curves and results as CSV or Parquet files, for other programs and from them.

A file of curves has a row for each round of each run: `group` (what is compared), `seed`, `labels`
(trained on), and a column for each metric. `run`, `strategy`, `dataset`, `setting` and `marks`
(what was done against the protocol) may be there; without them a run is a group and a seed, its
strategy the group, and all is one dataset.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from al_orchestrator.errors import ConfigError
from al_orchestrator.files import replacing
from al_orchestrator.reports.comparison import Comparison
from al_orchestrator.reports.curves import FINISHED, RunCurve

SUFFIXES = (".csv", ".parquet")
_NEEDED = ("group", "seed", "labels")
_WORDS = ("run", "strategy", "dataset", "setting", "group", "state", "marks")


def write_curves(runs: Sequence[RunCurve], path: Path) -> None:
    """Writes every round of every run, with the metrics all of them have.

    Raises:
        ConfigError: The suffix is neither `.csv` nor `.parquet`.
    """
    shared = sorted(set.intersection(*(set(run.metrics) for run in runs)))
    rows = [
        {
            "run": run.run,
            "group": run.group,
            "strategy": run.strategy,
            "dataset": run.dataset,
            "setting": run.setting,
            "marks": "; ".join(run.marks),
            "seed": run.seed,
            "labels": int(labels),
            **{name: float(run.metrics[name][number]) for name in shared},
        }
        for run in sorted(runs, key=lambda run: (run.cell, run.group, run.seed))
        for number, labels in enumerate(run.labels)
    ]
    write_rows(rows, path)


def write_results(comparison: Comparison, path: Path) -> None:
    """Writes a row for each group of each cell: areas, differences, p values, verdicts.

    Raises:
        ConfigError: The suffix is neither `.csv` nor `.parquet`.
    """
    write_rows(
        [_result(comparison, cell, row) for cell in comparison.cells for row in cell.rows], path
    )


def _result(comparison: Comparison, cell: Any, row: Any) -> dict[str, object]:
    difference, target = row.difference, row.to_target
    interval = difference.interval if difference is not None else None
    return {
        "dataset": cell.dataset,
        "start": cell.start,
        "step": cell.step,
        "setting": cell.setting,
        "metric": comparison.metric,
        "marks": comparison.watermark,
        "from_labels": cell.low,
        "to_labels": cell.high,
        "group": row.group,
        "seeds": len(row.seeds),
        "final": row.final.mean,
        "final_low": row.final.low,
        "final_high": row.final.high,
        "aulc": row.aulc.mean,
        "aulc_low": row.aulc.low,
        "aulc_high": row.aulc.high,
        "mean_over_rounds": row.mean_over_rounds,
        "baseline": cell.baseline,
        "difference": interval.mean if interval else None,
        "difference_low": interval.low if interval else None,
        "difference_high": interval.high if interval else None,
        "difference_sd": interval.sd if interval else None,
        "pairs": interval.n if interval else None,
        "p": difference.p if difference else None,
        "p_holm": difference.p_holm if difference else None,
        "smallest_visible": difference.smallest_visible if difference else None,
        "labels_to_target": target.labels if target else None,
        "label_efficiency": target.efficiency if target else None,
        "verdict": row.verdict,
        "overall_verdict": comparison.verdicts[row.group],
    }


def read_curves(path: Path) -> list[RunCurve]:
    """The runs of a file of curves.

    Raises:
        ConfigError: It cannot be read, lacks a column, or a run has a label count twice.
    """
    table = _read(path)
    missing = [name for name in _NEEDED if name not in table]
    if missing:
        raise ConfigError(
            f"{path} has no column {', '.join(missing)}; a row is a round of a run, with columns "
            f"{', '.join(_NEEDED)} and one for each metric"
        )
    metrics = [name for name in table if name not in (*_NEEDED, *_WORDS)]
    if not metrics:
        raise ConfigError(f"{path} has no column of a metric beside {', '.join(table)}")
    count = len(table["labels"])
    words = {name: table.get(name) or [""] * count for name in _WORDS}
    rows: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for row in range(count):
        key = (*(str(words[name][row] or "") for name in _WORDS), str(table["seed"][row]))
        rows[key].append(row)
    return [_run(path, table, metrics, found) for found in rows.values()]


def _run(
    path: Path, table: Mapping[str, list[Any]], metrics: Sequence[str], rows: Sequence[int]
) -> RunCurve:
    first = rows[0]
    word = {name: str(table[name][first] or "") if name in table else "" for name in _WORDS}
    order = sorted(rows, key=lambda row: int(table["labels"][row]))
    group, seed = word["group"], table["seed"][first]
    try:
        return RunCurve(
            run=word["run"] or f"{group} seed {seed}",
            strategy=word["strategy"] or group,
            seed=int(seed),
            dataset=word["dataset"] or path.stem,
            group=group,
            labels=np.array([int(table["labels"][row]) for row in order], dtype=np.int64),
            metrics={
                name: np.array([_number(table[name][row]) for row in order]) for name in metrics
            },
            state=word["state"] or FINISHED,
            setting=word["setting"],
            marks=tuple(word["marks"].split("; ")) if word["marks"] else (),
        )
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _number(value: object) -> float:
    return float("nan") if value is None else float(value)  # type: ignore[arg-type]


def _read(path: Path) -> dict[str, list[Any]]:
    import pyarrow as pa
    from pyarrow import csv, parquet

    _check(path)
    try:
        table = csv.read_csv(path) if path.suffix == ".csv" else parquet.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    columns: dict[str, list[Any]] = table.to_pydict()
    return columns


def write_rows(rows: Sequence[Mapping[str, object]], path: Path) -> None:
    """Writes rows with the same columns, whole or not at all.

    Raises:
        ConfigError: The suffix is neither `.csv` nor `.parquet`.
    """
    import pyarrow as pa
    from pyarrow import csv, parquet

    _check(path)
    table = pa.Table.from_pylist(list(rows))
    with replacing(path) as temporary:
        if path.suffix == ".csv":
            csv.write_csv(table, temporary)
        else:
            parquet.write_table(table, temporary)


def _check(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"{path.name!r} must end in {' or '.join(SUFFIXES)}")
