"""What was asked and answered, as a CSV for people; and their answers, read back."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from al_orchestrator.config import load_config, nearest
from al_orchestrator.errors import ConfigError
from al_orchestrator.files import replacing
from al_orchestrator.pool import Pool
from al_orchestrator.run_dir import RunDir

_COLUMNS = ("round", "rank", "id", "label", "source", "score")


def export_acquired(run: RunDir, path: Path, *, pending: bool = False) -> int:
    """Writes every sample asked for, or only those unanswered; returns how many."""
    names = load_config(run.config).dataset.classes
    with Pool(run.ledger, read_only=True) as pool:
        samples = [s for s in pool.acquired() if not pending or s.label is None]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for s in samples:
            label = "" if s.label is None else names[s.label]
            writer.writerow([s.round, s.rank, s.id, label, s.source or "", repr(s.score)])
    return len(samples)


def import_answers(run: RunDir, path: Path) -> tuple[int, int]:
    """Records the labels of a CSV with columns id and label; returns how many, and how many miss.

    Rows without a label are left open. Nothing is recorded if one row is wrong.

    Raises:
        ConfigError: A row names an id that awaits no answer, or a class that there is not.
        RunInUse: A controller drives the run.
    """
    names = load_config(run.config).dataset.classes
    with run.held(), Pool(run.ledger) as pool:
        open_ids = {s.id for s in pool.acquired() if s.label is None}
        answers: dict[str, int] = {}
        for line, id_, label in _answered_rows(path):
            if id_ not in open_ids:
                raise ConfigError(f"{path}:{line}: {id_!r} awaits no answer in run {run.name}")
            if label not in names:
                known = f"{', '.join(names)}{nearest(label, names)}"
                raise ConfigError(f"{path}:{line}: there is no class {label!r}; {known}")
            if id_ in answers:
                raise ConfigError(f"{path}:{line}: {id_!r} is answered twice")
            answers[id_] = names.index(label)
        if answers:
            pool.take_over({"import": str(path)})
            with pool.commit() as entry:
                entry.answer(answers, "people")
    return len(answers), len(open_ids) - len(answers)


def _answered_rows(path: Path) -> Iterator[tuple[int, str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = {"id", "label"} - set(reader.fieldnames or ())
            if missing:
                raise ConfigError(f"{path} has no column {' and no column '.join(sorted(missing))}")
            for row in reader:
                if row["label"]:
                    yield reader.line_num, row["id"], row["label"]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
