"""Suiren: PyTorch's interface over an engine written in Python. ``import suiren as torch``."""

from suiren import operator as _registry
from suiren import autograd
from suiren.ops import arithmetic, casts, creation, python_operators, reductions, views  # noqa: F401
from suiren import tensor_methods
from suiren.tensor import Tensor

tensor_methods.attach()
for _name, _function in _registry.NAMESPACES["Tensor"].items():
    setattr(Tensor, _name, _function)
python_operators.attach()
globals().update(_registry.NAMESPACES["torch"])
