"""The weights at the start of a round are what the policy says, by digest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from trainers import Encoder, FERClassifier, TrainingError, TrainTask
from trainers.deep.checkpoints import digest_of_weights
from trainers.deep.networks import Plan, build_network, encoder_digest, load_learner
from trainers.deep.seeding import generator
from trainers.recipes import StopRules

if TYPE_CHECKING:
    from tests.trainers.conftest import Toy

pytestmark = pytest.mark.torch


def classifier(weights: str, file: Path | None = None, **settings: object) -> FERClassifier:
    encoder = Encoder(name="resnet10_narrow", width=4, weights=file)
    fields = {"encoder": encoder, "weights": weights, "epochs": 1, **settings}
    return FERClassifier.model_validate(fields)


@pytest.fixture
def encoder_file(toy: Toy) -> tuple[Path, dict[str, Tensor]]:
    plan = Plan("resnet10_narrow", 4, in_channels=1, num_classes=9, dropout=0.0)
    weights = dict(build_network(plan, generator(99)).encoder.state_dict())
    torch.save(weights, toy.root / "encoder.pt")
    return toy.root / "encoder.pt", weights


def test_from_pretrained_starts_every_round_from_the_file(
    toy: Toy, encoder_file: tuple[Path, dict[str, Tensor]]
) -> None:
    path, weights = encoder_file
    trainer = classifier("from_pretrained", path)
    rounds = [trainer.fit(toy.task(f"round-{seed}", seed=seed)) for seed in (1, 2)]
    assert {report.encoder_digest for report in rounds} == {digest_of_weights(weights)}
    # The head is fresh, and another one in each round.
    assert rounds[0].initial_digest != rounds[1].initial_digest
    assert "tensors matched" in rounds[0].notes["weights"]


def test_from_scratch_draws_another_encoder_in_each_round(toy: Toy) -> None:
    trainer = classifier("from_scratch")
    one, other = (trainer.fit(toy.task(f"round-{seed}", seed=seed)) for seed in (1, 2))
    assert one.encoder_digest != other.encoder_digest


def test_warm_start_begins_with_the_last_checkpoint_whole(toy: Toy) -> None:
    trainer = classifier("warm_start")
    first = trainer.fit(toy.task("round-0"))
    second = trainer.fit(toy.task("round-1", seed=8, previous=first.checkpoint))
    assert second.initial_digest == first.checkpoint_digest
    last, _ = load_learner(first.checkpoint)
    assert second.encoder_digest == encoder_digest(last)


def test_warm_start_without_a_last_round_starts_from_the_file(
    toy: Toy, encoder_file: tuple[Path, dict[str, Tensor]]
) -> None:
    path, weights = encoder_file
    report = classifier("warm_start", path).fit(toy.task())
    assert report.encoder_digest == digest_of_weights(weights)


def test_warm_start_refuses_another_network(toy: Toy) -> None:
    first = classifier("warm_start").fit(toy.task("round-0"))
    with pytest.raises(TrainingError, match="a warm start needs the same network"):
        classifier("warm_start", dropout=0.5).fit(toy.task("round-1", previous=first.checkpoint))


def test_what_may_be_missing_is_drawn_from_the_seed(
    toy: Toy, encoder_file: tuple[Path, dict[str, Tensor]]
) -> None:
    path, weights = encoder_file
    torch.save({n: w for n, w in weights.items() if not n.startswith("layer4")}, path)
    encoder = Encoder(name="resnet10_narrow", width=4, weights=path, allow_missing=("layer4.*",))
    trainer = FERClassifier(encoder=encoder, epochs=1)
    digests = [trainer.fit(toy.task(str(seed), seed=seed)).encoder_digest for seed in (1, 2)]
    assert digests[0] != digests[1]


def test_weights_of_another_type_are_refused(
    toy: Toy, encoder_file: tuple[Path, dict[str, Tensor]]
) -> None:
    path, weights = encoder_file
    torch.save({name: weight.double() for name, weight in weights.items()}, path)
    with pytest.raises(TrainingError, match="save the file in float32"):
        classifier("from_pretrained", path).fit(toy.task())


def test_a_fit_that_diverges_begins_anew_from_the_file(
    toy: Toy, encoder_file: tuple[Path, dict[str, Tensor]]
) -> None:
    path, weights = encoder_file
    rules = StopRules(divergence_every=1, divergence_accuracy=1.0, max_train_accuracy=None)
    trainer = classifier(
        "from_pretrained",
        path,
        epochs=2,
        stopping=rules,
        optimizer={"lr": 1e-12, "weight_decay": 0},
    )
    report = trainer.fit(toy.task())
    assert report.notes["restarts"] == "1"
    fitted, _ = load_learner(report.checkpoint)
    conv = fitted.encoder.state_dict()["conv1.weight"]
    torch.testing.assert_close(conv, weights["conv1.weight"])


def test_the_previous_checkpoint_is_read_by_warm_start_alone(toy: Toy) -> None:
    first = classifier("from_scratch").fit(toy.task("round-0"))
    task: TrainTask = toy.task("round-1", previous=first.checkpoint)
    assert classifier("from_scratch").fit(task).initial_digest == first.initial_digest


def test_a_fit_that_diverges_goes_back_to_what_it_started_from(toy: Toy) -> None:
    first = classifier("from_scratch", epochs=3).fit(toy.task("first"))
    rules = StopRules(divergence_every=1, divergence_accuracy=1.0, saturation_window=None)
    still = classifier(
        "warm_start",
        start_from=first.checkpoint,
        epochs=3,
        stopping=rules,
        optimizer={"name": "sgd", "lr": 1e-12, "weight_decay": 0.0},
    )
    report = still.fit(toy.task("second", seed=8))
    was, now = (
        load_learner(path)[0].state_dict() for path in (first.checkpoint, report.checkpoint)
    )
    assert all(
        torch.allclose(was[name], now[name], atol=1e-6)
        for name in was
        if name.endswith(("weight", "bias"))
    )
