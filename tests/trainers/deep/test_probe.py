from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from trainers import Encoder, LinearProbe, Output, TrainingError
from trainers.deep.checkpoints import digest_of_weights
from trainers.deep.networks import Plan, build_network
from trainers.deep.seeding import generator

if TYPE_CHECKING:
    from tests.trainers.conftest import Toy

pytestmark = pytest.mark.torch

NARROW = Encoder(name="resnet10_narrow", width=4)
PROBE = LinearProbe(encoder=NARROW)


def cached(toy: Toy) -> list[Path]:
    return sorted((toy.root / "cache").glob("features-*.npy"))


def test_random_features_tell_the_toy_classes_apart(toy: Toy) -> None:
    assert PROBE.fit(toy.task()).metrics["test/accuracy"] > 0.9


def test_all_images_are_embedded_once_whatever_the_round(toy: Toy) -> None:
    PROBE.fit(toy.task("round-0"))
    (path,) = cached(toy)
    assert np.load(path).shape == (160, 32)
    before = path.stat()
    report = PROBE.fit(toy.task("round-1", seed=8, labelled=toy.examples(0, 40)))
    PROBE.predict(toy.predict_task(report.checkpoint, "embeddings"))
    assert cached(toy) == [path]
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.stat().st_ino == before.st_ino


def test_the_encoder_is_the_same_in_every_round(toy: Toy) -> None:
    one, other = (PROBE.fit(toy.task(str(seed), seed=seed)) for seed in (1, 2))
    assert one.encoder_digest == other.encoder_digest
    assert one.initial_digest == other.initial_digest
    assert one.checkpoint_digest == other.checkpoint_digest


def test_another_encoder_seed_is_another_encoder(toy: Toy) -> None:
    one = PROBE.fit(toy.task("one"))
    other = PROBE.model_copy(update={"encoder_seed": 1}).fit(toy.task("other"))
    assert one.encoder_digest != other.encoder_digest
    assert len(cached(toy)) == 2


def test_other_pixels_in_the_same_place_are_embedded_anew(toy: Toy) -> None:
    PROBE.fit(toy.task("one"))
    packed = np.load(toy.images.path)
    packed[0, 0, 0, 0] ^= 1
    np.save(toy.images.path, packed)
    # As a copy that keeps its size and even its second of writing would be.
    os.utime(toy.images.path, ns=(1, 1))
    PROBE.fit(toy.task("other"))
    assert len(cached(toy)) == 2


def test_equal_pixels_in_another_place_are_not(toy: Toy) -> None:
    PROBE.fit(toy.task("one"))
    elsewhere = toy.root / "elsewhere.npy"
    elsewhere.write_bytes(toy.images.path.read_bytes())
    PROBE.fit(toy.task("other", images=replace(toy.images, path=elsewhere)))
    assert len(cached(toy)) == 1


def test_another_normalisation_gives_other_features(toy: Toy) -> None:
    PROBE.fit(toy.task("one"))
    PROBE.fit(toy.task("other", images=replace(toy.images, mean=(0.5,))))
    assert len(cached(toy)) == 2


def test_a_cached_file_may_be_deleted_at_any_time(toy: Toy) -> None:
    report = PROBE.fit(toy.task())
    first = PROBE.predict(toy.predict_task(report.checkpoint, "log_probs", folder="first"))
    (path,) = cached(toy)
    path.unlink()
    again = PROBE.predict(toy.predict_task(report.checkpoint, "log_probs", folder="again"))
    assert first.files["log_probs"].read_bytes() == again.files["log_probs"].read_bytes()


def test_the_head_is_the_optimum_over_standardised_features(toy: Toy) -> None:
    report = PROBE.fit(toy.task())
    found = PROBE.predict(toy.predict_task(report.checkpoint, "head"))
    features = np.load(cached(toy)[0]).astype(np.float64)
    # Rows 64 to 159 are validation and test.
    mean, std = features[:64].mean(0), features[:64].std(0)
    extended = np.c_[(features[:64] - mean) / std, np.ones(64)]
    oracle = LogisticRegression(C=1 / PROBE.l2, fit_intercept=False, tol=1e-10, max_iter=10_000)
    oracle.fit(extended, toy.labels[:64])
    weight = oracle.coef_[:, :-1] / std
    head = np.load(found.files["head"])
    np.testing.assert_allclose(head["weight"], weight, rtol=0.02, atol=0.02)
    bias = oracle.coef_[:, -1] - weight @ mean
    np.testing.assert_allclose(head["bias"], bias, rtol=0.02, atol=0.02)


def test_an_encoder_file_is_used_as_it_is(toy: Toy) -> None:
    plan = Plan("resnet10_narrow", 4, in_channels=1, num_classes=2, dropout=0.0)
    weights = build_network(plan, generator(99)).encoder.state_dict()
    torch.save(weights, toy.root / "encoder.pt")
    encoder = NARROW.model_copy(update={"weights": toy.root / "encoder.pt"})
    report = LinearProbe(encoder=encoder).fit(toy.task())
    assert report.encoder_digest == digest_of_weights(weights)


def test_a_head_does_not_go_on_another_encoder(toy: Toy) -> None:
    report = PROBE.fit(toy.task())
    other = PROBE.model_copy(update={"encoder_seed": 1})
    with pytest.raises(TrainingError, match="was fitted on another encoder"):
        other.predict(toy.predict_task(report.checkpoint, "log_probs"))


def test_a_unit_that_never_answers_does_no_harm(toy: Toy) -> None:
    np.save(toy.images.path, np.zeros_like(np.load(toy.images.path)))
    report = PROBE.fit(toy.task())
    assert np.isfinite(report.metrics["test/nll"])


def test_embeddings_are_known_by_the_name_of_their_function(toy: Toy) -> None:
    reports = [PROBE.fit(toy.task(str(seed), seed=seed)) for seed in (1, 2)]
    found = [
        PROBE.predict(
            toy.predict_task(
                report.checkpoint, "embeddings", "encoder_embeddings", "log_probs", folder=folder
            )
        )
        for report, folder in zip(reports, ("one", "other"), strict=True)
    ]
    (path,) = cached(toy)
    key = path.stem.removeprefix("features-")
    for each in found:
        assert each.keys == {"embeddings": key, "encoder_embeddings": key}
        embeddings = np.load(each.files["embeddings"])
        assert (embeddings == np.load(each.files["encoder_embeddings"])).all()
        assert (embeddings == np.load(path)[np.arange(30, -1, -1)]).all()


def test_a_large_pool_is_told_what_a_small_one_is(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = PROBE.fit(toy.task())
    outputs: tuple[Output, ...] = ("embeddings", "encoder_embeddings", "log_probs")
    whole = PROBE.predict(toy.predict_task(report.checkpoint, *outputs, folder="whole"))
    monkeypatch.setattr("trainers.deep.outputs.ROWS_AT_A_TIME", 7)
    parts = PROBE.predict(toy.predict_task(report.checkpoint, *outputs, folder="parts"))
    for name in outputs:
        expected = np.load(whole.files[name])
        np.testing.assert_allclose(np.load(parts.files[name]), expected, atol=1e-6)


def test_a_random_encoder_is_embedded_before_there_is_a_learner(toy: Toy) -> None:
    before = PROBE.predict(toy.predict_task(None, "encoder_embeddings"))
    report = PROBE.fit(toy.task())
    after = PROBE.predict(toy.predict_task(report.checkpoint, "embeddings", folder="after"))
    assert before.files["encoder_embeddings"].read_bytes() == after.files["embeddings"].read_bytes()
    assert before.keys["encoder_embeddings"] == after.keys["embeddings"]


def test_a_probe_has_no_posterior_draws(toy: Toy) -> None:
    report = PROBE.fit(toy.task())
    with pytest.raises(TrainingError, match="no dropout, so it has no posterior draws"):
        PROBE.predict(toy.predict_task(report.checkpoint, "mc_log_probs"))
