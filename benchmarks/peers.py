"""How fast selection is beside other libraries, on the same arrays, in one run.

    pip install --group conformance
    python -m benchmarks.peers --candidates 28000 --batch 1435

Where a library visits the pool for each pick, it is timed for two small batches, and the straight
line through both is followed to the batch asked for, which is marked ``~``; memory is then that of
the larger of the two. Where it holds a table of all pairs or clusters for minutes, both are given
a part of the pool. Whether both select the same is tested in ``tests/conformance``. On a busy
machine set OMP_NUM_THREADS=1, which holds for all: threads in wait of each other spoil timings.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from typing import Any

import numpy as np

from benchmarks.selection import Pool, extra_memory_mib, seconds
from strategies import (
    BADGE,
    BALD,
    CLUE,
    BatchBALD,
    Candidates,
    CoreSet,
    EntropySampling,
    Falcun,
    Head,
    LeastConfidence,
    MarginSampling,
    MaxHerding,
    Power,
    ProbCover,
    QueryByCommittee,
    QueryStrategy,
    TypiClust,
)
from strategies.base import Doubles, Floats
from strategies.dropquery import DropQuery

LIBRARIES = {
    "baal": ("baal", "baal.active.heuristics.stochastics"),
    "modAL": ("modAL-python", "modAL.models"),
    "scikit-activeml": ("scikit-activeml", "skactiveml.pool"),
}
"""Name of each library here, of its distribution, and of the module to import first."""

DRAWS = 10
DELTA = 0.98
SEEDED = {"random_state": 0}
_SHORT = 2.0  # seconds below which a timing is repeated, and the fastest counts


@dataclass(frozen=True)
class Data:
    """One pool as we take it, and as the others do."""

    candidates: Candidates
    probs: Floats  # (N, C)
    points: Floats  # (N + M, D) candidates, then labelled samples
    units: Floats  # (N + M, D) the same at unit length
    draws: Floats  # (N, C, K), as baal has them
    members: Floats  # (K, N, C), as scikit-activeml has them

    @classmethod
    def of(cls, pool: Pool, num: int, *, num_draws: int = DRAWS) -> Data:
        """The first `num` of a pool."""
        rng = np.random.default_rng(1)
        log_probs, embeddings = pool.log_probs[:num], pool.embeddings[:num]
        width, classes = embeddings.shape[1], log_probs.shape[1]
        noise = rng.standard_normal((num, num_draws, classes), np.float32) * np.float32(0.5)
        drawn = log_softmax(log_probs[:, None] + noise)
        points = np.concatenate([embeddings, pool.labelled])
        candidates = Candidates(
            ids=np.arange(num),
            log_probs=log_probs,
            embeddings=embeddings,
            mc_log_probs=drawn,
            labelled_ids=np.arange(num, len(points)),
            labelled_embeddings=pool.labelled,
            head=Head(
                weight=rng.standard_normal((classes, width), np.float32) * np.float32(0.15),
                bias=np.zeros(classes, np.float32),
            ),
        )
        units = points / np.linalg.norm(points, axis=1, keepdims=True)
        draws: Floats = np.ascontiguousarray(np.exp(drawn).swapaxes(1, 2))
        members: Floats = np.ascontiguousarray(np.exp(drawn).swapaxes(0, 1))
        return cls(candidates, np.exp(log_probs), points, units, draws, members)

    def __len__(self) -> int:
        return len(self.candidates)

    @property
    def rows(self) -> Doubles:
        """Samples as their own numbers, (N, 1), for those who call back for probabilities."""
        return np.arange(len(self), dtype=np.float64)[:, None]

    @property
    def unknown(self) -> Doubles:
        """Labels of which none is known, (N,)."""
        return np.full(len(self), np.nan)

    @property
    def labels(self) -> Doubles:
        """Labels of `points`, known from the first labelled sample on, (N + M,)."""
        return np.where(np.arange(len(self.points)) < len(self), np.nan, 0.0)


def log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    normalised: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return normalised


Query = Callable[[Data, int], object]


@dataclass(frozen=True)
class Peer:
    """What another library does for the same question."""

    library: str
    query: Query
    batches: tuple[int, int] | None = None  # timed instead of the one asked for


@dataclass(frozen=True)
class Contest:
    """One strategy, ours and theirs."""

    ours: QueryStrategy
    peers: tuple[Peer, ...]
    small: bool = False  # theirs holds a table of all pairs, or clusters by passes over the pool
    batch: int | None = None  # where it is not the one asked for


Games = dict[QueryStrategy, tuple[Query, tuple[int, int]]]
"""Ours, theirs, and the batches theirs is timed for."""


# scikit-activeml


@cache
def known_classifier() -> Any:
    """A classifier whose answers are known beforehand; its samples are numbers of rows."""
    from skactiveml.base import SkactivemlClassifier

    def init(self: Any, probs: Any = None, embeddings: Any = None, head: Any = None) -> None:
        SkactivemlClassifier.__init__(self)
        self.probs, self.embeddings, self.head = probs, embeddings, head

    def predict_proba(self: Any, rows: Any, **_: Any) -> Any:
        at = rows[:, 0].astype(int)
        probs = self.probs[at]
        return probs if self.embeddings is None else (probs, self.embeddings[at])

    def predict(self: Any, points: Any, **_: Any) -> Any:
        return (points @ self.head.weight.T + self.head.bias).argmax(axis=1)

    members = {
        "__init__": init,
        "fit": lambda self, *_, **__: self,
        "predict_proba": predict_proba,
        "predict": predict,
    }
    return type("Known", (SkactivemlClassifier,), members)


def sk(name: str, **settings: Any) -> Any:
    import skactiveml.pool

    return getattr(skactiveml.pool, name)(random_state=0, **settings)


def sk_by_row(name: str, *, embeds: bool = False, **settings: Any) -> Query:
    """What reads probabilities, and embeddings if it `embeds`."""

    def query(data: Data, batch: int) -> object:
        classifier = known_classifier()(data.probs, data.candidates.embeddings if embeds else None)
        strategy = sk(name, **settings)
        return strategy.query(data.rows, data.unknown, classifier, False, batch_size=batch)

    return query


def sk_by_point(name: str, *, unit: bool = False, **settings: Any) -> Query:
    """What reads embeddings alone."""

    def query(data: Data, batch: int) -> object:
        points = data.units if unit else data.points
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The maximum purity was -1")  # of one delta
            return sk(name, **settings).query(points, data.labels, batch_size=batch)

    return query


def sk_dropquery(data: Data, batch: int) -> object:
    classifier = known_classifier()(head=data.candidates.head)
    strategy = sk("DropQuery", n_dropout_samples=3, cluster_algo_dict=SEEDED)
    return strategy.query(
        data.candidates.embeddings, data.unknown, classifier, False, batch_size=batch
    )


def sk_batch_bald(data: Data, batch: int) -> object:
    from skactiveml.pool._bald import batch_bald

    num_classes = data.probs.shape[1]
    return batch_bald(data.members, batch, n_MC_samples=num_classes ** max(batch - 1, 1))


def sk_bald(data: Data, batch: int) -> object:
    return np.argsort(-np.asarray(sk_batch_bald(data, 1))[0])[:batch]


def sk_vote_entropy(data: Data, batch: int) -> object:
    from skactiveml.pool import vote_entropy

    votes = data.members.argmax(axis=2).T
    return np.argsort(-vote_entropy(votes, np.arange(data.probs.shape[1])))[:batch]


# baal


def baal_scores(name: str) -> Query:
    def query(data: Data, batch: int) -> object:
        from baal.active import heuristics

        return getattr(heuristics, name)()(data.probs)[:batch]

    return query


def baal_bald(data: Data, batch: int) -> object:
    from baal.active.heuristics import BALD as Theirs

    return Theirs()(data.draws)[:batch]


def baal_power(data: Data, batch: int) -> object:
    from baal.active.heuristics import BALD as Theirs
    from baal.active.heuristics.stochastics import PowerSampling

    return PowerSampling(Theirs(), query_size=batch).get_ranks(data.draws)


# modAL


@dataclass
class Known:
    """A classifier, or a member of a committee, whose answers are known beforehand."""

    probs: Floats

    @property
    def classes_(self) -> Any:
        return np.arange(self.probs.shape[1])

    def predict_proba(self, rows: Any) -> Any:
        return self.probs[rows]

    def predict(self, rows: Any) -> Any:
        return self.probs[rows].argmax(axis=1)


def modal_scores(name: str) -> Query:
    def query(data: Data, batch: int) -> object:
        import modAL.uncertainty

        rows = data.candidates.ids
        return getattr(modAL.uncertainty, name)(Known(data.probs), rows, n_instances=batch)

    return query


def modal_vote_entropy(data: Data, batch: int) -> object:
    from modAL.disagreement import vote_entropy_sampling
    from modAL.models import ActiveLearner, Committee

    members = [ActiveLearner(Known(member)) for member in data.members]
    return vote_entropy_sampling(Committee(members), data.candidates.ids, n_instances=batch)


def scored(ours: QueryStrategy, baal: str, modal: str, sk_method: str) -> Contest:
    # scikit-activeml keeps the scores of all candidates for each pick.
    theirs = sk_by_row("UncertaintySampling", method=sk_method)
    return Contest(
        ours,
        (
            Peer("baal", baal_scores(baal)),
            Peer("modAL", modal_scores(modal)),
            Peer("scikit-activeml", theirs, (4, 12)),
        ),
    )


SCORES = (
    scored(LeastConfidence(), "Certainty", "uncertainty_sampling", "least_confident"),
    scored(MarginSampling(), "Margin", "margin_sampling", "margin_sampling"),
    scored(EntropySampling(), "Entropy", "entropy_sampling", "entropy"),
)

ON_ALL: Games = {
    BADGE(): (sk_by_row("Badge", embeds=True), (4, 40)),
    CoreSet(): (sk_by_point("CoreSet"), (4, 40)),
    Falcun(): (sk_by_row("Falcun"), (50, 150)),
}

ON_A_PART: Games = {
    TypiClust(): (sk_by_point("TypiClust", unit=True, k=20), (20, 200)),
    CLUE(): (sk_by_row("Clue", embeds=True, cluster_algo_dict=SEEDED), (20, 200)),
    DropQuery(): (sk_dropquery, (20, 200)),
    ProbCover(delta=DELTA): (
        sk_by_point("ProbCover", unit=True, deltas=[DELTA], n_classes=2),
        (4, 80),
    ),
    MaxHerding(width=1.0): (
        sk_by_point("MaxHerding", metric="rbf", metric_dict={"gamma": 1.0}),
        (4, 40),
    ),
}

CONTESTS = (
    Contest(BALD(), (Peer("baal", baal_bald), Peer("scikit-activeml", sk_bald))),
    Contest(
        QueryByCommittee(),
        (Peer("modAL", modal_vote_entropy), Peer("scikit-activeml", sk_vote_entropy)),
    ),
    Contest(Power(base=BALD()), (Peer("baal", baal_power),)),
    *(
        Contest(ours, (Peer("scikit-activeml", query, batches),))
        for ours, (query, batches) in ON_ALL.items()
    ),
    Contest(BatchBALD(), (Peer("scikit-activeml", sk_batch_bald),), small=True, batch=4),
    *(
        Contest(ours, (Peer("scikit-activeml", query, batches),), small=True)
        for ours, (query, batches) in ON_A_PART.items()
    ),
)


def ask(strategy: QueryStrategy, pool: Candidates, batch: int) -> object:
    return strategy.select(pool, batch, np.random.default_rng(1))


def lines(contest: Contest, data: Data, asked_for: int) -> Iterator[str]:
    """A line for each peer, as soon as it is known."""
    batch = min(contest.batch or asked_for, len(data))
    ours = partial(ask, contest.ours, data.candidates, batch)
    took = timed(ours)
    yield (
        f"{contest.ours.name:17}{len(data):>10,}{batch:>7,}  {'ours':16}{took:>10.3f}"
        f"{'':>9}{extra_memory_mib(ours):>9.1f}"
    )
    for peer in contest.peers:
        if importlib.util.find_spec(LIBRARIES[peer.library][1].partition(".")[0]) is None:
            yield f"{'':36}{peer.library:16}{'absent':>10}"
            continue
        theirs, is_followed, memory = measured(peer, data, batch)
        mark = "~" if is_followed else " "
        ratio = f"{mark}{theirs / took:.1f}x"
        yield f"{'':36}{peer.library:16}{mark}{theirs:>9.3f}{ratio:>9}{memory:>9.1f}"


def measured(peer: Peer, data: Data, batch: int) -> tuple[float, bool, float]:
    """Seconds for the batch, whether a line was followed to it, and MiB."""
    few, more = peer.batches or (batch, batch)
    if more >= batch:
        work = partial(peer.query, data, batch)
        return timed(work), False, extra_memory_mib(work)
    first, second = (timed(partial(peer.query, data, size)) for size in (few, more))
    a_pick = max(second - first, 0.0) / (more - few)
    memory = extra_memory_mib(partial(peer.query, data, more))
    return second + a_pick * (batch - more), True, memory


def timed(work: Callable[[], object]) -> float:
    took = seconds(work, 1)
    return took if took > _SHORT else min(took, seconds(work, 2))


def warm_up() -> list[str]:
    """Imports what is there, so that no timing holds an import; answers names and versions."""
    found = []
    for name, (distribution, module) in LIBRARIES.items():
        if importlib.util.find_spec(module.partition(".")[0]) is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module(module)
            found.append(f"{name} {version(distribution)}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, default=28_000)
    parser.add_argument("--batch", type=int, default=1_435)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--classes", type=int, default=7)
    parser.add_argument("--labelled", type=int, default=100)
    parser.add_argument("--small-candidates", type=int, default=8_000)
    parser.add_argument("--scores", type=int, nargs="*", default=[300_000, 1_000_000])
    parser.add_argument("--only", nargs="*", help="names of strategies")
    arguments = parser.parse_args()
    peers = warm_up() or ["no other library is installed (pip install --group conformance)"]
    print(", ".join(peers))
    print(
        f"{arguments.width} wide, {arguments.classes} classes, {DRAWS} draws, "
        f"{arguments.labelled} labelled; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n"
    )
    print(
        f"{'':17}{'candidates':>10}{'batch':>7}  {'':16}{'s':>10}{'of ours':>9}{'MiB':>9}",
        flush=True,
    )

    def report(contests: tuple[Contest, ...], data: Data, *, small: bool) -> None:
        for contest in contests:
            is_asked = not arguments.only or contest.ours.name in arguments.only
            if is_asked and contest.small == small:
                for line in lines(contest, data, arguments.batch):
                    print(line, flush=True)

    for num in arguments.scores:
        narrow = Pool.drawn(num, 2, arguments.classes, 1)
        report(SCORES, Data.of(narrow, num, num_draws=1), small=False)
    pool = Pool.drawn(arguments.candidates, arguments.width, arguments.classes, arguments.labelled)
    report(CONTESTS, Data.of(pool, arguments.candidates), small=False)
    few = min(arguments.small_candidates, arguments.candidates)
    report(CONTESTS, Data.of(pool, few), small=True)
    print(
        "\n~ followed from two smaller batches; MiB is then that of the larger of these two.\n"
        "MiB is what numpy and Python allocate at their peak, beside the inputs."
    )


if __name__ == "__main__":
    main()
