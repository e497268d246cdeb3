"""The contract of an oracle: who says what a sample is.

It is asked for a batch under a key; asked again with the same key, it says the same. It may
answer in part: what it answered is recorded at once, and the round waits for the rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True)
class Question:
    """A batch that wants labels."""

    key: str  # the same for the same batch of the same run, whenever it is asked
    ids: Sequence[str]
    held_back: Callable[[Sequence[str]], Mapping[str, int]]  # what the dataset knows


class Oracle(BaseModel, ABC):
    """Answers ids with class codes."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    name: str

    @abstractmethod
    def answer(self, question: Question, /) -> Mapping[str, int]:
        """Labels of some or all of the ids asked for, and of no other."""
