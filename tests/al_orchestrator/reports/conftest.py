"""Curves a reader can check by head."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from al_orchestrator.reports import RunCurve
from al_orchestrator.reports.curves import Background

MakeRun = Callable[..., RunCurve]


@pytest.fixture
def make_run() -> MakeRun:
    """Builds the curve of a run; by default of three rounds at 10, 20 and 30 labels."""

    def make(
        strategy: str,
        seed: int,
        values: Sequence[float],
        *,
        labels: Sequence[int] = (10, 20, 30),
        dataset: str = "faces",
        state: str = "finished",
        metric: str = "test/accuracy",
        group: str = "",
        background: Background | None = None,
        **more: Sequence[float],
    ) -> RunCurve:
        return RunCurve(
            run=f"{dataset}-{group or strategy}-{seed}",
            strategy=strategy,
            seed=seed,
            dataset=dataset,
            group=group or strategy,
            labels=np.array(labels),
            metrics={
                name: np.array(each, dtype=np.float64)
                for name, each in {metric: values, **more}.items()
            },
            state=state,
            background=background,
        )

    return make
