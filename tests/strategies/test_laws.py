"""What a version of a law means: as long as it stays, the same candidates give the same picks."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import ClassVar, Literal, get_args

import numpy as np
import pytest
from pools import build_pool
from pydantic import TypeAdapter

from strategies import AnyStrategy, QueryStrategy
from strategies.random_sampling import RandomSampling
from strategies.uncertainty import MarginSampling
from strategies.warm_up import WarmUp

STRATEGIES: tuple[type[QueryStrategy], ...] = get_args(get_args(AnyStrategy)[0])
NAMES = [cls.model_fields["name"].default for cls in STRATEGIES]
PINNED = Path(__file__).parent / "laws.json"


def pinned(strategy: QueryStrategy) -> str:
    """The version of a law and a digest of its picks, as `laws.json` has them."""
    picks = [
        strategy.select(build_pool(kind), 9, np.random.default_rng(0)).ids.tolist()
        for kind in ("spread", "duplicates")  # far from ties, and all of them exact
    ]
    return f"{strategy.law}:{sha256(json.dumps(picks).encode()).hexdigest()[:16]}"


@pytest.mark.parametrize("name", NAMES)
def test_picks_change_only_with_the_version_of_the_law(name: str) -> None:
    made: QueryStrategy = TypeAdapter(AnyStrategy).validate_python({"name": name})
    line = pinned(made)
    recorded = json.loads(PINNED.read_text()).get(name, "nothing")
    assert line == recorded, (
        f"{name} picks otherwise than its law {recorded}; mend it, or if that is wanted raise "
        f'`law`, note it in the changelog, and put "{name}": "{line}" into {PINNED.name}'
    )


def test_nobody_is_pinned_who_is_gone() -> None:
    assert {*json.loads(PINNED.read_text())} == {*NAMES}


def test_laws_are_told_of_a_strategy_and_of_those_inside_it() -> None:
    class Changed(MarginSampling):
        law: ClassVar[int] = 3
        name: Literal["margin"] = "margin"

    around = WarmUp(first=RandomSampling(), then=MarginSampling())
    assert around.laws() == {"warm_up": 1, "random": 1, "margin": 1}
    changed = around.model_copy(update={"then": Changed()})
    assert changed.laws() == {"warm_up": 1, "random": 1, "margin": 3}
    mixed: QueryStrategy = TypeAdapter(AnyStrategy).validate_python(
        {"name": "mix", "bases": [{"name": "badge"}, {"name": "subsample"}]}
    )
    assert mixed.laws().keys() >= {"mix", "badge", "subsample"}
