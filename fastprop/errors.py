"""Errors of our own."""

from __future__ import annotations


class DivergenceError(ValueError):
    """Training has left the finite numbers; the weights are those of the last finite state."""


class FileError(ValueError):
    """A file is not one of ours, is damaged, or is from a newer version."""


class MissingClassError(ValueError):
    """A file needs a class of the user's that is neither registered nor in `custom`."""
