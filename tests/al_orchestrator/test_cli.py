"""What a person meets on the command line, bad input first: exit code 2 and nothing created."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from al_orchestrator.cli import main
from al_orchestrator.run_dir import RunDir

SMALL = """\
dataset: {name: faces, image_size: 16, num_train: 60, num_val: 10, num_test: 20}
strategy: {name: random}
trainer: {name: linear_probe, encoder: {name: resnet10_narrow, width: 4}}
budget: {initial: 10, batch_size: 5, rounds: 3}
executor: in_process
tracking: {name: nothing}
"""

Alo = Callable[..., tuple[int, str, str]]


@pytest.fixture
def alo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Alo:
    """Runs `alo` in this process; returns its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SMALL)

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["alo", *words])
        with pytest.raises(SystemExit) as stop:
            main()
        printed = capsys.readouterr()
        return int(stop.value.code or 0), printed.out, printed.err

    return call


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("strategy.name=bagde", "did you mean 'badge'?"),
        ("budget.batchsize=3", "did you mean 'batch_size'?"),
        ("budget.batch_size=61", "budget.batch_size is 61, but the pool holds 60"),
        ("budget.total=61", "budget.total is 61, but the pool holds 60"),
        ("budget.rounds=12", "budget.rounds is 12, that is 65 labels"),
        ("validation.size=11", "validation.size is 11, but the val split holds"),
        ("dataset={name: fer2013, path: nowhere.parquet}", "nowhere.parquet"),
        ("dataset={name: image_folder, path: nowhere}", "nowhere"),
        ("trainer.encoder.weights=nowhere.pt", "nowhere.pt"),
        ("name=datasets", "cannot be called 'datasets'"),
        ("name=../elsewhere", "name: String should match pattern"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is_created(
    alo: Alo, tmp_path: Path, override: str, words: str
) -> None:
    before = sorted(tmp_path.rglob("*"))
    code, _, err = alo("run", "small.yaml", "--set", override)
    assert code == 2
    assert words in err
    assert "Traceback" not in err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_class_that_only_the_test_set_has_is_refused(alo: Alo, tmp_path: Path) -> None:
    from PIL import Image

    for place in ("train/happy", "train/sad", "test/happy", "test/angry"):
        folder = tmp_path / "faces" / place
        folder.mkdir(parents=True)
        Image.new("L", (8, 8), len(place)).save(folder / "0.png")
    dataset = "dataset={name: image_folder, path: faces, image_size: 8}"
    code, _, err = alo("run", "small.yaml", "--set", dataset)
    assert code == 2
    assert "angry" in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.torch
def test_a_run_goes_to_its_end_and_running_it_again_changes_nothing(
    alo: Alo, tmp_path: Path
) -> None:
    code, out, _ = alo("run", "small.yaml", "--json")
    assert code == 0
    status = json.loads(out)
    assert status["state"] == "finished"
    assert [r["labelled"] for r in status["rounds"]] == [10, 15, 20]
    again = json.loads(alo("run", "small.yaml", "--json")[1])
    assert again["rounds"] == status["rounds"]


@pytest.mark.torch
def test_a_longer_budget_goes_on_to_what_a_longer_run_would_have_been(
    alo: Alo, tmp_path: Path
) -> None:
    assert alo("run", "small.yaml", "-q")[0] == 0
    assert alo("resume", "small", "--set", "budget.rounds=5", "-q")[0] == 0
    assert alo("run", "small.yaml", "-q", "--set", "budget.rounds=5", "--set", "name=long")[0] == 0
    grown, long = (
        json.loads(alo("status", run, "--json")[1])["rounds"] for run in ("small", "long")
    )
    assert [r["metrics"] for r in grown] == [r["metrics"] for r in long]
    assert [r["labelled"] for r in grown] == [10, 15, 20, 25, 30]


@pytest.mark.torch
def test_a_folder_of_another_experiment_is_refused_with_the_difference(
    alo: Alo, tmp_path: Path
) -> None:
    assert alo("run", "small.yaml", "-q")[0] == 0
    frozen = (tmp_path / "runs" / "small" / "experiment.yaml").read_bytes()
    code, _, err = alo("run", "small.yaml", "--set", "seed=1", "--set", "strategy.name=margin")
    assert code == 2
    assert "seed: 0 is recorded, 1 is asked for" in err
    assert "strategy.name: 'random' is recorded, 'margin' is asked for" in err
    assert (tmp_path / "runs" / "small" / "experiment.yaml").read_bytes() == frozen


@pytest.mark.torch
def test_a_run_in_use_and_a_newer_ledger_are_refused(alo: Alo, tmp_path: Path) -> None:
    assert alo("run", "small.yaml", "-q")[0] == 0
    run = RunDir(tmp_path / "runs" / "small")
    with run.held():
        code, _, err = alo("run", "small.yaml")
        assert code == 2
        assert "is driven by process" in err
        assert json.loads(alo("status", "small", "--json")[1])["state"] == "running"
    with sqlite3.connect(run.ledger) as connection:
        connection.execute("PRAGMA user_version = 99")
    code, _, err = alo("run", "small.yaml")
    assert code == 2
    assert "schema version 99" in err


@pytest.mark.torch
def test_people_answer_in_part_and_the_run_waits_for_the_rest(alo: Alo, tmp_path: Path) -> None:
    by_people = ("--set", "oracle.name=people", "--set", "name=asked")
    simulated = json.loads(alo("run", "small.yaml", "--json")[1])
    code, _, err = alo("run", "small.yaml", *by_people)
    assert code == 3
    assert "10 labels are missing" in err
    assert alo("labels", "export", "small", "all.csv")[0] == 0
    rows = (tmp_path / "all.csv").read_text().splitlines()
    for batch in (rows[1:4], rows[4:11], rows[11:16], rows[16:21]):
        (tmp_path / "answers.csv").write_text("\n".join([rows[0], *batch]) + "\n")
        assert alo("labels", "import", "asked", "answers.csv")[0] == 0
        code, _, err = alo("run", "small.yaml", *by_people, "-q")
    assert code == 0
    by_hand = json.loads(alo("status", "asked", "--json")[1])
    assert [r["metrics"] for r in by_hand["rounds"]] == [r["metrics"] for r in simulated["rounds"]]


@pytest.mark.torch
def test_wrong_answers_are_refused_as_a_whole(alo: Alo, tmp_path: Path) -> None:
    assert alo("run", "small.yaml", "--set", "oracle.name=people", "-q")[0] == 3
    assert alo("labels", "export", "small", "todo.csv", "--pending")[0] == 0
    ids = [line.split(",")[2] for line in (tmp_path / "todo.csv").read_text().splitlines()[1:]]
    answers = tmp_path / "answers.csv"
    for text, words in (
        (f"id,label\n{ids[0]},happy\n{ids[1]},hapy\n", "answers.csv:3: there is no class 'hapy'"),
        (f"id,label\n{ids[0]},happy\nstranger,sad\n", "'stranger' awaits no answer"),
        (f"id,label\n{ids[0]},happy\n{ids[0]},sad\n", "is answered twice"),
        ("id\n1\n", "has no column label"),
    ):
        answers.write_text(text)
        code, _, err = alo("labels", "import", "small", "answers.csv")
        assert code == 2
        assert words in err
    assert json.loads(alo("status", "small", "--json")[1])["missing"] == 10


def test_lists_and_details_of_what_there_is(alo: Alo) -> None:
    names = [entry["name"] for entry in json.loads(alo("strategies", "list", "--json")[1])]
    assert {"random", "least_confidence", "margin", "entropy", "badge", "coreset"} <= {*names}
    shown = alo("strategies", "show", "badge")[1]
    assert "1906.03671" in shown
    assert "law: version 1" in shown
    code, _, err = alo("strategies", "show", "bagde")
    assert code == 2
    assert "did you mean 'badge'?" in err
    kinds = [entry["name"] for entry in json.loads(alo("datasets", "list", "--json")[1])]
    assert {"digits", "faces", "fer2013", "image_folder", "rafdb"} <= {*kinds}


def test_an_unknown_run_is_answered_with_those_there_are(alo: Alo) -> None:
    code, _, err = alo("status", "nobody")
    assert code == 2
    assert "there is no run 'nobody'" in err


def test_a_wrong_option_is_a_usage_error(alo: Alo) -> None:
    code, _, err = alo("run", "small.yaml", "--bogus")
    assert code == 2
    assert "No such option" in err


@pytest.mark.torch
def test_a_run_of_an_older_program_with_fewer_fields_goes_on(alo: Alo, tmp_path: Path) -> None:
    assert alo("run", "small.yaml", "--set", "budget.rounds=1", "-q")[0] == 0
    run = RunDir(tmp_path / "runs" / "small")
    lines = run.config.read_text().splitlines(keepends=True)
    older = [line for line in lines if "max_iterations" not in line]
    assert len(older) == len(lines) - 1
    run.config.write_text("".join(older))
    with sqlite3.connect(run.ledger) as database:
        database.execute("UPDATE experiment SET identity = 'digest of fewer fields'")
    code, _, err = alo("run", "small.yaml", "--set", "budget.rounds=2", "-q")
    assert (code, err) == (0, "")
    assert json.loads(alo("status", "small", "--json")[1])["labels"] == 15


def test_ctrl_c_says_that_the_same_command_goes_on(
    alo: Alo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("al_orchestrator.config.load_config", interrupted)
    code, _, err = alo("run", "small.yaml")
    assert code == 130
    assert "interrupted; the same command goes on" in err
