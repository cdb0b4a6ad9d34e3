"""Amounts of memory as people write them."""

from __future__ import annotations

import re

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def parse_bytes(name: str, value: object) -> int:
    """Bytes of a size such as 500_000_000, "500MB", "1.5 GB" or "2GiB".

    Raises
    ------
    TypeError
        If it is neither an int nor a string.
    ValueError
        If it cannot be read or is not positive; the message has `name`.
    """
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", value.lower())
        if match is None or match[2] not in UNITS:
            raise ValueError(f'{name} must be a size such as "500MB" or "2GiB", got {value!r}')
        n = int(float(match[1]) * UNITS[match[2]])
    elif hasattr(value, "__index__") and not isinstance(value, bool):
        n = int(value)
    else:
        raise TypeError(f'{name} must be bytes as an int, or a size such as "500MB", got {value!r}')
    if n <= 0:
        raise ValueError(f"{name} must be positive, got {value!r}")
    return n
