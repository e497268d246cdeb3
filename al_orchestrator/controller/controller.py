"""Drives a round one committed step at a time; the ledger's only writer.

Each step reads what is committed, asks a room (perhaps on a worker), and commits the result, the
messages that tell of it and the new state in one transaction. A step that was killed before its
commit is simply done again, with the same seeds; so resuming is this ordinary loop, and there is
no recovery code.

The controller knows no strategy, trainer, dataset or oracle by name: it computes what they
declare they need.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import Enum, auto
from typing import Any, TypeVar

import numpy as np

from al_orchestrator.controller.ending import Ending
from al_orchestrator.controller.explaining import Explainer
from al_orchestrator.controller.learner import Learner
from al_orchestrator.controller.pretraining import Pretraining
from al_orchestrator.controller.rooms import Rooms
from al_orchestrator.controller.scoring import Scorer
from al_orchestrator.controller.selecting import Leavings
from al_orchestrator.controller.telling import introduction, tell_end, tell_metrics, tell_round
from al_orchestrator.controller.workers import Workers
from al_orchestrator.errors import InvariantBroken, SelectionRefused
from al_orchestrator.oracles import Question
from al_orchestrator.rounds import Round, RoundState
from al_orchestrator.run_dir import kept_of
from al_orchestrator.seed_sets import Stratified
from al_orchestrator.seeds import derive_rng
from strategies import QueryStrategy, Selection, StrategyError

logger = logging.getLogger(__name__)
T = TypeVar("T")

_POLL_S = 0.25


class Step(Enum):
    """What `Controller.advance` came to."""

    COMMITTED = auto()
    WAITING = auto()  # for labels that only somebody else can give
    DONE = auto()


class Controller:
    """Takes one run from its seed set to its last round."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._config = rooms.config
        self._pool = rooms.pool
        self._strategy = rooms.config.strategy.named(rooms.data.manifest.classes)
        workers = Workers(rooms)
        pretraining = Pretraining(rooms, workers)
        self._learner = Learner(rooms, workers, pretraining)
        self._scorer = Scorer(rooms, workers, pretraining)
        self._leavings = Leavings(rooms)
        self._ending = Ending(rooms, workers, pretraining)
        self._explainer = Explainer(rooms, workers, pretraining)

    def advance(self) -> Step:
        """Does the next step of the run, up to its commit.

        Raises:
            JobFailed: Work on a worker failed; the run can be resumed.
            InvariantBroken: A component did what its contract forbids; nothing of it was recorded.
            SelectionRefused: The strategy cannot select from what the round has.
        """
        rounds = self._pool.rounds()
        step = self._step_of(rounds[-1])(rounds[-1]) if rounds else self._seed()
        self._rooms.committed()
        return step

    def reopen_if_extended(self) -> None:
        """Lets the last round ask after all, if the run was done and nothing ends it any more.

        Its budget has grown, then, or a rule that ended it is gone or asks for more. Where the run
        stays at its end for another reason than before, that reason goes on record.
        """
        rounds = self._pool.rounds()
        if not rounds or rounds[-1].state is not RoundState.CLOSED:
            return
        last = rounds[-1]
        why = self._ending.reason_on_record(last)
        if why is None:
            self._rooms.run.remove_report(last.number)
            with self._pool.commit() as entry:
                entry.move(last.number, RoundState.CLOSED, RoundState.TRAINED)
                entry.event("extended", {"round": last.number})
                tell_end(self._rooms, entry, None)
        elif why != self._ending.recorded():
            logger.info("round %d stays the last one, %s", last.number, why)
            with self._pool.commit() as entry:
                entry.event("finished", {"round": last.number, "why": why})
                tell_end(self._rooms, entry, why)

    def _step_of(self, current: Round) -> Callable[[Round], Step]:
        return {
            RoundState.OPEN: self._train,
            RoundState.TRAINED: self._query,
            RoundState.QUERIED: self._ask_oracle,
            RoundState.LABELLED: self._close,
            RoundState.CLOSED: lambda _: Step.DONE,
        }[current.state]

    # The seed set, which round 0 trains on.

    def _seed(self) -> Step:
        if not self._pool.acquired(0):
            return self._choose_seed_set()
        if self._answers_missing(0):
            return Step.WAITING
        with self._pool.commit() as entry:
            entry.open_round(0)
        logger.info("round 0: seed set of %d labels", self._config.budget.initial)
        return Step.COMMITTED

    def _choose_seed_set(self) -> Step:
        size = self._config.budget.initial
        rng = derive_rng(self._config.seed, 0, "seed_set")
        started = time.monotonic()
        seed_set = self._config.seed_set
        if isinstance(seed_set, Stratified):
            pool = self._rooms.splits.pool
            labels = self._held_back(pool.tolist())
            chosen = seed_set.select(pool, np.array([labels[i] for i in pool.tolist()]), size, rng)
        else:
            chosen = seed_set.select(self._scorer.seed_candidates(seed_set), size, rng)
        self._check_selection(chosen, size, frozenset())
        with self._pool.commit() as entry:
            entry.end_attempt(0, "embed", "recorded")
            seconds = time.monotonic() - started
            entry.stage(0, "seed_set", {"notes": dict(chosen.notes)}, seconds)
            entry.ask(0, chosen.ids.tolist(), chosen.scores.tolist())
            entry.tell("run", introduction(self._rooms, chosen.notes))
            entry.event("planned", self._rooms.splits.sizes())
        return Step.COMMITTED

    # OPEN -> TRAINED

    def _train(self, current: Round) -> Step:
        self._learner.prepare()
        started = time.monotonic()
        result = self._learner.train(current)
        seconds = time.monotonic() - started
        with self._pool.commit() as entry:
            entry.end_attempt(current.number, "train", "recorded")
            entry.stage(current.number, "train", result, seconds)
            entry.move(current.number, RoundState.OPEN, RoundState.TRAINED)
            tell_metrics(entry, current, result["metrics"], seconds)
        logger.info(
            "round %d: trained on %d labels, %s (%d epochs, %s, %.1f s)",
            current.number,
            current.labelled,
            _in_words(result["metrics"]),
            result["epochs"],
            result["stop_reason"],
            seconds,
        )
        return Step.COMMITTED

    # TRAINED -> QUERIED, or CLOSED for the last round

    def _query(self, current: Round) -> Step:
        why = self._ending.reason(current)
        if why is not None:
            return self._finish(current, why)
        size = self._ending.next_batch(current)
        strategy = self._strategy.at_round(current.number)
        chosen, seconds = self._choose(current, strategy, size, step=0)
        key = self._scorer.embedding_key(current.number, strategy)
        left = self._leavings.write(current.number, strategy, chosen, key)
        record = {
            "strategy": strategy.name,
            "laws": self._strategy.laws(),
            "planned": size,
            "notes": dict(chosen.notes),
            **left,
        }
        with self._pool.commit() as entry:
            entry.stage(current.number, "select", record, seconds)
            entry.ask(current.number + 1, chosen.ids.tolist(), chosen.scores.tolist())
            entry.move(current.number, RoundState.TRAINED, RoundState.QUERIED)
        logger.info(
            "round %d: queried %d of %d (%s, %.2f s)",
            current.number,
            len(chosen),
            size,
            strategy.name,
            seconds,
        )
        return Step.COMMITTED

    def _choose(
        self, current: Round, strategy: QueryStrategy, left: int, step: int
    ) -> tuple[Selection, float]:
        """The next group of a batch of which `left` are still to be asked for, and its seconds."""
        size = min(strategy.group_size(left), left)
        candidates = self._scorer.candidates(current, strategy)
        key = self._scorer.embedding_key(current.number, strategy)
        kept = self._leavings.kept(current.number, strategy, key)
        rng = derive_rng(self._config.seed, current.number, "select", step)
        started = time.monotonic()
        try:
            chosen = strategy.select(replace(candidates, kept=kept), size, rng)
        except StrategyError as error:
            raise SelectionRefused(f"round {current.number}: {error}") from error
        self._check_selection(chosen, size, self._pool.asked_ids())
        return chosen, time.monotonic() - started

    def _check_selection(self, chosen: Selection, size: int, asked: frozenset[str]) -> None:
        ids = chosen.ids.tolist()
        stray = {*ids} - {*self._rooms.splits.pool.tolist()}
        again = asked.intersection(ids)
        if len({*ids}) != size or len(ids) != size or stray or again:
            raise InvariantBroken(
                f"the strategy was asked for {size} new samples of the pool; it gave {len(ids)}, "
                f"{len({*ids})} of them distinct, {len(stray)} not in the pool, {len(again)} "
                "asked before"
            )

    def _finish(self, current: Round, why: str) -> Step:
        self._explainer.explain(current, is_last=True)
        with self._pool.commit() as entry:
            entry.move(current.number, RoundState.TRAINED, RoundState.CLOSED)
            tell_round(self._rooms, entry, current)
            tell_end(self._rooms, entry, why)
            entry.tell("status", {"status": "FINISHED"})
            entry.event("finished", {"round": current.number, "why": why})
        self._tidy(current.number)
        logger.info("round %d is the last one, %s", current.number, why)
        return Step.COMMITTED

    # QUERIED -> LABELLED

    def _ask_oracle(self, current: Round) -> Step:
        if self._answers_missing(current.number + 1):
            return Step.WAITING
        asked = len(self._pool.acquired(current.number + 1))
        planned = (self._pool.stage(current.number, "select") or {}).get("planned", asked)
        if asked < planned:
            return self._ask_on(current, asked, planned)
        with self._pool.commit() as entry:
            entry.move(current.number, RoundState.QUERIED, RoundState.LABELLED)
        return Step.COMMITTED

    def _ask_on(self, current: Round, asked: int, planned: int) -> Step:
        """Goes on with a batch whose strategy wanted to see the first answers."""
        strategy = self._strategy.at_round(current.number)
        chosen, _ = self._choose(current, strategy, planned - asked, step=asked)
        ids, scores = chosen.ids.tolist(), chosen.scores.tolist()
        with self._pool.commit() as entry:
            entry.ask(current.number + 1, ids, scores, first_rank=asked)
        return Step.COMMITTED

    def _answers_missing(self, batch: int) -> int:
        """Asks for what is unanswered and records what comes; returns how many still miss."""
        pending = self._pool.unanswered(batch)
        if not pending:
            return 0
        provenance = self._pool.provenance()
        assert provenance is not None  # founded before any step
        question = Question(
            key=f"{provenance.run_key}:{batch}", ids=pending, held_back=self._held_back
        )
        answers = self._config.oracle.answer(question)
        self._check_answers(answers, pending)
        with self._pool.commit() as entry:
            entry.answer(answers, self._config.oracle.name)
        return len(pending) - len(answers)

    def _held_back(self, ids: Any) -> dict[str, int]:
        manifest = self._rooms.data.manifest
        labels = manifest.labels[manifest.rows_of(np.array(ids))]
        return dict(zip(ids, labels.tolist(), strict=True))

    def _check_answers(self, answers: Mapping[str, int], pending: list[str]) -> None:
        classes = len(self._rooms.data.manifest.classes)
        stray = answers.keys() - {*pending}
        wrong = {id_: label for id_, label in answers.items() if not 0 <= label < classes}
        if stray or wrong:
            raise InvariantBroken(
                f"the oracle answered {len(stray)} ids it was not asked for and gave {len(wrong)} "
                f"labels outside 0…{classes - 1}"
            )

    # LABELLED -> CLOSED, and the next round opens

    def _close(self, current: Round) -> Step:
        self._explainer.explain(current, is_last=False)
        with self._pool.commit() as entry:
            entry.move(current.number, RoundState.LABELLED, RoundState.CLOSED)
            entry.open_round(current.number + 1)
            tell_round(self._rooms, entry, current)
        self._tidy(current.number)
        return Step.COMMITTED

    def _tidy(self, number: int) -> None:
        trained, explained = (self._pool.stage(number, name) for name in ("train", "explain"))
        self._rooms.run.tidy(number, kept_of(trained, explained))
        self._leavings.tidy(number - 1)


def _in_words(metrics: Mapping[str, float]) -> str:
    shown = {"accuracy": "test/accuracy", "balanced": "test/balanced_accuracy"}
    return ", ".join(f"{word} {metrics[key]:.3f}" for word, key in shown.items() if key in metrics)
