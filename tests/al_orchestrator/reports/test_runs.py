"""How runs stand, and what looking at one reads of its ledger."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from al_orchestrator.config import ExperimentConfig, dump_config
from al_orchestrator.pool import Pool, Provenance
from al_orchestrator.reports.runs import batches_of, curve_of, status_of
from al_orchestrator.rounds import RoundState
from al_orchestrator.run_dir import RunDir

BATCHES = (700, 6_300)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run that was answered all it asked for but the last sample, in its second round."""
    run = RunDir(tmp_path / "long")
    run.folder.mkdir()
    config = {
        "name": run.name,
        "dataset": {"name": "faces"},
        "strategy": {"name": "random"},
        "trainer": {"name": "linear_probe", "encoder": {"name": "resnet10_narrow"}},
        "budget": {"initial": BATCHES[0], "batch_size": BATCHES[1], "rounds": 2},
    }
    run.config.write_text(dump_config(ExperimentConfig.model_validate(config)))
    with Pool(run.ledger) as pool:
        pool.found(Provenance("k", "i", "d"))
        pool.take_over({})
        first, second = ([f"{of}/image-{n:06}.png" for n in range(BATCHES[of])] for of in (0, 1))
        with pool.commit() as entry:
            entry.ask(0, first, [0.0] * len(first))
            entry.answer(dict.fromkeys(first, 0), "simulated")
            entry.open_round(0)
            entry.stage(0, "train", {"metrics": {"test/accuracy": 0.5}}, 1.0)
            entry.move(0, RoundState.OPEN, RoundState.TRAINED)
            entry.ask(1, second, [0.0] * len(second))
            entry.answer(dict.fromkeys(second[:-1], 0), "simulated")
    return run


def test_a_status_counts_labels_and_holds_no_ids(run: RunDir) -> None:
    status = status_of(run)
    assert (status.run, status.labels, status.missing) == ("long", 6_999, 1)
    assert len(status.seed_set) == 64
    assert b"image-" not in pickle.dumps(status)


def test_whoever_compares_what_was_asked_for_reads_the_ids(run: RunDir) -> None:
    background = curve_of(status_of(run), "random").background
    assert background is not None
    assert "batches" not in vars(background)  # nobody has looked yet
    assert [len(batch) for batch in background.batches] == [*BATCHES]
    assert background.batches == batches_of(run)
    assert background.batches is background.batches  # read once
