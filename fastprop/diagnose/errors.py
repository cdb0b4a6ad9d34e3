"""Errors of diagnostics."""

from __future__ import annotations

from typing import Any


class GradientError(ValueError):
    """A gradient disagrees with the loss that it should be the gradient of.

    Attributes
    ----------
    check : GradientCheck or None
        What was found.
    """

    def __init__(self, message: str, check: Any = None) -> None:
        super().__init__(message)
        self.check = check
