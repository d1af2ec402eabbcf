"""The arguments of a call: which tensors are among them, and what else there is to compare.

``Arguments`` takes them apart; :meth:`Arguments.check` writes the Python lines that compare those
of another call, which ``replay.py`` puts at the head of a plan's function.
"""

from __future__ import annotations

from typing import Any

from suiren.nn import Parameter
from suiren.tensor import Tensor

_PLAIN = frozenset({int, float, bool, complex, str, bytes, type(None), slice, type(Ellipsis)})


class Arguments:
    """The tensors of a call in order, the other objects, and what all of them are like."""

    def __init__(self, args: tuple, kwargs: dict[str, Any]) -> None:
        self.problem: str | None = None
        self.tensors: list[Tensor] = []
        self.objects: list[Any] = []  # compared by identity
        self.spec = (
            tuple([self._describe(x) for x in args]),
            tuple([(name, self._describe(x)) for name, x in kwargs.items()]),
        )
        self.count = len(self.tensors)

    def _describe(self, x: Any) -> tuple:
        kind = x.__class__
        if kind is Tensor or kind is Parameter:
            self.tensors.append(x)
            viewed = x._view is not None
            if x._counter is not None or x._backward_hooks is not None:
                self.problem = "an argument came of .data, or has hooks"
            graded = x._grad_fn is not None
            if graded and viewed:
                self.problem = "an argument is a view that is differentiated"
            return ("tensor", kind, x._meta, x._requires_grad, viewed, x._inference, graded)
        if kind in _PLAIN:
            return ("plain", kind, repr(x))
        if kind is list or kind is tuple:
            return (kind.__name__, *[self._describe(y) for y in x])
        if kind is dict and all(k.__class__ is str for k in x):
            return ("dict", tuple(x), *[self._describe(y) for y in x.values()])
        if isinstance(x, Tensor):
            self.problem = f"an argument is a {kind.__name__}"
        self.objects.append(x)
        return ("object", id(x))

    def check(self, names: Any) -> tuple[list[str], list[str]]:
        """Lines that leave the function by ``return MISS`` unless args and kwargs are alike.

        The tensors are left in the variables t0, t1, ...; those are the second list.
        ``names(object)`` gives a name by which the lines can speak of an object.
        """
        positional, named = self.spec
        lines = [f"if len(args) != {len(positional)} or len(kwargs) != {len(named)}: return MISS"]
        found: list[str] = []
        self._object = iter(self.objects)
        for i, spec in enumerate(positional):
            self._check(f"args[{i}]", spec, names, lines, found)
        for name, spec in named:
            lines.append(f"if {name!r} not in kwargs: return MISS")
            self._check(f"kwargs[{name!r}]", spec, names, lines, found)
        return lines, found

    def _check(
        self, path: str, spec: tuple, names: Any, lines: list[str], found: list[str]
    ) -> None:
        miss = ": return MISS"
        what = spec[0]
        if what == "tensor":
            _, kind, meta, requires_grad, viewed, inference, graded = spec
            t = f"t{len(found)}"
            found.append(t)
            lines.append(f"{t} = {path}")
            wanted = "is None" if viewed else "is not None"
            history = "is None" if graded else "is not None"
            lines.append(
                f"if {t}.__class__ is not {names(kind)} or {t}._meta is not {names(meta)} "
                f"or {t}._requires_grad is not {requires_grad} or {t}._view {wanted} "
                f"or {t}._inference is not {inference} or {t}._counter is not None "
                f"or {t}._grad_fn {history} or {t}._backward_hooks is not None{miss}"
            )
        elif what == "plain":
            _, kind, text = spec
            lines.append(
                f"if {path}.__class__ is not {names(kind)} or repr({path}) != {text!r}{miss}"
            )
        elif what == "object":
            lines.append(f"if {path} is not {names(next(self._object))}{miss}")
        elif what == "dict":
            lines.append(
                f"if {path}.__class__ is not dict or tuple({path}) != {names(spec[1])}{miss}"
            )
            for key, inner in zip(spec[1], spec[2:], strict=True):
                self._check(f"{path}[{key!r}]", inner, names, lines, found)
        else:
            lines.append(
                f"if {path}.__class__ is not {what} or len({path}) != {len(spec) - 1}{miss}"
            )
            for i, inner in enumerate(spec[1:]):
                self._check(f"{path}[{i}]", inner, names, lines, found)
