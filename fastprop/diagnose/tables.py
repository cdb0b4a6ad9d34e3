"""Tables as text."""

from __future__ import annotations

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Lines of columns; the first `left` columns are set flush left, the others flush right."""
    lines = [tuple(header), *map(tuple, rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(header))]
    set_flush = [str.ljust if k < left else str.rjust for k in range(len(header))]
    text = ["  ".join(f(cell, w) for f, cell, w in zip(set_flush, line, widths, strict=True)) for line in lines]
    return "\n".join(line.rstrip() for line in [text[0], "-" * (sum(widths) + 2 * len(widths) - 2), *text[1:]])


def number(value: float | None, form: str = ".2e") -> str:
    """A number in a table; a dash for what there is not."""
    return "-" if value is None else format(value, form)


def share(value: float | None) -> str:
    """A share in per cent; a dash for what there is not."""
    return "-" if value is None else f"{100 * value:.0f} %"
