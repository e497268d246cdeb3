"""Where scikit-activeml 1.0.1 asks for the same samples, and where it is known not to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from strategies import (
    BALD,
    CLUE,
    Candidates,
    CoreSet,
    EntropySampling,
    LeastConfidence,
    MarginSampling,
    MaxHerding,
    ProbCover,
    QueryByCommittee,
    VariationRatio,
)
from strategies.badge import BADGE
from strategies.base import Doubles, QueryStrategy, Rows
from strategies.batchbald import BatchBALD
from strategies.dropquery import count_flips
from strategies.falcun import draw_contrasts
from strategies.kernels.exact import ExactPool
from strategies.kernels.gradients import Gradients
from strategies.kernels.kmeans import k_means, pool_of, squares_to
from strategies.scores import entropy
from strategies.typiclust import pick_typical

peer = pytest.importorskip("skactiveml.pool")
bald = pytest.importorskip("skactiveml.pool._bald")
base = pytest.importorskip("skactiveml.base")
sklearn_base = pytest.importorskip("sklearn.base")

pytestmark = pytest.mark.conformance


class Known(base.SkactivemlClassifier):  # type: ignore[misc, name-defined]
    """A classifier whose answers are known beforehand; samples are given by their row."""

    def __init__(
        self, probs: Any = None, embeddings: Any = None, missing_label: float = np.nan
    ) -> None:
        super().__init__(classes=None, missing_label=missing_label)
        self.probs = probs
        self.embeddings = embeddings

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Known:  # noqa: ARG002
        return self

    def predict_proba(self, X: Any, **_: Any) -> Any:
        rows = np.asarray(X)[:, 0].astype(int)
        if self.embeddings is None:
            return self.probs[rows]
        return self.probs[rows], self.embeddings[rows]


class Given(sklearn_base.ClusterMixin, sklearn_base.BaseEstimator):  # type: ignore[misc, name-defined]
    """A clustering that is known beforehand."""

    def __init__(self, labels: Any = None, n_clusters: int = 1) -> None:
        self.labels = labels
        self.n_clusters = n_clusters

    def fit_predict(self, X: Any, y: Any = None) -> Any:  # noqa: ARG002
        return self.labels


class Centred(sklearn_base.ClusterMixin, sklearn_base.BaseEstimator):  # type: ignore[misc, name-defined]
    """A clustering whose distances to centres are known beforehand, and the weights it is for."""

    def __init__(self, distances: Any = None, weights: Any = None, n_clusters: int = 1) -> None:
        self.distances = distances
        self.weights = weights
        self.n_clusters = n_clusters

    def fit_transform(self, X: Any, y: Any, sample_weight: Any) -> Any:  # noqa: ARG002
        np.testing.assert_allclose(sample_weight, self.weights, rtol=1e-12)
        return self.distances


class Unclustered(sklearn_base.ClusterMixin, sklearn_base.BaseEstimator):  # type: ignore[misc, name-defined]
    """Clusters that everything is equally near."""

    def __init__(self, n_clusters: int = 1) -> None:
        self.n_clusters = n_clusters

    def fit_transform(self, X: Any, y: Any) -> Any:  # noqa: ARG002
        return np.ones((len(X), self.n_clusters))


class Linear(base.SkactivemlClassifier):  # type: ignore[misc, name-defined]
    """A last layer that is known beforehand."""

    def __init__(self, head: Any = None, missing_label: float = np.nan) -> None:
        super().__init__(classes=None, missing_label=missing_label)
        self.head = head
        self.seen: list[Doubles] = []

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Linear:  # noqa: ARG002
        return self

    def predict(self, X: Any, **_: Any) -> Any:
        self.seen.append(X)
        return (X @ self.head.weight.T + self.head.bias).argmax(axis=1)


def asked(strategy: QueryStrategy, pool: Candidates, batch_size: int, seed: int = 0) -> list[int]:
    """Ids and rows are the same in these pools."""
    ids: list[int] = strategy.select(pool, batch_size, np.random.default_rng(seed)).ids.tolist()
    return ids


def by_row(pool: Candidates) -> tuple[Doubles, Doubles]:
    """X and y for strategies that read probabilities: each sample is its row, none is labelled."""
    return np.arange(len(pool), dtype=np.float64)[:, None], np.full(len(pool), np.nan)


def with_labelled(pool: Candidates, *, unit: bool = False) -> tuple[Doubles, Doubles]:
    """X and y for strategies that read embeddings: candidates first, then labelled samples."""
    assert pool.embeddings is not None
    assert pool.labelled_embeddings is not None
    points = np.concatenate([pool.embeddings, pool.labelled_embeddings]).astype(np.float64)
    if unit:
        points /= np.linalg.norm(points, axis=1, keepdims=True)
    labels = np.where(np.arange(len(points)) < len(pool), np.nan, 0.0)
    return points, labels


def probs_of(pool: Candidates) -> Doubles:
    assert pool.log_probs is not None
    return np.exp(pool.log_probs).astype(np.float64)


def draws_of(pool: Candidates) -> Doubles:
    """(K, N, C), as scikit-activeml lays them out."""
    assert pool.mc_log_probs is not None
    return np.ascontiguousarray(np.exp(pool.mc_log_probs).swapaxes(0, 1)).astype(np.float64)


@pytest.mark.parametrize(
    ("strategy", "method"),
    [
        (LeastConfidence(), "least_confident"),
        (MarginSampling(), "margin_sampling"),
        (EntropySampling(), "entropy"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_uncertainty_sampling_asks_in_the_same_order(
    pool: Candidates, strategy: QueryStrategy, method: str
) -> None:
    rows, labels = by_row(pool)
    theirs = peer.UncertaintySampling(method=method, random_state=0).query(
        rows, labels, Known(probs_of(pool)), fit_clf=False, batch_size=100
    )
    assert asked(strategy, pool, 100) == theirs.tolist()


def test_bald_is_batchbald_for_one_in_score_and_order(pool: Candidates) -> None:
    [theirs] = bald.batch_bald(draws_of(pool), 1)
    batch = BALD().select(pool, 100, np.random.default_rng(0))
    assert batch.ids.tolist() == np.argsort(-theirs, kind="stable")[:100].tolist()
    np.testing.assert_allclose(batch.scores, theirs[batch.ids], rtol=0, atol=1e-12)


def test_batchbald_asks_in_the_same_order_while_it_is_exact(pool: Candidates) -> None:
    batch = BatchBALD().select(pool, 4, np.random.default_rng(0))
    theirs = bald.batch_bald(draws_of(pool), 4, n_MC_samples=4**3)
    assert batch.ids.tolist() == np.nanargmax(theirs, axis=1).tolist()
    # Theirs is what the whole batch tells so far, ours what a pick adds to it.
    np.testing.assert_allclose(np.cumsum(batch.scores), np.nanmax(theirs, axis=1), atol=1e-6)


def test_a_committees_divergence_votes_and_ratios_have_the_same_scores(pool: Candidates) -> None:
    committee = pytest.importorskip("skactiveml.pool._query_by_committee")
    votes = draws_of(pool).argmax(axis=2).T
    divergence = committee.average_kl_divergence(draws_of(pool))
    pairs = [
        (QueryByCommittee(measure="kl_mean").utilities(pool), divergence),
        (QueryByCommittee().utilities(pool), committee.vote_entropy(votes, np.arange(4))),
        (VariationRatio().utilities(pool), committee.variation_ratios(votes)),
    ]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


def test_core_set_asks_in_the_same_order(pool: Candidates) -> None:
    points, labels = with_labelled(pool)
    theirs = peer.CoreSet(random_state=0).query(points, labels, batch_size=100)
    assert asked(CoreSet(), pool, 100) == theirs.tolist()


def test_core_set_with_nothing_labelled_begins_at_the_mean_and_theirs_by_chance(
    pool: Candidates,
) -> None:
    assert pool.embeddings is not None
    points, labels = with_labelled(pool)
    points, labels = points[: len(pool)], labels[: len(pool)]
    unlabelled = Candidates(
        ids=pool.ids,
        embeddings=pool.embeddings,
        labelled_ids=pool.ids[:0],
        labelled_embeddings=pool.embeddings[:0],
    )
    first, *others = asked(CoreSet(), unlabelled, 50)
    assert first == np.linalg.norm(points - points.mean(axis=0), axis=1).argmin()
    begun = {int(peer.CoreSet(random_state=seed).query(points, labels)[0]) for seed in range(5)}
    assert len(begun) > 1
    labels[first] = 0.0
    assert others == peer.CoreSet(random_state=0).query(points, labels, batch_size=49).tolist()


@pytest.mark.parametrize("width", [0.5, 1.0])
def test_maxherding_asks_in_the_same_order_at_the_same_width(
    pool: Candidates, width: float
) -> None:
    points, labels = with_labelled(pool)
    theirs = peer.MaxHerding(
        metric="rbf", metric_dict={"gamma": 1 / width**2}, random_state=0
    ).query(points, labels, batch_size=40)
    assert asked(MaxHerding(width=width), pool, 40) == theirs.tolist()


def test_maxherding_gains_the_same_with_nothing_labelled(pool: Candidates) -> None:
    assert pool.embeddings is not None
    unlabelled = Candidates(
        ids=pool.ids, embeddings=pool.embeddings, labelled_embeddings=pool.embeddings[:0]
    )
    theirs, utilities = peer.MaxHerding(
        metric="rbf", metric_dict={"gamma": 1.0}, random_state=0
    ).query(pool.embeddings, np.full(len(pool), np.nan), batch_size=20, return_utilities=True)
    batch = MaxHerding().select(unlabelled, 20, np.random.default_rng(0))
    assert batch.ids.tolist() == theirs.tolist()
    # Theirs is a mean, ours a sum.
    gains = utilities[np.arange(20), theirs] * len(pool)
    np.testing.assert_allclose(batch.scores, gains, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:The maximum purity was -1:UserWarning")  # of one delta
def test_probcover_picks_a_largest_ball_of_theirs_each_time(pool: Candidates) -> None:
    delta, count = 1.0, 15
    points, labels = with_labelled(pool, unit=True)
    gaps = np.linalg.norm(points[:, None] - points, axis=2)
    assert np.abs(gaps - delta).min() > 1e-9  # ours is open, theirs closed
    batch = ProbCover(delta=delta).select(pool, count, np.random.default_rng(0))
    assert batch.notes["coverage_picks"] == count
    query = peer.ProbCover(deltas=[delta], n_classes=2, random_state=0)
    for row, score in zip(batch.ids, batch.scores, strict=True):
        _, [degrees] = query.query(points, labels, return_utilities=True)
        # Degrees are whole numbers and often tie: theirs falls to chance then, ours to the id.
        assert row == np.nanargmax(degrees)
        assert score == degrees[row]
        labels[row] = 0.0


@pytest.mark.filterwarnings("ignore:The maximum purity was -1:UserWarning")
def test_probcover_goes_on_by_core_set_where_theirs_falls_to_chance(pool: Candidates) -> None:
    points, labels = with_labelled(pool, unit=True)
    batch = ProbCover(delta=1.9).select(pool, 10, np.random.default_rng(0))
    assert batch.notes["coverage_picks"] == 0
    query = peer.ProbCover(deltas=[1.9], n_classes=2, random_state=0)
    _, [degrees] = query.query(points, labels, return_utilities=True)
    assert not np.nan_to_num(degrees).any()
    assert (
        batch.ids.tolist()
        == peer.CoreSet(random_state=0).query(points, labels, batch_size=10).tolist()
    )


def test_typiclust_takes_the_same_typical_samples_of_large_clusters(pool: Candidates) -> None:
    points, labels = with_labelled(pool)
    known = np.arange(12) % 3  # of the labelled, in three of eight clusters
    clusters = np.concatenate([skewed(len(pool), 8), known])
    theirs, utilities = peer.TypiClust(
        cluster_algo=Given, cluster_algo_dict={"labels": clusters}, k=20, random_state=0
    ).query(points, labels, batch_size=5, return_utilities=True)
    rows, typicalities = typical(points, clusters, len(pool), 5)
    assert rows.tolist() == theirs.tolist()
    # The mean distance to 20 neighbours, but for what either adds so as not to divide by zero.
    np.testing.assert_allclose(
        1 / typicalities - 1e-5, 1 / utilities[np.arange(5), theirs] - 1e-7 / 20
    )


def test_typiclust_looks_at_half_of_a_small_cluster_and_they_at_all_of_it() -> None:
    points = np.random.default_rng(0).standard_normal((30, 16))
    _, [theirs] = peer.TypiClust(
        cluster_algo=Given, cluster_algo_dict={"labels": np.zeros(30, int)}, k=20
    ).query(points, np.full(30, np.nan), return_utilities=True)
    near = np.sort(np.linalg.norm(points[:, None] - points, axis=2), axis=1)[:, 1:]
    np.testing.assert_allclose(theirs, 1 / near[:, :20].mean(axis=1))
    [row], [typicality] = typical(points, np.zeros(30, np.int64), 30, 1)
    assert row == near[:, :15].mean(axis=1).argmin()
    np.testing.assert_allclose(1 / typicality - 1e-5, near[row, :15].mean())


def skewed(num: int, num_clusters: int) -> Rows:
    """Clusters of distinct sizes, none below the 40 samples that 20 neighbours are a half of."""
    sizes = 42 + np.arange(num_clusters)
    sizes[-1] += num - sizes.sum()
    return np.random.default_rng(0).permutation(np.repeat(np.arange(num_clusters), sizes))


def typical(
    points: Doubles, clusters: Rows, num_candidates: int, count: int
) -> tuple[Rows, Doubles]:
    return pick_typical(
        ExactPool.of(points),
        clusters,
        num_candidates,
        count,
        neighbours=20,
        min_cluster_size=6,
        plain=True,
    )


def test_falcun_draws_by_the_same_weights_after_each_pick(pool: Candidates) -> None:
    pool = pool.take(np.arange(100))
    assert pool.log_probs is not None
    rows, labels = by_row(pool)
    theirs, weights = peer.Falcun(gamma=10, random_state=3).query(
        rows, labels, Known(probs_of(pool)), fit_clf=False, batch_size=8, return_utilities=True
    )
    prefix: list[float] = []
    for row, of_pick in zip(theirs, np.nan_to_num(weights), strict=True):
        # A number in the middle of a sample's share of [0, 1) draws that sample.
        middles = np.cumsum(of_pick) - of_pick / 2
        likely = np.flatnonzero(of_pick > 1e-9)
        ours = [draw_contrasts(pool.log_probs, np.array([*prefix, middles[k]])) for k in likely]
        assert [drawn.tolist() for drawn, _ in ours] == [
            [*theirs[: len(prefix)].tolist(), k] for k in likely
        ]
        shares = np.array([scores[-1] for _, scores in ours]) ** 10
        np.testing.assert_allclose(
            shares / shares.sum(), of_pick[likely] / of_pick[likely].sum(), rtol=1e-9
        )
        prefix.append(float(middles[row]))


def test_badge_differs_since_theirs_keeps_the_origin_as_a_centre(pool: Candidates) -> None:
    assert pool.log_probs is not None
    assert pool.embeddings is not None
    rows, labels = by_row(pool)
    theirs, weights = peer.Badge(random_state=0).query(
        rows,
        labels,
        Known(probs_of(pool), pool.embeddings),
        fit_clf=False,
        batch_size=10,
        return_utilities=True,
    )
    assert asked(BADGE(), pool, 1) == theirs[:1]  # the longest gradient
    gradients = Gradients.of(pool.log_probs, pool.embeddings)
    squares = np.full(len(pool), np.inf)
    for num_picked in range(1, 10):
        gradients.lower(squares, np.array(theirs[num_picked - 1 : num_picked]))
        squares[theirs[:num_picked]] = 0.0  # the weights of k-means++, ours and the paper's
        capped = np.minimum(squares, gradients.squared_norms)
        of_pick = np.nan_to_num(weights[num_picked])
        np.testing.assert_allclose(of_pick, capped / capped.sum(), rtol=1e-5, atol=1e-12)
        # In total variation they are some way from ours.
        assert np.abs(of_pick - squares / squares.sum()).sum() / 2 > 0.05


def test_clue_weighs_by_entropy_and_takes_the_nearest_to_each_centre_as_they_do(
    pool: Candidates,
) -> None:
    assert pool.log_probs is not None
    assert pool.embeddings is not None
    points, weights = pool_of(pool.embeddings), entropy(pool.log_probs)
    clusters = k_means(points, 20, np.random.default_rng(0), weights=weights)
    distances = np.sqrt(squares_to(points.block(slice(0, len(pool))), clusters.centres))
    rows, labels = by_row(pool)
    theirs = peer.Clue(
        cluster_algo=Centred,
        cluster_algo_dict={"distances": distances, "weights": weights},
        random_state=0,
    ).query(
        rows,
        labels,
        Known(probs_of(pool), pool.embeddings),
        fit_estimator=False,
        batch_size=20,
    )
    assert asked(CLUE(), pool, 20) == theirs.tolist()


def test_dropquery_counts_flips_as_they_do_but_they_do_not_scale_what_is_kept(
    pool: Candidates,
) -> None:
    assert pool.embeddings is not None
    head, points = pool.head, pool.embeddings.astype(np.float64)
    assert head is not None
    learner = Linear(head)
    _, utilities = peer.DropQuery(
        dropout_rate=0.75, n_dropout_samples=3, random_state=0, cluster_algo=Unclustered
    ).query(
        points,
        np.full(len(pool), np.nan),
        learner,
        fit_clf=False,
        batch_size=2,
        return_utilities=True,
    )
    # Their masks are each sample's own, ours are for all: so ours are asked sample by sample.
    masks = np.stack(learner.seen[1:], axis=1) != 0
    flips, scaled = (
        np.array(
            [
                count_flips(point[None], head, factor * mask)[0]
                for point, mask in zip(points, masks, strict=True)
            ]
        )
        for factor in (1.0, 4.0)
    )
    assert np.flatnonzero(flips >= 2).tolist() == np.flatnonzero(np.isfinite(utilities[0])).tolist()
    assert (flips != scaled).any()  # against the bias, which is not dropped
