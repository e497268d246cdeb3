"""What the ledger has to tell the tracker, committed together with what it tells of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["run", "encoder", "metrics", "artifacts", "status"]


@dataclass(frozen=True)
class Message:
    """One thing the mirror has yet to be told.

    Payloads by kind:

    * ``run``: ``{"params": {str: str}, "tags": {str: str}, "datasets": [{"name", "digest",
      "context", "rows"}]}``
    * ``encoder``: ``{"key": str, "name": str, "created_ms": int, "params": {str: str}, "tags":
      {str: str}, "history": [{"epoch": number, str: number}]}``; the pretraining the run starts
      from, with a run of its own in the mirror that all runs with this encoder are linked to
    * ``metrics``: ``{"step": int, "metrics": {str: float}}``; the step is the number of labels
      trained on
    * ``artifacts``: ``{"folder": str, "to": str, "round": int}``; every file below `folder`
      (relative to the run folder); without a round it is what tells of the run as a whole
    * ``status``: ``{"status": "RUNNING" | "FINISHED" | "FAILED" | "KILLED"}``
    """

    kind: Kind
    payload: Mapping[str, object]
    timestamp_ms: int  # when it was committed; never the time of sending
