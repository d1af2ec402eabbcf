"""`torch.autocast` and the functions around it: the settings of one thread, and changing them.

Entering remembers what was set before, in the thread and not on the object, so that one object may
be entered again (a decorated function that calls itself) and by several threads. Only the CPU's
setting has an effect; those of other devices are kept and given back. Source: PyTorch's torch.amp
page.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from suiren import dtypes
from suiren.autocast_state import change, state
from suiren.dtypes import dtype as _dtype
from suiren.tensor import Tensor

__all__ = ["autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]

# The lower type of each device that PyTorch knows, if none is named.
_LOWER = {
    "cpu": dtypes.bfloat16, "cuda": dtypes.float16, "xpu": dtypes.float16, "mps": dtypes.float16,
    "hpu": dtypes.bfloat16, "xla": dtypes.bfloat16, "ipu": dtypes.float16, "mtia": dtypes.float16,
    "maia": dtypes.float16, "privateuseone": dtypes.float16,
}  # fmt: skip
_WITHOUT = ("mkldnn", "opengl", "opencl", "ideep", "hip", "ve", "fpga", "lazy", "vulkan", "meta")
_ON_CPU = (dtypes.bfloat16, dtypes.float16)


def _device(name: Any, function: str) -> str:
    """The type of a device ("cuda:0" is "cuda"). Raises TypeError or RuntimeError."""
    if not isinstance(name, str):
        raise TypeError(
            f"{function}(): argument 'device_type' must be str, not {type(name).__name__}"
        )
    kind, colon, number = name.partition(":")
    if (kind not in _LOWER and kind not in _WITHOUT) or (colon and not number.isdecimal()):
        raise RuntimeError(
            f"{function}(): expected one of {', '.join(_LOWER)} as the device type, got {name!r}"
        )
    return kind


def _lower_of(name: Any, function: str) -> str:
    kind = _device(name, function)
    if kind not in _LOWER:
        raise RuntimeError(f"{function}(): there is no autocast for devices of type {kind!r}")
    return kind


# --------------------------------------------------------------------------
# The settings


def is_autocast_available(device_type: str) -> bool:
    """Whether PyTorch has autocast for this type of device; it takes effect on the CPU.

    Raises RuntimeError for what is no device. Source: torch.amp.is_autocast_available.
    """
    return _device(device_type, "is_autocast_available") in _LOWER


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether autocast is on for a type of device, in this thread.

    Raises RuntimeError for what is no device. Source: torch.is_autocast_enabled.

    >>> import suiren as torch
    >>> with torch.autocast("cpu"):
    ...     print(torch.is_autocast_enabled("cpu"))
    True
    """
    kind = _lower_of(device_type, "is_autocast_enabled")
    if kind == "cpu":
        return state.enabled
    return state.others[kind][0] if kind in state.others else False


def set_autocast_enabled(device_type: Any, enabled: bool | None = None) -> None:
    """Switches autocast on or off in this thread; without a device type, for CUDA.

    Raises TypeError if ``enabled`` is no bool. Source: torch.set_autocast_enabled.
    """
    if enabled is None and isinstance(device_type, bool):
        device_type, enabled = "cuda", device_type
    kind = _lower_of(device_type, "set_autocast_enabled")
    if not isinstance(enabled, bool):
        raise TypeError(
            "set_autocast_enabled(): argument 'enabled' must be bool, not "
            f"{type(enabled).__name__}"
        )
    if kind == "cpu":
        change(enabled, state.dtype, state.caching)
    else:
        state.others[kind] = enabled, get_autocast_dtype(kind)


def get_autocast_dtype(device_type: str) -> _dtype:
    """The lower type of autocast in this thread. Source: torch.get_autocast_dtype.

    >>> import suiren as torch
    >>> torch.get_autocast_dtype("cpu")
    torch.bfloat16
    """
    kind = _lower_of(device_type, "get_autocast_dtype")
    if kind == "cpu":
        return state.dtype
    return state.others[kind][1] if kind in state.others else _LOWER[kind]


def set_autocast_dtype(device_type: str, dtype: _dtype) -> None:
    """Sets the lower type of autocast in this thread. Source: torch.set_autocast_dtype."""
    kind = _lower_of(device_type, "set_autocast_dtype")
    if not isinstance(dtype, _dtype):
        raise TypeError(
            "set_autocast_dtype(): argument 'dtype' must be torch.dtype, not "
            f"{type(dtype).__name__}"
        )
    if kind == "cpu":
        change(state.enabled, dtype, state.caching)
    else:
        state.others[kind] = is_autocast_enabled(kind), dtype


def is_autocast_cache_enabled() -> bool:
    """Whether parameters are converted once. Source: torch.is_autocast_cache_enabled."""
    return state.caching


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Sets whether parameters are converted once. Source: torch.set_autocast_cache_enabled."""
    if not isinstance(enabled, bool):
        raise TypeError(f"enabled must be a bool (got {type(enabled).__name__})")
    change(state.enabled, state.dtype, enabled)


def clear_autocast_cache() -> None:
    """Forgets the converted parameters. Source: torch.clear_autocast_cache."""
    state.cache.clear()


def autocast_increment_nesting() -> int:
    """Counts one context more, and returns how many. Source: torch.autocast_increment_nesting."""
    state.nesting += 1
    return state.nesting


def autocast_decrement_nesting() -> int:
    """Counts one context less, and returns how many. Source: torch.autocast_decrement_nesting."""
    state.nesting -= 1
    return state.nesting


# --------------------------------------------------------------------------
# The context


class autocast:
    """A context and decorator in which products and convolutions compute in 16 bits.

    ``dtype`` is bfloat16 (the default for the CPU) or float16. Inside, float32 arguments of
    ``linear``, ``matmul``, ``conv2d``, ``scaled_dot_product_attention`` and their kin are
    converted to it; losses and decompositions convert 16 bits to float32; ``cat`` and ``stack``
    take the widest type they are given; all else computes in what it is given. Parameters are
    converted once in the outermost context, unless ``cache_enabled`` is False. Contexts nest, and
    ``enabled=False`` switches off within. Call ``backward()`` outside: gradients are computed in
    the types of the forward pass and arrive in those of the parameters.

    Another dtype, or a device that is not there, switches it off with a warning. Raises ValueError
    if ``device_type`` is no string, RuntimeError if it is no device.
    Source: torch.autocast.

    >>> import suiren as torch
    >>> with torch.autocast("cpu"):
    ...     y = torch.ones(2, 3) @ torch.ones(3, 2)
    >>> y.dtype, y.float().softmax(-1).dtype
    (torch.bfloat16, torch.float32)
    """

    def __init__(
        self,
        device_type: str,
        dtype: _dtype | None = None,
        enabled: bool = True,
        cache_enabled: bool | None = None,
    ):
        if not isinstance(device_type, str):
            raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
        if dtype is not None and not isinstance(dtype, _dtype):
            raise ValueError(f"Expected `dtype` of type `torch.dtype`, got: `{type(dtype)}`")
        self._kind = kind = _lower_of(device_type, "autocast")
        self.device = device_type
        self.fast_dtype = get_autocast_dtype(kind) if dtype is None else dtype
        if kind == "privateuseone":
            raise AssertionError(
                "Tried to use AMP with the `privateuseone` backend, but no such backend is there"
            )
        if enabled and kind == "cuda":
            warnings.warn(
                "autocast for 'cuda' has no effect: CUDA is not available; Disabling. Use "
                "autocast('cpu') to compute in lower precision on the CPU",
                UserWarning,
                stacklevel=2 + (type(self) is not autocast),
            )
            enabled = False
        if enabled and kind == "cpu" and self.fast_dtype not in _ON_CPU:
            warnings.warn(
                f"In CPU autocast, but the target dtype is not supported. Disabling: got "
                f"{self.fast_dtype}, and there are {' and '.join(map(str, _ON_CPU))}",
                UserWarning,
                stacklevel=2 + (type(self) is not autocast),
            )
            enabled = False
        self._enabled = enabled
        self._cache_enabled = state.caching if cache_enabled is None else cache_enabled

    def __enter__(self) -> autocast:
        for name, value in (("enabled", self._enabled), ("cache_enabled", self._cache_enabled)):
            if not isinstance(value, bool):  # before anything has changed
                raise TypeError(
                    f"autocast(): argument '{name}' must be bool, not {type(value).__name__}"
                )
        kind = self._kind
        state.entered.append((state.settings, kind, state.others.get(kind)))
        if kind == "cpu":
            change(self._enabled, self.fast_dtype, self._cache_enabled)
        else:
            state.others[kind] = self._enabled, self.fast_dtype
            change(state.enabled, state.dtype, self._cache_enabled)
        state.nesting += 1
        return self

    def __exit__(self, *exception: Any) -> None:
        state.nesting -= 1
        if not state.nesting:
            state.cache.clear()
        settings, kind, other = state.entered.pop()
        if kind == "cpu":
            change(*settings)
            return
        change(state.enabled, state.dtype, settings[2])
        if other is None:
            state.others.pop(kind, None)
        else:
            state.others[kind] = other

    def __call__(self, function: Callable) -> Callable:
        @functools.wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return inside


def again(device_type: str = "cpu") -> autocast:
    """A context like the one that this thread is in now: for work that is done a second time."""
    return autocast(
        device_type,
        get_autocast_dtype(device_type),
        is_autocast_enabled(device_type),
        is_autocast_cache_enabled(),
    )


# --------------------------------------------------------------------------
# For torch.autograd.Function


def _cast(x: Any, device_type: str, dtype: _dtype) -> Any:
    """Floating tensors of the device converted, in dicts, lists and tuples too."""
    if isinstance(x, Tensor):
        kind = x.dtype
        fits = kind.is_floating_point and x.device.type == device_type
        return x.to(dtype) if fits and kind is not dtypes.float64 else x
    if isinstance(x, dict):
        return {
            _cast(key, device_type, dtype): _cast(y, device_type, dtype) for key, y in x.items()
        }
    if isinstance(x, (list, tuple)):
        found = (_cast(y, device_type, dtype) for y in x)
        return type(x)(*found) if hasattr(x, "_fields") else type(x)(found)
    return x


def _check_type(device_type: Any) -> None:
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")


def custom_fwd(
    fwd: Callable | None = None, *, device_type: str, cast_inputs: _dtype | None = None
) -> Callable:
    """A decorator for ``forward`` of a ``torch.autograd.Function``; see :func:`custom_bwd`.

    With ``cast_inputs``, floating arguments are converted to that type where autocast is on, and
    ``forward`` runs with autocast off; else it runs as it is called. Raises ValueError if
    ``device_type`` is no string. Source: torch.amp.custom_fwd.
    """
    _check_type(device_type)
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def forward(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        on = is_autocast_enabled(device_type)
        ctx._dtype = get_autocast_dtype(device_type)
        if cast_inputs is None:
            ctx._fwd_used_autocast = on
            return fwd(ctx, *args, **kwargs)
        ctx._fwd_used_autocast = False
        if not on:
            return fwd(ctx, *args, **kwargs)
        with autocast(device_type, enabled=False):
            args = _cast(args, device_type, cast_inputs)
            return fwd(ctx, *args, **_cast(kwargs, device_type, cast_inputs))

    return forward


def custom_bwd(bwd: Callable | None = None, *, device_type: str) -> Callable:
    """A decorator for ``backward``: it runs under autocast as ``forward`` did.

    ``forward`` must be decorated with :func:`custom_fwd`. Raises ValueError if ``device_type`` is
    no string. Source: torch.amp.custom_bwd.

    >>> import suiren as torch
    >>> class Product(torch.autograd.Function):
    ...     @staticmethod
    ...     @torch.amp.custom_fwd(device_type="cpu")
    ...     def forward(ctx, a, b):
    ...         ctx.save_for_backward(a, b)
    ...         return a @ b
    ...     @staticmethod
    ...     @torch.amp.custom_bwd(device_type="cpu")
    ...     def backward(ctx, grad):
    ...         a, b = ctx.saved_tensors
    ...         return grad @ b.t(), a.t() @ grad
    """
    _check_type(device_type)
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def backward(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        with autocast(device_type, enabled=ctx._fwd_used_autocast, dtype=ctx._dtype):
            return bwd(ctx, *args, **kwargs)

    return backward
