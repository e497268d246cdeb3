"""What a run does for strategies that ask for more than scores of the pool."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from al_orchestrator import Experiment
from al_orchestrator.config import ExperimentConfig
from al_orchestrator.controller import Controller, Step
from al_orchestrator.errors import ConfigError, SelectionRefused
from al_orchestrator.rounds import RoundState

pytestmark = pytest.mark.torch

SMALL: dict[str, Any] = {
    "dataset": {"name": "digits"},
    "trainer": {"name": "linear_probe", "encoder": {"name": "resnet10_narrow", "width": 4}},
    "budget": {"initial": 20, "batch_size": 12, "rounds": 3},
    "executor": "in_process",
    "tracking": {"name": "nothing"},
}


MARGIN = {"name": "margin"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One workspace, so that digits are packed and embedded once."""
    return tmp_path_factory.mktemp("workspace")


@contextmanager
def opened(root: Path, name: str, **fields: object) -> Iterator[Experiment]:
    config = ExperimentConfig.model_validate({**SMALL, "name": name, **fields})
    with Experiment.open(config, root=root) as experiment:
        yield experiment


def acquired(root: Path, name: str, **fields: object) -> list[list[str]]:
    """The ids of each batch, in order of acquisition."""
    with opened(root, name, **fields) as experiment:
        done = list(experiment.rounds())
        pool = experiment._rooms.pool
        return [[sample.id for sample in pool.acquired(r.number)] for r in done]


@pytest.mark.parametrize(
    "strategy",
    [
        {"name": "galaxy", "group": 5},
        {"name": "bait", "width": 4},
        {"name": "glister"},
        {"name": "alfamix"},
        {"name": "typiclust"},
        {"name": "dcom"},
        {"name": "uherding"},
        {"name": "cluster_margin"},
        {"name": "fl1mi"},
        {"name": "flcmi"},
        {"name": "deepfool_linear"},
        {"name": "class_balanced", "base": {"name": "badge"}},
        {"name": "mix", "bases": [{"name": "coreset"}, {"name": "probcover"}]},
    ],
    ids=lambda fields: str(fields["name"]),
)
def test_a_strategy_is_given_what_it_needs(root: Path, strategy: dict[str, Any]) -> None:
    batches = acquired(root, f"needs-{strategy['name']}", strategy=strategy)
    assert [len(batch) for batch in batches] == [20, 12, 12]
    assert len({id_ for batch in batches for id_ in batch}) == 44


@pytest.mark.parametrize("member", ["fer_classifier", "linear_probe"])
def test_a_committee_gives_posterior_draws(root: Path, member: str) -> None:
    encoder = {"name": "resnet10_narrow", "width": 4}
    inside: dict[str, Any] = {"name": member, "encoder": encoder}
    inside |= {"epochs": 1} if member == "fer_classifier" else {}
    trainer = {
        "name": "ensemble",
        "member": inside,
        "members": 2,
        "bootstrap": member == "linear_probe",
    }
    batches = acquired(root, f"committee-{member}", strategy={"name": "bald"}, trainer=trainer)
    assert [len(batch) for batch in batches] == [20, 12, 12]


@pytest.mark.parametrize("name", ["deepfool", "bim"])
def test_a_worker_attacks_the_pool(root: Path, name: str) -> None:
    strategy = {"name": name, "max_steps": 1}
    budget = {"initial": 20, "batch_size": 12, "rounds": 2}
    batches = acquired(root, name, strategy=strategy, budget=budget)
    assert [len(batch) for batch in batches] == [20, 12]


def test_a_warm_up_selects_with_one_strategy_and_then_with_the_other(root: Path) -> None:
    warm = {"name": "warm_up", "first": {"name": "random"}, "then": {"name": "margin"}}
    with opened(root, "warm", strategy=warm) as experiment:
        assert len(list(experiment.rounds())) == 3
        stages = [experiment._rooms.pool.stage(number, "select") for number in (0, 1)]
        assert [stage["strategy"] for stage in stages if stage] == ["random", "margin"]
        # Random needs no scores, so none were made.
        assert experiment._rooms.pool.stage(0, "score") is None
        assert experiment._rooms.pool.stage(1, "score") is not None


@pytest.mark.parametrize("group", [1, 5, 12])
def test_a_batch_in_groups_sees_the_answers_to_the_groups_before(root: Path, group: int) -> None:
    name = f"groups-{group}"
    with opened(root, name, strategy={"name": "galaxy", "group": group}) as experiment:
        controller, pool = experiment._controller, experiment._rooms.pool
        sizes = [len(pool.acquired(1)) for _ in steps_until_labelled(controller, experiment)]
    grown = [b for a, b in zip([0, *sizes], sizes, strict=False) if b > a]
    assert grown == [min(group * k, 12) for k in range(1, -(-12 // group) + 1)]


def steps_until_labelled(controller: Controller, experiment: Experiment) -> Iterator[None]:
    """Every commit until the first batch is answered."""
    while True:
        rounds = experiment._rooms.pool.rounds()
        if rounds and rounds[0].state is RoundState.LABELLED:
            return
        assert controller.advance() is Step.COMMITTED
        yield


def test_groups_resume_where_they_were_killed(root: Path) -> None:
    whole = acquired(root, "groups-whole", strategy={"name": "galaxy", "group": 4})
    fields = {"strategy": {"name": "galaxy", "group": 4}}
    for _ in range(200):  # opened anew for every single commit
        with opened(root, "groups-killed", **fields) as experiment:
            if experiment._controller.advance() is Step.DONE:
                break
    assert acquired(root, "groups-killed", **fields) == whole


def test_what_a_frozen_encoder_lets_a_strategy_keep_changes_nothing(root: Path) -> None:
    fields: dict[str, Any] = {
        "strategy": {"name": "coreset"},
        "budget": {"initial": 20, "batch_size": 12, "rounds": 5},
    }
    kept = acquired(root, "kept", **fields)
    with opened(root, "kept", **fields) as experiment:
        run, pool = experiment.run, experiment._rooms.pool
        assert all("kept" in (pool.stage(number, "select") or {}) for number in range(4))
        assert not [*run.folder.rglob("kept.npz")]  # nobody needs them any more
    lost = 0
    for _ in range(200):  # and a run that loses it again and again
        with opened(root, "lost", **fields) as experiment:
            for path in experiment.run.folder.rglob("kept.npz"):
                path.unlink()
                lost += 1
            if experiment._controller.advance() is Step.DONE:
                break
    assert lost >= 4
    assert acquired(root, "lost", **fields) == kept


def test_a_learner_that_changes_lets_a_strategy_keep_nothing(root: Path) -> None:
    trainer = {
        "name": "fer_classifier",
        "encoder": {"name": "resnet10_narrow", "width": 4},
        "epochs": 1,
    }
    acquired(root, "changing", strategy={"name": "coreset"}, trainer=trainer)
    assert not [*(root / "changing").rglob("kept.npz")]


def test_maps_of_the_candidates_are_kept_for_people(root: Path) -> None:
    acquired(root, "maps", strategy={"name": "typiclust"})
    with np.load(root / "maps" / "round-001" / "selection" / "maps.npz") as maps:
        assert len(maps["ids"]) == len(maps["cluster"])


@pytest.mark.parametrize("name", ["kmeans", "typiclust", "probcover", "coreset", "maxherding"])
def test_a_seed_set_may_be_chosen_on_the_encoder(root: Path, name: str) -> None:
    seed_set = {"name": name, "embedding": "encoder"}
    budget = {"initial": 20, "batch_size": 12, "rounds": 1}
    chosen = acquired(root, f"seed-{name}", seed_set=seed_set, budget=budget, strategy=MARGIN)
    drawn = acquired(root, "seed-random", budget=budget, strategy=MARGIN)
    assert len({*chosen[0]}) == 20
    assert chosen != drawn


def test_a_strategy_may_read_the_encoder_instead_of_the_learner(root: Path) -> None:
    # A probe's learner embeds as its encoder does, so the two select alike.
    of_learner = acquired(root, "of-learner", strategy={"name": "coreset"})
    of_encoder = acquired(root, "of-encoder", strategy={"name": "coreset", "embedding": "encoder"})
    assert of_encoder == of_learner


def test_a_learner_without_dropout_is_refused_where_draws_are_needed(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"bald with trainer linear_probe: .* an ensemble"):
        acquired(root, "no-draws", strategy={"name": "bald"})
    assert not (root / "no-draws").exists()


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        ({"name": "batchbald", "max_batch": 5}, "asked for 12 samples, and max_batch is 5"),
        ({"name": "warm_up", "then": {"name": "batchbald", "max_batch": 5}}, "max_batch is 5"),
        ({"name": "subsample", "base": {"name": "batchbald", "max_batch": 5}}, "max_batch is 5"),
        ({"name": "class_balanced", "target": [1, 2]}, "2 shares for 10 classes"),
    ],
)
def test_what_no_round_could_select_is_refused_before_anything_is_created(
    root: Path, strategy: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        acquired(root, "hopeless", strategy=strategy)
    assert not (root / "hopeless").exists()


def test_an_encoder_that_is_trained_from_scratch_cannot_be_read(root: Path) -> None:
    trainer = {"name": "fer_classifier", "encoder": {"name": "resnet10_narrow", "width": 4}}
    seed_set = {"name": "kmeans", "embedding": "encoder"}
    with pytest.raises(ConfigError, match=r"encoder\.weights"):
        acquired(root, "unreadable", trainer=trainer, seed_set=seed_set, strategy=MARGIN)
    assert not (root / "unreadable").exists()


def test_a_stratified_seed_set_counts_what_it_looked_at(root: Path) -> None:
    with opened(root, "strata", seed_set={"name": "stratified"}, strategy=MARGIN) as experiment:
        assert len(list(experiment.rounds())) == 3
        pool = experiment._rooms.pool
        labels = [sample.label for sample in pool.acquired(0)]
        assert np.bincount(np.array(labels, np.int64)).tolist() == [2] * 10
        noted = (pool.stage(0, "seed_set") or {})["notes"]
        assert noted["labels_looked_at"] > 20


def test_classes_may_be_named(root: Path) -> None:
    with opened(root, "classes", strategy=MARGIN) as experiment:
        names = experiment.classes
    named = {"name": "gcmi", "query": {"classes": [names[3]]}}
    numbered = {"name": "gcmi", "query": {"classes": [3]}}
    assert acquired(root, "named", strategy=named) == acquired(root, "numbered", strategy=numbered)


def test_a_class_that_does_not_exist_is_refused_before_anything_is_created(root: Path) -> None:
    strategy = {"name": "gcmi", "query": {"classes": ["disgust"]}}
    with pytest.raises(ConfigError, match="disgust"):
        acquired(root, "nobody", strategy=strategy)
    assert not (root / "nobody").exists()


def test_a_strategy_that_cannot_select_says_so_and_the_run_goes_on_later(root: Path) -> None:
    strategy = {"name": "gcmi", "query": {"ids": ["no-such-sample"]}}
    with pytest.raises(SelectionRefused, match="no-such-sample"):
        acquired(root, "refused", strategy=strategy)
    with opened(root, "refused", strategy=strategy) as experiment:
        assert experiment._rooms.pool.rounds()[-1].state is RoundState.TRAINED
