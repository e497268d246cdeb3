"""The public handle of one experiment: opening creates it, or goes on with it."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
import socket
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from typing import Literal, Self

from al_orchestrator.ancestry import start_of
from al_orchestrator.checking import checked_data
from al_orchestrator.config import (
    ExperimentConfig,
    differences,
    dump_config,
    identity_digest,
    load_config,
    marks_of,
    recorded_marks,
)
from al_orchestrator.controller import Blind, Controller, Rooms, Step, Watcher
from al_orchestrator.controller.corpus import corpus_of
from al_orchestrator.controller.pretraining import encoder_on_record
from al_orchestrator.controller.telling import tell_card
from al_orchestrator.datasets import PackedDataset
from al_orchestrator.encoder_store import EncoderStore
from al_orchestrator.errors import LedgerError, RunMismatch
from al_orchestrator.executors import Executor, open_executor
from al_orchestrator.files import digest_of_file, write_text
from al_orchestrator.mirror import Mirror
from al_orchestrator.pool import Pool, Provenance
from al_orchestrator.reports.card import write_card
from al_orchestrator.round_report import render_round
from al_orchestrator.rounds import Round, RoundState
from al_orchestrator.run_dir import RunDir, Workspace
from al_orchestrator.tracking.base import RunIdentity

logger = logging.getLogger(__name__)

_LAST_FLUSH_S = 30.0
_PREDECESSOR_S = 3.0  # workers of a killed controller let go of its lock within about two seconds


class Experiment:
    """One experiment in its run folder, driven by this process.

    ::

        with Experiment.open(config, root="runs") as experiment:
            for done in experiment.rounds():
                print(done.number, done.labelled, done.metrics["test/accuracy"])
    """

    def __init__(self, stack: ExitStack, rooms: Rooms, mirror: Mirror) -> None:
        self._stack = stack
        self._rooms = rooms
        self._mirror = mirror
        self._controller = Controller(rooms)
        self._unsent = 0
        self.waiting_for = 0  # labels that only somebody else can give

    @classmethod
    def open(
        cls, config: ExperimentConfig, root: str | Path = "runs", *, watcher: Watcher | None = None
    ) -> Self:
        """Creates the run folder of an experiment, or goes on with the one that is there.

        Everything is checked before anything of the run is created. The folder stays locked until
        `close`.

        Raises:
            ConfigError: The data, the budget or the encoder do not fit, or the folder holds
                another experiment.
            RunInUse: Another process drives the run.
            NewerLedger: A newer program wrote the ledger.
        """
        workspace = Workspace(Path(root).resolve())
        run = workspace.run(config.name)
        with ExitStack() as stack:
            is_new = not run.folder.exists()
            if not is_new:
                _take_folder(stack, run, config)
            data, splits = checked_data(_to_check(run, config), workspace)
            corpus = cache(partial(corpus_of, config, data, splits, workspace.root))
            if not has_encoder(run, workspace):
                corpus()  # refuses what cannot be learned from
            if is_new:  # or was; another process may be as fast, and then has the lock
                _take_folder(stack, run, config)
            pool = _found(stack, run, config, data)
            mirror = mirror_of(pool, run, config, workspace, data)
            executor = LazyExecutor(config)
            stack.callback(executor.close)
            rooms = Rooms(
                config=config,
                run=run,
                pool=pool,
                data=data,
                splits=splits,
                corpus=corpus,
                encoders=workspace.encoders,
                executor=executor,
                committed=mirror.notify,
                watcher=watcher or Blind(),
            )
            experiment = cls(stack.pop_all(), rooms, mirror)
        try:
            experiment._begin()
        except BaseException:
            experiment.close()
            raise
        return experiment

    @property
    def run(self) -> RunDir:
        """Where everything of this experiment lies."""
        return self._rooms.run

    @property
    def classes(self) -> tuple[str, ...]:
        """The class map, code -> name."""
        return self._rooms.data.manifest.classes

    @property
    def planned_rounds(self) -> int:
        """Rounds the budget allows."""
        return self._rooms.config.budget.planned_rounds(len(self._rooms.splits.pool))

    @property
    def tracking_url(self) -> str | None:
        """Where people can see the run, once the mirror has found it."""
        return self._mirror.url

    @property
    def unsent(self) -> int:
        """Messages the tracker had not taken when the experiment was closed."""
        return self._unsent

    def rounds(self) -> Iterator[Round]:
        """Drives the run and yields each round as it closes, those on record first.

        It ends when the budget is spent, or early when labels are missing that only somebody else
        can give; then `waiting_for` says how many.

        Raises:
            JobFailed: Work on a worker failed; open the experiment again to go on.
            InvariantBroken: A component did what its contract forbids.
        """
        yielded = 0
        while True:
            closed = [r for r in self._rooms.pool.rounds() if r.state is RoundState.CLOSED]
            yield from closed[yielded:]
            yielded = len(closed)
            step = self._controller.advance()
            if step is Step.WAITING:
                self.waiting_for = len([s for s in self._rooms.pool.acquired() if s.label is None])
            if step is not Step.COMMITTED:
                return

    def close(self, status: Literal["FAILED", "KILLED"] | None = None, why: str = "") -> None:
        """Lets go of the run; `status` and `why` are recorded if it did not get to its end."""
        try:
            if status is not None:
                self._record_end(status, why)
            self._unsent = self._mirror.close(_LAST_FLUSH_S if status != "KILLED" else 5.0)
        finally:
            self._stack.close()

    def _record_end(self, status: str, why: str) -> None:
        try:
            with self._rooms.pool.commit() as entry:
                entry.event(status.lower(), {"why": why})
                entry.tell("status", {"status": status})
        except LedgerError as error:  # the first error says more than this one
            logger.warning("how the run ended is not on record: %s", error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, _: object) -> None:
        if kind is None or issubclass(kind, GeneratorExit):
            self.close()
        elif issubclass(kind, Exception):
            self.close("FAILED", f"{kind.__name__}: {error}")
        else:
            self.close("KILLED", kind.__name__)

    def _begin(self) -> None:
        self._pin_start()
        self._mirror.start()
        self._record_marks()
        self._controller.reopen_if_extended()
        rounds = self._rooms.pool.rounds()
        if not rounds or rounds[-1].state is not RoundState.CLOSED:
            with self._rooms.pool.commit() as entry:
                entry.tell("status", {"status": "RUNNING"})

    def _pin_start(self) -> None:
        """Puts the digest of what round 0 goes on from on record, or refuses another one."""
        pool, file = self._rooms.pool, self._rooms.config.trainer.starting_file
        if file is None or pool.stage(0, "train") is not None:
            return
        digest = digest_of_file(file)
        known = [e.detail["digest"] for e in pool.events() if e.kind == "starts_from"]
        if known and known[-1] != digest:
            raise RunMismatch(
                f"{file} is not the checkpoint any more that run {self.run.name} was to go on "
                "from; restore it, or start anew under another name"
            )
        if not known:
            with pool.commit() as entry:
                learned = start_of(self._rooms.config).get("learned", "")
                detail = {"file": str(file), "digest": digest, "learned": learned}
                entry.event("starts_from", detail)

    def _record_marks(self) -> None:
        """Puts on record what is done against the protocol; what was done once stays there."""
        pool = self._rooms.pool
        recorded = recorded_marks(pool.events())
        marks = tuple(dict.fromkeys((*recorded, *marks_of(self._rooms.config))))
        if marks != recorded:
            with pool.commit() as entry:
                entry.event("marked", {"marks": list(marks)})
                tags = {"alo.marks": "; ".join(marks)}
                entry.tell("run", {"params": {}, "tags": tags, "datasets": []})
                rounds = pool.rounds()
                if rounds and rounds[-1].state is RoundState.CLOSED:  # its card is out already
                    tell_card(self.run, entry)


def has_encoder(run: RunDir, workspace: Workspace) -> bool:
    """Whether the encoder a run started from is on its record and in the workspace."""
    if not run.has_ledger:
        return False
    try:
        with Pool(run.ledger, read_only=True) as pool:
            return encoder_on_record(pool, EncoderStore(workspace.encoders)) is not None
    except LedgerError:  # killed while it was made; if not, whoever opens it is told
        return False


def _to_check(run: RunDir, config: ExperimentConfig) -> ExperimentConfig:
    """What has still to be there: once round 0 is trained, nobody reads what it went on from."""
    if config.trainer.starting_file is None or not run.has_ledger:
        return config
    try:
        with Pool(run.ledger, read_only=True) as pool:
            if pool.stage(0, "train") is None:
                return config
    except LedgerError:  # killed while it was made; if not, whoever opens it is told
        return config
    return config.model_copy(update={"trainer": config.trainer.once_started()})


def _take_folder(stack: ExitStack, run: RunDir, config: ExperimentConfig) -> None:
    """Makes the run folder if need be, locks it, and refuses what does not belong there."""
    run.folder.mkdir(parents=True, exist_ok=True)
    stack.enter_context(run.held(_PREDECESSOR_S))
    if not run.config.exists():
        return
    if not run.has_ledger:
        raise RunMismatch(
            f"{run.folder} holds a run without its ledger {run.ledger.name}; "
            "restore it, or remove the folder to start anew"
        )
    lines = differences(load_config(run.config), config)
    if lines:
        raise RunMismatch(
            "\n".join(
                [
                    f"{run.folder} holds another experiment:",
                    *lines,
                    f"give this one a folder of its own, as in --set name={config.name}-2, "
                    "or remove that one",
                ]
            )
        )


def _found(stack: ExitStack, run: RunDir, config: ExperimentConfig, data: PackedDataset) -> Pool:
    """Creates what is missing of the run folder and takes over its ledger."""
    pool = stack.enter_context(Pool(run.ledger))
    recorded = pool.provenance()
    if recorded is not None and recorded.dataset != data.manifest.fingerprint:
        raise RunMismatch(
            f"{run.folder} was started on dataset {recorded.dataset[:12]}, and "
            f"{config.dataset.name} now holds {data.manifest.fingerprint[:12]}: the data changed"
        )
    if recorded is None:
        identity, fingerprint = identity_digest(config), data.manifest.fingerprint
        # `_take_folder` compares the fields of later ones. Not the digests: an older program had
        # fewer fields, and what it left out had the value that is now the default.
        pool.found(Provenance(uuid.uuid4().hex, identity, fingerprint))
    elif run.config.exists() and load_config(run.config).tracking != config.tracking:
        pool.send_again()  # before the file says so: a kill between them sends once more
    write_text(run.config, dump_config(config))
    pool.take_over(_this_program())
    return pool


def identity_in_mirror(pool: Pool, run: RunDir, config: ExperimentConfig) -> RunIdentity | None:
    """How the mirror finds a run again; None before the run has begun."""
    provenance = pool.provenance()
    if provenance is None:
        return None
    return RunIdentity(
        provenance.run_key, run.name, config.dataset.name, run.folder, pool.created_ms()
    )


def mirror_of(
    pool: Pool, run: RunDir, config: ExperimentConfig, workspace: Workspace, data: PackedDataset
) -> Mirror:
    """The mirror of a run, not started yet."""
    identity = identity_in_mirror(pool, run, config)
    assert identity is not None  # just founded
    return Mirror(
        pool,
        lambda: config.tracking.connect(workspace.root),
        identity,
        lambda number: write_card(run) if number is None else render_round(run, pool, data, number),
    )


class LazyExecutor:
    """An executor that starts at the first call: a run that only waits for labels needs none."""

    def __init__(self, config: ExperimentConfig) -> None:
        self._config = config
        self._executor: Executor | None = None

    def __call__(self) -> Executor:
        if self._executor is None:
            config = self._config
            self._executor = open_executor(config.executor, config.ray, config.resources)
            logger.info("%s", self._executor.describe())
        return self._executor

    def close(self) -> None:
        if self._executor is not None:
            self._executor.close()


def _this_program() -> dict[str, str | int]:
    versions = {name: importlib.metadata.version(name) for name in ("al-orchestrator", "torch")}
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "python": platform.python_version(),
        **versions,
    }
