"""Pictures of what a network learns and does: each function draws into `ax` or a new figure, and returns the Axes.

matplotlib is loaded when the first picture is drawn: `pip install 'fastprop-jit[plot]'`.
"""

from .boundary import decision_boundary
from .confusion_matrix import confusion
from .curves import history, lr_find
from .flow import gradient_flow
from .parameters import weights
from .regression import predictions
from .saving import check_format as check_format
from .saving import save
from .style import off_screen as off_screen

__all__ = [
    "confusion",
    "decision_boundary",
    "gradient_flow",
    "history",
    "lr_find",
    "predictions",
    "save",
    "weights",
]
