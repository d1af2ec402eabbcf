"""What a compiled function can look at beside its arguments, and whether that has changed.

The rule: from the function on, everything is followed that the code which ran can name. That is,
for each of the user's functions that ran: its closure cells, its defaults, the globals that it
names; for modules and other objects: the attributes whose names (or strings) occur in that code;
for ``nn.Module`` all parameters, buffers, submodules and hooks; for lists, dicts, tuples and sets
their elements. Numbers and strings are compared by value, all else by identity. Not seen are
attributes reached by names that the code puts together at run time.

:class:`Surroundings` holds one such walk: tensors, optimizers, and what to compare before a replay.
"""

from __future__ import annotations

import functools
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable
from itertools import chain
from operator import attrgetter, is_, itemgetter
from typing import Any

from suiren.compilation.frames import PACKAGE
from suiren.nn import Module
from suiren.tensor import Tensor

MAX_OBJECTS = 20_000
_PLAIN = frozenset({int, float, bool, complex, str, bytes, type(None), type(Ellipsis), slice})
_BY_VALUE = frozenset({int, float, bool, complex, str, bytes})
_MODULE_FIELDS = ("training", "_parameters", "_buffers", "_modules", "_forward_hooks",
                  "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")  # fmt: skip
# What changes by itself; numpy is followed as little as any library, but for these of its names.
_RESTLESS = frozenset({"random", "time", "datetime", "secrets", "uuid"})


def _all_code(code: types.CodeType) -> Iterable[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if constant.__class__ is types.CodeType:
            yield from _all_code(constant)


class Surroundings:
    """A walk over what the code in ``codes``, which speaks of ``names``, can see from ``roots``."""

    def __init__(self, roots: Iterable[Any], codes: Iterable[Any], names: set[str]) -> None:
        self.problem: str | None = None
        self.tensors: list[Tensor] = []
        self.optimizers: list[Any] = []
        self._codes = set(codes)
        self._names = names
        self._seen: dict[int, Any] = {}
        self._found: set[types.CodeType] = set()
        self._classes: set[type] = set()
        # What is compared: selected keys of dicts (and attributes), and whole collections.
        self._pairs: list[tuple[Callable[[Any], tuple], Any]] = []
        self._wholes: list[Any] = []
        self._cells: list[types.CellType] = []
        self._todo: deque[Any] = deque(roots)
        try:
            while self._todo and self.problem is None:
                self._visit(self._todo.popleft())
        except ValueError:
            self.problem = "a variable of an enclosing function is not set"
        if self.problem is None:
            for code in self._codes - self._found:
                self.problem = f"what {code.co_name} ({code.co_filename}) looks at cannot be found"
        self._contents = attrgetter("cell_contents")
        if self.problem is None:
            self.lengths = list(map(len, self._wholes))
            self.snapshot = self._now()

    def _now(self) -> list[Any]:
        return [
            *chain.from_iterable([get(what) for get, what in self._pairs]),
            *chain.from_iterable(self._wholes),
            *map(self._contents, self._cells),
        ]

    def unchanged(self) -> bool:
        """Whether everything is as it was."""
        try:
            if list(map(len, self._wholes)) != self.lengths:
                return False
            now, before = self._now(), self.snapshot
        except (KeyError, AttributeError, ValueError, RuntimeError):
            return False
        if all(map(is_, now, before)) and len(now) == len(before):
            return True
        if len(now) != len(before):
            return False
        for i, (a, b) in enumerate(zip(now, before, strict=True)):
            if a is not b:
                if a.__class__ is not b.__class__ or a.__class__ not in _BY_VALUE:
                    return False
                if a != b or repr(a) != repr(b):  # -0.0 is not 0.0
                    return False
                before[i] = a
        return True

    # ---- the walk

    def _pair(self, what: Any, names: Iterable[str]) -> None:
        chosen = sorted(names)
        if chosen:
            self._pairs.append((itemgetter(*chosen, chosen[0]), what))
            self._todo.extend(what[name] for name in chosen)

    def _whole(self, what: Any) -> None:
        self._wholes.append(what)
        self._todo.extend(what)

    def _visit(self, x: Any) -> None:
        kind = x.__class__
        if kind in _PLAIN or id(x) in self._seen:
            return
        self._seen[id(x)] = x
        if len(self._seen) > MAX_OBJECTS:
            self.problem = "it can look at too many objects"
        if isinstance(x, Tensor):
            self.tensors.append(x)
        elif kind is types.FunctionType:
            self._visit_function(x)
        elif kind is types.MethodType:
            self._todo += (x.__self__, x.__func__)
        elif isinstance(x, type):
            self._visit_class(x)
        elif kind is types.ModuleType:
            self._visit_module(x)
        elif isinstance(x, dict):
            self._wholes += (x.keys(), x.values())
            self._todo.extend(x.values())
            self._todo.extend(x.keys())
        elif isinstance(x, (list, tuple, set, frozenset, deque)):
            self._whole(x)
        elif isinstance(x, functools.partial):
            self._todo += (x.func, x.args, x.keywords)
        elif isinstance(x, (classmethod, staticmethod)):
            self._todo.append(x.__func__)
        elif isinstance(x, property):
            self._todo += (x.fget, x.fset)
        elif isinstance(x, Module):
            own = x.__dict__
            self._pair(own, {n for n in _MODULE_FIELDS if n in own} | (self._names & own.keys()))
            self._visit_class(kind)
        elif hasattr(kind, "param_groups_replayed"):
            self._visit_optimizer(x)
        elif hasattr(kind, "param_groups") or "param_groups" in getattr(x, "__dict__", ()):
            self.problem = f"steps of {kind.__name__} cannot be replayed"
        else:
            self._visit_object(x, kind)

    def _visit_function(self, x: types.FunctionType) -> None:
        code = x.__code__
        if code.co_filename.startswith(PACKAGE):
            if x.__closure__ and code.co_name in _WRAPPERS:
                self._todo.extend(cell.cell_contents for cell in x.__closure__)
            self._todo.append(getattr(x, "__wrapped__", None))
            return
        nested = set(_all_code(code))
        if not nested & self._codes:
            return  # it did not run
        self._found |= nested
        if x.__closure__:
            self._cells.extend(x.__closure__)
            self._todo.extend(cell.cell_contents for cell in x.__closure__)
        named = {name for inner in nested for name in inner.co_names}
        self._pair(x.__globals__, named & x.__globals__.keys())
        if x.__defaults__:
            self._whole(x.__defaults__)
        if x.__kwdefaults__:
            self._whole(x.__kwdefaults__.values())

    def _visit_class(self, x: type) -> None:
        for each in x.__mro__:
            if each in self._classes or each.__module__.split(".", 1)[0] in _KNOWN:
                continue
            self._classes.add(each)
            space = vars(each)
            self._pair(space, self._names & space.keys() - {"__dict__", "__weakref__"})
            # methods that run without being named: __call__, __getattr__ and so on
            self._todo.extend(f for n, f in space.items() if n.startswith("__") and callable(f))

    def _visit_module(self, x: types.ModuleType) -> None:
        first = x.__name__.split(".", 1)[0]
        if first in _RESTLESS or (first == "numpy" and "random" in self._names):
            self.problem = f"it can look at the module {x.__name__}, whose answers change"
        elif first not in _KNOWN:
            self._pair(vars(x), self._names & vars(x).keys())

    def _visit_optimizer(self, x: Any) -> None:
        self.optimizers.append(x)
        self._pairs.append((attrgetter("param_groups", "_state", "_numbers"), x))
        self._pairs.append((attrgetter("_values", "watched"), x._numbers))
        self._wholes.append(x.param_groups)
        for group in x.param_groups:
            self._wholes.append(group.keys())
            self._pair(group, group.keys() - x.param_groups_replayed)
            for param in group["params"]:
                self._todo.append(param)
                state = x._state.get(param)
                if state:
                    self._todo.extend(
                        value for name, value in state.items() if name not in x.state_numbers
                    )
        self._visit_class(x.__class__)

    def _visit_object(self, x: Any, kind: type) -> None:
        module = kind.__module__.split(".", 1)[0]
        if kind.__module__.startswith("numpy") and kind.__name__ == "ndarray":
            self.problem = "it can look at a NumPy array"
        elif kind.__module__.startswith("numpy.random") or module in _RESTLESS:
            self.problem = f"it can look at a {kind.__name__}, whose answers change"
        elif hasattr(kind, "__next__"):
            self.problem = "it can look at an iterator"
        own = getattr(x, "__dict__", None)
        if own.__class__ is dict:
            self._pair(own, self._names & own.keys())
            self._wholes.append(own.keys())
        slots = [n for each in kind.__mro__ for n in getattr(each, "__slots__", ())
                 if n in self._names and hasattr(x, n)]  # fmt: skip
        if slots and module != "suiren":
            self._pairs.append((attrgetter(*slots, slots[0]), x))
            self._todo.extend(getattr(x, name) for name in slots)
        if module not in _KNOWN:
            self._visit_class(kind)


_KNOWN = frozenset(sys.stdlib_module_names) - {"__main__"} | {"suiren", "numpy", "torch"}
# Functions of the package around a function of the user's: what they close over is followed.
_WRAPPERS = frozenset({"inside", "compiled", "not_compiled", "stepped"})
