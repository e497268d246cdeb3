"""What an experiment does against the protocol, on purpose: refused unless allowed, then marked.

Rules R1, R2, R7 and R9 of a comparison that holds: the test set decides nothing, settings are the
same for all strategies, the pool is scored as the test set is, and labels looked at are counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from al_orchestrator.pool import Event
from al_orchestrator.stopping import reads_test_set

if TYPE_CHECKING:
    from al_orchestrator.config.models import ExperimentConfig

Deviation = Literal["test_selection", "augmented_scoring", "strategy_tuning"]

_FROZEN = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Scoring(BaseModel):
    """How the pool is looked at before a batch is chosen."""

    model_config = _FROZEN

    transform: Literal["evaluation", "training"] = "evaluation"
    """`training` is the trainer's augmentation, one random view of each image of the pool, and of
    the labelled and validation images a strategy reads, as some published code does; it has to be
    allowed by `protocol.allow`."""


class Protocol(BaseModel):
    """What is done against the protocol on purpose, and where settings come from."""

    model_config = _FROZEN

    allow: tuple[Deviation, ...] = ()
    """`test_selection`: the test split chooses epochs (`validation.split: test`), or ends runs.
    `augmented_scoring`: the pool is scored under augmentation (`scoring.transform: training`).
    `strategy_tuning`: a sweep gives strategies settings of their own. All of them stand as marks
    on tables, figures and pages."""
    settings_from: str = ""
    """Where the trainer's settings come from: a search, a paper. Stands on every protocol card."""


def refusal(config: ExperimentConfig) -> str | None:
    """Why the protocol does not let this experiment start, or None if it does."""
    allowed = config.protocol.allow
    if config.validation.split == "test" and "test_selection" not in allowed:
        return (
            "validation.split: test lets the test set choose epochs, so that what is measured on "
            "it is too good; take val, or declare it with protocol.allow: [test_selection] and "
            "every result is marked"
        )
    if config.scoring.transform == "training":
        if "augmented_scoring" not in allowed:
            return (
                "scoring.transform: training scores the pool under random augmentation, so that a "
                "strategy follows noise; leave it out, or declare it with protocol.allow: "
                "[augmented_scoring] and every result is marked"
            )
        computation = config.strategy.computation
        if computation.flips is not None or computation.embeddings == "encoder":
            return (
                f"scoring.transform: training would not reach {config.strategy.name}, which reads "
                "attacks or the encoder alone; leave it out"
            )
        if not config.trainer.augments_scores:
            return (
                f"scoring.transform: training is not for {config.trainer.name}, which sees no "
                "random views; leave it out"
            )
    return None


def marks_of(config: ExperimentConfig) -> tuple[str, ...]:
    """What has to stand on every result of this experiment."""
    validates_on_test = config.validation.split == "test"
    asks_validation = "validation" in config.strategy.needs
    corpus = config.pretrain_on
    marks = {
        "epochs were chosen by the test set": validates_on_test,
        "the test set had a say in what was asked for": validates_on_test and asks_validation,
        "the test set had a say in when a run ends": reads_test_set(
            config.stop, validation_is_test=validates_on_test
        ),
        "the pool was scored under augmentation": config.scoring.transform == "training",
        "strategies may have settings of their own": "strategy_tuning" in config.protocol.allow,
        "the seed set was balanced by labels looked at": config.seed_set.name == "stratified",
        "training images that stand in validation or test were kept": (
            config.dataset.duplicates.across_splits == "keep"
        ),
        "the encoder may have seen images of validation or test": (
            corpus is not None and corpus.duplicates.across_splits == "keep"
        ),
        "round 0 goes on from a learner of elsewhere": config.trainer.starting_file is not None,
    }
    return tuple(mark for mark, holds in marks.items() if holds)


def recorded_marks(events: Iterable[Event]) -> tuple[str, ...]:
    """What the ledger of a run remembers of it, whatever its configuration says today."""
    marks: tuple[str, ...] = ()
    for event in events:
        if event.kind == "marked":
            marks = tuple(event.detail["marks"])
    return marks


def warnings_of(config: ExperimentConfig, validation: int) -> tuple[str, ...]:
    """What a reader should know though it is within the protocol.

    Args:
        config: Of the run.
        validation: Labels its validation set has.
    """
    found = []
    if validation > 5 * config.budget.initial:
        found.append(
            f"{validation:,} labels for validation are more than five times the seed set "
            f"({config.budget.initial:,})"
        )
    if not config.protocol.settings_from:
        found.append("nothing says where the trainer's settings come from: protocol.settings_from")
    if config.trainer.weights == "warm_start":
        found.append("each round goes on from the weights of the last one")
    return tuple(found)
