from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from trainers import AnyTrainer, Encoder, FERClassifier, Trainer
from trainers.optimizers import SGD, Adam, Cosine, Step
from trainers.recipes import ResizedCrop

ADAPTER: TypeAdapter[Trainer] = TypeAdapter(AnyTrainer)
MEMBERS = get_args(get_args(AnyTrainer)[0])


def test_importing_the_room_loads_no_torch() -> None:
    code = "import sys, trainers; print([m for m in ('torch', 'scipy') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("member", MEMBERS)
def test_the_name_and_defaults_make_a_trainer_that_survives_its_own_dump(
    member: type[Trainer],
) -> None:
    trainer = ADAPTER.validate_python({"name": member.model_fields["name"].default})
    assert type(trainer) is member
    assert ADAPTER.validate_json(trainer.model_dump_json()) == trainer


def test_the_published_protocol_is_the_default() -> None:
    trainer = FERClassifier()
    assert trainer.encoder.name == "resnet18_cifar"
    assert trainer.optimizer == SGD(lr=0.01, momentum=0.9, weight_decay=5e-4)
    assert (trainer.batch_size, trainer.epochs, trainer.schedule) == (20, 200, Cosine(minimum=0))
    assert trainer.stopping.max_train_accuracy == 0.999


def test_a_word_stands_for_a_schedule_and_no_name_for_sgd() -> None:
    fields = {"name": "fer_classifier", "schedule": "step", "optimizer": {"lr": 0.3}}
    trainer = ADAPTER.validate_python(fields)
    assert isinstance(trainer, FERClassifier)
    assert trainer.schedule == Step(every=20, factor=0.1)
    assert trainer.optimizer == SGD(lr=0.3)
    named = FERClassifier.model_validate({"optimizer": {"name": "adam", "amsgrad": True}})
    assert named.optimizer == Adam(amsgrad=True)


def test_an_encoder_file_is_what_rounds_start_from_unless_said_otherwise() -> None:
    encoder = {"weights": "encoder.pt"}
    assert ADAPTER.validate_python({"name": "fer_classifier"}).weights == "from_scratch"
    for name in ("fer_classifier", "linear_probe"):
        trainer = ADAPTER.validate_python({"name": name, "encoder": encoder})
        assert trainer.weights == "from_pretrained"
    assert FERClassifier(encoder=Encoder(weights=Path("encoder.pt"))).weights == "from_pretrained"
    warm = ADAPTER.validate_python(
        {"name": "fer_classifier", "encoder": encoder, "weights": "warm_start"}
    )
    assert warm.weights == "warm_start"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"name": "fer_classifer"}, "does not match any of the expected tags"),
        ({"name": "fer_classifier", "weights": "from_pretrained"}, "set encoder.weights"),
        (
            {"name": "fer_classifier", "weights": "from_scratch", "encoder": {"weights": "x.pt"}},
            "would never read",
        ),
        ({"name": "fer_classifier", "epochs": 0}, "greater than or equal to 1"),
        ({"name": "fer_classifier", "encoder": {"name": "resnet18", "width": 8}}, "fixed width"),
        ({"name": "fer_classifier", "encoder": 3}, "Encoder"),
        ({"name": "fer_classifier", "learning_rate": 0.1}, "Extra inputs are not permitted"),
        (
            {"name": "fer_classifier", "optimizer": {"momentum": 0, "nesterov": True}},
            "nesterov needs momentum",
        ),
        ({"name": "linear_probe", "weights": "warm_start"}, "one optimum"),
        ({"name": "linear_probe", "weights": "from_pretrained"}, "does not go with"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(
    fields: dict[str, object], says: str
) -> None:
    with pytest.raises(ValidationError, match=says):
        ADAPTER.validate_python(fields)


def test_augmentations_are_told_apart_by_name() -> None:
    trainer = FERClassifier.model_validate({"augmentation": {"name": "resized_crop"}})
    assert isinstance(trainer.augmentation, ResizedCrop)


@pytest.mark.parametrize("member", MEMBERS)
def test_every_field_says_what_it_is_for(member: type[Trainer]) -> None:
    silent = {name for name, field in member.model_fields.items() if not field.description}
    assert silent <= {"name"}
