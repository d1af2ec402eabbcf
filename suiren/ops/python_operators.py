"""Python's operators on tensors: ``+``, ``-``, ``@``, ``<`` and their reflected and in-place forms.

A table from Python's method names to the functions of the same meaning. An operand that is neither
tensor nor number makes the method return NotImplemented, so the other object gets its turn; NumPy
scalars and arrays are taken in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from suiren.operator import NAMESPACES
from suiren.ops.elementwise import NUMBERS, as_tensor_like
from suiren.tensor import Tensor
from suiren.views import assign, check_partial_overlap

# Python's name -> the function's name
BINARY = {
    "add": "add", "sub": "sub", "mul": "mul", "truediv": "div", "floordiv": "floor_divide",
    "mod": "remainder", "pow": "pow", "and": "bitwise_and", "or": "bitwise_or",
    "xor": "bitwise_xor", "lshift": "bitwise_left_shift", "rshift": "bitwise_right_shift",
    "matmul": "matmul",
}  # fmt: skip
COMPARISONS = {"lt": "lt", "le": "le", "gt": "gt", "ge": "ge", "eq": "eq", "ne": "ne"}
UNARY = {"neg": "neg", "pos": "positive", "abs": "abs", "invert": "bitwise_not"}


def _forward(function: Callable) -> Callable:
    def method(self, other):
        if not isinstance(other, Tensor) and other.__class__ not in NUMBERS:
            other = as_tensor_like(other, self)
            if other is NotImplemented:
                return NotImplemented
        return function(self, other)

    return method


def _reflected(function: Callable) -> Callable:
    def method(self, other):
        if not isinstance(other, Tensor) and other.__class__ not in NUMBERS:
            other = as_tensor_like(other, self)
            if other is NotImplemented:
                return NotImplemented
        return function(other, self)

    return method


def _changing(function: Callable, name: str) -> Callable:
    def method(self, other):
        if not isinstance(other, Tensor) and other.__class__ not in NUMBERS:
            other = as_tensor_like(other, self)
            if other is NotImplemented:
                return NotImplemented
        elif other.__class__ is Tensor and other._storage is self._storage:
            check_partial_overlap(self, other, name)
        return assign(self, function(self, other), name)

    return method


def _divided_by(reciprocal: Callable) -> Callable:
    def divide(other, self):
        return reciprocal(self) * other

    return divide


def attach() -> None:
    """Gives Tensor Python's operator methods, from the functions registered by now."""
    methods: dict[str, Any] = NAMESPACES["Tensor"]
    for name, function_name in BINARY.items():
        function = methods.get(function_name)
        if function is None:
            continue
        _set(f"__{name}__", _forward(function))
        _set(f"__r{name}__", _reflected(function))
        _set(f"__i{name}__", _changing(function, f"{function_name}_"))
    for name, function_name in COMPARISONS.items():
        if function_name in methods:
            _set(f"__{name}__", _forward(methods[function_name]))
    for name, function_name in UNARY.items():
        if function_name in methods:
            _set(f"__{name}__", methods[function_name])
    if "reciprocal" in methods:  # PyTorch divides a number by a tensor in two steps
        _set("__rtruediv__", _reflected(_divided_by(methods["reciprocal"])))
    if "div" in methods:  # Python 2's names, which PyTorch still has
        _set("__div__", _forward(methods["div"]))
        _set("__rdiv__", Tensor.__rtruediv__)


def _set(name: str, method: Callable) -> None:
    setattr(Tensor, name, method)


__all__ = ["BINARY", "COMPARISONS", "UNARY", "attach"]
