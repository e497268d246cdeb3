"""A run that explains itself, killed around that, is the run that was never disturbed."""

from __future__ import annotations

import pytest
from killing import EXPERIMENT, Blow, Instant, Undisturbed, outcome, undisturb

pytestmark = [pytest.mark.torch, pytest.mark.slow]

EXPLAINED = (
    EXPERIMENT.replace("rounds: 3", "rounds: 1")
    + "reports: {saliency: {method: smoothgrad, samples: 2, each: 1}}\n"
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return undisturb(tmp_path_factory.mktemp("explained"), EXPLAINED)


def test_it_has_been_explained(undisturbed: Undisturbed) -> None:
    assert len(undisturbed.outcome["stages"][0, "explain"]["ids"]) == 7


@pytest.mark.parametrize("instant", ["before_commit", "before_rename"])
def test_killed_at_every_other_instant_around_its_maps_it_has_the_same(
    undisturbed: Undisturbed, instant: Instant
) -> None:
    count = undisturbed.instants[instant]
    for n in range(count - 6, count + 1, 2):
        root = undisturbed.resume(Blow(instant, n))
        assert outcome(root) == undisturbed.outcome, f"killed {instant} {n}"
