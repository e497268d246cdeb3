"""Files of predictions: float32 arrays that appear under their names once they are whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainers.base import Output, PredictTask, Rows, TrainingError, TrainTask
from trainers.deep.images import open_packed
from trainers.files import replacing

Floats = npt.NDArray[np.float32]

OF_OTHERS_TOO = frozenset[Output]({"log_probs", "embeddings", "encoder_embeddings"})
"""Outputs that cover `PredictTask.others` after `PredictTask.rows`."""

ROWS_AT_A_TIME = 2**15

TEST_PREDICTIONS = "test_predictions.npz"
"""What a fit leaves of the test set, see `TrainReport.test_predictions`."""


def rows_and_others(task: PredictTask) -> Rows:
    return np.concatenate([task.rows, task.others])


def shapes_of_outputs(
    task: PredictTask, embedding_width: int, posterior_draws: int
) -> dict[Output, tuple[int, ...]]:
    """Shapes of the learner's arrays asked for, by name; the head is no array of rows."""
    num, num_all = len(task.rows), len(task.rows) + len(task.others)
    shapes: dict[Output, tuple[int, ...]] = {
        "log_probs": (num_all, task.num_classes),
        "embeddings": (num_all, embedding_width),
        "mc_log_probs": (num, posterior_draws, task.num_classes),
        "flip_distances": (num,),
    }
    if "saliency" in task.outputs:
        shapes["saliency"] = (num, *open_packed(task.images).shape[1:3])
    return {name: shape for name, shape in shapes.items() if name in task.outputs}


def check_classes(task: PredictTask, num_classes: int) -> None:
    if num_classes != task.num_classes:
        raise TrainingError(
            f"{task.checkpoint} tells {num_classes} classes apart, the task has "
            f"{task.num_classes}; predict with a checkpoint of this experiment"
        )


def path_of(task: PredictTask, name: Output) -> Path:
    return task.out_dir / f"{name}.{'npz' if name == 'head' else 'npy'}"


@contextmanager
def writing(
    task: PredictTask, shapes: Mapping[Output, tuple[int, ...]]
) -> Iterator[dict[Output, Floats]]:
    """Arrays on disk to be filled; all of them appear under their names on a clean exit."""
    with ExitStack() as files:
        arrays: dict[Output, Floats] = {}
        for name, shape in shapes.items():
            temporary = files.enter_context(replacing(path_of(task, name)))
            arrays[name] = create_array(temporary, shape)
        yield arrays
        for array in arrays.values():
            flush_array(array)


def create_array(path: Path, shape: tuple[int, ...]) -> Floats:
    """A float32 `.npy` file to be filled; in memory where it would be empty."""
    if 0 in shape:
        with path.open("wb") as file:
            np.lib.format.write_array(file, np.empty(shape, np.float32))
        return np.empty(shape, np.float32)
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)


def flush_array(array: Floats) -> None:
    if isinstance(array, np.memmap):
        array.flush()


def write_head(task: PredictTask, weight: Floats, bias: Floats) -> Path:
    """Writes (C, D) and (C,): logits = embeddings @ weight.T + bias."""
    path = path_of(task, "head")
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, weight=weight, bias=bias)
    return path


def write_test_predictions(task: TrainTask, log_probs: Floats) -> Path | None:
    """Writes (T, C) of the test set with its rows and labels; nothing where there is none."""
    if len(task.test) == 0:
        return None
    path = task.out_dir / TEST_PREDICTIONS
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, rows=task.test.rows, labels=task.test.labels, log_probs=log_probs)
    return path


def blocks_of(count: int) -> Iterator[slice]:
    """Slices of so many rows, for arrays that may be larger than memory."""
    for start in range(0, count, ROWS_AT_A_TIME):
        yield slice(start, min(start + ROWS_AT_A_TIME, count))
