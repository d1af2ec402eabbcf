"""Window functions for spectral analysis, and Vandermonde matrices.

The older ``torch.hann_window`` family (periodic by default) and ``torch.signal.windows`` (symmetric
by default). Formulas: F. J. Harris, "On the use of windows for harmonic analysis with the discrete
Fourier transform" (1978). Source: PyTorch's torch.signal.windows page.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from suiren import dtypes
from suiren.device import META
from suiren.operator import composite
from suiren.ops.creation import from_array, options, without_data
from suiren.tensor import Tensor
from suiren.trace import meta

# --------------------------------------------------------------------------
# Shapes: each from a row of positions 0..M-1 and the length L of the (symmetric) window


def _cosines(coefficients: Any):
    def shape(n: np.ndarray, length: int) -> np.ndarray:
        angle = 2 * np.pi * n / (length - 1)
        terms = [(-1) ** i * a * np.cos(i * angle) for i, a in enumerate(coefficients)]
        return np.sum(terms, axis=0)

    return shape


def _bartlett(n: np.ndarray, length: int) -> np.ndarray:
    return 1 - np.abs(2 * n / (length - 1) - 1)


def _kaiser(beta: float):
    def shape(n: np.ndarray, length: int) -> np.ndarray:
        x = 2 * n / (length - 1) - 1
        return np.i0(beta * np.sqrt(np.clip(1 - x * x, 0, None))) / np.i0(np.array(float(beta)))

    return shape


def _window(count: Any, shape: Any, symmetric: bool, kind: Any, layout: Any, device: Any,
            requires_grad: bool, name: str) -> Tensor:  # fmt: skip
    kind, where = options(kind, device, layout)
    if not kind.is_floating_point:
        raise RuntimeError(f"{name} expects floating point dtypes, got: {kind}")
    if not hasattr(count, "__index__"):
        raise TypeError(f"{name}(): the length must be an int, not {type(count).__name__}")
    if count < 0:
        raise RuntimeError(f"{name} requires non-negative window_length, got window_length={count}")
    if where is META:
        return without_data(meta((count,), kind), requires_grad)
    if count <= 1:
        found = np.ones(count)
    else:
        found = shape(np.arange(count, dtype=np.float64), count if symmetric else count + 1)
    return from_array(found.astype(kind.numpy), requires_grad)


# --------------------------------------------------------------------------
# torch.hann_window and its relatives


@composite(where=("torch",), out=False)
def hann_window(window_length, periodic=True, *, dtype=None, layout=None, device=None,
                pin_memory=False, requires_grad=False):  # fmt: skip
    """One period of a raised cosine. Source: torch.hann_window.

    >>> import suiren as torch
    >>> torch.hann_window(4)
    tensor([0.0000, 0.5000, 1.0000, 0.5000])
    """
    return _window(window_length, _cosines((0.5, 0.5)), not periodic, dtype, layout, device,
                   requires_grad, "hann_window")  # fmt: skip


@composite(where=("torch",), out=False)
def hamming_window(window_length, periodic=True, alpha=0.54, beta=0.46, *, dtype=None, layout=None,
                   device=None, pin_memory=False, requires_grad=False):  # fmt: skip
    """``alpha - beta * cos``: a raised cosine on a pedestal. Source: torch.hamming_window."""
    return _window(window_length, _cosines((alpha, beta)), not periodic, dtype, layout, device,
                   requires_grad, "hamming_window")  # fmt: skip


@composite(where=("torch",), out=False)
def blackman_window(window_length, periodic=True, *, dtype=None, layout=None, device=None,
                    pin_memory=False, requires_grad=False):  # fmt: skip
    """Blackman's sum of three cosines. Source: torch.blackman_window."""
    return _window(window_length, _cosines((0.42, 0.5, 0.08)), not periodic, dtype, layout, device,
                   requires_grad, "blackman_window")  # fmt: skip


@composite(where=("torch",), out=False)
def bartlett_window(window_length, periodic=True, *, dtype=None, layout=None, device=None,
                    pin_memory=False, requires_grad=False):  # fmt: skip
    """A triangle. Source: torch.bartlett_window."""
    return _window(window_length, _bartlett, not periodic, dtype, layout, device, requires_grad,
                   "bartlett_window")  # fmt: skip


@composite(where=("torch",), out=False)
def kaiser_window(window_length, periodic=True, beta=12.0, *, dtype=None, layout=None, device=None,
                  pin_memory=False, requires_grad=False):  # fmt: skip
    """Kaiser's window of shape ``beta``. Source: torch.kaiser_window."""
    return _window(window_length, _kaiser(beta), not periodic, dtype, layout, device,
                   requires_grad, "kaiser_window")  # fmt: skip


# --------------------------------------------------------------------------
# torch.signal.windows


def _signal(count, shape, sym, dtype, layout, device, requires_grad, name):
    if hasattr(count, "__index__") and count < 0:
        raise ValueError(f"{name} requires non-negative window length, got M={count}")
    kind = dtype or dtypes.get_default_dtype()
    if kind not in (dtypes.float32, dtypes.float64):
        raise ValueError(f"{name} expects float32 or float64 dtypes, got: {kind}")
    if layout is not None and str(layout) != "torch.strided":
        raise ValueError(f"{name} is implemented for strided tensors only, got: {layout}")
    return _window(count, shape, sym, dtype, layout, device, requires_grad, name)


def _fixed(name: str, shape, summary: str):
    def function(M, *, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
        return _signal(M, shape, sym, dtype, layout, device, requires_grad, name)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{summary} Source: torch.signal.windows.{name}."
    return composite(function, where=("signal.windows",), out=False)


bartlett = _fixed("bartlett", _bartlett, "A triangle.")
blackman = _fixed("blackman", _cosines((0.42, 0.5, 0.08)), "Blackman's sum of three cosines.")
hann = _fixed("hann", _cosines((0.5, 0.5)), "One period of a raised cosine.")
hamming = _fixed("hamming", _cosines((0.54, 0.46)), "A raised cosine on a pedestal.")
nuttall = _fixed(
    "nuttall", _cosines((0.3635819, 0.4891775, 0.1365995, 0.0106411)), "Four cosines, by Nuttall."
)
cosine = _fixed(
    "cosine",
    lambda n, length: np.sin(np.pi * (n + 0.5) / length),
    "Half a period of a sine, sampled between the ends.",
)


@composite(where=("signal.windows",), out=False)
def exponential(M, *, center=None, tau=1.0, sym=True, dtype=None, layout=None, device=None,
                requires_grad=False):  # fmt: skip
    """``exp(-|n - center| / tau)``. Source: torch.signal.windows.exponential."""
    if tau <= 0:
        raise ValueError(f"Tau must be positive, got: {tau} instead.")
    if sym and center is not None:
        raise ValueError("Center must be None for symmetric windows")

    def shape(n, length):
        middle = (length - 1) / 2 if center is None else center
        return np.exp(-np.abs(n - middle) / tau)

    return _signal(M, shape, sym, dtype, layout, device, requires_grad, "exponential")


@composite(where=("signal.windows",), out=False)
def gaussian(M, *, std=1.0, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """A bell of this standard deviation. Source: torch.signal.windows.gaussian."""
    if std <= 0:
        raise ValueError(f"Standard deviation must be positive, got: {std} instead.")

    def shape(n, length):
        return np.exp(-(((n - (length - 1) / 2) / std) ** 2) / 2)

    return _signal(M, shape, sym, dtype, layout, device, requires_grad, "gaussian")


@composite(where=("signal.windows",), out=False)
def kaiser(M, *, beta=12.0, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """Kaiser's window of shape ``beta``. Source: torch.signal.windows.kaiser."""
    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")
    return _signal(M, _kaiser(beta), sym, dtype, layout, device, requires_grad, "kaiser")


@composite(where=("signal.windows",), out=False)
def general_cosine(M, *, a, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """A sum of cosines with these coefficients. Source: torch.signal.windows.general_cosine."""
    if not isinstance(a, (list, tuple)):
        raise TypeError("Coefficients must be a list/tuple")
    if not a:
        raise ValueError("Coefficients cannot be empty")
    return _signal(M, _cosines(a), sym, dtype, layout, device, requires_grad, "general_cosine")


@composite(where=("signal.windows",), out=False)
def general_hamming(M, *, alpha=0.54, sym=True, dtype=None, layout=None, device=None,
                    requires_grad=False):  # fmt: skip
    """``alpha - (1 - alpha) * cos``. Source: torch.signal.windows.general_hamming."""
    shape = _cosines((alpha, 1 - alpha))
    return _signal(M, shape, sym, dtype, layout, device, requires_grad, "general_hamming")


# --------------------------------------------------------------------------


@composite(where=("torch",), out=False)
def vander(x, N=None, *, increasing=False):
    """Powers of the elements of a vector, as rows. Source: torch.vander.

    >>> import suiren as torch
    >>> torch.vander(torch.tensor([1, 2, 3]), 3)
    tensor([[1, 1, 1],
            [4, 2, 1],
            [9, 3, 1]])
    """
    if x._meta.ndim != 1:
        raise RuntimeError(f"x must be a one-dimensional tensor, got {x._meta.ndim} dimensions")
    count = x._meta.shape[0] if N is None else N
    if count < 0:
        raise RuntimeError(f"N must be non-negative, got {count}")
    if x._meta.dtype is dtypes.bool:
        x = x.long()
    found = x.unsqueeze(-1) ** from_array(np.arange(count), where=x._meta.device)
    return found if increasing else found.flip(-1)
