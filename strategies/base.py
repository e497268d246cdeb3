"""The contract of a query strategy: arrays in, ids out.

Legend of axes, used in names and comments throughout this room:
``N`` candidates, ``M`` labelled samples, ``B`` batch, ``C`` classes, ``D`` embedding width, ``K``
posterior draws, ``V`` validation samples.

A strategy is told what the learner thinks of the unlabelled pool (`Candidates`) and answers with
the ids to label next (`Selection`). It is a frozen pydantic model: its fields *are* its
configuration, and ``strategy: {name: badge}`` in YAML is the object itself.

What every strategy promises, and `tests/strategies/test_contract.py` checks for each member of
`strategies.AnyStrategy`:

* **Ids, not positions.** Rows are keyed by stable ids. Positions never leave
  `QueryStrategy.choose`.
* **Canonical order.** Rows are put in ascending id order before any arithmetic, so permuting the
  pool changes nothing, not even for random strategies.
* **Declared inputs.** `QueryStrategy.needs` names the arrays the strategy reads, `computation` how
  they are computed where there is a choice; nothing else is computed.
* **Pure.** Equal candidates, batch size and rng state select equally. Inputs are never modified;
  there is no I/O and no global random state. What is kept from an earlier selection saves time and
  changes nothing.
* **Portable ties.** Equal scores are ordered by id, whatever the machine's vector instructions are.
* **Exactly B.** The ids are distinct, unlabelled, and as many as asked for. ``B = 0`` selects
  nothing, ``B = N`` everything; ``B > N`` is refused, since clipping the last batch is the
  caller's decision.
* **No NaN in, no NaN out.** A non-finite input is refused and its first ids are named. ``-inf``
  is legal in log-probabilities: it is the logarithm of a class ruled out.
* **Blocks, threads and shards change nothing.** Row work runs over a fixed block grid and sums
  are reduced in block order, or exactly (`strategies.kernels.exact`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
Ids = npt.NDArray[np.str_] | npt.NDArray[np.int64]
Numbers = npt.NDArray[np.generic]

Signal = Literal[
    "log_probs",
    "embeddings",
    "mc_log_probs",
    "flip_distances",
    "labelled_ids",
    "labelled_log_probs",
    "labelled_embeddings",
    "labelled_labels",
    "head",
    "validation",
]
"""An array a strategy may ask for; the words a trainer's `predict` understands."""

EmbeddingSource = Literal["learner", "encoder"]
"""Whose embeddings: the network just trained, or the encoder as it was before any label."""


class StrategyError(ValueError):
    """A strategy was given something it cannot select from."""


@dataclass(frozen=True)
class Attack:
    """A search for the smallest change of an image that changes its class, run by a worker."""

    method: Literal["deepfool", "bim"]
    max_steps: int
    step: float  # bim: the change of each pixel a step, of pixels as the network sees them
    overshoot: float  # deepfool: how far beyond the boundary, as a share of the way


@dataclass(frozen=True)
class Computation:
    """How the signals a strategy needs are computed, where there is a choice."""

    embeddings: EmbeddingSource = "learner"
    flips: Attack | None = None  # of `flip_distances`


@dataclass(frozen=True, eq=False)
class Head:
    """The last linear layer of the learner: logits = embeddings @ weight.T + bias."""

    weight: Floats  # (C, D)
    bias: Floats  # (C,)


@dataclass(frozen=True, eq=False)
class Validation:
    """The labelled samples that choose an epoch; their labels are spent labels."""

    log_probs: Floats  # (V, C)
    embeddings: Floats  # (V, D)
    labels: Rows  # (V,) in [0, C)


@dataclass(frozen=True, eq=False)
class Kept:
    """What a selection leaves to a later one on the same embeddings, so that it need not redo it.

    Only the strategy that left it reads it, and it selects the same without it.
    """

    ids: Ids  # (R,) ascending
    arrays: Mapping[str, Numbers]  # each (R, …), aligned with ids


@dataclass(frozen=True, eq=False)
class Candidates:
    """The unlabelled pool as one round sees it: ids and the arrays aligned with them.

    Everything is checked here, once; strategies and kernels trust it. Arrays may be memory-mapped,
    and embeddings may be float16.

    Raises:
        StrategyError: Ids repeat or overlap with the labelled ones, shapes disagree, a value is not
            finite, or a row of log-probabilities does not sum to one within 1e-3.
    """

    ids: Ids  # (N,) unique
    log_probs: Floats | None = None  # (N, C), natural logarithm
    embeddings: Floats | None = None  # (N, D), evaluation transform, evaluation mode
    mc_log_probs: Floats | None = None  # (N, K, C), draw k uses the same mask for all items
    flip_distances: Floats | None = None  # (N,) of the least change that flips the class
    labelled_ids: Ids | None = None  # (M,)
    labelled_log_probs: Floats | None = None  # (M, C)
    labelled_embeddings: Floats | None = None  # (M, D)
    labelled_labels: Rows | None = None  # (M,) in [0, C)
    head: Head | None = None
    validation: Validation | None = None
    kept: Kept | None = None

    def __post_init__(self) -> None:
        from strategies.checks import check_candidates

        check_candidates(self)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def given(self) -> frozenset[str]:
        """Names of the signals that are present."""
        return frozenset(f.name for f in fields(self) if getattr(self, f.name) is not None)

    @property
    def num_labelled(self) -> int:
        """M, as far as any array about the labelled set tells."""
        about = (
            self.labelled_ids,
            self.labelled_log_probs,
            self.labelled_embeddings,
            self.labelled_labels,
        )
        return next((len(array) for array in about if array is not None), 0)

    def take(self, rows: Rows) -> Candidates:
        """The candidates at these rows, in this order; what belongs to the labelled set stays."""
        aligned = ("log_probs", "embeddings", "mc_log_probs", "flip_distances")
        present = {name: getattr(self, name) for name in aligned}
        return replace(
            self,
            ids=self.ids[rows],
            **{name: array[rows] for name, array in present.items() if array is not None},
        )


@dataclass(frozen=True, eq=False)
class Selection:
    """The query batch, in the order of acquisition."""

    ids: Ids  # (B,) distinct
    scores: Doubles  # (B,) the value each had when it was picked; its meaning is the strategy's
    notes: Mapping[str, object] = field(default_factory=dict)  # small, JSON-able diagnostics
    map_ids: Ids | None = None  # (N,) the candidates in ascending order, which `maps` describe
    maps: Mapping[str, Numbers] = field(default_factory=dict)  # see `Picks`
    keep: Kept | None = None  # for the next round's `Candidates.kept`

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Picks:
    """What `QueryStrategy.choose` answers: rows of the canonical candidates, in order."""

    rows: Rows  # (B,)
    scores: Doubles  # (B,)
    notes: Mapping[str, object] = field(default_factory=dict)
    maps: Mapping[str, Numbers] = field(default_factory=dict)
    """Numbers about every candidate, each (N,): "cluster", its cluster; "stands_for", the place in
    the batch of the pick that represents it. For people, never read by a strategy."""
    keep: Kept | None = None


class QueryStrategy(BaseModel, ABC):
    """Chooses which samples to label next.

    To write one, subclass, give it a `name` field with a literal default, declare `needs`, and
    implement `choose`; then add the class to the union in ``strategies/__init__.py``. The class
    docstring is what ``alo strategies show NAME`` prints: first line the idea, then the law and
    what the score is, then one paragraph each that begins with ``Reference:``, ``Cost:``, ``Use:``
    (when to take it, and when not) and, where it departs from the source, ``Differs:``.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    law: ClassVar[int] = 1
    """Version of what the strategy computes: goes up when the same candidates and settings give
    other picks than before. Runs put it on record; `tests/strategies/laws.json` pins the picks."""

    name: str

    def laws(self) -> dict[str, int]:
        """Version of each law at work, by name: its own, and those of the strategies inside it."""
        found = {self.name: self.law}
        for name in type(self).model_fields:
            value = getattr(self, name)
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, QueryStrategy):
                    found |= part.laws()
        return found

    @property
    def needs(self) -> frozenset[Signal]:
        """Signals the strategy reads. The controller computes these and nothing else.

        A plain strategy declares them once: ``needs: ClassVar[frozenset[Signal]] = frozenset(…)``.
        """
        return frozenset()

    @property
    def is_prefix(self) -> bool:
        """Whether a smaller batch is always the beginning of a larger one; a `ClassVar`, mostly."""
        return True

    @property
    def min_labelled(self) -> int:
        """Labelled samples without which there is nothing to select by; M below it is refused."""
        return 0

    @property
    def computation(self) -> Computation:
        """How they are computed, where there is a choice."""
        return Computation()

    def at_round(self, number: int) -> QueryStrategy:  # noqa: ARG002 - for wrappers
        """The strategy that selects in round `number`: itself, but for those that change."""
        return self

    def named(self, class_names: Sequence[str]) -> QueryStrategy:  # noqa: ARG002 - for targets
        """The same strategy with class names in its fields turned into class numbers.

        Raises:
            StrategyError: A name is none of `class_names`.
        """
        return self

    def refusal(self, batch_size: int) -> str | None:  # noqa: ARG002 - for those with a limit
        """Why batches of this size cannot be selected, and the way out; None if they can."""
        return None

    def group_size(self, batch_size: int) -> int:
        """How many of a batch are asked for before their labels are seen and the rest chosen."""
        return batch_size

    def select(
        self, candidates: Candidates, batch_size: int, rng: np.random.Generator
    ) -> Selection:
        """Returns the ids to label next, in order of acquisition.

        Args:
            candidates: The unlabelled pool with at least the signals in `needs`.
            batch_size: B, between 0 and N.
            rng: The round's own generator. Equal states select equally.

        Raises:
            StrategyError: A needed signal is missing, B is not between 0 and N, or fewer samples
                are labelled than the strategy can do with.
        """
        from strategies.checks import check_picks, check_request, in_canonical_order

        check_request(self, candidates, batch_size)
        ordered = in_canonical_order(candidates)
        if batch_size == 0:
            return Selection(ids=ordered.ids[:0], scores=np.empty(0))
        picks = self.choose(ordered, batch_size, rng)
        check_picks(self.name, picks, num_candidates=len(ordered), batch_size=batch_size)
        return Selection(
            ids=ordered.ids[picks.rows],
            scores=picks.scores,
            notes=picks.notes,
            map_ids=ordered.ids if picks.maps else None,
            maps=picks.maps,
            keep=picks.keep,
        )

    @abstractmethod
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        """Returns B rows of `candidates`, which are in ascending id order; 1 <= B <= N."""
