"""`torch.compile`: a function or a module whose repeated calls are replayed.

Suiren records every program and compiles what repeats. What ``compile`` adds is that a call like an
earlier one is not even recorded: no Python of the user's runs, the program of that call is run
again over the contents that tensors have now. ``replays.py`` decides which way a call goes,
``watch.py`` learns what a call does, ``frames.py`` and ``surroundings.py`` what it depends on,
``replay.py`` does it again. What is not understood runs as it is written.

``compile(module)`` gives an :class:`OptimizedModule`, whose ``state_dict`` has PyTorch's prefix
``_orig_mod.``; ``compile(function)`` a function. Source: PyTorch's torch.compile page.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from suiren.compilation.replays import Replays, Unsupported, depth, forget_all
from suiren.nn import Module

__all__ = ["OptimizedModule", "Unsupported", "allow_in_graph", "compile", "disable",
           "is_compiling", "reset"]  # fmt: skip

_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")


class OptimizedModule(Module):
    """A module around another, which computes; attributes are those of the other."""

    def __init__(self, module: Module, fullgraph: bool = False, plainly: bool = False) -> None:
        super().__init__()
        self._orig_mod = module
        replays = None if plainly else Replays(module, type(module).__name__, fullgraph)
        object.__setattr__(self, "_replays", replays)
        self.train(module.training)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the module, or does again what an earlier call did."""
        replays = self.__dict__.get("_replays")
        return self._orig_mod(*args, **kwargs) if replays is None else replays(args, kwargs)

    def __getstate__(self) -> dict[str, Any]:
        replays = self.__dict__["_replays"]
        return {**self.__dict__, "_replays": None if replays is None else replays.fullgraph}

    def __setstate__(self, state: dict[str, Any]) -> None:
        fullgraph = state.pop("_replays", None)
        super().__setstate__(state)
        made = None
        if fullgraph is not None:
            made = Replays(self._orig_mod, type(self._orig_mod).__name__, fullgraph)
        object.__setattr__(self, "_replays", made)

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

    A call like two earlier ones is replayed, a whole training step too. With ``fullgraph=True`` a
    function of which that cannot be done raises :class:`Unsupported` at its third call at the
    latest, else it runs as it is written. ``backend="eager"`` and ``disable=True`` replay nothing;
    ``mode``, ``dynamic`` and ``options`` select nothing. Source: torch.compile.

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
        if isinstance(model, OptimizedModule):
            return model
        return OptimizedModule(model, fullgraph, plainly=backend == "eager")
    if backend == "eager" or getattr(model, "_torchdynamo_disable", False):
        replays: Any = _Plainly(model)
    else:
        replays = Replays(model, getattr(model, "__qualname__", repr(model)), fullgraph)

    @functools.wraps(model)
    def compiled(*args: Any, **kwargs: Any) -> Any:
        return replays(args, kwargs)

    compiled._torchdynamo_orig_callable = model  # type: ignore[attr-defined]
    compiled._replays = replays  # type: ignore[attr-defined]
    return compiled


class _Plainly:
    def __init__(self, function: Callable) -> None:
        self.function = function

    def __call__(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        return self.function(*args, **kwargs)


# --------------------------------------------------------------------------
# torch.compiler


def is_compiling() -> bool:
    """Whether a compiled function is being run. Source: torch.compiler.is_compiling."""
    return depth.inside > 0


is_dynamo_compiling = is_exporting = is_compiling


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """``fn``, run as it is written each time; without it, a decorator.

    A compiled function that calls it is not replayed. Source: torch.compiler.disable.
    """
    if fn is None:
        return disable
    if isinstance(fn, Module) or isinstance(fn, type):
        return fn

    @functools.wraps(fn)
    def not_compiled(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    not_compiled._torchdynamo_disable = True  # type: ignore[attr-defined]
    return not_compiled


def allow_in_graph(fn: Any) -> Any:
    """``fn`` as it is. Source: torch.compiler.allow_in_graph."""
    return fn


def reset() -> None:
    """Forgets what was learnt of compiled functions. Source: torch.compiler.reset."""
    forget_all()


def cudagraph_mark_step_begin() -> None:
    """Nothing: there are no CUDA graphs."""


def list_backends(exclude_tags: Any = ("debug", "experimental")) -> list[str]:
    """["inductor"]: the name that stands for the default. Source: torch.compiler.list_backends."""
    return ["inductor"]
