"""What a drawn face shows: its expression, its person, how it is held and lit.

Everything is sampled as a function of (key, item) alone. Axes: ``B`` faces, ``A`` actions, ``C``
classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from al_orchestrator.datasets.counter_random import Doubles, derive_key, draw_bell, draw_uniform

Rows = npt.NDArray[np.int64]

EXPRESSIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""Class map of the drawn faces, the order of FER2013."""

SHARES = np.array([3995, 436, 4097, 7215, 4830, 3171, 4965]) / 28709
"""How often each class occurs in FER2013's training split."""

ACTIONS = (
    "brow_raise",
    "brow_tilt",
    "eye_open",
    "mouth_curve",
    "mouth_open",
    "mouth_width",
    "nose_wrinkle",
    "lip_raise",
)
"""The movable parts of a face, in the spirit of FACS action units; 0 is at rest."""

TRAITS = (
    "skin",
    "hair",
    "width",
    "hairline",
    "length",
    "glasses",
    "eye_gap",
    "brow_thickness",
    "lip_thickness",
    "lip_tone",
    "beard",
    "clothes",
)
"""What stays the same of a person."""

POSE = ("right", "down", "zoom", "roll", "yaw", "pitch")
LIGHT = ("backdrop", "slope", "gaze", "side", "top", "gain", "contrast")
OBSTACLE = ("chance", "right", "down", "size", "tone", "shape")

# (C, A), rows as EXPRESSIONS, columns as ACTIONS.
_ANCHORS = np.array(
    [
        [-0.90, -1.30, -0.20, -0.35, 0.00, -0.10, 0.25, 0.00],
        [-0.55, -0.50, -0.50, -0.45, 0.20, -0.05, 1.00, 1.00],
        [0.70, 0.90, 0.55, -0.35, 0.40, 0.25, 0.00, 0.00],
        [0.10, 0.00, -0.25, 1.00, 0.30, 0.35, 0.00, 0.00],
        [0.00, 1.10, -0.35, -0.85, 0.00, -0.15, 0.00, 0.00],
        [1.10, 0.10, 0.60, 0.05, 0.85, -0.35, 0.00, 0.00],
        [0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00],
    ]
)

# (C, 2): the two classes each is most readily taken for.
_MISTAKEN_FOR = np.array([[4, 6], [0, 4], [5, 4], [6, 5], [6, 2], [2, 3], [4, 3]])


@dataclass(frozen=True)
class Variety:
    """How faces differ; shares are in [0, 1]."""

    identities: int
    ambiguous: float  # share of faces that blend two expressions
    occluded: float  # share with something before the face
    is_balanced: bool  # every class equally often, instead of `SHARES`


@dataclass(frozen=True, eq=False)
class Faces:
    """All that the drawing needs to know of B faces; float64 (B, …) unless noted."""

    labels: Rows  # (B,) int64
    actions: Doubles  # (B, A), columns as ACTIONS
    person: Doubles  # columns as TRAITS, uniform on [0, 1); equal for equal persons
    pose: Doubles  # columns as POSE, nearly normal
    light: Doubles  # columns as LIGHT, uniform on [0, 1)
    obstacle: Doubles  # columns as OBSTACLE, uniform on [0, 1)
    is_occluded: npt.NDArray[np.bool_]  # (B,)


def sample_faces(key: int, items: Rows, variety: Variety) -> Faces:
    """Samples what is to be seen on the faces `items` of the stream `key`.

    Item c < C shows class c, pure, so that no split of C or more lacks a class.
    """
    draws = draw_uniform(derive_key(key, "expression"), items, 6)
    weights, labels, strength = _sample_expressions(items, draws, variety)
    persons = np.floor(draws[:, 5] * variety.identities).astype(np.int64)
    habits = draw_bell(derive_key(key, "habits"), persons, len(ACTIONS))
    moments = draw_bell(derive_key(key, "moments"), items, len(ACTIONS))
    # A sum over seven classes, one by one: a matrix product may round differently elsewhere.
    actions = 0.1 * habits.astype(np.float64) + 0.08 * moments
    for code in range(len(EXPRESSIONS)):
        actions += (strength * weights[:, code])[:, None] * _ANCHORS[code]
    obstacle = draw_uniform(derive_key(key, "obstacle"), items, len(OBSTACLE))
    return Faces(
        labels=labels,
        actions=actions,
        person=draw_uniform(derive_key(key, "person"), persons, len(TRAITS)),
        pose=draw_bell(derive_key(key, "pose"), items, len(POSE)).astype(np.float64),
        light=draw_uniform(derive_key(key, "light"), items, len(LIGHT)),
        obstacle=obstacle,
        is_occluded=obstacle[:, 0] < variety.occluded,
    )


def _sample_expressions(
    items: Rows, draws: Doubles, variety: Variety
) -> tuple[Doubles, Rows, Doubles]:
    """Weights of the expressions (B, C), labels (B,) and how strongly they are shown (B,).

    An ambiguous face blends two expressions with weights between 0.3 and 0.7 and is labelled by
    one draw from the blend, as one annotator would: its label is uncertain in truth.
    """
    num_classes = len(EXPRESSIONS)
    shares = np.full(num_classes, 1 / num_classes) if variety.is_balanced else SHARES
    bounds = np.cumsum(shares)[:-1]
    is_first = items < num_classes
    main = np.where(is_first, items, np.searchsorted(bounds, draws[:, 0], side="right"))
    other = _MISTAKEN_FOR[main, (draws[:, 1] * 2).astype(np.int64)]
    is_blend = (draws[:, 2] < variety.ambiguous) & ~is_first
    share = np.where(is_blend, 0.3 + 0.4 * (draws[:, 2] / max(variety.ambiguous, 1e-9)), 0.0)
    rows = np.arange(len(items))
    weights = np.zeros((len(items), num_classes))
    weights[rows, main] = 1 - share
    weights[rows, other] += share
    labels = np.where(draws[:, 3] < share, other, main).astype(np.int64)
    return weights, labels, 0.6 + 0.5 * draws[:, 4]
