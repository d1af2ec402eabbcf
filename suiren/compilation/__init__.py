"""`torch.compile`: accepted, and gives back something that behaves as what it was given.

Suiren records every program and compiles what repeats, so there is nothing for a script to ask for.
``compile(module)`` gives an :class:`OptimizedModule`, whose ``state_dict`` has PyTorch's prefix
``_orig_mod.``; ``compile(function)`` a function. Source: PyTorch's torch.compile page.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from suiren.nn import Module

__all__ = ["OptimizedModule", "allow_in_graph", "compile", "disable", "is_compiling", "reset"]

_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")


class OptimizedModule(Module):
    """A module around another, which computes; attributes are those of the other."""

    def __init__(self, module: Module) -> None:
        super().__init__()
        self._orig_mod = module
        self.train(module.training)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the module."""
        return self._orig_mod(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name == "_orig_mod":
            return self._modules["_orig_mod"]
        return getattr(self._orig_mod, name)

    def __len__(self) -> int:
        return len(self._orig_mod)  # type: ignore[arg-type]


def compile(
    model: Any = None,
    *,
    fullgraph: bool = False,
    dynamic: bool | None = None,
    backend: str | Callable = "inductor",
    mode: str | None = None,
    options: dict[str, Any] | None = None,
    disable: bool = False,
) -> Any:
    """``model``, a module or a function, ready to be called; without it, a decorator.

    The other arguments select nothing. Source: torch.compile.

    Raises RuntimeError for an unknown mode, or mode and options together; TypeError if ``model``
    cannot be called.

    >>> import suiren as torch
    >>> f = torch.compile(lambda x: x.sin() ** 2 + x.cos() ** 2)
    >>> f(torch.zeros(2))
    tensor([1., 1.])
    """
    if mode is not None and options is not None:
        raise RuntimeError("compile() got both mode and options: give one of them")
    if mode is not None and mode not in _MODES:
        raise RuntimeError(f"Unrecognized mode={mode}, should be one of: {', '.join(_MODES)}")
    if model is None:
        return functools.partial(
            compile, fullgraph=fullgraph, dynamic=dynamic, backend=backend, mode=mode,
            options=options, disable=disable,
        )  # fmt: skip
    if isinstance(model, type) or not callable(model):
        raise TypeError(f"compile() expects a module or a function, but got {model!r}")
    if disable:
        return model
    if isinstance(model, Module):
        return model if isinstance(model, OptimizedModule) else OptimizedModule(model)

    @functools.wraps(model)
    def compiled(*args: Any, **kwargs: Any) -> Any:
        return model(*args, **kwargs)

    return compiled


# --------------------------------------------------------------------------
# torch.compiler


def is_compiling() -> bool:
    """False: a function's Python runs at each call. Source: torch.compiler.is_compiling."""
    return False


is_dynamo_compiling = is_exporting = is_compiling


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """``fn`` as it is, or a decorator. Source: torch.compiler.disable."""
    return _as_it_is if fn is None else fn


def allow_in_graph(fn: Any) -> Any:
    """``fn`` as it is. Source: torch.compiler.allow_in_graph."""
    return fn


def reset() -> None:
    """Nothing: compiled programs are kept by what they compute. Source: torch.compiler.reset."""


def cudagraph_mark_step_begin() -> None:
    """Nothing: there are no CUDA graphs."""


def list_backends(exclude_tags: Any = ("debug", "experimental")) -> list[str]:
    """["inductor"]: the name that stands for the default. Source: torch.compiler.list_backends."""
    return ["inductor"]


def _as_it_is(fn: Any) -> Any:
    return fn
