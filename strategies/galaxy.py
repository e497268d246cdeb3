"""GALAXY: find where each class begins, then ask on both sides of that line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from strategies.base import Candidates, Picks, QueryStrategy, Rows, Signal
from strategies.kernels.lines import Found, Line
from strategies.scores import LogProbs, behind_best, log_odds
from strategies.uncertainty import narrowest


class GALAXY(QueryStrategy):
    """Asks where labels say that a class begins, which need not be where the learner says.

    For each class all samples, labelled or not, are put on a line by how much the learner takes
    them for it: by p_k - max p, and where that is equal by p_k. Of all stretches of unlabelled
    samples between neighbouring labels that differ in being k, over all lines, the middle of the
    shortest is asked for. Where none is left, the sample nearest to labels of both kinds. Each
    label counts on every line. The score is how many places the farther of the nearest k and the
    nearest other label is away. Where all labels are of one class, samples are asked for by
    `margin`, and the score is the length of a line.

    Labels are seen after every `group` picks. Meanwhile a pick counts as what the learner predicts
    it to be, so a batch is what an annotator who always agrees with the learner would be asked for.

    Reference: Zhang, Katz-Samuels & Nowak 2022, "GALAXY: graph-based active learning at the
    extreme", https://arxiv.org/abs/2202.01402; the search is that of Dasarathy, Nowak & Zhu 2015,
    "S2: an efficient graph based active learning algorithm with application to nonparametric
    classification", COLT, on a line.
    Cost: O(C (N + M) log(N + M)) time a group, and little for each pick.
    Use: where one class has nearly all samples, or some have nearly none, and labels can be had one
    by one or in small groups. With `group` as large as the batch it is a kind of `margin` by class.
    Differs: the second rule is what adding ever longer edges to the graph comes to on a line, begun
    anew after each label. Of equal stretches the class with fewest labels goes first, then the
    lower class, then the higher place; not at random. Nothing is asked for at random before two
    classes are known. Definition follows our reading, not checked against the paper's text.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset(
        {"log_probs", "labelled_log_probs", "labelled_labels"}
    )
    min_labelled: ClassVar[int] = 1
    name: Literal["galaxy"] = "galaxy"

    group: int = Field(default=1, ge=1)
    """How many samples are asked for before their labels are seen: 1 as in the paper, more where
    people answer in groups."""

    @override
    def group_size(self, batch_size: int) -> int:
        return min(self.group, batch_size)

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        log_probs, labelled = candidates.log_probs, candidates.labelled_log_probs
        labels = candidates.labelled_labels
        assert log_probs is not None  # check_request saw that `needs` are given
        assert labelled is not None
        assert labels is not None
        search = _Search(log_probs, labelled, labels)
        picks = [search.pick() for _ in range(batch_size)]
        return Picks(
            rows=np.array([row for row, _ in picks], np.int64),
            scores=np.array([reach for _, reach in picks], np.float64),
            notes=dict(search.applied),
        )


class _Search:
    """The lines of all classes, and what the samples on them are called."""

    def __init__(self, log_probs: LogProbs, labelled: LogProbs, labels: Rows) -> None:
        num, num_classes = log_probs.shape
        self.applied = {"halved": 0, "beside_cuts": 0, "by_margin": 0}
        self._log_probs = log_probs
        self._predicted = np.asarray(log_probs).argmax(axis=1)
        self._counts: list[int] = np.bincount(labels, minlength=num_classes).tolist()
        self._taken = np.zeros(num, np.bool_)
        self._by_margin: Iterator[int] | None = None
        behind = np.concatenate([behind_best(log_probs), behind_best(labelled)])
        odds = np.concatenate([log_odds(log_probs), log_odds(labelled)])
        self._lines: list[Line] = []
        self._items: list[Rows] = []  # of each class, by place; candidates, then labelled samples
        self._places: list[Rows] = []  # of each class, by item
        for k in range(num_classes):
            is_class = np.full(num + len(labels), -1, np.int8)
            is_class[num:] = labels == k
            # Of equal scores other labels stand lowest, then the candidates by id, then labels k,
            # so that it does not matter in which order the labelled samples are given.
            among_equals = np.array([1, 0, 2])[is_class + 1]
            items = np.lexsort((among_equals, odds[:, k], behind[:, k]))
            places = np.empty_like(items)
            places[items] = np.arange(len(items))
            self._lines.append(Line(is_class[items]))
            self._items.append(items)
            self._places.append(places)

    def pick(self) -> tuple[int, int]:
        """The next row and its score; the row is called what is predicted for it."""
        row, reach = self._next()
        self._taken[row] = True
        called = int(self._predicted[row])
        self._counts[called] += 1
        for k, line in enumerate(self._lines):
            line.label(int(self._places[k][row]), k == called)
        return row, reach

    def _next(self) -> tuple[int, int]:
        for rule, look in (("halved", Line.stretch), ("beside_cuts", Line.beside_cut)):
            found = self._shortest([look(line) for line in self._lines])
            if found is not None:
                self.applied[rule] += 1
                return found
        self.applied["by_margin"] += 1
        return self._most_doubtful(), len(self._items[0])

    def _shortest(self, found: list[Found | None]) -> tuple[int, int] | None:
        """The row and the reach of the shortest of what the lines have found."""
        lengths = [
            (place.length, self._counts[k], k) for k, place in enumerate(found) if place is not None
        ]
        if not lengths:
            return None
        *_, k = min(lengths)
        best = found[k]
        assert best is not None
        return int(self._items[k][best.place]), best.reach

    def _most_doubtful(self) -> int:
        if self._by_margin is None:
            order = narrowest(self._log_probs, len(self._log_probs)).rows
            self._by_margin = iter(order.tolist())
        return next(row for row in self._by_margin if not self._taken[row])
