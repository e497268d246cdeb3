from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from trainers import (
    Attack,
    Encoder,
    FERClassifier,
    LinearProbe,
    TrainingError,
    TrainReport,
)
from trainers.deep.checkpoints import digest_of_weights
from trainers.deep.compute import Mode
from trainers.deep.images import Normaliser, Pixels
from trainers.deep.networks import Plan, build_network, load_learner
from trainers.deep.scoring import score
from trainers.deep.seeding import generator
from trainers.recipes import StopRules

if TYPE_CHECKING:
    from tests.trainers.conftest import Toy

pytestmark = pytest.mark.torch

TRAINER = FERClassifier(
    encoder=Encoder(name="resnet10_narrow", width=4),
    epochs=2,
    batch_size=16,
    dropout=0.4,
    posterior_draws=6,
    stopping=StopRules(divergence_every=None),
)


@pytest.fixture
def fitted(toy: Toy) -> TrainReport:
    return toy.once(TRAINER.fit, toy.task())


def test_scoring_leaves_the_state_dict_bit_equal_and_the_mode_as_it_was(
    toy: Toy, fitted: TrainReport
) -> None:
    network, _ = load_learner(fitted.checkpoint)
    network.train()
    pixels = Pixels(toy.images, np.arange(100), "cpu")
    for _ in score(network, pixels, Normaliser(toy.images, "cpu"), Mode("float32", True, 1), "cpu"):
        assert not network.training
    assert network.training
    assert digest_of_weights(network.state_dict()) == fitted.checkpoint_digest


def test_posterior_draws_of_one_row_do_not_depend_on_the_others(
    toy: Toy, fitted: TrainReport
) -> None:
    all_rows = TRAINER.predict(toy.predict_task(fitted.checkpoint, "mc_log_probs"))
    alone = TRAINER.predict(
        toy.predict_task(fitted.checkpoint, "mc_log_probs", folder="alone", rows=np.array([28]))
    )
    draws = np.load(all_rows.files["mc_log_probs"])
    assert draws.shape == (31, 6, 3)
    # Rows count down from 30.
    np.testing.assert_allclose(np.load(alone.files["mc_log_probs"])[0], draws[2], atol=1e-5)


def test_posterior_draws_differ_between_draws_and_seeds_only(toy: Toy, fitted: TrainReport) -> None:
    arrays = [
        np.load(
            TRAINER.predict(
                toy.predict_task(fitted.checkpoint, "mc_log_probs", folder=folder, seed=seed)
            ).files["mc_log_probs"]
        )
        for folder, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert (arrays[0] == arrays[1]).all()
    assert not np.allclose(arrays[0], arrays[2])
    assert arrays[0].std(axis=1).min() > 0
    np.testing.assert_allclose(np.exp(arrays[0]).sum(-1), 1, atol=1e-5)


def test_a_posterior_draw_is_one_network_with_some_inputs_of_its_head_cut(
    toy: Toy, fitted: TrainReport
) -> None:
    """The slow twin: find each draw's mask by hand in the head's weights."""
    found = TRAINER.predict(
        toy.predict_task(fitted.checkpoint, "mc_log_probs", "embeddings", "head")
    )
    draws, head = np.load(found.files["mc_log_probs"]), np.load(found.files["head"])
    embeddings = np.load(found.files["embeddings"])
    network, _ = load_learner(fitted.checkpoint)
    for draw in range(6):
        with network.head.dropout.posterior_draw(32, 11, draw):
            mask = network.head.dropout(torch.ones(32)).numpy()
        assert set(np.unique(mask)) == {np.float32(0), np.float32(1 / 0.6)}
        logits = embeddings @ (head["weight"] * mask).T + head["bias"]
        expected = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        np.testing.assert_allclose(draws[:, draw], expected, atol=1e-4)


def test_only_rows_have_posterior_draws(toy: Toy, fitted: TrainReport) -> None:
    # The others begin within the first block of images and end within the second.
    rows, others = np.arange(30), np.arange(30, 160).repeat(5)
    plain = TRAINER.predict(
        toy.predict_task(fitted.checkpoint, "mc_log_probs", folder="plain", rows=rows)
    )
    task = toy.predict_task(
        fitted.checkpoint, "mc_log_probs", "embeddings", folder="both", rows=rows, others=others
    )
    both = TRAINER.predict(task)
    draws = np.load(both.files["mc_log_probs"])
    assert draws.shape == (30, 6, 3)
    np.testing.assert_allclose(draws, np.load(plain.files["mc_log_probs"]), atol=1e-5)
    assert np.load(both.files["embeddings"]).shape == (680, 32)


def test_others_are_not_looked_at_where_nothing_is_said_of_them(
    toy: Toy, fitted: TrainReport
) -> None:
    beyond = np.array([10_000])
    attack = Attack("bim", max_steps=2, step=0.05, overshoot=0.0)
    task = toy.predict_task(
        fitted.checkpoint, "mc_log_probs", "flip_distances", others=beyond, attack=attack
    )
    assert set(TRAINER.predict(task).files) == {"mc_log_probs", "flip_distances"}


def test_distances_come_with_whatever_else_is_asked_for(toy: Toy, fitted: TrainReport) -> None:
    attack = Attack("deepfool", max_steps=20, step=0.05, overshoot=0.02)
    alone = TRAINER.predict(
        toy.predict_task(fitted.checkpoint, "flip_distances", folder="alone", attack=attack)
    )
    task = toy.predict_task(
        fitted.checkpoint, "flip_distances", "log_probs", folder="both", attack=attack
    )
    both = TRAINER.predict(task)
    found, expected = (np.load(each.files["flip_distances"]) for each in (both, alone))
    assert (found == expected).all()
    # What is torn between classes is near to another one.
    top = np.sort(np.load(both.files["log_probs"]), axis=1)
    margins = np.exp(top[:, -1]) - np.exp(top[:, -2])
    assert np.corrcoef(margins.argsort().argsort(), found.argsort().argsort())[0, 1] > 0.7


def test_an_encoder_that_has_no_file_has_no_embeddings_before_labels(toy: Toy) -> None:
    with pytest.raises(TrainingError, match=r"give encoder\.weights, or .* embedding to learner"):
        TRAINER.predict(toy.predict_task(None, "encoder_embeddings"))


def test_the_encoders_embeddings_are_those_of_its_file_and_not_of_the_learner(toy: Toy) -> None:
    plan = Plan("resnet10_narrow", 4, in_channels=1, num_classes=2, dropout=0.0)
    network = build_network(plan, generator(9))
    torch.save(network.encoder.state_dict(), toy.root / "encoder.pt")
    encoder = TRAINER.encoder.model_copy(update={"weights": toy.root / "encoder.pt"})
    trainer = TRAINER.model_copy(update={"encoder": encoder, "weights": "from_pretrained"})
    checkpoint = trainer.fit(toy.task()).checkpoint
    task = toy.predict_task(checkpoint, "encoder_embeddings", "embeddings", rows=np.arange(100))
    found = trainer.predict(task)
    before, after = (np.load(found.files[n]) for n in ("encoder_embeddings", "embeddings"))
    pixels, normalise = Pixels(toy.images, np.arange(100), "cpu"), Normaliser(toy.images, "cpu")
    mode = Mode("float32", True, 1)
    blocks = score(mode.place(network, "cpu"), pixels, normalise, mode, "cpu")
    expected = np.concatenate([block.embeddings.numpy() for block in blocks])
    np.testing.assert_allclose(before, expected, atol=1e-5)
    assert not np.allclose(after, expected, atol=1e-2)
    # What a learner makes of an image is another thing in each round.
    assert set(found.keys) == {"encoder_embeddings"}


def test_a_probe_and_a_classifier_of_one_encoder_share_what_it_says(toy: Toy) -> None:
    plan = Plan("resnet10_narrow", 4, in_channels=1, num_classes=2, dropout=0.0)
    torch.save(build_network(plan, generator(9)).encoder.state_dict(), toy.root / "encoder.pt")
    encoder = TRAINER.encoder.model_copy(update={"weights": toy.root / "encoder.pt"})
    trainers = [FERClassifier(encoder=encoder), LinearProbe(encoder=encoder)]
    found = [
        trainer.predict(toy.predict_task(None, "encoder_embeddings", folder=trainer.name))
        for trainer in trainers
    ]
    assert found[0].keys == found[1].keys
    one, other = (each.files["encoder_embeddings"].read_bytes() for each in found)
    assert one == other


def test_plain_outputs_do_not_change_when_draws_are_asked_for_too(
    toy: Toy, fitted: TrainReport
) -> None:
    plain = TRAINER.predict(toy.predict_task(fitted.checkpoint, "log_probs", folder="plain"))
    both = TRAINER.predict(
        toy.predict_task(fitted.checkpoint, "log_probs", "mc_log_probs", folder="both")
    )
    assert plain.files["log_probs"].read_bytes() == both.files["log_probs"].read_bytes()


def test_a_network_without_dropout_has_no_posterior_draws(toy: Toy, fitted: TrainReport) -> None:
    certain = TRAINER.model_copy(update={"dropout": 0.0})
    with pytest.raises(TrainingError, match="this one has dropout 0"):
        certain.predict(toy.predict_task(fitted.checkpoint, "mc_log_probs"))


def test_a_prediction_that_fails_leaves_no_file(
    toy: Toy, fitted: TrainReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def power_cut(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("trainers.deep.predict._fill", power_cut)
    with pytest.raises(KeyboardInterrupt):
        TRAINER.predict(toy.predict_task(fitted.checkpoint, "log_probs"))
    assert list((toy.root / "predict").iterdir()) == []


def test_rows_beyond_the_file_are_refused(toy: Toy, fitted: TrainReport) -> None:
    task = toy.predict_task(fitted.checkpoint, "log_probs", rows=np.array([0, 160]))
    with pytest.raises(TrainingError, match="which has 160 images"):
        TRAINER.predict(task)


def test_scores_are_computed_as_the_checkpoint_was_trained(toy: Toy, fitted: TrainReport) -> None:
    """Whatever the configuration says now: precision is part of what the weights mean."""
    low = TRAINER.model_copy(
        update={"compute": TRAINER.compute.model_copy(update={"precision": "bfloat16"})}
    )
    one = TRAINER.predict(toy.predict_task(fitted.checkpoint, "embeddings", folder="one"))
    other = low.predict(toy.predict_task(fitted.checkpoint, "embeddings", folder="other"))
    assert one.files["embeddings"].read_bytes() == other.files["embeddings"].read_bytes()
