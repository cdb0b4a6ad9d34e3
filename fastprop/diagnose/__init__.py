"""See what a network does: checks of its gradients, where they vanish, which learning rate, a step in the open."""

from .errors import GradientError
from .gradient_check import ArrayCheck, GradientCheck, check_gradients

__all__ = ["ArrayCheck", "GradientCheck", "GradientError", "check_gradients"]
