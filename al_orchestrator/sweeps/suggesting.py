"""Optuna's only door: it suggests settings and is told what came of them, in memory.

A study keeps nothing here, for the ledgers do. Suggestions are one function of the seed and of what
was told before, in order; so a search that asks and tells the same again is suggested the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from al_orchestrator.errors import ConfigError
from al_orchestrator.sweeps.searches import Range, Suggested

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial


class Suggestions:
    """Settings out of a space, each by what was told of those before."""

    def __init__(
        self, search: Suggested, space: Mapping[str, Range | list[Any]], *, lower_is_better: bool
    ) -> None:
        """Starts a study of its own.

        Raises:
            ConfigError: Optuna is not installed.
        """
        try:
            import optuna
        except ImportError as error:
            raise ConfigError(
                "search: optuna needs a package that is not installed: "
                "pip install 'al-orchestrator[optuna]'; or search at random"
            ) from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(seed=search.seed, n_startup_trials=search.startup)
        self._study = optuna.create_study(
            sampler=sampler, direction="minimize" if lower_is_better else "maximize"
        )
        self._space = dict(sorted(space.items()))
        self._distributions = {field: _distribution(each) for field, each in self._space.items()}
        self._open: list[Trial] = []

    def ask(self, count: int) -> list[dict[str, Any]]:
        """So many settings, dotted fields with their values; two of them may be equal."""
        self._open = [self._study.ask(self._distributions) for _ in range(count)]
        return [
            {field: _value(options, trial.params[field]) for field, options in self._space.items()}
            for trial in self._open
        ]

    def tell(self, values: Sequence[float | None]) -> None:
        """What the settings asked for last came to, in their order; None: nothing was measured."""
        from optuna.trial import TrialState

        for trial, value in zip(self._open, values, strict=True):
            state = TrialState.FAIL if value is None else TrialState.COMPLETE
            self._study.tell(trial, value, state=state)


def _distribution(options: Range | list[Any]) -> BaseDistribution:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if not isinstance(options, Range):
        return CategoricalDistribution(range(len(options)))  # places: values may be anything
    if options.is_whole:
        return IntDistribution(int(options.low), int(options.high), log=options.log)
    return FloatDistribution(float(options.low), float(options.high), log=options.log)


def _value(options: Range | list[Any], suggested: Any) -> Any:
    """Four digits are enough of a number, as of one drawn at random."""
    if not isinstance(options, Range):
        return options[suggested]
    return int(suggested) if options.is_whole else float(f"{suggested:.4g}")
