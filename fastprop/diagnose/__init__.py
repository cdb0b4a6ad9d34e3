"""See what a network does: checks of its gradients, where they vanish, which learning rate, a step in the open."""

from .errors import GradientError
from .flow import Flow, GradientFlow, LayerFlow, gradient_flow
from .formula_check import FormulaCheck
from .gradient_check import ArrayCheck, GradientCheck, check_gradients
from .overfit import Overfit, overfit_one_batch
from .rates import Rates, lr_find
from .step import Step, StepLayer, explain_step

__all__ = [
    "ArrayCheck",
    "Flow",
    "FormulaCheck",
    "GradientCheck",
    "GradientError",
    "GradientFlow",
    "LayerFlow",
    "Overfit",
    "Rates",
    "Step",
    "StepLayer",
    "check_gradients",
    "explain_step",
    "gradient_flow",
    "lr_find",
    "overfit_one_batch",
]
