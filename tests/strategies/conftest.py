"""The pools of `pools.py`, one after the other."""

from __future__ import annotations

import pytest
from pools import POOLS, build_pool

from strategies import Candidates


@pytest.fixture(params=POOLS)
def pool(request: pytest.FixtureRequest) -> Candidates:
    return build_pool(str(request.param))
