"""Drives a run one committed step at a time; see `controller.controller`."""

from al_orchestrator.controller.controller import Controller, Step
from al_orchestrator.controller.rooms import Blind, Rooms, Watcher
from al_orchestrator.controller.scoring import outputs_of

__all__ = ["Blind", "Controller", "Rooms", "Step", "Watcher", "outputs_of"]
