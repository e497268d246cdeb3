"""What a targeted strategy is to look for, and what to keep away from.

A target names samples: by id, by the classes of labelled samples, or as the classes that have been
labelled least. What it names is looked up each round, so a query set of the rarest class follows
the labels as they come in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator
from typing_extensions import override

from strategies.base import (
    Candidates,
    Doubles,
    Ids,
    QueryStrategy,
    Rows,
    Signal,
    StrategyError,
)
from strategies.by_similarity import SimilarityStrategy
from strategies.kernels.distances import Points
from strategies.kernels.exact import ExactRows, exact_rows
from strategies.kernels.similarity import Directions, Similarity

_NO_ROWS: Rows = np.empty(0, np.int64)
_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Found:
    """Where the samples of a target are."""

    labelled: Rows  # rows of the labelled arrays, ascending
    candidates: Rows  # rows of the candidates, ascending

    def __len__(self) -> int:
        return len(self.labelled) + len(self.candidates)

    def without(self, others: Found) -> Found:
        """These samples but for `others`."""
        return Found(
            np.setdiff1d(self.labelled, others.labelled),
            np.setdiff1d(self.candidates, others.candidates),
        )


NOTHING = Found(_NO_ROWS, _NO_ROWS)


class Target(BaseModel):
    """Samples named in one of four ways; give exactly one of them."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    ids: tuple[int | str, ...] | None = None
    """These samples, labelled ones or candidates. A candidate may be named and selected
    nevertheless."""

    classes: (
        Annotated[tuple[Annotated[int, Field(ge=0)] | str, ...], Field(min_length=1)] | None
    ) = None
    """All labelled samples of these classes: their numbers, or their names in a run, which knows
    them."""

    rarest: PositiveInt | None = None
    """All labelled samples of this many classes: those with the fewest labels, but at least one; of
    classes with equally many, the first."""

    everything: Literal[True] | None = None
    """All labelled samples."""

    @model_validator(mode="after")
    def _is_one_way(self) -> Self:
        if len(self.model_dump(exclude_none=True)) != 1:
            raise ValueError("name the samples by one of ids, classes, rarest, everything")
        return self

    def named(self, class_names: Sequence[str]) -> Self:
        """The same target with names of classes turned into their numbers.

        Raises:
            StrategyError: There is no such class.
        """
        if self.classes is None:
            return self
        unknown = [c for c in self.classes if isinstance(c, str) and c not in class_names]
        beyond = [c for c in self.classes if isinstance(c, int) and c >= len(class_names)]
        if unknown or beyond:
            raise StrategyError(
                f"there is no class {(unknown + beyond)[0]!r}; classes are "
                f"{', '.join(class_names)} (0 to {len(class_names) - 1})"
            )
        numbers = tuple(class_names.index(c) if isinstance(c, str) else c for c in self.classes)
        return self.model_copy(update={"classes": numbers})

    @property
    def needs(self) -> frozenset[Signal]:
        """What has to be known of the labelled samples to find these."""
        if self.ids is not None:
            return frozenset({"labelled_ids"} if self.ids else ())
        return frozenset() if self.everything else frozenset({"labelled_labels"})

    @property
    def min_labelled(self) -> int:
        """Labelled samples without which none of these can exist."""
        return 0 if self.everything or self.ids is not None else 1

    def find(self, candidates: Candidates, asking: str) -> Found:
        """Looks the samples up in candidates whose ids ascend, as those of the labelled do.

        Args:
            candidates: The pool and what is labelled.
            asking: Who is asking, for messages, such as ``fl1mi.query``.

        Raises:
            StrategyError: An id is unknown, or no sample of a class is labelled.
        """
        if self.ids is not None:
            return _find_ids(self.ids, candidates, asking) if self.ids else NOTHING
        if self.everything:
            return Found(np.arange(candidates.num_labelled), _NO_ROWS)
        assert candidates.labelled_labels is not None  # check_request saw that needs are given
        labels = candidates.labelled_labels
        wanted = (
            _rarest(labels, self.rarest or 0) if self.classes is None else self._numbers(asking)
        )
        _check_classes(wanted, labels, asking)
        return Found(np.flatnonzero(np.isin(labels, wanted)), _NO_ROWS)

    def _numbers(self, asking: str) -> tuple[int, ...]:
        names = [c for c in self.classes or () if isinstance(c, str)]
        if names:
            raise StrategyError(
                f"{asking} names class {names[0]!r}, and arrays know classes by number only; give "
                "the number, or call `named` with the names of all classes first"
            )
        return tuple(c for c in self.classes or () if isinstance(c, int))


def _rarest(labels: Rows, count: int) -> tuple[int, ...]:
    classes, counts = np.unique(labels, return_counts=True)
    return tuple(classes[np.argsort(counts, kind="stable")[:count]].tolist())


def _check_classes(wanted: tuple[int, ...], labels: Rows, asking: str) -> None:
    classes, counts = np.unique(labels, return_counts=True)
    missing = sorted(set(wanted) - set(classes.tolist()))
    if missing:
        numbers = ", ".join(map(str, missing))
        have = ", ".join(
            f"{count} of class {number}" for number, count in zip(classes, counts, strict=True)
        )
        raise StrategyError(
            f"{asking} names class {numbers}, of which no sample is labelled; labelled are "
            f"{have or 'none'}. Label one first (see warm_up), name samples by ids, or use rarest"
        )


def _find_ids(wanted: tuple[int | str, ...], candidates: Candidates, asking: str) -> Found:
    assert candidates.labelled_ids is not None  # check_request saw that needs are given
    labelled = _places(candidates.labelled_ids, wanted)
    among = _places(candidates.ids, wanted)
    unknown = [name for name in dict.fromkeys(wanted) if name not in labelled | among]
    if unknown:
        shown = ", ".join(map(repr, unknown[:_SHOWN])) + (", …" if len(unknown) > _SHOWN else "")
        kind = "strings" if candidates.ids.dtype.kind == "U" else "integers"
        raise StrategyError(
            f"{asking} names {len(unknown)} ids that are neither labelled nor candidates: {shown}; "
            f"the ids of this pool are {kind}"
        )
    return Found(_ascending(labelled), _ascending(among))


def _places(ids: Ids, wanted: tuple[int | str, ...]) -> dict[int | str, int]:
    """The row of each wanted id that is among the ascending `ids`."""
    kind = str if ids.dtype.kind == "U" else int
    names = [name for name in wanted if isinstance(name, kind)]
    if not names or not len(ids):
        return {}
    rows = np.minimum(np.searchsorted(ids, np.array(names)), len(ids) - 1)
    return {
        name: int(row) for name, row in zip(names, rows, strict=True) if ids[row].item() == name
    }


def _ascending(places: dict[int | str, int]) -> Rows:
    return np.array(sorted(places.values()), np.int64)


class TargetedStrategy(SimilarityStrategy):
    """Selects by similarity to samples that are named: what query and private sets share."""

    space: Literal["embeddings", "gradients"] = "embeddings"
    """Whose cosines: `embeddings`, or `gradients` of the last layer without bias, for the likeliest
    class of a candidate and for the known class of a labelled sample."""

    @property
    def targets(self) -> tuple[Target, ...]:
        """The targets among the fields."""
        values = (getattr(self, name) for name in type(self).model_fields)
        return tuple(value for value in values if isinstance(value, Target))

    @override
    def named(self, class_names: Sequence[str]) -> QueryStrategy:
        values = ((name, getattr(self, name)) for name in type(self).model_fields)
        targets = {k: v.named(class_names) for k, v in values if isinstance(v, Target)}
        return self.model_copy(update=targets)

    @property
    @override
    def needs(self) -> frozenset[Signal]:
        needs = super().needs | self.needs_of_labelled
        if self.space == "gradients":
            needs |= {"labelled_labels"}
        return needs.union(*(target.needs for target in self.targets))

    @property
    @override
    def min_labelled(self) -> int:
        return max((target.min_labelled for target in self.targets), default=0)

    def directions(
        self, similarity: Similarity, candidates: Candidates, found: Found
    ) -> Directions:
        """The directions of the samples found: first the labelled ones, then candidates."""
        among = similarity.at(found.candidates)
        if not len(found.labelled):
            return among
        assert candidates.labelled_embeddings is not None
        points: list[Points] = [candidates.labelled_embeddings[found.labelled]]
        if self.space == "gradients":
            assert candidates.labelled_log_probs is not None
            assert candidates.labelled_labels is not None
            log_probs = np.asarray(candidates.labelled_log_probs[found.labelled], np.float64)
            points.insert(0, known_residuals(log_probs, candidates.labelled_labels[found.labelled]))
        outside = (exact_rows(part, unit=True) for part in points)
        return Directions(
            tuple(_joined(mine, also) for mine, also in zip(outside, among.factors, strict=True))
        )


class QueryTargeted(TargetedStrategy):
    """Looks for what resembles a query set."""

    query: Target = Target(rarest=1)
    """The samples to resemble, by default the labelled ones of the class with fewest labels."""

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if self.query.ids == ():
            raise ValueError("query names no ids; there is nothing to resemble")
        return self

    def find_query(self, candidates: Candidates) -> Found:
        return self.query.find(candidates, f"{self.name}.query")

    def queries(self, similarity: Similarity, candidates: Candidates) -> Directions:
        """The directions of the query set."""
        return self.directions(similarity, candidates, self.find_query(candidates))


class PrivateTargeted(TargetedStrategy):
    """Keeps away from what resembles a private set."""

    private: Target = Target(everything=True)
    """The samples to stay unlike, by default all labelled ones. May be empty (``ids: []``). A
    sample of the query set, where there is one, is never private."""

    def find_private(self, candidates: Candidates) -> Found:
        return self.private.find(candidates, f"{self.name}.private")

    def privates(self, similarity: Similarity, candidates: Candidates) -> Directions:
        """The directions of the private set."""
        return self.directions(similarity, candidates, self.find_private(candidates))


def without_gain(gains: Doubles) -> int:
    """How many picks added nothing, and were ordered by id alone; for the notes."""
    return int((gains <= 0).sum())


def known_residuals(log_probs: Doubles, labels: Rows) -> Doubles:
    """The direction of p - e, where e is the one-hot of the known class: (n, C) -> (n, C).

    Divided by the largest probability of another class, so that nothing underflows; a row that
    rules all other classes out has no direction and is zero.
    """
    rows = np.arange(len(labels))
    others = log_probs.copy()
    others[rows, labels] = -np.inf
    largest = others.max(axis=1, keepdims=True)
    residuals: Doubles = np.exp(others - np.where(largest > -np.inf, largest, 0.0))
    residuals[rows, labels] = -residuals.sum(axis=1)
    return residuals


def _joined(first: ExactRows, second: ExactRows) -> ExactRows:
    return ExactRows(
        np.concatenate((first.values, second.values)),
        np.concatenate((first.scales, second.scales)),
        np.concatenate((first.squares, second.squares)),
    )
