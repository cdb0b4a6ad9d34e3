"""What is said when training has to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .engine import Engine

if TYPE_CHECKING:
    from .segments import Place

ADVICE = "Try a smaller learning rate, clip_norm=1.0, or inputs and targets of mean 0 and deviation 1"


def divergence_message(epoch: int, chunk: Any, what: str, n_good: int, place: Place | None) -> str:
    """What happened, where, and what to try; `place` is where in epoch `n_good` training stands now."""
    restored = f"the weights after epoch {n_good - 1}, the last good one, are restored"
    kept = restored if n_good else "the weights are as before the call"
    if place is not None and place.first + place.count > place.base:  # not at the beginning of the epoch
        kept = f"the weights after step {place.count - 1}, from which the run went on in epoch {n_good}, are restored"
    return (
        f"the {what} became NaN or infinite in epoch {epoch}, step {int(chunk['count']) - 1} at learning rate "
        f"{chunk['lr']:g}; {kept}. {ADVICE}"
    )


def bad_row_message(engine: Engine, rows: np.ndarray | None, chunk: Any) -> str:
    """Names the first number of a chunk of X that is not finite (in the network's dtype)."""
    matrix: Any = engine.data
    first, n = int(chunk["first"]), int(chunk["n_rows"])
    numbers = np.arange(first, first + n) if rows is None else rows[first : first + n]
    for row in numbers:
        values = np.asarray(matrix.array[[int(row)]].toarray() if matrix.is_sparse else matrix.array[int(row)]).ravel()
        with np.errstate(over="ignore"):
            bad = np.flatnonzero(~np.isfinite(values.astype(engine.plan.dtype)))
        if len(bad):
            names = matrix.feature_names
            column = repr(names[bad[0]]) if names is not None else int(bad[0])
            value = values[bad[0]]
            why = "must be finite" if not np.isfinite(value) else f"must be finite in {engine.plan.dtype}"
            return (
                f"X {why}, got {value} in row {int(row)}, column {column}; fill or drop it, the weights are unchanged"
            )
    return "X or y must be finite and must not change during a fit; the weights are unchanged"
