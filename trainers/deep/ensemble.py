"""Members fitted one after another, and asked one after another.

Legend: ``K`` members, ``N`` rows, ``C`` classes, ``D`` embedding width of a member.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainers.base import (
    Examples,
    Output,
    Predictions,
    PredictTask,
    TrainReport,
    TrainTask,
)
from trainers.deep.bundles import Bundle, load_bundle, save_bundle
from trainers.deep.fit import BEST_CHECKPOINT, CHECKPOINT, check_task, under
from trainers.deep.outputs import (
    OF_OTHERS_TOO,
    Floats,
    blocks_of,
    check_classes,
    path_of,
    shapes_of_outputs,
    write_test_predictions,
    writing,
)
from trainers.deep.progress import EPOCHS_LOG, identity_of
from trainers.deep.seeding import derived_seed, generator
from trainers.ensemble import Ensemble
from trainers.files import (
    EPOCH_CHECKPOINT,
    FINISHED_MEMBER,
    digest_of_members,
    member_folder,
    replacing,
)
from trainers.metrics import Counts, classification_metrics

_PREVIOUS = "previous.pt"
_CARRIED = (CHECKPOINT, BEST_CHECKPOINT, EPOCHS_LOG, EPOCH_CHECKPOINT, FINISHED_MEMBER)
"""What is taken over of an earlier attempt at a member; last what says that the rest is there."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Member:
    """What the fit of a member said, as it is kept in the member's folder."""

    identity: str
    checkpoint_digest: str
    initial_digest: str
    encoder_digest: str
    metrics: Mapping[str, float]
    epochs: int
    steps: int
    stop_reason: str
    notes: Mapping[str, str]
    has_converged: bool | None = None


def fit_ensemble(trainer: Ensemble, task: TrainTask) -> TrainReport:
    """Fits all members that an earlier attempt has not finished, and leaves them in one bundle.

    Raises:
        TrainingError: See `Trainer.fit`.
    """
    check_task(task)
    started = time.perf_counter()
    _take_over(trainer, task)
    members: list[Member] = []
    for number in range(trainer.members):
        members.append(_fit_member(trainer, task, number))
        _write_log(trainer, task, number + 1)
    fitted = time.perf_counter()
    metrics, confusion, test_log_probs = _evaluate(trainer, task, members)
    seeds = [_seed_of(task, number) for number in range(trainer.members)]
    checkpoint = task.out_dir / CHECKPOINT
    digest = save_bundle(checkpoint, _checkpoints(trainer, task), seeds, task.num_classes)
    notes = {name: _said(m.notes.get(name, "") for m in members) for name in members[0].notes}
    return TrainReport(
        checkpoint=checkpoint,
        checkpoint_digest=digest,
        initial_digest=digest_of_members(member.initial_digest for member in members),
        encoder_digest=digest_of_members(member.encoder_digest for member in members),
        metrics=metrics,
        confusion=confusion,
        epochs=sum(member.epochs for member in members),
        steps=sum(member.steps for member in members),
        stop_reason=_said(member.stop_reason for member in members),
        seconds={"fit": fitted - started, "evaluate": time.perf_counter() - fitted},
        notes=notes | {"seeds": ", ".join(map(str, seeds))},
        has_converged=_all_of(member.has_converged for member in members),
        test_predictions=write_test_predictions(task, test_log_probs),
    )


def predict_ensemble(trainer: Ensemble, task: PredictTask) -> Predictions:
    """Asks every member and joins what they say.

    Raises:
        TrainingError: The checkpoint is not such an ensemble's, or has other classes.
    """
    started = time.perf_counter()
    files: dict[Output, Path] = {}
    keys: dict[Output, str] = {}
    if "encoder_embeddings" in task.outputs:
        # The encoder as it was before any label is the same for all members.
        alone = replace(task, outputs=frozenset({"encoder_embeddings"}), checkpoint=None)
        found = trainer.member.predict(alone)
        files, keys = dict(found.files), dict(found.keys)
    if task.checkpoint is not None and task.outputs - {"encoder_embeddings"}:
        bundle = load_bundle(task.checkpoint, trainer.members)
        check_classes(task, bundle.num_classes)
        with tempfile.TemporaryDirectory(dir=task.out_dir) as scratch:
            told = [_ask(trainer, task, bundle, n, Path(scratch)) for n in range(len(bundle))]
            files |= _join(task, told)
        if "embeddings" in task.outputs and all("embeddings" in each.keys for each in told):
            keys["embeddings"] = "+".join(each.keys["embeddings"] for each in told)
    return Predictions(files=files, seconds={"predict": time.perf_counter() - started}, keys=keys)


def mean_log_probs(log_probs: Sequence[Floats]) -> Floats:
    """K times (N, C) -> (N, C), the logarithm of the mean probability."""
    stacked = torch.from_numpy(np.stack(log_probs).astype(np.float64))
    return (stacked.logsumexp(0) - math.log(len(log_probs))).float().numpy()


def _all_of(answers: Iterable[bool | None]) -> bool | None:
    """Whether all say yes; None if nobody can say."""
    known = [answer for answer in answers if answer is not None]
    return all(known) if known else None


def _seed_of(task: TrainTask, number: int) -> int:
    return derived_seed(task.seed, "member", number)


def _checkpoints(trainer: Ensemble, task: TrainTask) -> list[Path]:
    return [member_folder(task.out_dir, k) / CHECKPOINT for k in range(trainer.members)]


def _take_over(trainer: Ensemble, task: TrainTask) -> None:
    """Copies what an earlier attempt left, so that a third one finds all in the second.

    Member 0 comes last: only when it is there does this attempt count as one to go on from.
    """
    if task.resume_from is None:
        return
    for number in reversed(range(trainer.members)):
        earlier, ours = (member_folder(at, number) for at in (task.resume_from, task.out_dir))
        for name in _CARRIED:
            if (earlier / name).exists():
                with replacing(ours / name) as temporary:
                    shutil.copyfile(earlier / name, temporary)


def _fit_member(trainer: Ensemble, task: TrainTask, number: int) -> Member:
    """Fits a member, from where it was left; reads what was said of it if it is done."""
    own = _member_task(trainer, task, number)
    identity = _identity(trainer, own)
    done = _finished(own.out_dir, identity)
    if done is not None:
        return done
    own.out_dir.mkdir(exist_ok=True)
    if own.previous is not None and task.previous is not None:
        load_bundle(task.previous, trainer.members).extract(number, own.previous)
    report = trainer.member.fit(own)
    member = Member(
        identity=identity,
        checkpoint_digest=report.checkpoint_digest,
        initial_digest=report.initial_digest,
        encoder_digest=report.encoder_digest,
        metrics=report.metrics,
        epochs=report.epochs,
        steps=report.steps,
        stop_reason=report.stop_reason,
        notes=report.notes,
        has_converged=report.has_converged,
    )
    with replacing(own.out_dir / FINISHED_MEMBER) as temporary:
        temporary.write_text(json.dumps(asdict(member)), encoding="utf-8")
    if own.previous is not None:
        own.previous.unlink()
    return member


def _member_task(trainer: Ensemble, task: TrainTask, number: int) -> TrainTask:
    folder, seed = member_folder(task.out_dir, number), _seed_of(task, number)
    goes_on = trainer.weights == "warm_start" and task.previous is not None
    return replace(
        task,
        labelled=_drawn(task.labelled, seed) if trainer.bootstrap else task.labelled,
        seed=seed,
        out_dir=folder,
        previous=folder / _PREVIOUS if goes_on else None,
        resume_from=folder if trainer.member.can_resume(folder) else None,
    )


def _drawn(labelled: Examples, seed: int) -> Examples:
    """As many, drawn with replacement."""
    count = len(labelled)
    drawn = torch.randint(0, count, (count,), generator=generator(seed, "bootstrap"))
    places = drawn.sort().values.numpy()
    shares = None if labelled.shares is None else labelled.shares[places]
    return Examples(rows=labelled.rows[places], labels=labelled.labels[places], shares=shares)


def _identity(trainer: Ensemble, own: TrainTask) -> str:
    """sha256 of all that decides what a member is and what is said of it."""
    digest = hashlib.sha256(identity_of(trainer.member, own).encode())
    digest.update(own.test.rows.tobytes())
    digest.update(own.test.labels.tobytes())
    return digest.hexdigest()


def _finished(folder: Path, identity: str) -> Member | None:
    """What was said of a member that is done, if all of it is there."""
    if not (folder / FINISHED_MEMBER).exists() or not (folder / CHECKPOINT).exists():
        return None
    try:
        fields: dict[str, Any] = json.loads((folder / FINISHED_MEMBER).read_text(encoding="utf-8"))
        member = Member(**fields)
    except (ValueError, TypeError) as error:
        logger.warning("a member is fitted anew: %s is damaged (%s)", folder, error)
        return None
    if member.identity != identity:
        logger.warning("a member is fitted anew: %s is of another task", folder)
        return None
    return member


def _write_log(trainer: Ensemble, task: TrainTask, finished: int) -> None:
    """The curves of the members that are done, one after another, as of one long fit."""
    lines: list[str] = []
    steps = 0
    for number in range(finished):
        log = member_folder(task.out_dir, number) / EPOCHS_LOG
        epochs = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        for epoch in epochs:
            place = {
                "epoch": len(lines) + 1,
                "total_epochs": trainer.members * epoch["total_epochs"],
                "steps": steps + epoch["steps"],
                "member": number,
            }
            lines.append(json.dumps({**epoch, **place}) + "\n")
        steps += epochs[-1]["steps"]
    with replacing(task.out_dir / EPOCHS_LOG) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")


def _evaluate(
    trainer: Ensemble, task: TrainTask, members: Sequence[Member]
) -> tuple[dict[str, float], Counts, Floats]:
    """Metrics of the mean prediction; confusion matrix and log-probabilities of the test set."""
    last = _checkpoints(trainer, task)

    def of(paths: Sequence[Path], examples: Examples) -> tuple[dict[str, float], Counts, Floats]:
        told = [_log_probs(trainer, task, path, examples) for path in paths]
        log_probs = mean_log_probs(told)
        return *classification_metrics(log_probs, examples.labels), log_probs

    def mean(name: str) -> float:
        return float(np.mean([member.metrics[name] for member in members]))

    metrics = {name: mean(name) for name in ("train/loss", "train/accuracy")}
    test, confusion, log_probs = of(last, task.test)
    metrics |= under("validation", of(last, task.validation)[0]) | under("test", test)
    if len(task.validation):
        # A member that was best at its only epoch has no other checkpoint.
        kept = [path.with_name(BEST_CHECKPOINT) for path in last]
        best = [b if b.exists() else a for a, b in zip(last, kept, strict=True)]
        metrics |= under("best/validation", of(best, task.validation)[0])
        metrics |= under("best/test", of(best, task.test)[0]) | {"best/epoch": mean("best/epoch")}
    return metrics, confusion, log_probs


def _log_probs(trainer: Ensemble, task: TrainTask, checkpoint: Path, examples: Examples) -> Floats:
    with tempfile.TemporaryDirectory(dir=task.out_dir) as scratch:
        asked = PredictTask(
            images=task.images,
            num_classes=task.num_classes,
            rows=examples.rows,
            outputs=frozenset({"log_probs"}),
            checkpoint=checkpoint,
            seed=task.seed,
            out_dir=Path(scratch),
            cache_dir=task.cache_dir,
            device=task.device,
        )
        log_probs: Floats = np.load(trainer.member.predict(asked).files["log_probs"])
        return log_probs


def _said(values: Iterable[str]) -> str:
    """What all members say, or what each of them says first."""
    return "; ".join(dict.fromkeys(values))


def _ask(
    trainer: Ensemble, task: PredictTask, bundle: Bundle, number: int, scratch: Path
) -> Predictions:
    """What one member says, in a folder of its own."""
    folder = member_folder(scratch, number)
    bundle.extract(number, folder / CHECKPOINT)
    outputs: set[Output] = set()
    if "embeddings" in task.outputs:
        outputs.add("embeddings")
    if task.outputs & {"log_probs", "mc_log_probs"}:
        outputs.add("log_probs")
    return trainer.member.predict(
        replace(
            task,
            outputs=frozenset(outputs),
            checkpoint=folder / CHECKPOINT,
            out_dir=folder,
            others=task.others if task.outputs & OF_OTHERS_TOO else task.others[:0],
        )
    )


def _join(task: PredictTask, told: Sequence[Predictions]) -> dict[Output, Path]:
    """Writes the mean, the members as posterior draws, and the embeddings side by side."""

    def of(name: Output) -> list[Floats]:
        return [np.load(each.files[name], mmap_mode="r") for each in told if name in each.files]

    log_probs, embeddings = of("log_probs"), of("embeddings")
    width = sum(array.shape[1] for array in embeddings)
    shapes = shapes_of_outputs(task, width, len(told))
    with writing(task, shapes) as arrays:
        for block in blocks_of(len(task.rows) + len(task.others)):
            if "log_probs" in arrays:
                arrays["log_probs"][block] = mean_log_probs([each[block] for each in log_probs])
            if "embeddings" in arrays:
                arrays["embeddings"][block] = np.concatenate([e[block] for e in embeddings], axis=1)
        if "mc_log_probs" in arrays:
            for number, each in enumerate(log_probs):
                arrays["mc_log_probs"][:, number] = each[: len(task.rows)]
    return {name: path_of(task, name) for name in shapes}
