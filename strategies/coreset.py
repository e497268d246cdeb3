"""Core-set: cover the pool with as few labelled points as possible."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from typing_extensions import override

from strategies.base import Candidates, Ids, Kept, Picks, Rows, Signal
from strategies.families import EmbeddingStrategy
from strategies.kernels.kcentre import Bounds, k_centre, k_centre_onwards
from strategies.kernels.keyed import Words, row_marks

_NO_CENTRE = -1


class CoreSet(EmbeddingStrategy):
    """Asks, again and again, for the sample farthest from everything labelled or asked for.

    Greedy k-centre with Euclidean distances between embeddings as they are: each pick is the
    candidate whose nearest labelled or picked sample is farthest away, and the score is that
    distance. With nothing labelled yet, the first pick is the sample nearest the mean of the pool,
    scored by its distance to the mean.

    A selection keeps how near each candidate is to what it has met. A later one on the same
    embeddings, in which everything labelled before is labelled still, meets only what is new.

    Reference: Sener & Savarese 2018, "Active learning for convolutional neural networks: a core-set
    approach", https://arxiv.org/abs/1708.00489, algorithm 1.
    Cost: (M + B) N D multiplications, in some ten passes over the pool; B N D where distances were
    kept. Memory: some 60 bytes a candidate and some ten megabytes.
    Use: on embeddings whose distances mean something, with few classes, or after whitening. It
    seeks what is unlike everything else, outliers included; where classes are many or embeddings
    are raw, `typiclust` or `badge` is the better choice.
    Differs: the mixed-integer refinement is not run, and a labelled set is not required.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"embeddings", "labelled_embeddings"})
    name: Literal["coreset"] = "coreset"

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        embeddings, labelled = candidates.embeddings, candidates.labelled_embeddings
        assert embeddings is not None  # check_request saw that `needs` are given
        assert labelled is not None
        if candidates.labelled_ids is None:  # then a later round could not tell them apart
            rows, distances = k_centre(embeddings, batch_size, labelled)
            return Picks(rows=rows, scores=distances)
        marks, labelled_marks = row_marks(embeddings), row_marks(labelled)
        order, known = np.arange(len(labelled)), None
        fitting = _fitting(candidates, marks, labelled_marks)
        if fitting is not None:
            order, known = fitting
        rows, distances, bounds = k_centre_onwards(
            embeddings, batch_size, labelled, bounds=known, order=order
        )
        left = np.delete(np.arange(len(candidates)), rows)
        before = candidates.labelled_ids[order] if len(order) else candidates.ids[:0]
        keep = _kept(
            candidates.ids[left],
            Bounds(bounds.squares[left], bounds.num_met[left]),
            marks[left],
            np.concatenate([before, candidates.ids[rows]]),
            np.concatenate([labelled_marks[order], marks[rows]]),
        )
        return Picks(rows=rows, scores=distances, keep=keep)


def _kept(ids: Ids, bounds: Bounds, marks: Words, centres: Ids, centre_marks: Words) -> Kept:
    """Bounds of candidates by the centres, which are kept beside them with their numbers."""
    num, num_centres = len(ids), len(centres)
    all_ids = np.concatenate([ids, centres])
    order = np.argsort(all_ids, kind="stable")
    arrays = {
        "squares": np.concatenate([bounds.squares, np.zeros(num_centres)]),
        "num_met": np.concatenate([bounds.num_met, np.zeros(num_centres, np.int32)]),
        "mark": np.concatenate([marks, centre_marks]),
        "centre": np.concatenate([np.full(num, _NO_CENTRE), np.arange(num_centres)]),
    }
    return Kept(ids=all_ids[order], arrays={name: array[order] for name, array in arrays.items()})


def _fitting(
    candidates: Candidates, marks: Words, labelled_marks: Words
) -> tuple[Rows, Bounds] | None:
    """An order of the labelled samples and the candidates' bounds by it, if those kept fit.

    They do if every candidate was one when they were kept, every centre of then is labelled now,
    and the embeddings of all of them are the same.
    """
    kept, labelled_ids = candidates.kept, candidates.labelled_ids
    if kept is None or labelled_ids is None or not _is_whole(kept):
        return None
    squares = np.asarray(kept.arrays["squares"], np.float64)
    kept_marks = np.asarray(kept.arrays["mark"], np.uint64)
    num_met = np.asarray(kept.arrays["num_met"], np.int32)
    numbers = np.asarray(kept.arrays["centre"], np.int64)
    at = _places(kept.ids, candidates.ids)
    centres = np.flatnonzero(numbers != _NO_CENTRE)
    centres = centres[np.argsort(numbers[centres], kind="stable")]
    met = _places(labelled_ids, kept.ids[centres])
    if at is None or met is None or not len(met):
        return None
    fits = (
        (marks == kept_marks[at]).all()
        and (labelled_marks[met] == kept_marks[centres]).all()
        and (squares[at] >= 0).all()
        and ((num_met[at] >= 0) & (num_met[at] <= len(met))).all()
    )
    if not fits:
        return None
    order = np.concatenate([met, np.setdiff1d(np.arange(len(labelled_ids)), met)])
    return order, Bounds(squares[at], num_met[at])


def _is_whole(kept: Kept) -> bool:
    shapes = {name: (array.shape, array.dtype.kind) for name, array in kept.arrays.items()}
    of_all = kept.ids.shape
    return shapes == {
        "squares": (of_all, "f"),
        "num_met": (of_all, "i"),
        "mark": (of_all, "u"),
        "centre": (of_all, "i"),
    }


def _places(ids: Ids, wanted: Ids) -> Rows | None:
    """Where each wanted id stands among ascending `ids`, if all do."""
    if not len(ids) or ids.dtype.kind != wanted.dtype.kind:
        return None
    places = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    return places if bool(np.equal(ids[places], wanted).all()) else None
