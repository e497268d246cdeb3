"""Active-learning experiments: rounds driven, recorded, resumed.

``Experiment`` and ``load_config`` are loaded when they are first named, so that importing a part of
this package costs only that part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from al_orchestrator.config import load_config
    from al_orchestrator.experiment import Experiment

__all__ = ["Experiment", "load_config"]

_HOMES = {"Experiment": "al_orchestrator.experiment", "load_config": "al_orchestrator.config"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
