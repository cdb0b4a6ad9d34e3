"""Values of options as people write them: widths, durations, columns with a number."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

SECONDS = {"ms": 1e-3, "s": 1.0, "": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def widths(hidden: str) -> list[int]:
    """The widths of hidden layers, such as "128,64"; "" is none."""
    try:
        return [int(width) for width in hidden.split(",") if width.strip()]
    except ValueError:
        raise ValueError(f"hidden must be widths separated by commas, such as 128,64, got {hidden!r}") from None


def seconds(name: str, text: str) -> float:
    """Seconds of a duration such as "60", "60s", "5m", "50ms" or "1h".

    Raises
    ------
    ValueError
        If it cannot be read, or is not positive; the message has `name`.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([a-z]*)\s*", text.lower())
    found = float(match[1]) * SECONDS[match[2]] if match and match[2] in SECONDS else math.nan
    if not found > 0:
        raise ValueError(f"{name} must be a duration such as 60s, 5m or 50ms, got {text!r}")
    return found


def hashed(options: Sequence[str]) -> dict[str, int]:
    """Columns and their numbers of features, of options such as "url=4096"."""
    found = {}
    for option in options:
        column, equals, number = option.rpartition("=")
        if not (equals and column and number.isdigit()):
            raise ValueError(f"hash must be a column and its number of features, such as url=4096, got {option!r}")
        found[column] = int(number)
    return found
