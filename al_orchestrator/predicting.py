"""What the learner of a run makes of images: those of files, or of a dataset."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from al_orchestrator.ancestry import has_learned
from al_orchestrator.config import ExperimentConfig, load_config
from al_orchestrator.datasets import PackedDataset, load
from al_orchestrator.datasets.base import Manifest, Split
from al_orchestrator.datasets.decoding import Fit, UnreadableImage, decode
from al_orchestrator.datasets.folders import IMAGE_SUFFIXES
from al_orchestrator.datasets.photos import names_below
from al_orchestrator.encoder_store import EncoderStore
from al_orchestrator.errors import ConfigError, DatasetError, LedgerError
from al_orchestrator.executors import open_executor
from al_orchestrator.explanations import Explained
from al_orchestrator.files import is_intact
from al_orchestrator.pool import Pool
from al_orchestrator.run_dir import RunDir, Workspace
from trainers import FERClassifier, Images, Output, PredictTask, Saliency
from trainers.base import Trainer
from trainers.encoders import ChannelOrder
from trainers.metrics import classification_metrics

Floats = npt.NDArray[np.float32]

_AT_ONCE = 1024  # images in memory


@dataclass(frozen=True, eq=False)
class Learner:
    """The last learner of a run, ready to be asked."""

    run: str
    labelled: int  # what it was trained on
    config: ExperimentConfig
    trainer: Trainer  # its encoder is a file
    checkpoint: Path
    manifest: Manifest  # of the dataset it was trained on: classes, shape, normalisation

    @property
    def classes(self) -> tuple[str, ...]:
        return self.manifest.classes


@dataclass(frozen=True, eq=False)
class Predicted:
    """One row an image."""

    paths: tuple[Path, ...]
    log_probs: Floats  # (N, C)
    skipped: dict[str, str] = field(default_factory=dict)  # file -> why it could not be read
    explained: Explained | None = None  # where it was to be


@dataclass(frozen=True)
class Evaluated:
    """What a learner is worth on labelled images."""

    images: int
    metrics: dict[str, float]
    confusion: list[list[int]]  # rows are true classes


def learner_of(run: RunDir) -> Learner:
    """The learner of the last round that was trained.

    Raises:
        ConfigError: No round has been trained yet.
        LedgerError: The checkpoint, or the encoder it goes with, is not what was recorded.
    """
    config = load_config(run.config)
    with Pool(run.ledger, read_only=True) as pool:
        provenance = pool.provenance()
        trained = [(r, stage) for r in pool.rounds() if (stage := pool.stage(r.number, "train"))]
        pretrained = pool.stage(0, "pretrain")
    if not trained or provenance is None:
        raise ConfigError(f"run {run.name} has no learner yet; let its first round be trained")
    last, stage = trained[-1]
    checkpoint = run.folder / stage["checkpoint"]
    if not is_intact(checkpoint, stage["checkpoint_file"]):
        raise LedgerError(f"{checkpoint} is missing or changed since it was recorded")
    workspace = Workspace(run.folder.parent)
    return Learner(
        run=run.name,
        labelled=last.labelled,
        config=config,
        trainer=_with_encoder(config.trainer, pretrained, workspace),
        checkpoint=checkpoint,
        manifest=load(workspace.root / "datasets" / provenance.dataset).manifest,
    )


def learner_from_file(
    file: Path,
    config: ExperimentConfig,
    data: PackedDataset,
    folder: Path,
    *,
    classes: Sequence[str] = (),
    normalisation: tuple[Sequence[float], Sequence[float]] | None = None,
    channel_order: ChannelOrder | None = None,
) -> Learner:
    """The learner of somebody's checkpoint of the network that `config` describes.

    Args:
        file: See `FERClassifier.adopt`.
        config: Whose trainer says what network it is; files of weights it names are not read.
        data: Images of the size it sees.
        folder: Where our own checkpoint of it goes.
        classes: In the order of its head; the dataset's own if not given.
        normalisation: Mean and deviation, a channel each in the order in which it saw them, of
            what it was trained on; the dataset's own if not given.
        channel_order: In which it saw colours; as `config` has it if not given.

    Raises:
        ConfigError: The trainer has no network, there are other classes or channels, or an order
            of colours is given for a checkpoint of ours.
        TrainingError: The file does not fit the network.
    """
    if not isinstance(config.trainer, FERClassifier):
        raise ConfigError(f"trainer {config.trainer.name} has no checkpoint; take fer_classifier")
    manifest = data.manifest
    names = tuple(classes) or manifest.classes
    if set(names) != set(manifest.classes) or len(names) != len(manifest.classes):
        raise ConfigError(
            f"the classes named are {', '.join(names)}; the data have {', '.join(manifest.classes)}"
        )
    encoder = config.trainer.encoder
    mean, std = normalisation or (manifest.mean, manifest.std)
    channels = manifest.image_shape[2]
    if not len(mean) == len(std) == channels:
        raise ConfigError(f"{channels} means and deviations are needed, one of each channel")
    order = _order_of(file, config.trainer, channel_order)
    if normalisation and order == "bgr":
        mean, std = mean[::-1], std[::-1]  # ours go with images that are RGB
    checkpoint = folder / "adopted.pt"
    trainer = config.trainer.model_copy(
        update={"encoder": encoder.model_copy(update={"channel_order": order})}
    )
    trainer.adopt(file, checkpoint, image_shape=manifest.image_shape, num_classes=len(names))
    return Learner(
        run=file.name,
        labelled=0,
        config=config,
        trainer=trainer,
        checkpoint=checkpoint,
        manifest=replace(manifest, classes=names, mean=tuple(mean), std=tuple(std)),
    )


def _order_of(file: Path, trainer: FERClassifier, asked: ChannelOrder | None) -> ChannelOrder:
    """What a configuration says of its files of weights does not hold for what came of them."""
    if not trainer.wrote(file):
        return asked or trainer.encoder.channel_order
    if asked == "bgr":
        raise ConfigError(f"{file} is a checkpoint of alo, which sees RGB; leave the order out")
    return "rgb"


def _with_encoder(
    trainer: Trainer, recorded: Mapping[str, Any] | None, workspace: Workspace
) -> Trainer:
    if recorded is None:
        return trainer
    stored = EncoderStore(workspace.encoders).find(recorded["key"])
    if stored is None or stored.digest != recorded["digest"]:
        raise LedgerError(
            f"encoder {recorded['key'][:12]}, which the learner stands on, is not in "
            f"{workspace.encoders} any more; restore it"
        )
    return trainer.pretrained(stored.path)


def files_of(paths: Sequence[Path]) -> list[Path]:
    """The files named, and the images below the folders named in order of name; each once.

    Raises:
        ConfigError: A path is not there, or a folder holds no image or cannot be read.
    """
    return [*dict.fromkeys(file for path in paths for file in _files_at(path))]


def _files_at(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        if not path.exists():
            raise ConfigError(f"{path} does not exist")
        yield path
        return
    found = sorted(names_below(path, IMAGE_SUFFIXES))
    if not found:
        raise ConfigError(f"{path} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
    yield from found


def predict_files(
    learner: Learner,
    files: Sequence[Path],
    *,
    skip_bad: bool = False,
    saliency: Saliency | None = None,
) -> Predicted:
    """Log-probabilities of image files, converted as the dataset's own were.

    Args:
        learner: Of `learner_of`.
        files: Of any size and colour.
        skip_bad: Leave out what cannot be read, and say so, instead of stopping.
        saliency: Explain the answers too, in this way.

    Raises:
        DatasetError: A file is no whole image, or no image can be read.
    """
    height, width, _ = learner.manifest.image_shape
    if height != width:
        raise ConfigError(f"{learner.run} was trained on {height}x{width} images, not on squares")
    skipped: dict[str, str] = {}
    readable: list[Path] = []
    blocks: list[Asked] = []
    shown: list[npt.NDArray[np.uint8]] = []
    with tempfile.TemporaryDirectory(prefix="alo-predict-") as folder:
        for start in range(0, len(files), _AT_ONCE):
            images, bad = _read(learner, files[start : start + _AT_ONCE], skip_bad=skip_bad)
            skipped |= bad
            if images:
                packed = Path(folder) / f"images-{start}.npy"
                pixels = np.stack([*images.values()])
                np.save(packed, pixels)
                shown += [pixels] if saliency else []  # else they may be too many to keep
                blocks.append(ask(learner, packed, np.arange(len(images)), Path(folder), saliency))
                readable += images
    if not blocks:
        raise DatasetError(f"none of {len(files)} files can be read as an image")
    log_probs = np.concatenate([block.log_probs for block in blocks])
    if saliency is None:
        return Predicted(tuple(readable), log_probs, skipped)
    maps = np.concatenate([block.maps for block in blocks])
    explained = Explained(np.concatenate(shown), maps, log_probs)
    return Predicted(tuple(readable), log_probs, skipped, explained)


def _read(
    learner: Learner, files: Sequence[Path], *, skip_bad: bool
) -> tuple[dict[Path, npt.NDArray[np.uint8]], dict[str, str]]:
    """Images of files, and why some could not be read."""
    images, bad = {}, {}
    for file in files:
        try:
            images[file] = _decoded(learner, file)
        except UnreadableImage as error:
            if not skip_bad:
                raise DatasetError(
                    f"{file}: {error.detail}; mend it, or pass --skip-bad"
                ) from error
            bad[str(file)] = error.reason
    return images, bad


def _decoded(learner: Learner, file: Path) -> npt.NDArray[np.uint8]:
    size, _, channels = learner.manifest.image_shape
    fit: Fit = getattr(learner.config.dataset, "fit", "crop")
    return decode(file, channels=1 if channels == 1 else 3, image_size=size, fit=fit)


def evaluate(learner: Learner, data: PackedDataset, split: Split = "test") -> Evaluated:
    """Metrics on one split of a dataset with the same classes and image shape.

    Classes are matched by name, so their order may differ.

    Raises:
        ConfigError: Classes or shape differ, the split has no labelled image, or it holds images of
            a val split that the learner, or one it went on from, has learned from.
    """
    manifest = data.manifest
    if set(manifest.classes) != set(learner.classes):
        raise ConfigError(
            f"{learner.run} knows {', '.join(learner.classes)}; the data have "
            f"{', '.join(manifest.classes)}"
        )
    if manifest.image_shape != learner.manifest.image_shape:
        raise ConfigError(
            f"{learner.run} was trained on images {learner.manifest.image_shape}, these are "
            f"{manifest.image_shape}; set dataset.image_size and dataset.channels"
        )
    rows = np.flatnonzero((manifest.splits == split) & (manifest.labels >= 0))
    if not len(rows):
        raise ConfigError(f"the {split} split has no labelled image")
    if split != "train" and (known := _known_to(learner, manifest, rows)):
        raise ConfigError(
            f"{learner.run} has learned from {known:,} of the {len(rows):,} images of the {split} "
            "split, itself or in a stage before it (other splits, or validation.merge), so a "
            "measure on them would be one of training; take another"
        )
    code = np.array([learner.classes.index(name) for name in manifest.classes])
    with tempfile.TemporaryDirectory(prefix="alo-evaluate-") as folder:
        log_probs = ask(learner, data.images, rows, Path(folder)).log_probs
    metrics, confusion = classification_metrics(log_probs, code[manifest.labels[rows]])
    return Evaluated(len(rows), metrics, confusion.tolist())


def _known_to(learner: Learner, manifest: Manifest, rows: npt.NDArray[np.int64]) -> int:
    """How many of these images it has learned from; leaks of its own dataset do not count."""
    hashes = manifest.image_hashes[rows]
    known = has_learned(learner.trainer.record_of(learner.checkpoint), hashes)
    own = learner.manifest
    if learner.config.validation.merge and learner.labelled:
        # Of a run whose checkpoints remember nothing.
        known |= np.isin(hashes, own.image_hashes[own.splits == "val"])
    trained, held_out = (own.image_hashes[own.splits == name] for name in ("train", "test"))
    return int((known & ~np.isin(hashes, np.intersect1d(trained, held_out))).sum())


@dataclass(frozen=True, eq=False)
class Asked:
    """One row an image."""

    log_probs: Floats  # (N, C)
    maps: Floats  # (N, H, W); empty where nothing was to be explained


def ask(
    learner: Learner,
    packed: Path,
    rows: npt.NDArray[np.int64],
    folder: Path,
    saliency: Saliency | None = None,
) -> Asked:
    """What the learner says of rows of a packed file, computed in this process.

    Args:
        learner: Of `learner_of`.
        packed: Images as its dataset has them.
        rows: (N,) of the file.
        folder: For files in between; exists.
        saliency: Explain the answers too, in this way.

    Raises:
        ConfigError: It is to be explained, and cannot be.
    """
    outputs: set[Output] = {"log_probs"} if saliency is None else {"log_probs", "saliency"}
    refusal = learner.trainer.refusal(frozenset(outputs))
    if refusal is not None:
        raise ConfigError(refusal)
    config, manifest = learner.config, learner.manifest
    executor = open_executor("in_process", config.ray, config.resources)
    try:
        task = PredictTask(
            images=Images(packed, mean=manifest.mean, std=manifest.std),
            num_classes=len(manifest.classes),
            rows=rows,
            outputs=frozenset(outputs),
            saliency=saliency,
            checkpoint=learner.checkpoint,
            seed=config.seed,
            out_dir=folder,
            cache_dir=folder,
            device=executor.device,
        )
        job = executor.submit(learner.trainer.predict, task, log=folder / "worker.log")
        files = job.result().files
        maps = np.load(files["saliency"]) if "saliency" in files else np.empty(0, np.float32)
        return Asked(np.load(files["log_probs"]), maps)
    finally:
        executor.close()
