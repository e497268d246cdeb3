"""Submodular information written down plainly: set functions over a dense table of similarities.

The members of a world are counted through: candidates first, then queries, then private samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from strategies import Candidates
from strategies.base import Doubles, Rows
from strategies.kernels.exact import exact_rows, on_sum_grid
from strategies.kernels.similarity import residual_directions
from strategies.targets import known_residuals

Members = list[int]
SetFunction = Callable[[Members], float]


@dataclass(frozen=True, eq=False)
class World:
    """All similarities there are."""

    table: Doubles
    num: int  # candidates
    queries: Members
    private: Members

    @property
    def candidates(self) -> Members:
        return list(range(self.num))

    def on_grid(self) -> World:
        """Similarities as coverage and cuts see them: in [0, 1], on the grid of sums."""
        return replace(self, table=on_sum_grid(np.clip(self.table, 0, 1)))


def world_of(
    pool: Candidates,
    queries: Members,
    private: Members = [],  # noqa: B006  never changed
    *,
    space: str = "embeddings",
) -> World:
    """Of a pool, and rows of its labelled samples."""
    assert pool.embeddings is not None
    assert pool.labelled_embeddings is not None
    extra = queries + private
    rows = exact_rows(np.concatenate((pool.embeddings, pool.labelled_embeddings[extra])), unit=True)
    cosines = rows.values @ rows.values.T
    if space == "gradients":
        assert pool.log_probs is not None
        assert pool.labelled_log_probs is not None
        assert pool.labelled_labels is not None
        known = known_residuals(
            pool.labelled_log_probs[extra].astype(np.float64), pool.labelled_labels[extra]
        )
        residuals = np.concatenate((residual_directions(pool.log_probs), known))
        rows = exact_rows(residuals, unit=True)
        cosines *= rows.values @ rows.values.T
    num = len(pool)
    cut = num + len(queries)
    return World((cosines + 1) / 2, num, list(range(num, cut)), list(range(cut, num + len(extra))))


def best(world: World, members: Members, group: Members) -> Doubles:
    """The largest similarity of each member to the group; 0 to an empty one."""
    largest: Doubles = world.table[np.ix_(members, group)].max(axis=1, initial=0.0)
    return largest


def facility_location(world: World) -> SetFunction:
    """Σ_i max_{j in A} s_ij over candidates i."""
    return lambda members: float(best(world, world.candidates, members).sum())


def query_location(world: World) -> SetFunction:
    """The same over candidates and queries, who know of their own kind only themselves."""
    kinds = np.zeros(len(world.table))
    kinds[world.queries] = 1
    table = np.where(kinds[:, None] == kinds, np.eye(len(kinds)), world.table)
    everyone = world.candidates + world.queries
    return lambda members: float(best(replace(world, table=table), everyone, members).sum())


def graph_cut(world: World, trade_off: float) -> SetFunction:
    """Σ_i Σ_{j in A} s_ij - λ Σ_{i, j in A} s_ij, the first sum over candidates i."""

    def value(members: Members) -> float:
        cut = world.table[np.ix_(world.candidates, members)].sum()
        return float(cut - trade_off * world.table[np.ix_(members, members)].sum())

    return value


def log_det(world: World, ridge: float) -> SetFunction:
    """The log-determinant of K_A + λ I."""

    def value(members: Members) -> float:
        table = world.table[np.ix_(members, members)] + ridge * np.eye(len(members))
        return float(np.linalg.slogdet(table)[1]) if members else 0.0

    return value


def mutual(f: SetFunction, world: World) -> SetFunction:
    """I(S; Q)."""
    queries = world.queries
    return lambda members: f(members) + f(queries) - f(members + queries)


def conditional(f: SetFunction, world: World) -> SetFunction:
    """f(S | P)."""
    private = world.private
    return lambda members: f(members + private) - f(private)


def conditional_mutual(f: SetFunction, world: World) -> SetFunction:
    """I(S; Q | P)."""
    queries, private = world.queries, world.private
    return lambda members: (
        f(members + private) + f(queries + private) - f(members + queries + private) - f(private)
    )


def greedy(f: SetFunction, num: int, count: int) -> tuple[Members, Doubles]:
    """Picks the member that makes f largest, `count` times; of equal values the first."""
    picked: Members = []
    values = [f([])]
    for _ in range(count):
        options = [member for member in range(num) if member not in picked]
        reached = [f([*picked, member]) for member in options]
        values.append(max(reached))
        picked.append(options[int(np.argmax(reached))])
    return picked, np.diff(values)


def assert_is_greedy(
    f: SetFunction, num: int, rows: Rows, gains: Doubles, *, within: float = 1e-9
) -> None:
    """That each pick adds what it says, and no other candidate adds more."""
    picked: Members = []
    for row, gain in zip(rows.tolist(), gains.tolist(), strict=True):
        before = f(picked)
        others = [f([*picked, member]) for member in range(num) if member not in picked]
        picked.append(row)
        assert abs(f(picked) - before - gain) <= within
        assert max(others) - f(picked) <= within
