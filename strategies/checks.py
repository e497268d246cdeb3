"""What is asked of a strategy's inputs and outputs, checked once, at the door.

All checks are vectorised and walk over big arrays in blocks, so that a memory-mapped pool is never
copied.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from strategies.base import Candidates, Head, Ids, Picks, Rows, StrategyError, Validation
from strategies.kernels.blocks import NARROW_ROWS, map_blocks

if TYPE_CHECKING:
    from strategies.base import QueryStrategy

_SUM_TOLERANCE = 1e-3
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
_HALF = np.dtype(np.float16)
_SHOWN = 3

Block = npt.NDArray[np.floating]
Flags = npt.NDArray[np.bool_]


def check_candidates(candidates: Candidates) -> None:
    """Raises `StrategyError` unless ids and arrays are what `Candidates` promises."""
    ids = candidates.ids
    _check_ids("ids", ids)
    _check_aligned(candidates)
    _check_labelled(candidates)
    if candidates.head is not None:
        _check_head(candidates.head, candidates)
    if candidates.validation is not None:
        _check_validation(candidates.validation, candidates)


def check_request(strategy: QueryStrategy, candidates: Candidates, batch_size: int) -> None:
    """Raises `StrategyError` unless the signals are there and ``0 <= B <= N``."""
    missing = sorted(strategy.needs - candidates.given)
    if missing:
        raise StrategyError(
            f"{strategy.name} needs {', '.join(missing)}, which the candidates do not carry; "
            f"compute what {strategy.name}.needs names"
        )
    if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer):
        raise StrategyError(f"batch_size is {batch_size!r}; give a whole number")
    if not 0 <= batch_size <= len(candidates):
        raise StrategyError(
            f"batch_size is {batch_size}, but {len(candidates)} candidates are left; "
            "ask for between 0 and that many (the caller decides how to clip the last batch)"
        )
    if candidates.num_labelled < strategy.min_labelled:
        raise StrategyError(
            f"{strategy.name} needs {strategy.min_labelled} labelled samples or more, and there "
            f"are {candidates.num_labelled}; start with another strategy (see warm_up)"
        )


def in_canonical_order(candidates: Candidates) -> Candidates:
    """The same candidates with ids ascending; the very same object where they already are."""
    ordered = candidates
    if not _is_ascending(candidates.ids):
        ordered = candidates.take(np.argsort(candidates.ids, kind="stable").astype(np.int64))
    if candidates.labelled_ids is None or _is_ascending(candidates.labelled_ids):
        return ordered
    rows = np.argsort(candidates.labelled_ids, kind="stable")
    about = ("labelled_ids", "labelled_log_probs", "labelled_embeddings", "labelled_labels")
    present = {name: getattr(candidates, name) for name in about}
    return replace(
        ordered, **{name: array[rows] for name, array in present.items() if array is not None}
    )


def check_picks(name: str, picks: Picks, *, num_candidates: int, batch_size: int) -> None:
    """Raises `StrategyError` unless a strategy answered as its contract says."""
    rows, scores = picks.rows, picks.scores
    if rows.shape != (batch_size,) or scores.shape != (batch_size,):
        problem = (
            f"answered rows of shape {rows.shape} and scores of shape {scores.shape}, "
            f"not ({batch_size},) each"
        )
    elif rows.dtype.kind not in "iu":
        problem = f"answered rows of type {rows.dtype}, not integers"
    elif int(rows.min()) < 0 or int(rows.max()) >= num_candidates:
        problem = f"answered rows outside 0 to {num_candidates - 1}"
    elif len(np.unique(rows)) < batch_size:
        problem = "answered the same row twice"
    elif np.isnan(scores).any():
        problem = "answered a score that is NaN"
    elif any(len(array) != num_candidates for array in picks.maps.values()):
        problem = "answered a map that does not describe every candidate"
    else:
        return
    raise StrategyError(f"{name} {problem}; nothing was selected, the strategy is to be mended")


def _is_ascending(ids: Ids) -> bool:
    return bool(np.greater(ids[1:], ids[:-1]).all())


def _check_ids(name: str, ids: Ids) -> None:
    if not isinstance(ids, np.ndarray) or ids.ndim != 1 or ids.dtype.kind not in "Ui":
        what = f"{ids.dtype} {ids.shape}" if isinstance(ids, np.ndarray) else type(ids).__name__
        raise StrategyError(
            f"{name} is {what}; give a one-dimensional numpy array of strings or of integers"
        )
    if _is_ascending(ids):
        return
    ordered = np.sort(ids)
    repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if repeated.size:
        raise StrategyError(f"{name} repeats {_shown(repeated)}; each sample may stand there once")


def _check_aligned(candidates: Candidates) -> None:
    ids, num = candidates.ids, len(candidates.ids)
    if candidates.embeddings is not None:
        _check_shape("embeddings", candidates.embeddings, (num, "D"), "the ids")
        _refuse(
            "embeddings", "are not finite (in float32)", candidates.embeddings, ids, _not_finite
        )
    if candidates.log_probs is not None:
        _check_shape("log_probs", candidates.log_probs, (num, "C"), "the ids")
        _check_log_probs("log_probs", candidates.log_probs, ids)
    if candidates.mc_log_probs is not None:
        _check_shape("mc_log_probs", candidates.mc_log_probs, (num, "K", "C"), "the ids")
        _check_log_probs("mc_log_probs", candidates.mc_log_probs, ids)
    if candidates.flip_distances is not None:
        _check_shape("flip_distances", candidates.flip_distances, (num,), "the ids")
        _refuse(
            "flip_distances", "are NaN or negative", candidates.flip_distances, ids, _not_distance
        )


def _check_log_probs(name: str, log_probs: Block, ids: Ids) -> None:
    _refuse(
        name,
        f"hold NaN or +inf, or do not sum to one within {_SUM_TOLERANCE} after exp "
        "(give a log-softmax)",
        log_probs,
        ids,
        _not_log_probs,
        block_rows=NARROW_ROWS,
    )


def _check_labelled(candidates: Candidates) -> None:
    labelled_ids = candidates.labelled_ids
    given = {
        "labelled_ids": labelled_ids,
        "labelled_log_probs": candidates.labelled_log_probs,
        "labelled_embeddings": candidates.labelled_embeddings,
        "labelled_labels": candidates.labelled_labels,
    }
    sizes = {name: len(array) for name, array in given.items() if array is not None}
    if len(set(sizes.values())) > 1:
        raise StrategyError(f"the labelled arrays differ in length: {sizes}; align them by id")
    if labelled_ids is not None:
        _check_ids("labelled_ids", labelled_ids)
        _check_disjoint(candidates.ids, labelled_ids)
    if candidates.labelled_embeddings is not None:
        _check_labelled_embeddings(candidates.labelled_embeddings, candidates)
    if candidates.labelled_log_probs is not None:
        _check_labelled_log_probs(candidates.labelled_log_probs, candidates)
    if candidates.labelled_labels is not None:
        _check_labels("labelled_labels", candidates.labelled_labels, candidates)


def _check_disjoint(ids: Ids, labelled_ids: Ids) -> None:
    if not ids.size or not labelled_ids.size:
        return
    if ids.dtype.kind != labelled_ids.dtype.kind:
        raise StrategyError(
            f"ids are {ids.dtype} but labelled_ids are {labelled_ids.dtype}; use one kind"
        )
    # The pool may be large and is mostly in order already; the labelled set is small.
    ordered = ids if _is_ascending(ids) else np.sort(ids)
    places = np.minimum(np.searchsorted(ordered, labelled_ids), len(ordered) - 1)
    both = labelled_ids[np.equal(ordered[places], labelled_ids)]
    if both.size:
        raise StrategyError(
            f"{both.size} candidates are labelled already: {_shown(both)}; "
            "leave them out of the pool"
        )


def _check_labelled_embeddings(labelled: Block, candidates: Candidates) -> None:
    width: int | str = "D"
    if candidates.embeddings is not None and len(labelled):
        width = candidates.embeddings.shape[1]
    _check_shape("labelled_embeddings", labelled, (len(labelled), width), "the embeddings")
    names = _names(candidates.labelled_ids, labelled)
    _refuse("labelled_embeddings", "are not finite (in float32)", labelled, names, _not_finite)


def _names(ids: Ids | None, rows: Block) -> Ids:
    return np.arange(len(rows)) if ids is None else ids


def _check_labelled_log_probs(labelled: Block, candidates: Candidates) -> None:
    classes = "C" if candidates.log_probs is None else candidates.log_probs.shape[1]
    _check_shape("labelled_log_probs", labelled, (len(labelled), classes), "the log_probs")
    _check_log_probs("labelled_log_probs", labelled, _names(candidates.labelled_ids, labelled))


def _check_labels(name: str, labels: Rows, candidates: Candidates) -> None:
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise StrategyError(
            f"{name} is {labels.dtype} {labels.shape}; give class numbers, shape (M,)"
        )
    top = np.inf if candidates.log_probs is None else candidates.log_probs.shape[1]
    wrong = labels[(labels < 0) | (labels >= top)]
    if wrong.size:
        raise StrategyError(f"{name} holds {_shown(wrong)}; classes are 0 to {top - 1}")


def _check_validation(validation: Validation, candidates: Candidates) -> None:
    num = len(validation.labels)
    width = "D" if candidates.embeddings is None else candidates.embeddings.shape[1]
    classes = "C" if candidates.log_probs is None else candidates.log_probs.shape[1]
    _check_labels("validation.labels", validation.labels, candidates)
    _check_shape("validation.embeddings", validation.embeddings, (num, width), "its labels")
    _check_shape("validation.log_probs", validation.log_probs, (num, classes), "its labels")
    rows = np.arange(num)
    _refuse(
        "validation.embeddings",
        "are not finite (in float32)",
        validation.embeddings,
        rows,
        _not_finite,
    )
    _check_log_probs("validation.log_probs", validation.log_probs, rows)


def _check_head(head: Head, candidates: Candidates) -> None:
    width: int | str = "D" if candidates.embeddings is None else candidates.embeddings.shape[1]
    classes: int | str = "C" if candidates.log_probs is None else candidates.log_probs.shape[1]
    _check_shape("head.weight", head.weight, (classes, width), "the other arrays")
    _check_shape("head.bias", head.bias, (len(head.weight),), "head.weight")
    if not (np.isfinite(head.weight).all() and np.isfinite(head.bias).all()):
        raise StrategyError("head holds values that are not finite; the fit has diverged")


def _check_shape(name: str, array: Block, wanted: tuple[int | str, ...], like: str) -> None:
    """Raises unless `array` is floating and of shape `wanted`, where a letter stands for >= 1."""
    halves = (_HALF,) if name.endswith("embeddings") else ()
    if not isinstance(array, np.ndarray) or array.dtype not in _FLOATS + halves:
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise StrategyError(f"{name} is {kind}; give a numpy array of float32")
    fits = len(array.shape) == len(wanted) and all(
        have >= 1 if isinstance(want, str) else have == want
        for have, want in zip(array.shape, wanted, strict=True)
    )
    if not fits:
        shape = ", ".join(map(str, wanted))
        raise StrategyError(f"{name} has shape {array.shape}; ({shape}) would fit {like}")


def _refuse(
    name: str,
    problem: str,
    array: Block,
    ids: Ids,
    is_bad: Callable[[Block], Flags],
    *,
    block_rows: int | None = None,
) -> None:
    """Raises where `is_bad` flags rows of `array`, naming how many and the first ids."""
    flags = map_blocks(
        lambda rows: is_bad(np.asarray(array[rows])), len(array), block_rows=block_rows
    )
    bad = np.flatnonzero(np.concatenate(flags)) if flags else np.empty(0, np.int64)
    if bad.size:
        raise StrategyError(
            f"{bad.size} of {len(array)} rows of {name} {problem}; "
            f"the first belong to {_shown(ids[bad])}"
        )


def _not_finite(block: Block) -> Flags:
    # A sum is finite only if all its terms are, and costs one read; only a block that looks bad is
    # looked at value by value (finite values may overflow in the sum).
    # Kernels work in float32, so what is finite in float64 alone is refused, too.
    with np.errstate(over="ignore", invalid="ignore"):
        block = block.astype(np.float32, copy=False)
        if np.isfinite(block @ np.ones(block.shape[1], block.dtype)).all():
            return np.zeros(len(block), np.bool_)
    return np.asarray(~np.isfinite(block).all(axis=1))


def _not_distance(block: Block) -> Flags:
    return np.asarray(~(block >= 0))  # true for NaN, too


def _not_log_probs(block: Block) -> Flags:
    with np.errstate(over="ignore", invalid="ignore"):
        # A product with ones adds up short rows faster than a sum over the last axis.
        sums = np.exp(block) @ np.ones(block.shape[-1], block.dtype)
        normalised = np.abs(sums - 1) <= _SUM_TOLERANCE  # false for NaN, too
    return np.asarray(~normalised.reshape(len(block), -1).all(axis=1))


def _shown(values: npt.NDArray[np.generic]) -> str:
    first = ", ".join(repr(value.item()) for value in values[:_SHOWN])
    return first if len(values) <= _SHOWN else f"{first}, …"
