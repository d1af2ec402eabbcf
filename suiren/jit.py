"""`torch.jit`: scripting and tracing, accepted; a scripted function or module is itself.

What TorchScript is for, running without Python and saving a program, is not there: ``save`` and
``load`` raise. Source: PyTorch's torch.jit page.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final, NoReturn

from suiren.nn import Module

__all__ = [
    "Final", "ScriptFunction", "ScriptModule", "annotate", "export", "fork", "freeze", "ignore",
    "interface", "is_scripting", "is_tracing", "isinstance", "load", "optimize_for_inference",
    "optimized_execution", "save", "script", "script_if_tracing", "script_method", "strict_fusion",
    "trace", "trace_module", "unused", "wait",
]  # fmt: skip

ScriptModule = Module
ScriptFunction = type(lambda: None)
_builtin_isinstance = isinstance


def script(obj: Any, *args: Any, **kwargs: Any) -> Any:
    """``obj`` itself: a function, class or module goes on running as Python.

    Source: torch.jit.script.

    >>> import suiren as torch
    >>> @torch.jit.script
    ... def double(x: torch.Tensor):
    ...     return 2 * x
    >>> double(torch.ones(2))
    tensor([2., 2.])
    """
    return obj


def trace(func: Any, example_inputs: Any = None, *args: Any, **kwargs: Any) -> Any:
    """``func`` itself, after one call with the example inputs. Source: torch.jit.trace.

    Differs from PyTorch in that Python control flow is not frozen as the examples took it.
    """
    import suiren

    inputs = example_inputs
    if inputs is None:
        inputs = kwargs.get("example_kwarg_inputs", {})
    with suiren.no_grad():
        if _builtin_isinstance(inputs, dict):
            func(**inputs)
        else:
            func(*(inputs if _builtin_isinstance(inputs, (tuple, list)) else (inputs,)))
    return func


def trace_module(mod: Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Module:
    """``mod`` itself, after a call of each method that ``inputs`` names."""
    for name, example in inputs.items():
        trace(getattr(mod, name), example)
    return mod


def save(m: Any, f: Any, *args: Any, **kwargs: Any) -> NoReturn:
    """Raises NotImplementedError: there is no TorchScript to write."""
    raise NotImplementedError(
        "torch.jit.save: Suiren writes no TorchScript archives; save the weights with "
        "torch.save(model.state_dict(), path)"
    )


def load(f: Any, *args: Any, **kwargs: Any) -> NoReturn:
    """Raises NotImplementedError: TorchScript archives hold programs, which are not read."""
    raise NotImplementedError(
        "torch.jit.load: Suiren reads no TorchScript archives; build the model in Python and load "
        "its weights with load_state_dict(torch.load(path))"
    )


def _as_it_is(fn: Any = None, *args: Any, **kwargs: Any) -> Any:
    """``fn`` itself; used with arguments, a decorator that changes nothing."""
    return fn if callable(fn) else (lambda function: function)


ignore = unused = export = script_method = interface = script_if_tracing = _as_it_is


def freeze(mod: Any, *args: Any, **kwargs: Any) -> Any:
    """``mod`` itself. Source: torch.jit.freeze."""
    return mod


optimize_for_inference = freeze


def annotate(the_type: Any, the_value: Any) -> Any:
    """``the_value``. Source: torch.jit.annotate."""
    return the_value


def isinstance(obj: Any, target_type: Any) -> bool:
    """As Python's isinstance. Source: torch.jit.isinstance."""
    return _builtin_isinstance(obj, target_type)


def is_scripting() -> bool:
    """False. Source: torch.jit.is_scripting."""
    return False


def is_tracing() -> bool:
    """False. Source: torch.jit.is_tracing."""
    return False


def fork(func: Callable, *args: Any, **kwargs: Any) -> Any:
    """The result of calling ``func`` now. Source: torch.jit.fork."""
    return func(*args, **kwargs)


def wait(future: Any) -> Any:
    """``future``, which :func:`fork` computed. Source: torch.jit.wait."""
    return future


@contextlib.contextmanager
def optimized_execution(should_optimize: bool) -> Iterator[None]:
    """Changes nothing. Source: torch.jit.optimized_execution."""
    yield


@contextlib.contextmanager
def strict_fusion() -> Iterator[None]:
    """Changes nothing. Source: torch.jit.strict_fusion."""
    yield
