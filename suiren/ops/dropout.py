"""Dropout: masks are drawn when the operation is recorded, in the order PyTorch draws them.

The mask comes from the default generator's stream on the host and enters the program as a tensor,
so a program that is run again gets a new mask. Source: PyTorch's torch.nn.functional page, "Dropout
functions"; Srivastava et al. 2014; Klambauer et al. 2017, arXiv:1706.02515 (alpha_dropout).
"""

from __future__ import annotations

import math

import numpy as np

from suiren.device import META
from suiren.operator import NAMESPACES, composite
from suiren.ops.creation import drawn, from_array
from suiren.ops.elementwise import assign
from suiren.trace import Meta

_BOTH = ("torch", "nn.functional")
# The value that a SELU network's units tend to for very negative inputs.
_ALPHA = 1.7580993408473766


def _check(p: float, name: str = "dropout") -> None:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _kept(m: Meta, p: float, by_channel: bool, scaled: bool = False) -> np.ndarray:
    """1 where an element (or a channel) is kept, 0 elsewhere; broadcasts to the input.

    ``scaled``: 1 / (1 - p) in place of 1. Elements are drawn in the order in which the input lies
    in memory (unless it is expanded), channels in the order of their numbers.
    """
    from suiren.random import default_generator

    shape = tuple(m.shape)
    if by_channel:
        shape = (*shape[:2], *(1,) * (len(shape) - 2))
    order = None
    if not by_channel and not m.contiguous and 0 not in m.strides:
        order = sorted(range(m.ndim), key=lambda d: -m.strides[d])
        shape = tuple([shape[d] for d in order])
    kind = m.dtype.numpy
    if p == 1:  # nothing is drawn
        return np.zeros(shape, kind)
    drawn = m.dtype.to_real().numpy if m.dtype.is_complex else kind
    with default_generator.lock:
        mask = default_generator.stream.dropout_mask(shape, p, drawn, scaled)
    if order is not None:
        mask = np.ascontiguousarray(mask.transpose(np.argsort(order)))
    return mask.astype(kind, copy=False)


def _drop(input, p: float, train: bool, by_channel: bool = False):
    if p == 0 or not train or not input._meta.numel:
        return input
    if p == 1 or input._meta.device is META:  # nothing is drawn
        return input * from_array(np.zeros((), input._meta.dtype.numpy))
    return input * drawn(_scaled, input._meta, p, by_channel)


def _scaled(m: Meta, p: float, by_channel: bool) -> np.ndarray:
    return _kept(m, p, by_channel, scaled=True)


def _drop_alpha(input, p: float, train: bool, by_channel: bool = False):
    if p == 0 or not train or not input._meta.numel:
        return input
    if p == 1 or input._meta.device is META:  # nothing is drawn
        return input * from_array(np.zeros((), input._meta.dtype.numpy))
    scale = 1 / math.sqrt((_ALPHA * _ALPHA * p + 1) * (1 - p))
    mask = _kept(input._meta, p, by_channel)
    kind = mask.dtype.type
    # dropped elements become -_ALPHA, then mean and variance are restored
    level = (mask - kind(1)) * kind(_ALPHA * scale) + kind(_ALPHA * scale * p)
    return input * from_array((mask * kind(scale)).astype(mask.dtype, copy=False)) + from_array(
        level.astype(mask.dtype, copy=False)
    )


def _placed(input, result, inplace: bool, name: str):
    return assign(input, result, name) if inplace and result is not input else result


def _check_floating(input, name: str) -> None:
    if input._meta.dtype.category < 2:
        raise RuntimeError(
            f"{name}: result type Float can't be cast to {input._meta.dtype}; dropout scales what "
            "it keeps, so it takes floating types only"
        )


@composite(where=("nn.functional",), out=False)
def dropout(input, p=0.5, training=True, inplace=False):
    """``input`` with a share ``p`` of its elements zeroed and the rest divided by 1 - p.

    Itself if ``training`` is False. Raises ValueError for p outside [0, 1].
    Source: torch.nn.functional.dropout.
    """
    _check(p)
    return _placed(input, _drop(input, p, training), inplace, "dropout_")


@composite(where=("nn.functional",), out=False)
def alpha_dropout(input, p=0.5, training=False, inplace=False):
    """Dropout that keeps mean 0 and variance 1 for SELU. Source: F.alpha_dropout."""
    _check(p)
    return _placed(input, _drop_alpha(input, p, training), inplace, "alpha_dropout_")


@composite(where=("nn.functional",), out=False)
def feature_alpha_dropout(input, p=0.5, training=False, inplace=False):
    """alpha_dropout of whole channels. Source: F.feature_alpha_dropout."""
    _check(p)
    if training:
        _check_channels(input, "feature_alpha_dropout")
    return _placed(input, _drop_alpha(input, p, training, True), inplace, "feature_alpha_dropout_")


def _check_channels(input, name: str) -> None:
    if input._meta.ndim < 2:
        raise RuntimeError(
            "Feature dropout requires at least 2 dimensions in the input: "
            f"{name} got {list(input._meta.shape)}"
        )


@composite(where=("nn.functional",), out=False)
def dropout1d(input, p=0.5, training=True, inplace=False):
    """Dropout of whole channels of (batch, channels, length) or (channels, length).

    Source: torch.nn.functional.dropout1d.
    """
    return _drop_channels(input, p, training, inplace, 1)


@composite(where=("nn.functional",), out=False)
def dropout2d(input, p=0.5, training=True, inplace=False):
    """Dropout of whole channels of (batch, channels, height, width).

    Source: torch.nn.functional.dropout2d.
    """
    _check(p)
    ndim = input._meta.ndim
    if ndim not in (3, 4):
        _warn_dims("dropout2d", ndim, "4-D", "dropout1d" if ndim == 2 else "dropout")
    if ndim == 3:
        import warnings

        warnings.warn(
            "dropout2d: Received a 3D input and will treat it as (batch, channels, length), "
            "dropping whole channels of one dimension; use dropout1d for that.",
            stacklevel=2,
        )
    if training:
        _check_channels(input, "dropout2d")
    return _placed(input, _drop(input, p, training, True), inplace, "dropout2d_")


@composite(where=("nn.functional",), out=False)
def dropout3d(input, p=0.5, training=True, inplace=False):
    """Dropout of whole channels of (batch, channels, d, h, w) or (channels, d, h, w).

    Source: torch.nn.functional.dropout3d.
    """
    _check(p)
    ndim = input._meta.ndim
    if ndim not in (4, 5):
        _warn_dims("dropout3d", ndim, "5-D or 4-D", "another dropout")
        if training:
            _check_channels(input, "dropout3d")
        return _placed(input, _drop(input, p, training, True), inplace, "dropout3d_")
    return _drop_channels(input, p, training, inplace, 3)


def _warn_dims(name: str, ndim: int, wanted: str, instead: str) -> None:
    import warnings

    warnings.warn(
        f"{name}: Received a {ndim}-D input, where {wanted} is expected: the second dimension is "
        f"taken as channels. Use {instead} if that is not meant; this may become an error.",
        stacklevel=3,
    )


def _drop_channels(input, p, training, inplace, axes: int):
    _check(p)
    name = f"dropout{axes}d"
    ndim = input._meta.ndim
    if ndim not in (axes + 1, axes + 2):
        raise RuntimeError(
            f"{name}: Expected {axes + 1}D or {axes + 2}D input, but received a {ndim}D input: "
            f"whole channels of {axes} dimensions are dropped, with or without a batch"
        )
    batched = input if ndim == axes + 2 else input.unsqueeze(0)
    result = _drop(batched, p, training, True)
    if batched is not input:
        result = result.squeeze(0)
    return _placed(input, result, inplace, name + "_")


# ---- torch's own spellings, with other argument names


def _torch_form(name: str, function, in_place_too: bool = True) -> None:
    def called(input, p, train):
        _check(p)
        return function(input, p, train)

    def changed(input, p, train):
        _check(p)
        return _placed(input, function(input, p, train), True, name + "_")

    called.__name__ = called.__qualname__ = name
    called.__doc__ = f"torch.nn.functional.{name}(input, p, train). Source: torch.{name}."
    changed.__name__ = changed.__qualname__ = name + "_"
    changed.__doc__ = f"In-place form of {name}."
    NAMESPACES["torch"][name] = called
    NAMESPACES["torch"][name + "_"] = changed


_torch_form("dropout", _drop)
_torch_form("alpha_dropout", _drop_alpha)
_torch_form("feature_dropout", lambda x, p, train: _drop(x, p, train, True))
_torch_form("feature_alpha_dropout", lambda x, p, train: _drop_alpha(x, p, train, True))


@composite(where=("torch",), out=False)
def native_dropout(input, p, train):
    """(dropout's result, which elements were kept). Source: torch.native_dropout."""
    if train is False or not input._meta.numel:
        ones = from_array(np.ones(tuple(input._meta.shape), np.bool_), where=input._meta.device)
        return input.clone(), ones
    if input._meta.device is META:
        return input * 1.0, input.bool()
    mask = _kept(input, p, False)
    scale = 0.0 if p == 1 else 1 / (1 - p)
    return input * from_array(mask) * scale, from_array(mask.astype(np.bool_))
