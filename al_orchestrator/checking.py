"""What must hold of an experiment before anything of its run is created."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from al_orchestrator.ancestry import encoder_of, refusal_of_sets, refusal_of_start, start_of
from al_orchestrator.config import ExperimentConfig
from al_orchestrator.controller import outputs_of
from al_orchestrator.datasets import PackedDataset, pack, verify
from al_orchestrator.errors import ConfigError
from al_orchestrator.explanations import sample_of
from al_orchestrator.run_dir import Workspace
from al_orchestrator.seed_sets import Stratified
from al_orchestrator.splits import Splits, split
from strategies import QueryStrategy, StrategyError
from trainers.base import TrainingError

_WATCHED = 4  # images; two to learn from and two to tell


def checked_data(config: ExperimentConfig, workspace: Workspace) -> tuple[PackedDataset, Splits]:
    """Data and splits of an experiment; one that cannot be run leaves no workspace behind."""
    try:
        if not workspace.root.exists():
            _stage(config, workspace.root)
        data = pack(config.dataset, workspace.root)
    except OSError as error:
        raise ConfigError(f"{workspace.root} cannot be used as a workspace: {error}") from error
    return data, _checked(config, data)


def _stage(config: ExperimentConfig, root: Path) -> None:
    """Packs and checks beside a workspace that does not exist yet, and puts the result there."""
    beside = next(folder for folder in root.parents if folder.exists())
    with tempfile.TemporaryDirectory(prefix=".alo-", dir=beside) as folder:
        staged = Path(folder) / root.name
        _checked(config, pack(config.dataset, staged))
        root.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):  # another process was faster
            staged.rename(root)


def _checked(config: ExperimentConfig, data: PackedDataset) -> Splits:
    verify(data)
    splits = split(data.manifest, config)
    shape, classes = data.manifest.image_shape, data.manifest.classes
    try:
        config.trainer.check(image_shape=shape, num_classes=len(classes))
        _refuse(f"trainer {config.trainer.name}: ", _refused_start(config, data, splits))
    except TrainingError as error:
        raise ConfigError(f"trainer {config.trainer.name}: {error}") from error
    try:
        strategy = config.strategy.named(classes)
    except StrategyError as error:
        raise ConfigError(f"strategy {config.strategy.name}: {error}") from error
    _refuse("", _refused_pretraining(config, shape, splits))
    if data.manifest.votes is not None:
        _refuse("", _refused_votes(config))
    _refuse("reports.saliency: ", _refused_sheets(config, data))
    for each, size in _selections(config, strategy, len(splits.pool)):
        _refuse(f"strategy {each.name}: ", each.refusal(size))
        _refuse(
            f"strategy {each.name} with trainer {config.trainer.name}: ",
            config.trainer.refusal(outputs_of(each)),
        )
    return splits


def _refuse(where: str, reason: str | None) -> None:
    if reason is not None:
        raise ConfigError(where + reason)


def _refused_start(config: ExperimentConfig, data: PackedDataset, splits: Splits) -> str | None:
    measured = {"validation": splits.validation, "test": splits.test}
    return refusal_of_start(start_of(config), data.manifest, **measured) or refusal_of_sets(
        "encoder.weights", encoder_of(config), data.manifest, **measured
    )


def _refused_pretraining(
    config: ExperimentConfig, shape: tuple[int, int, int], splits: Splits
) -> str | None:
    encoder = config.trainer.pretraining()
    if encoder is None or encoder.pretrain is None:
        return None
    method, workers = encoder.pretrain, encoder.pretrain.workers
    reason = method.refusal(encoder, shape)
    if reason is not None:
        return f"pretrain {method.name}: {reason}"
    if method.watch_every and len(splits.validation) < _WATCHED:
        return "pretrain.watch_every needs a validation set; set validation.size"
    if workers > 1 and config.executor == "in_process":
        return f"pretrain.workers is {workers}, and executor in_process runs one call at a time"
    if workers > config.resources.workers:
        return (
            f"pretrain.workers is {workers} and resources.workers {config.resources.workers}; "
            "they have to run at the same time, so raise resources.workers"
        )
    return None


def _refused_sheets(config: ExperimentConfig, data: PackedDataset) -> str | None:
    asked = config.reports.saliency
    if asked is None:
        return None
    if asked.split == "val" and config.validation.merge:
        return "the val split is merged into the pool, whose labels are asked for; take test"
    if not len(sample_of(data.manifest, config.seed, split=asked.split, each=asked.each)):
        return f"the {asked.split} split has no labelled image; take another split"
    return config.trainer.refusal(frozenset({"log_probs", "saliency"}))


def _refused_votes(config: ExperimentConfig) -> str | None:
    """Why training cannot aim at the votes of the dataset."""
    if config.oracle.name != "simulated":
        return (
            f"oracle {config.oracle.name} answers with one class a sample, and training would aim "
            "at the dataset's own votes; set dataset.labels to ferplus"
        )
    reason = config.trainer.refusal_of_shares()
    return None if reason is None else f"trainer {config.trainer.name}: {reason}"


def _selections(
    config: ExperimentConfig, strategy: QueryStrategy, pool_size: int
) -> Iterator[tuple[QueryStrategy, int]]:
    """Who selects how many, in all rounds the budget plans, the seed set first."""
    number, spent = 0, config.budget.initial
    if not isinstance(config.seed_set, Stratified):
        yield config.seed_set, spent
    while size := config.budget.next_batch(number=number, spent=spent, pool_size=pool_size):
        yield strategy.at_round(number), size
        number, spent = number + 1, spent + size


def on_all_labels(config: ExperimentConfig, root: str | Path) -> ExperimentConfig:
    """The same experiment with one training, on everything the pool has labels for.

    It is called `<name>-all`, and its validation set stays as large as the experiment's.

    Raises:
        ConfigError: The data do not fit.
    """
    _, splits = checked_data(config, Workspace(Path(root).resolve()))
    fields = config.model_dump()
    fields |= {
        "name": f"{config.name}-all",
        "budget": {"initial": len(splits.pool), "batch_size": 1, "rounds": 1},
        "strategy": {"name": "random"},
        "seed_set": {"name": "random"},
        "validation": {**fields["validation"], "size": len(splits.validation)},
    }
    return ExperimentConfig.model_validate(fields)
