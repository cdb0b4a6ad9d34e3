"""Central differences, and when a derivative agrees with them.

A difference (f(x + h) - f(x - h)) / 2h is off by h^2 f''' / 6 and by the rounding of f over h; h = 1e-5 makes the two
alike in float64, some 1e-11. Beside a corner of f it is off by anything: smaller steps come closer to the corner, and
on it every number between the slopes of the two sides is a subgradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np

STEP = 1e-5
SMALLER_STEPS = (1e-6, 1e-7)
ROUNDINGS = 10.0  # of a loss, in units of the last place: what sums over samples and layers lose


def noise(values: Any, step: Any) -> Any:
    """How far rounding takes a central difference of such values of f."""
    return ROUNDINGS * np.finfo(np.float64).eps * np.abs(values) / step


def relative_error(analytic: Any, numeric: Any, floor: Any, tol: float) -> Any:
    """|analytic - numeric| over the larger of the two; `floor` is a difference that says nothing.

    An error is above `tol` only if the difference is above `floor`.
    """
    scale = np.maximum(np.maximum(np.abs(analytic), np.abs(numeric)), floor / tol)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.where(scale > 0.0, np.abs(analytic - numeric) / np.where(scale > 0.0, scale, 1.0), 0.0)
    return np.where(np.isfinite(analytic) & np.isfinite(numeric), error, np.inf)[()]
