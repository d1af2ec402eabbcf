"""What is left of torch.special: entropy terms, x log(1 + y), frexp, and names for functions above.

The families live in ``error_functions.py``, ``gamma.py``, ``bessel.py`` and ``polynomials.py``.
Source: PyTorch's torch.special page.
"""

from __future__ import annotations

import math

import numpy as np

from suiren import dtypes, return_types
from suiren.dispatch import apply
from suiren.operator import NAMESPACES, operator
from suiren.ops import bessel, error_functions, gamma, polynomials  # noqa: F401 (registers them)
from suiren.ops.elementwise import broadcast_meta, elementwise
from suiren.ops.lowering import INFINITY, alike
from suiren.ops.pointwise import round_
from suiren.ops.refusals import as_array, refusing
from suiren.tensor import Tensor


@elementwise("float", where=("special",), inplace=False)
class entr:
    """``-input * log(input)``: zero at zero, minus infinity below. Source: torch.special.entr."""

    node_name = "SpecialEntrBackward0"
    refuse = refusing("entr", "complex")

    def evaluate(input):
        found = -input * np.log(np.where(input > 0, input, 1))
        return np.where(input < 0, -np.inf, found).astype(input.dtype)

    def decompose(g, input):
        found = -input * g.where(input > 0, input, 1).log()
        return g.where(input < 0, -INFINITY, found)

    def grad_input(grad, input):
        return grad * -(1 + input.log())


@elementwise("float", where=("special",), inplace=False)
class xlog1py:
    """``input * log(1 + other)``, zero where input is zero (NaN where other is).

    Source: torch.special.xlog1py.
    """

    node_name = "SpecialXlog1PyBackward0"
    refuse = refusing("xlog1py", "complex")

    def evaluate(input, other):
        other = as_array(other, input)
        product = np.multiply(input, np.log1p(other))
        return np.where(np.equal(input, 0) & ~np.isnan(other), 0, product).astype(product.dtype)

    def decompose(g, input, other):
        input, other = alike(input, other)
        return g.where(input.eq(0) & ~other.isnan(), 0, input * other.log1p())

    def grad_input(grad, input, other):
        logarithm = other.log1p() if isinstance(other, Tensor) else _log1p(other)
        return (grad * logarithm).masked_fill((input == 0) & (other <= -1), 0)

    def grad_other(grad, input, other):
        return grad * input / (other + 1)


def _log1p(x):
    return math.log1p(x) if x > -1 else (-math.inf if x == -1 else math.nan)


_frexp_result = return_types.make("frexp", "mantissa exponent")


@operator
class frexp:
    """Mantissa in [0.5, 1) and exponent with ``input = mantissa * 2 ** exponent``.

    Raises RuntimeError unless ``input`` is floating. Source: torch.frexp.

    >>> import suiren as torch
    >>> torch.frexp(torch.tensor([8.])).exponent
    tensor([4], dtype=torch.int32)
    """

    results = 2
    widen = True

    def call(input):
        if not input._meta.dtype.is_floating_point:
            raise RuntimeError(
                f"torch.frexp() only supports floating-point dtypes, got {input._meta.dtype}"
            )
        return _frexp_result(apply(frexp.operator, (input,)))

    def infer(input):
        kinds = (input.dtype, dtypes.int32)
        return tuple([broadcast_meta((input,), kind) for kind in kinds])

    def evaluate(input):
        return tuple(map(np.asarray, np.frexp(input)))

    def grad_input(grads, result1):
        return grads[0] / 2.0**result1


# ---- functions that torch.special has under names of their own

_special = NAMESPACES["special"]
_special["round"] = NAMESPACES["torch"].get("round", round_)
