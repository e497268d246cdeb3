"""What lives on the other side: one process that carries out one call after another."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TypeVar

from al_orchestrator.executors.calls import Call, Outcome, carry_out, descriptors_to, here

T = TypeVar("T")


class Worker:
    """Keeps what is dear to make (imports, a CUDA context) and nothing that matters."""

    def __init__(self, cpus: int, gpus: float) -> None:
        self._threads = cpus
        if not gpus:
            # A worker without a GPU of its own must not find one that belongs to another.
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        logging.getLogger().setLevel(logging.INFO)

    def where(self) -> str:
        return here()

    def run(self, call: Call[T], log: Path) -> Outcome[T]:
        if not log.exists():
            return carry_out(call, log, threads=self._threads)  # tells what is wrong
        with descriptors_to(log):
            return carry_out(call, log, threads=self._threads)
