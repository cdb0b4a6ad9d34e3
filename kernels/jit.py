"""What kernels are made with: the decorators, calls by address, and the components that a kernel holds."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, models, overload_method, register_model

from . import vmath  # noqa: F401  what components may call
from .access import Operation, Step
from .activations import needs_z
from .compiler import INNER, ROUTINE, Code, forced, inner, machine_code
from .components import fingerprint
from .handles import ENTRY, Kernel, kernel_named
from .simd import Spec

__all__ = ["INNER", "component", "forced", "inner", "invoke", "keeps_z", "kernel"]


# ---- kernels ------------------------------------------------------------------------------------------------------


def arguments(spec: Spec) -> tuple:
    """The types of a kernel's arguments."""
    return spec, Operation, Step, types.int64, types.int64


def kernel(function: Callable) -> Kernel:
    """Decorator: make a kernel."""
    made = kernel_named(function.__module__.rpartition(".")[2], function.__name__)
    made.function, made.__doc__ = function, function.__doc__
    return made


def compile_kernel(function: Callable, dtype: str, classes: tuple[type, ...]) -> Code:
    """`machine_code` of a kernel for a dtype and classes."""
    spec = Spec(getattr(types, dtype), classes, tuple(map(fingerprint, classes)))
    return machine_code(function, arguments(spec), ENTRY, INNER)


def compile_routine(function: Callable, n_arguments: int) -> Code:
    """`machine_code` of a routine, to be called as a function of Python."""
    return machine_code(function, (types.int64,) * n_arguments, ENTRY, ROUTINE)


@intrinsic
def invoke(typingctx, address, operation, step, first, last):
    """Call the kernel at `address`."""
    kinds = arguments(Spec(types.float32))  # every spec is passed alike: as nothing

    def codegen(context, builder, sig, args):
        signature = context.call_conv.get_function_type(types.none, kinds)
        function = builder.inttoptr(args[0], signature.as_pointer())
        nothing = context.get_dummy_value()
        context.call_conv.call_function(builder, function, types.none, kinds, [nothing, *args[1:]])
        return nothing

    return types.void(types.int64, Operation, Step, types.int64, types.int64), codegen


# ---- components inside kernels ------------------------------------------------------------------------------------


class ActivationType(types.NamedTuple):
    """An activation in compiled code."""


class LossType(types.NamedTuple):
    """A loss in compiled code."""


class RuleType(types.NamedTuple):
    """An update rule in compiled code."""


KINDS = {"activation": ActivationType, "loss": LossType, "optimizer": RuleType}
for kind in KINDS.values():
    register_model(kind)(models.TupleModel)


@intrinsic(prefer_literal=True)
def component(typingctx, spec, k, address):
    """The instance of the spec's class number k (a literal) whose float64 fields lie at `address`."""
    cls = spec.classes[k.literal_value]
    n = max(1, len(cls._fields))  # Numba cannot pass an empty tuple to a function: a class without fields has a pad
    kind = KINDS[cls.component_kind]([types.float64] * n, cls)

    def codegen(context, builder, sig, args):
        p = builder.inttoptr(args[2], ir.DoubleType().as_pointer())
        values = [builder.load(builder.gep(p, [ir.IntType(64)(i)])) for i in range(n)]
        return context.make_tuple(builder, kind, values)

    return kind(spec, k, types.int64), codegen


@intrinsic
def keeps_z(typingctx, spec):
    """Whether the derivative of the spec's activation needs z, not only a: a constant."""
    value = needs_z(spec.classes[0])
    return types.boolean(spec), lambda context, builder, sig, args: ir.IntType(1)(value)


@overload_method(ActivationType, "value", jit_options=INNER)
def activation_value(self, z):
    return self.instance_class.value


@overload_method(ActivationType, "derivative", jit_options=INNER)
def activation_derivative(self, z, a):
    return self.instance_class.derivative


@overload_method(LossType, "value", jit_options=INNER)
def loss_value(self, y, p):
    return self.instance_class.value


@overload_method(LossType, "gradient", jit_options=INNER)
def loss_gradient(self, y, p):
    return self.instance_class.gradient


@overload_method(RuleType, "update", jit_options=INNER)
def rule_update(self, w, g, slots, lr, t):
    return self.instance_class.update


@overload_method(RuleType, "clock", jit_options=INNER)
def rule_clock(self, t):
    """What `update` receives in place of the count of updates; the count itself if the rule has no `clock`."""
    return getattr(self.instance_class, "clock", None) or (lambda self, t: t)
