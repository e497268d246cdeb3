"""The mirror people look at: MLflow, or nothing. To add one: a module, and a line in the union."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from al_orchestrator.tracking.base import Kind, Message, RunIdentity, TrackedRun, Tracker
from al_orchestrator.tracking.mlflow_tracking import MLflowTracking
from al_orchestrator.tracking.nothing import NoTracking

AnyTracking = Annotated[MLflowTracking | NoTracking, Field(discriminator="name")]

__all__ = [
    "AnyTracking",
    "Kind",
    "MLflowTracking",
    "Message",
    "NoTracking",
    "RunIdentity",
    "TrackedRun",
    "Tracker",
]
