"""FER+ votes as targets of training, through a whole run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from al_orchestrator import Experiment
from al_orchestrator.config import ExperimentConfig
from al_orchestrator.datasets.ferplus import FERPLUS_CLASSES
from al_orchestrator.errors import ConfigError

pytestmark = pytest.mark.torch

USAGES = ["Training"] * 32 + ["PublicTest"] * 8 + ["PrivateTest"] * 16


def source(root: Path, sure: Mapping[int, int] | None = None) -> dict[str, object]:
    """FER2013 of 56 images and FER+: row n shows expression n mod 8, as `sure[n]` of ten say."""
    rng = np.random.default_rng(0)
    rows, votes = [], []
    for number, usage in enumerate(USAGES):
        pixels = rng.integers(0, 255, 48 * 48).tolist()
        rows.append(f"{number % 7},{' '.join(map(str, pixels))},{usage}")
        counts, agree = [0] * 10, (sure or {}).get(number, 7)
        counts[number % 8], counts[(number + 1) % 8] = agree, 10 - agree
        votes.append(",".join([usage, f"fer{number}.png", *map(str, counts)]))
    root.mkdir(parents=True, exist_ok=True)
    (root / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *rows]))
    header = ",".join(["Usage", "Image name", *FERPLUS_CLASSES, "unknown", "NF"])
    (root / "fer2013new.csv").write_text("\n".join([header, *votes]))
    return {
        "name": "fer2013",
        "path": root / "fer2013.csv",
        "votes": root / "fer2013new.csv",
        "labels": "ferplus_votes",
    }


def config(dataset: Mapping[str, object], **fields: object) -> ExperimentConfig:
    small: dict[str, Any] = {
        "name": "votes",
        "dataset": dataset,
        "strategy": {"name": "random"},
        "trainer": {
            "name": "fer_classifier",
            "encoder": {"name": "resnet10_narrow", "width": 4},
            "epochs": 2,
            "batch_size": 8,
        },
        "budget": {"initial": 12, "batch_size": 4, "rounds": 2},
        "validation": {"size": 8},
        "executor": "in_process",
        "tracking": {"name": "nothing"},
    }
    return ExperimentConfig.model_validate({**small, **fields})


def run(root: Path, dataset: Mapping[str, object]) -> tuple[list[int], list[str]]:
    """Rows of the labelled images, and the digest of each round's weights."""
    with Experiment.open(config(dataset), root=root) as experiment:
        rounds = list(experiment.rounds())
        pool = experiment._rooms.pool
        ids, labels = pool.labelled(rounds[-1].number)
        rows = [int(name.removeprefix("fer2013_")) for name in ids.tolist()]
        assert labels.tolist() == [row % 8 for row in rows]  # the ledger holds the majority
        stages = [pool.stage(each.number, "train") for each in rounds]
        return rows, [stage["checkpoint_digest"] for stage in stages if stage]


def test_votes_of_what_is_not_labelled_change_nothing_and_those_of_what_is_do(
    tmp_path: Path,
) -> None:
    labelled, digests = run(tmp_path / "a", source(tmp_path / "a-source"))
    assert len(labelled) == 16
    others = [row for row in range(len(USAGES)) if row not in labelled]
    same, unmoved = run(tmp_path / "b", source(tmp_path / "b-source", dict.fromkeys(others, 9)))
    assert (same, unmoved) == (labelled, digests)

    _, moved = run(tmp_path / "c", source(tmp_path / "c-source", {labelled[0]: 9}))
    assert moved[-1] != digests[-1]


def test_votes_make_another_learner_than_their_majority(tmp_path: Path) -> None:
    dataset = source(tmp_path / "source")
    ids, by_votes = run(tmp_path / "votes", dataset)
    same, by_majority = run(tmp_path / "majority", {**dataset, "labels": "ferplus"})

    assert ids == same
    assert all(a != b for a, b in zip(by_votes, by_majority, strict=True))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"oracle": {"name": "people"}}, "people answers with one class a sample"),
        (
            {"trainer": {"name": "linear_probe", "encoder": {"name": "resnet10_narrow"}}},
            "trainer linear_probe: linear_probe learns from one label",
        ),
    ],
)
def test_what_cannot_learn_from_votes_is_refused_before_a_run_is_created(
    tmp_path: Path, fields: dict[str, object], words: str
) -> None:
    asked = config(source(tmp_path / "source"), **fields)

    with pytest.raises(ConfigError, match=words):
        Experiment.open(asked, root=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
