"""Whether operations are recorded for differentiation: a setting of each thread."""

from __future__ import annotations

import functools
import threading
from typing import Any


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

    def __enter__(self) -> None:
        self._previous = getattr(self, "_previous", [])
        self._previous.append(mode.grad)
        mode.grad = self._value

    def __exit__(self, *exception: Any) -> None:
        mode.grad = self._previous.pop()

    def __call__(self, function):
        if isinstance(function, type):
            raise TypeError(
                f"{type(self).__name__} decorates functions, got the class {function.__name__}; "
                "decorate its methods"
            )
        import inspect

        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def steps(*args, **kwargs):
                generator = function(*args, **kwargs)
                reply = None
                while True:
                    with type(self)._again(self):
                        try:
                            item = generator.send(reply)
                        except StopIteration as end:
                            return end.value
                    reply = yield item

            return steps

        @functools.wraps(function)
        def inside(*args, **kwargs):
            with type(self)._again(self):
                return function(*args, **kwargs)

        return inside

    @classmethod
    def _again(cls, other):
        return cls()


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

    def __new__(cls, function=None):
        made = super().__new__(cls)
        return made if function is None else made(function)


class enable_grad(_Switch):
    """Inside, gradients are recorded again, also within :class:`no_grad`.

    Source: torch.enable_grad.
    """

    _value = True

    def __new__(cls, function=None):
        made = super().__new__(cls)
        return made if function is None else made(function)


class set_grad_enabled(_Switch):
    """Switches gradient recording at once, and back at the end when used with ``with``.

    Source: torch.set_grad_enabled.
    """

    def __init__(self, mode_: bool):
        self._value = bool(mode_)
        self._previous = [mode.grad]
        mode.grad = self._value

    def __enter__(self) -> None:
        mode.grad = self._value

    def __exit__(self, *exception: Any) -> None:
        mode.grad = self._previous[0]

    def __call__(self, function):
        mode.grad = self._previous[0]  # as a decorator it must not switch where it stands
        return super().__call__(function)

    @classmethod
    def _again(cls, other):
        return enable_grad() if other._value else no_grad()


class inference_mode(_Switch):
    """Like :class:`no_grad`, for results that will never meet autograd.

    Tensors made inside refuse to be used in a differentiated operation's saved values in PyTorch;
    here they are ordinary tensors for which ``is_inference()`` is True.
    Source: torch.inference_mode.
    """

    def __new__(cls, mode=True):
        made = super().__new__(cls)
        if callable(mode):
            made._enabled = True
            return made(mode)
        made._enabled = bool(mode)
        return made

    def __enter__(self) -> None:
        self._previous = getattr(self, "_previous", [])
        self._previous.append((mode.grad, mode.inference))
        mode.inference = self._enabled
        if self._enabled:
            mode.grad = False
        else:
            mode.grad = True

    def __exit__(self, *exception: Any) -> None:
        mode.grad, mode.inference = self._previous.pop()

    @classmethod
    def _again(cls, other):
        return cls(other._enabled)


def is_grad_enabled() -> bool:
    """Whether operations are being recorded for gradients. Source: torch.is_grad_enabled."""
    return mode.grad


def is_inference_mode_enabled() -> bool:
    """Whether inference mode is on. Source: torch.is_inference_mode_enabled."""
    return mode.inference
