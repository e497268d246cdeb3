from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from al_orchestrator.errors import LedgerError, NewerLedger
from al_orchestrator.pool import Pool, Provenance
from al_orchestrator.rounds import RoundState

WHO = Provenance(run_key="k", identity="i", dataset="d")


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    with Pool(tmp_path / "pool.db") as pool:
        pool.found(WHO)
        pool.take_over({})
        yield pool


def ask_and_answer(pool: Pool) -> None:
    with pool.commit() as entry:
        entry.ask(0, ["b", "a"], [0.5, 0.25])
        entry.answer({"a": 1, "b": 0}, "simulated")
        entry.open_round(0)


def test_what_was_asked_comes_back_in_the_order_of_acquisition(pool: Pool) -> None:
    ask_and_answer(pool)
    assert [(s.rank, s.id, s.label, s.score) for s in pool.acquired(0)] == [
        (0, "b", 0, 0.5),
        (1, "a", 1, 0.25),
    ]
    ids, labels = pool.labelled(0)
    assert ids.tolist() == ["a", "b"]
    assert labels.tolist() == [1, 0]


def test_a_sample_is_asked_once(pool: Pool) -> None:
    ask_and_answer(pool)
    with pytest.raises(LedgerError, match=r"query\.id"), pool.commit() as entry:
        entry.ask(1, ["a"], [0.0])


def test_only_what_was_asked_is_answered_and_only_once(pool: Pool) -> None:
    ask_and_answer(pool)
    with pytest.raises(LedgerError, match="FOREIGN KEY"), pool.commit() as entry:
        entry.answer({"stranger": 0}, "people")
    with pytest.raises(LedgerError, match=r"label\.id"), pool.commit() as entry:
        entry.answer({"a": 0}, "people")


def test_a_round_moves_one_state_at_a_time_and_from_the_state_it_is_in(pool: Pool) -> None:
    ask_and_answer(pool)
    with pytest.raises(LedgerError, match="cannot become queried"), pool.commit() as entry:
        entry.move(0, RoundState.OPEN, RoundState.QUERIED)
    with pytest.raises(LedgerError, match="round 0 is not trained"), pool.commit() as entry:
        entry.move(0, RoundState.TRAINED, RoundState.QUERIED)


def commit_what_cannot_be(pool: Pool) -> None:
    with pool.commit() as entry:
        entry.ask(0, ["a"], [0.0])
        entry.tell("metrics", {"step": 1})
        entry.move(0, RoundState.OPEN, RoundState.TRAINED)


def test_a_transaction_that_fails_leaves_nothing(pool: Pool) -> None:
    with pytest.raises(LedgerError, match="round 0 is not open"):
        commit_what_cannot_be(pool)
    assert pool.acquired() == []
    assert pool.unsent() == []


def test_a_predecessor_that_was_asleep_cannot_write(pool: Pool) -> None:
    with Pool(pool.path) as successor:
        successor.take_over({})
        with pytest.raises(LedgerError, match="took over"), pool.commit() as entry:
            entry.open_round(0)
    assert pool.rounds() == []


def test_a_take_over_ends_the_attempts_that_were_under_way(pool: Pool) -> None:
    with pool.commit() as entry:
        entry.start_attempt(0, "train", 1)
    pool.take_over({})
    with sqlite3.connect(pool.path) as connection:
        assert connection.execute("SELECT outcome FROM attempt").fetchall() == [("interrupted",)]


def test_a_stage_is_recorded_once(pool: Pool) -> None:
    with pool.commit() as entry:
        entry.stage(0, "train", {"metrics": {"x": 1.0}}, 0.5)
    with pytest.raises(LedgerError), pool.commit() as entry:
        entry.stage(0, "train", {"metrics": {"x": 2.0}}, 0.5)
    assert pool.stage(0, "train") == {"metrics": {"x": 1.0}}


def test_numbers_that_are_not_finite_never_enter(pool: Pool) -> None:
    with pytest.raises(ValueError, match="JSON"), pool.commit() as entry:
        entry.tell("metrics", {"x": float("nan")})
    assert pool.unsent() == []


def test_sent_messages_leave_the_outbox_and_the_others_keep_their_order(pool: Pool) -> None:
    with pool.commit() as entry:
        for step in (1, 2, 3):
            entry.tell("metrics", {"step": step})
    second = pool.unsent()[1][0]
    pool.mark_sent([second])
    assert [message.payload["step"] for _, message in pool.unsent()] == [1, 3]


def test_the_ledger_of_another_run_is_refused(pool: Pool) -> None:
    with pytest.raises(LedgerError, match="belongs to"):
        pool.found(Provenance("other", "i", "d"))


def test_reading_changes_no_byte(pool: Pool) -> None:
    ask_and_answer(pool)
    pool.close()
    before = pool.path.read_bytes()
    with Pool(pool.path, read_only=True) as reader:
        assert len(reader.acquired()) == 2
    assert pool.path.read_bytes() == before


def test_a_reader_sees_the_last_commit_while_a_writer_is_in_the_middle_of_the_next(
    pool: Pool,
) -> None:
    with Pool(pool.path, read_only=True) as reader, pool.commit() as entry:
        entry.ask(0, ["a"], [0.0])
        assert reader.acquired() == []


def test_a_newer_ledger_is_refused_with_both_versions(tmp_path: Path) -> None:
    path = tmp_path / "pool.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(NewerLedger, match="version 99; this program knows up to 1"):
        Pool(path)
    with pytest.raises(NewerLedger):
        Pool(path, read_only=True)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pool.db"
    path.write_text("these are not the bytes of a database" * 100)
    with pytest.raises(LedgerError, match="cannot be opened"):
        Pool(path)


def test_a_ledger_of_the_first_schema_still_opens(tmp_path: Path) -> None:
    old = Path(__file__).parents[1] / "data" / "pool-v1.sql"
    path = tmp_path / "pool.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(old.read_text())
    with Pool(path) as pool:
        assert [r.state for r in pool.rounds()] == [RoundState.CLOSED, RoundState.TRAINED]
        assert pool.labelled(1)[0].tolist() == ["a", "b", "c"]
        pool.take_over({})
        with pool.commit() as entry:
            entry.ask(2, ["d"], [0.5])


class LedgerMachine(RuleBasedStateMachine):
    """Whatever is tried in whatever order, the promises of the ledger hold."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.pool = Pool(Path(self.folder.name) / "pool.db")
        self.pool.found(WHO)
        self.pool.take_over({})
        self.fresh = iter(range(10**6))
        self.batch = 0

    @rule()
    def ask(self) -> None:
        with self.pool.commit() as entry:
            entry.ask(self.batch, [f"s{next(self.fresh)}" for _ in range(3)], [0.0] * 3)
        self.batch += 1

    @precondition(lambda self: self.batch > 0)
    @rule()
    def answer_in_part(self) -> None:
        pending = self.pool.unanswered(self.batch - 1)[:2]
        with self.pool.commit() as entry:
            entry.answer(dict.fromkeys(pending, 0), "people")

    @precondition(lambda self: self.batch > 0)
    @rule()
    def ask_again(self) -> None:
        with pytest.raises(LedgerError), self.pool.commit() as entry:
            entry.ask(self.batch + 1, ["s0"], [0.0])

    @rule()
    def reopen(self) -> None:
        self.pool.close()
        self.pool = Pool(self.pool.path)
        self.pool.take_over({})

    @invariant()
    def every_id_stands_once_and_labels_are_a_part_of_queries(self) -> None:
        acquired = self.pool.acquired()
        ids = [s.id for s in acquired]
        assert len(ids) == len(set(ids)) == 3 * self.batch
        assert set(self.pool.labelled(self.batch)[0].tolist()) <= set(ids)

    def teardown(self) -> None:
        self.pool.close()
        self.folder.cleanup()


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)
