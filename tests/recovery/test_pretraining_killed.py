"""A run that is killed while its encoder is being made ends as if it had not been."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from killing import Blow, Instant, Undisturbed, outcome, undisturb

from al_orchestrator.encoder_store import EncoderStore

pytestmark = [pytest.mark.torch, pytest.mark.slow]

EXPERIMENT = """
dataset: {name: faces, image_size: 16, num_train: 80, num_val: 14, num_test: 20}
strategy: {name: margin}
trainer:
  name: linear_probe
  encoder:
    name: resnet10_narrow
    width: 4
    pretrain: {name: simclr, epochs: 2, batch_size: 32, projection: 8, checkpoint_every_s: 0}
budget: {initial: 14, batch_size: 7, rounds: 1}
validation: {size: 0}
executor: in_process
tracking: {name: nothing}
resources: {cpus_per_worker: 1, device: cpu}
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return undisturb(tmp_path_factory.mktemp("pretrained"), EXPERIMENT)


@pytest.mark.parametrize("instant", ["before_commit", "before_rename"])
def test_killed_at_every_other_instant_the_encoder_is_the_same(
    undisturbed: Undisturbed, instant: Instant
) -> None:
    expected = told(undisturbed.root)
    (encoder,) = EncoderStore(undisturbed.root / "encoders").entries()
    for n in range(1, undisturbed.instants[instant] + 1, 2):
        root = undisturbed.resume(Blow(instant, n))
        assert told(root) == expected, f"killed {instant} {n}"
        (made,) = EncoderStore(root / "encoders").entries()
        assert (made.key, made.digest) == (encoder.key, encoder.digest)
        assert not EncoderStore(root / "encoders").attempts(made.key)


def told(root: Path) -> dict[str, Any]:
    """The outcome without notes, which name the encoder's file and so the workspace."""
    found = outcome(root)
    for result in found["stages"].values():
        result.pop("notes", None)
    return found
