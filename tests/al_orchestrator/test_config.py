from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from al_orchestrator.config import (
    ExperimentConfig,
    config_schema,
    differences,
    dump_config,
    identity_digest,
    load_config,
)
from al_orchestrator.config.source import dump_yaml, load_yaml
from al_orchestrator.errors import ConfigError

GOOD = """\
dataset: {name: digits}
strategy: {name: margin}
trainer: {name: linear_probe}
budget:
  initial: 10
  batch_size: 5
  rounds: 3
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def complaint(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as raised:
        load_config(write(folder, text), overrides)
    return str(raised.value)


def test_the_name_of_a_run_is_that_of_its_file(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, GOOD)).name == "mine"


def test_a_dumped_configuration_is_read_back_equal(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, GOOD), ["trainer.name=fer_classifier", "name=other"])
    assert load_config(write(tmp_path, dump_config(config))) == config


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("5e-4", 0.0005),
        ("1.5", 1.5),
        ("-2", -2),
        ("true", True),
        ("no", "no"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("010", "010"),
        ("1_000", "1_000"),
        ("null", None),
        ("~", None),
        ("2026-01-01", "2026-01-01"),
        ("'1'", "1"),
    ],
)
def test_scalars_mean_what_people_mean(text: str, value: object) -> None:
    loaded = load_yaml(text, "x")
    assert loaded == value
    assert type(loaded) is type(value)


_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


@given(st.dictionaries(st.text(min_size=1), _scalars | st.lists(_scalars, max_size=3), max_size=4))
def test_what_is_dumped_is_what_is_loaded(value: dict[str, object]) -> None:
    assert load_yaml(dump_yaml(value), "x") == value


def test_a_repeated_key_is_refused_with_both_lines(tmp_path: Path) -> None:
    assert "line 8: duplicate key 'budget' (first on line 4)" in complaint(
        tmp_path, GOOD + "budget: {initial: 1, batch_size: 1, rounds: 1}\n"
    )


def test_an_unknown_strategy_is_answered_with_the_names_and_the_nearest(tmp_path: Path) -> None:
    words = complaint(tmp_path, GOOD.replace("margin", "bagde"))
    assert "line 2: strategy: there is no 'bagde'; it may be random" in words
    assert "did you mean 'badge'?" in words


def test_an_unknown_key_is_answered_with_its_line_and_the_nearest(tmp_path: Path) -> None:
    words = complaint(tmp_path, GOOD.replace("batch_size", "batchsize"))
    assert "line 6: budget.batchsize: there is no such key" in words
    assert "did you mean 'batch_size'?" in words
    assert "budget.batch_size: Field required" in words


def test_an_unknown_key_of_a_component_names_the_components_keys(tmp_path: Path) -> None:
    text = GOOD.replace("{name: linear_probe}", "{name: fer_classifier, epoch: 3}")
    words = complaint(tmp_path, text)
    assert "line 3: trainer.epoch: there is no such key" in words
    assert "did you mean 'epochs'?" in words


def test_every_error_of_a_file_is_reported_at_once(tmp_path: Path) -> None:
    words = complaint(
        tmp_path, GOOD.replace("initial: 10", "initial: 0").replace("rounds: 3", "x: 1")
    )
    assert "line 5: budget.initial: Input should be greater than 0 (it is 0)" in words
    assert "line 7: budget.x: there is no such key" in words


def test_an_override_is_parsed_like_the_file_and_named_in_errors(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, GOOD), ["budget.initial=12"]).budget.initial == 12
    words = complaint(tmp_path, GOOD, "budget.initial=many")
    assert "--set budget.initial=many: budget.initial: Input should be a valid integer" in words


def test_an_override_without_a_value_is_refused(tmp_path: Path) -> None:
    assert "write it as a.b=value" in complaint(tmp_path, GOOD, "seed")


def test_a_relative_path_starts_at_the_file_and_an_overridden_one_at_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = GOOD.replace("{name: digits}", "{name: fer2013, path: ../faces.parquet}")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    path = write(tmp_path, text)
    of_file = load_config(path).model_dump(mode="json")["dataset"]["path"]
    overridden = load_config(path, ["dataset.path=x.csv"]).model_dump(mode="json")["dataset"][
        "path"
    ]
    assert of_file == str(tmp_path.parent / "faces.parquet")
    assert overridden == str(tmp_path / "sub" / "x.csv")


def test_a_missing_file_and_a_file_that_is_no_mapping_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "none.yaml")
    assert "a mapping is expected" in complaint(tmp_path, "- 1\n")
    assert "line 2" in complaint(tmp_path, "a: [1,\nb: }")


def test_a_budget_without_an_end_is_refused(tmp_path: Path) -> None:
    assert "a budget must end somewhere" in complaint(tmp_path, GOOD.replace("  rounds: 3\n", ""))


def test_a_seed_set_that_needs_a_learner_is_refused(tmp_path: Path) -> None:
    words = complaint(tmp_path, GOOD + "seed_set: {name: badge}\n")
    assert "reads embeddings, log_probs of a learner" in words


def test_only_identity_fields_make_another_experiment(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    base = load_config(path)

    def digest(*overrides: str) -> str:
        return identity_digest(load_config(path, overrides))

    free = [
        "budget.rounds=9",
        "executor=in_process",
        "tracking.name=nothing",
        "retries=0",
        "name=b",
    ]
    assert digest(*free) == identity_digest(base)
    for changed in (
        "seed=1",
        "strategy.name=badge",
        "budget.batch_size=6",
        "dataset.image_size=16",
    ):
        assert digest(changed) != identity_digest(base)
    lines = differences(base, load_config(path, ["seed=1"]))
    assert lines == ["  seed: 0 is recorded, 1 is asked for"]


def test_the_schema_describes_every_field_and_wants_no_name() -> None:
    schema = config_schema()
    assert "name" not in schema["required"]
    missing = [name for name, field in schema["properties"].items() if "description" not in field]
    assert missing == []


LEFT_TO_THE_USER = {
    "vgg_fer2013_finetune": [
        "trainer.start_from=best.pt",
        "trainer.epochs=10",
        "trainer.optimizer.lr=0.001",
    ],
    "vgg_finetune": ["trainer.start_from=checkpoint.pt"],
}
"""Presets whose source leaves values unknown, and any values for them."""


def test_every_shipped_preset_is_an_experiment() -> None:
    presets = sorted(Path(__file__).parents[2].glob("experiments/**/*.yaml"))
    assert presets
    for preset in presets:
        several = {"sweeps": "is a sweep, .*: alo sweep", "searches": "is a search, .*: alo tune"}
        if preset.parent.name in several:
            with pytest.raises(ConfigError, match=several[preset.parent.name]):
                load_config(preset)
        elif preset.stem in LEFT_TO_THE_USER:
            given = LEFT_TO_THE_USER[preset.stem]
            assert isinstance(load_config(preset, given), ExperimentConfig)
            for number in range(len(given)):
                field = given[number].partition("=")[0]
                with pytest.raises(ConfigError, match=rf"leaves values to you.*--set {field}=…\n"):
                    load_config(preset, [*given[:number], *given[number + 1 :]])
        else:
            assert isinstance(load_config(preset), ExperimentConfig)


def test_values_that_are_left_open_are_all_named_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "open.yaml"
    path.write_text("seed: ???\ntrainer:\n  epochs: ???\n")

    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert str(error.value).splitlines() == [
        f"{path} leaves values to you that nobody published; --set seed=… --set trainer.epochs=…",
        "  line 1: seed",
        "  line 3: trainer.epochs",
    ]


def test_files_of_an_encoders_parts_start_at_the_yaml_too(tmp_path: Path) -> None:
    path = tmp_path / "below" / "poster.yaml"
    path.parent.mkdir()
    path.write_text(
        "dataset: {name: faces}\nstrategy: {name: margin}\n"
        "trainer:\n  name: fer_classifier\n"
        "  encoder: {name: poster_v2, parts: {ir_back: ../ir50.pth}}\n"
        "budget: {initial: 10, batch_size: 5, rounds: 2}\n",
        encoding="utf-8",
    )
    encoder = load_config(path).model_dump()["trainer"]["encoder"]
    assert encoder["parts"] == {"ir_back": tmp_path / "ir50.pth"}
    override = "trainer.encoder.parts.face_landback=/models/mobile.pth"
    encoder = load_config(path, [override]).model_dump()["trainer"]["encoder"]
    assert encoder["parts"]["face_landback"] == Path("/models/mobile.pth")
