"""Many independent calls as Ray Tune trials, as many at once as there is room for.

Tune is a scheduler here and nothing else: its retries and checkpoints are off, its files are thrown
away, and what a call leaves behind is where the caller looks for results.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, TypeVar

from ray import tune

from al_orchestrator.errors import AloError
from al_orchestrator.executors.base import Ended
from al_orchestrator.executors.lost_workers import cause_of_death
from al_orchestrator.executors.placement import Placement, place
from al_orchestrator.executors.ray_connection import Connection, nodes
from al_orchestrator.executors.settings import RaySettings, Resources

T = TypeVar("T")

logger = logging.getLogger(__name__)

_QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints boxes even when it is to be silent
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # with it `fit` returns as if nothing had happened
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "0",
    "TUNE_MAX_PENDING_TRIALS_PG": "16",
}


def run_trials(
    function: Callable[[T], None],
    tasks: Mapping[str, T],
    settings: RaySettings,
    resources: Resources,
    until: ExitStack,
    *,
    starts_workers: bool,
    ended: Callable[[Ended], None],
) -> None:
    """See `al_orchestrator.executors.run_side_by_side`; Ray stays open `until` that is left."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    for name in ("ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    connection = Connection(settings)
    until.callback(connection.close)
    placement = place(_of_one_call(resources, starts_workers=starts_workers), nodes())
    logger.info("%s: each run has %s", connection, placement)
    with tempfile.TemporaryDirectory(prefix="alo-tune-") as folder:
        _fit(function, tasks, placement, _Listener(ended), folder, starts_workers)


def _of_one_call(resources: Resources, *, starts_workers: bool) -> Resources:
    chosen = resources.beside_others()
    return chosen if starts_workers else chosen.model_copy(update={"workers": 1})


def _fit(
    function: Callable[[T], None],
    tasks: Mapping[str, T],
    placement: Placement,
    listener: _Listener,
    folder: str,
    starts_workers: bool,
) -> None:
    bundle = {"CPU": float(placement.cpus), "GPU": placement.gpus}
    bundles = [{}, *[bundle] * placement.workers] if starts_workers else [bundle]
    trainable = tune.with_resources(
        tune.with_parameters(_call, function=function, tasks=dict(tasks)),
        tune.PlacementGroupFactory(bundles),
    )
    tune.Tuner(
        trainable,
        param_space={"name": tune.grid_search(list(tasks))},
        tune_config=tune.TuneConfig(
            reuse_actors=True,  # a process that has loaded torch goes on to the next call
            trial_name_creator=lambda trial: trial.config["name"],
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            storage_path=folder,
            name="trials",
            verbose=0,
            callbacks=[listener],
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    ).fit()


def _call(
    config: Mapping[str, str], function: Callable[[Any], None], tasks: Mapping[str, Any]
) -> None:
    """What a trial does, in a process of its own."""
    logging.getLogger().setLevel(logging.INFO)
    why = ""
    try:
        function(tasks[config["name"]])
    except AloError as error:
        why = str(error)
    except Exception as error:
        logger.exception("%s failed", config["name"])
        why = f"{type(error).__name__}: {str(error).strip()}"
    tune.report({"why": why})


class _Listener(tune.Callback):
    """Passes on how trials end; Tune calls it in the caller's process."""

    def __init__(self, ended: Callable[[Ended], None]) -> None:
        self._ended = ended

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune writes its callbacks to a file, which nobody reads here

    def on_trial_complete(
        self,
        iteration: int,  # noqa: ARG002 - Tune's signature
        trials: list[Any],  # noqa: ARG002
        trial: Any,
        **_: Any,
    ) -> None:
        why = (trial.last_result or {}).get("why", "")
        self._ended(Ended(trial.config["name"], why or None))

    def on_trial_error(
        self,
        iteration: int,  # noqa: ARG002 - Tune's signature
        trials: list[Any],  # noqa: ARG002
        trial: Any,
        **_: Any,
    ) -> None:
        # What a call raises is reported as its result; so this one's process is gone.
        why = cause_of_death(str(trial.get_error() or "no word of why"))
        self._ended(Ended(trial.config["name"], f"its process was lost, {why}"))
