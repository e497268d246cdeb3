"""Checkpoint files: written whole, read without running code, known by the digest of their weights.

A learner's checkpoint is ``{"weights": {name: tensor}, "meta": {...}}`` where `meta` holds what it
takes to build the network again: numbers, words, lists and mappings only.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainers.base import TrainingError
from trainers.deep.plain_pickle import load_plain
from trainers.files import replacing


class _Recorder:
    """Stands for a class of POSTER's training script; its curves are not ours to read."""


_RECONSTRUCT: Any = np.empty(0).__reduce__()[0]

_BAGS: list[Any] = [
    argparse.Namespace,
    *((_Recorder, f"__main__.{name}") for name in ("RecorderMeter", "RecorderMeter1")),
    *((_RECONSTRUCT, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    np.ndarray,
    np.dtype,
    type(np.dtype(np.float32)),
    type(np.dtype(np.float64)),
]
"""Classes whose instances hold plain values, under the names by which files know them."""

Weights = Mapping[str, Tensor]


def digest_of_weights(weights: Weights) -> str:
    """sha256 over (name, dtype, shape, bytes) of every tensor, by ascending name.

    Neither the device nor the memory layout takes part.
    """
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def on_cpu(weights: Weights) -> dict[str, Tensor]:
    """A copy of these weights that later training steps do not change."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in weights.items()}


def save(path: Path, content: Mapping[str, object]) -> None:
    """Writes a checkpoint whole or not at all."""
    with replacing(path) as temporary:
        torch.save(dict(content), temporary)


def load(path: Path) -> dict[str, object]:
    """Reads a checkpoint onto the CPU; refuses whatever is not tensors and plain values.

    Let through are also a state dict written by plain `pickle`, and what some code bases leave
    beside theirs: ActiveFER's `argparse.Namespace`, POSTER's recorders with their numpy arrays.

    Raises:
        TrainingError: The file is missing, damaged, holds other objects, or is not a mapping.
    """
    try:
        plain = _plainly(path)
        if plain is not None:
            return plain
        with torch.serialization.safe_globals(_BAGS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise TrainingError(f"{path} does not exist; correct the path, or make the file") from error
    except Exception as error:
        raise TrainingError(
            f"{path} cannot be read as a checkpoint of tensors and plain values "
            f"({_reason(error)}); save it again with torch.save of a state dict"
        ) from error
    if not isinstance(content, dict):
        raise TrainingError(
            f"{path} holds a {type(content).__name__}; a checkpoint is a mapping of names to "
            "tensors: save the model's state_dict()"
        )
    return content


def _reason(error: Exception) -> str:
    """What torch says, without its advice to read the file unsafely."""
    said = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
    found = re.search(r"Unsupported (?:global|class|operand)[^\n]*?([\w.]+\.[\w.]+)", said)
    if "weights_only" in said:
        return "it holds other objects" + (f", such as {found[1]}" if found else "")
    first = said.splitlines()[0] if said else ""
    is_told = len(first.split()) > 1
    return first if is_told else "it is damaged, empty, or no checkpoint at all"


def _plainly(path: Path) -> dict[str, object] | None:
    """The mapping that plain `pickle` wrote; None where the file is of another kind."""
    with path.open("rb") as file:
        if file.read(2) == b"PK":  # a zip archive, which torch writes
            return None
    try:
        content = load_plain(path)
    except Exception:  # noqa: BLE001 - torch reads it then, or says why not
        return None
    return content if isinstance(content, dict) else None
