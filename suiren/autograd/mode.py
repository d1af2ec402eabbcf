"""Whether operations are recorded for differentiation: a setting of each thread."""

from __future__ import annotations

import functools
import threading
from threading import get_ident
from typing import Any

from suiren.storage import inferring


class _Mode(threading.local):
    grad = True
    inference = False
    saved_hooks: tuple = ()  # (pack, unpack) pairs of saved_tensors_hooks, innermost last
    hooks_disabled: str | None = None  # why saved_tensors_hooks may not be entered
    task: Any = None  # the backward pass that this thread is in


mode = _Mode()


class _Switch:
    """A context manager and decorator that sets the gradient mode; usable again and again."""

    _value = True

    def __init__(self) -> None:
        self._previous: list[Any] = []

    def __enter__(self) -> None:
        self._previous.append(mode.grad)
        mode.grad = self._value

    def __exit__(self, *exception: Any) -> None:
        mode.grad = self._previous.pop()

    def clone(self) -> _Switch:
        """Another switch of the same setting: what a decorated function enters at each call."""
        return type(self)()

    def __call__(self, function: Any) -> Any:
        import inspect

        if isinstance(function, type):
            import warnings

            warnings.warn(
                f"{type(self).__name__} decorates functions, got the class {function.__name__}: "
                "decorate its methods (here a function that makes instances is returned)",
                FutureWarning,
                stacklevel=2,
            )
        elif inspect.isgeneratorfunction(function):
            return _stepwise(function, self.clone)

        @functools.wraps(function, updated=())
        def inside(*args, **kwargs):
            with self.clone():
                return function(*args, **kwargs)

        return inside


def _stepwise(function: Any, switch: Any) -> Any:
    """A generator whose own code runs inside the switch, and the code between its steps outside."""

    @functools.wraps(function)
    def steps(*args, **kwargs):
        generator = function(*args, **kwargs)
        try:
            with switch():
                answer = generator.send(None)
            while True:
                try:
                    request = yield answer
                except GeneratorExit:
                    with switch():
                        generator.close()
                    raise
                except BaseException as error:
                    with switch():
                        answer = generator.throw(error)
                else:
                    with switch():
                        answer = generator.send(request)
        except StopIteration as end:
            return end.value

    return steps


class no_grad(_Switch):
    """Inside, results do not require gradients. Context manager or decorator.

    Source: torch.no_grad.

    >>> import suiren as torch
    >>> x = torch.ones(1, requires_grad=True)
    >>> with torch.no_grad():
    ...     print((2 * x).requires_grad)
    False
    """

    _value = False

    def __new__(cls, orig_func=None):
        made = super().__new__(cls)
        if orig_func is None:
            return made
        made.__init__()
        return made(orig_func)


class enable_grad(_Switch):
    """Inside, gradients are recorded again, also within :class:`no_grad`.

    Source: torch.enable_grad.
    """

    _value = True

    def __new__(cls, orig_func=None):
        made = super().__new__(cls)
        if orig_func is None:
            return made
        made.__init__()
        return made(orig_func)


class set_grad_enabled(_Switch):
    """Switches gradient recording at once, and back at the end when used with ``with``.

    Source: torch.set_grad_enabled.
    """

    def __init__(self, mode: bool):
        if not isinstance(mode, bool):
            raise TypeError(
                "set_grad_enabled(): argument 'enabled' (position 1) must be bool, not "
                f"{type(mode).__name__}"
            )
        self._value = mode
        self._before = _modes.grad
        _modes.grad = mode

    def __enter__(self) -> None:
        _modes.grad = self._value

    def __exit__(self, *exception: Any) -> None:
        _modes.grad = self._before

    def clone(self) -> set_grad_enabled:
        return set_grad_enabled(self._value)

    def __call__(self, function: Any) -> Any:
        _modes.grad = self._before  # as a decorator it must not switch where it stands
        return super().__call__(function)

    def __repr__(self) -> str:
        return f"set_grad_enabled(mode={self._value})"


class inference_mode(_Switch):
    """Like :class:`no_grad`, for results that will never meet autograd.

    What is made inside is an inference tensor (``is_inference()``): it has no version counter,
    cannot be saved for a backward pass, nor be written to outside. Views of ordinary tensors stay
    ordinary. ``inference_mode(False)`` switches back. Source: torch.inference_mode.

    >>> import suiren as torch
    >>> with torch.inference_mode():
    ...     x = torch.ones(2)
    >>> x.is_inference()
    True
    """

    def __new__(cls, mode=True):
        made = super().__new__(cls)
        if isinstance(mode, bool):
            return made
        made.__init__()
        return made(mode)

    def __init__(self, mode: bool = True):
        super().__init__()
        self._enabled = mode

    def __enter__(self) -> None:
        self._previous.append((_modes.grad, _modes.inference))
        if self._enabled and not _modes.inference:
            inferring.append(get_ident())
        elif not self._enabled and _modes.inference:
            inferring.remove(get_ident())
        _modes.grad = not self._enabled
        _modes.inference = self._enabled

    def __exit__(self, *exception: Any) -> None:
        grad, inference = self._previous.pop()
        if inference and not _modes.inference:
            inferring.append(get_ident())
        elif not inference and _modes.inference:
            inferring.remove(get_ident())
        _modes.grad, _modes.inference = grad, inference

    def clone(self) -> inference_mode:
        return inference_mode(self._enabled)


_modes = mode  # where an argument has the name that PyTorch gives it


def is_grad_enabled() -> bool:
    """Whether operations are being recorded for gradients. Source: torch.is_grad_enabled."""
    return mode.grad


def is_inference_mode_enabled() -> bool:
    """Whether inference mode is on. Source: torch.is_inference_mode_enabled."""
    return mode.inference
