from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from trainers import Encoder, FERClassifier, TrainingError, TrainReport
from trainers.deep.checkpoints import digest_of_weights
from trainers.deep.compute import Mode
from trainers.deep.images import Normaliser, Pixels
from trainers.deep.networks import load_learner
from trainers.deep.scoring import score
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
    return TRAINER.fit(toy.task())


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
