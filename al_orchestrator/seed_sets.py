"""Seed sets that no strategy may choose, since they look at labels nobody has bought yet."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from strategies import RandomSampling, Selection
from strategies.base import Candidates


class Stratified(BaseModel):
    """Draws samples at random until each class has its share; labels looked at are counted.

    A comparison whose seed set is balanced with labels it did not pay for is no fair one (Lüth et
    al. 2023, section 3). So samples are looked at in the order of random sampling, one is taken if
    its class still lacks some, and how many labels were looked at in all goes on record as
    ``labels_looked_at``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    name: Literal["stratified"] = "stratified"

    def select(
        self,
        ids: npt.NDArray[np.str_],
        labels: npt.NDArray[np.int64],
        size: int,
        rng: np.random.Generator,
    ) -> Selection:
        """`size` of these samples, as equally many of each class as there are.

        Args:
            ids: (N,) ascending.
            labels: (N,) the class of each, known.
            size: Between 1 and N.
            rng: The seed set's own generator, used as random sampling uses it.
        """
        order = RandomSampling().select(Candidates(ids=ids), len(ids), rng)
        label_of = dict(zip(ids.tolist(), labels.tolist(), strict=True))
        lacking = _shares(size, np.bincount(labels))
        taken: list[int] = []
        looked_at = 0
        for place, id_ in enumerate(order.ids.tolist()):
            if len(taken) == size:
                break
            looked_at = place + 1
            if lacking[label_of[id_]] > 0:
                lacking[label_of[id_]] -= 1
                taken.append(place)
        return Selection(
            ids=order.ids[taken], scores=order.scores[taken], notes={"labels_looked_at": looked_at}
        )


def _shares(size: int, available: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Equal whole shares, none above what a class has; what is left over goes in class order."""
    shares = np.zeros_like(available)
    while (left := size - int(shares.sum())) > 0:
        hungry = np.flatnonzero(shares < available)
        each = left // len(hungry)
        if each == 0:
            shares[hungry[:left]] += 1
        else:
            shares[hungry] = np.minimum(shares[hungry] + each, available[hungry])
    return shares
