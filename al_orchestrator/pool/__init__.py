"""The ledger of samples asked for, answered, and rounds driven; see `pool.ledger`."""

from al_orchestrator.pool.entry import Entry, Outcome, StageName, now_ms
from al_orchestrator.pool.ledger import Acquired, Event, Pool, Provenance

__all__ = ["Acquired", "Entry", "Event", "Outcome", "Pool", "Provenance", "StageName", "now_ms"]
