"""What a learner says of rows of the image file, written as whole files of float32."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainers.base import Output, Predictions, PredictTask, TrainingError
from trainers.deep.compute import Mode, repeatable
from trainers.deep.images import Normaliser, Pixels
from trainers.deep.nets.heads import LinearHead
from trainers.deep.networks import load_learner
from trainers.deep.scoring import Scored, score
from trainers.files import replacing

Floats = npt.NDArray[np.float32]


def predict_classifier(task: PredictTask, *, posterior_draws: int) -> Predictions:
    """Computes `task.outputs` of `task.rows` with the network of `task.checkpoint`.

    Raises:
        TrainingError: The checkpoint is not a learner's, or has other classes.
    """
    started = time.perf_counter()
    network, meta = load_learner(task.checkpoint)
    check_classes(task, network.plan.num_classes)
    mode = Mode(**cast("dict[str, Any]", meta["mode"]))
    with repeatable(mode, task.device):
        mode.place(network, task.device)
        pixels = Pixels(task.images, task.rows, task.device)
        normalise = Normaliser(task.images, task.device)
        widths = shapes_of_outputs(task, network.embedding_width, posterior_draws)
        with writing(task, widths) as arrays:
            if arrays:
                for block in score(network, pixels, normalise, mode, task.device):
                    _fill(arrays, block, network.head, task.seed)
    files = {name: path_of(task, name) for name in widths}
    if "head" in task.outputs:
        linear = network.head.linear
        files["head"] = write_head(task, _array(linear.weight), _array(linear.bias))
    return Predictions(files=files, seconds={"predict": time.perf_counter() - started})


def check_classes(task: PredictTask, num_classes: int) -> None:
    if num_classes != task.num_classes:
        raise TrainingError(
            f"{task.checkpoint} tells {num_classes} classes apart, the task has "
            f"{task.num_classes}; predict with a checkpoint of this experiment"
        )


def shapes_of_outputs(
    task: PredictTask, embedding_width: int, posterior_draws: int
) -> dict[Output, tuple[int, ...]]:
    """Shapes of the arrays asked for, by name; the head is no array of rows."""
    shapes: dict[Output, tuple[int, ...]] = {
        "log_probs": (len(task.rows), task.num_classes),
        "embeddings": (len(task.rows), embedding_width),
        "mc_log_probs": (len(task.rows), posterior_draws, task.num_classes),
    }
    return {name: shape for name, shape in shapes.items() if name in task.outputs}


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


def _fill(arrays: Mapping[Output, Floats], scored: Scored, head: LinearHead, seed: int) -> None:
    if "log_probs" in arrays:
        arrays["log_probs"][scored.block] = _array(scored.log_probs)
    if "embeddings" in arrays:
        arrays["embeddings"][scored.block] = _array(scored.embeddings)
    if "mc_log_probs" in arrays:
        draws = arrays["mc_log_probs"][scored.block]
        for draw in range(draws.shape[1]):
            draws[:, draw] = _array(_posterior_log_probs(head, scored.embeddings, seed, draw))


def _posterior_log_probs(head: LinearHead, embeddings: Tensor, seed: int, draw: int) -> Tensor:
    """(B, C) of one posterior draw.

    The head's dropout is the only one, so the encoder runs once for all draws.
    """
    with torch.no_grad(), head.dropout.posterior_draw(embeddings.shape[1], seed, draw):
        logits: Tensor = head(embeddings)
    return logits.log_softmax(dim=1)


def _array(tensor: Tensor) -> Floats:
    return tensor.detach().float().cpu().numpy()
