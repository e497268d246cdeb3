"""The payloads of `al_orchestrator.messages.Message`, read back from JSON with their types."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class _Payload(BaseModel):
    # A message may say more than a mirror shows.
    model_config = ConfigDict(extra="ignore", frozen=True)


class UsedDataset(_Payload):
    """A set of samples the run used."""

    name: str
    digest: str
    context: str  # "pool", "validation", "test"
    rows: int


class RunPayload(_Payload):
    """What the run is."""

    params: dict[str, str]
    tags: dict[str, str]
    datasets: tuple[UsedDataset, ...]


class EncoderPayload(_Payload):
    """The pretraining that the run starts from."""

    key: str
    name: str
    created_ms: int
    params: dict[str, str]
    tags: dict[str, str]
    history: tuple[dict[str, float], ...]


class MetricsPayload(_Payload):
    """Numbers measured with `step` labels."""

    step: int
    metrics: dict[str, float]


class ArtifactsPayload(_Payload):
    """Files to show."""

    folder: str  # relative to the run folder
    to: str  # folder in the mirror; "" is its root
    round: int | None = None  # the round they are rendered from


class StatusPayload(_Payload):
    """How the run stands."""

    status: Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
