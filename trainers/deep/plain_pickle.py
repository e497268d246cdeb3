"""State dicts that somebody wrote with `pickle.dump`, read without running what is in them.

ActiveFER leaves its network so, as `final_model.pkl`. A pickle names functions to be called; here
only those that put a tensor together may be, and storages go to the CPU wherever they were.
"""

from __future__ import annotations

import collections
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

_REBUILDING = ("_rebuild_tensor_v2", "_rebuild_parameter")


def load_plain(path: Path) -> object:
    """What a pickle of tensors in plain containers holds.

    Raises:
        pickle.UnpicklingError: It is no pickle, or names anything else.
    """
    with path.open("rb") as file:
        return _Restricted(file).load()


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = _ALLOWED.get((module, name))
        if found is None:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not let through")
        return found

    def persistent_load(self, pid: object) -> object:
        raise pickle.UnpicklingError(f"it refers to {pid!r} elsewhere")


def _storage(content: bytes) -> object:
    """A storage on the CPU; torch reads it under the same restrictions."""
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _bytes(text: str, encoding: str) -> bytes:
    """How pickles of protocol 2 write bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding!r}")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("_codecs", "encode"): _bytes,
    ("torch.storage", "_load_from_bytes"): _storage,
    **{("torch._utils", name): getattr(torch._utils, name) for name in _REBUILDING},  # noqa: SLF001
}
