"""What a call of a compiled function does in Python: seen through ``sys.setprofile``.

Before a call can be replayed, it must be known what it depends on and what it changes beside
tensors. While it is watched, each Python frame and each call of a C function from the user's code
comes by here. Noted are the code that ran (its names say what it can have looked at, see
``surroundings.py``), writes, gradients, random draws and optimizer steps; whatever has effects that
nobody can repeat (printing, clocks, files, other libraries' random numbers) is a *problem*.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import weakref
from collections.abc import Callable
from types import CodeType, FrameType, ModuleType
from typing import Any

from suiren.autograd.graph import AccumulateGrad
from suiren.storage import watched
from suiren.trace import Value
from suiren.trace.recorder import Trace

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_LIBRARIES = tuple({
    os.path.abspath(sysconfig.get_path(name)) + os.sep
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
})  # fmt: skip

# C functions that the user's code may call: they change nothing but what they are given, and that
# is compared afterwards.
_BUILTINS = frozenset({
    "abs", "all", "any", "bin", "callable", "chr", "delattr", "divmod", "format", "getattr",
    "hasattr", "hash", "hex", "id", "isinstance", "issubclass", "iter", "len", "max", "min",
    "next", "oct", "ord", "pow", "repr", "round", "setattr", "sorted", "sum", "vars",
    "__build_class__",
})  # fmt: skip
_MODULES = frozenset({"math", "cmath", "_operator", "operator", "itertools", "_functools",
                      "_collections", "_abc", "_bisect", "_heapq", "_struct", "_statistics",
                      "_typing"})  # fmt: skip
_OWNERS = (list, dict, tuple, str, set, frozenset, bytes, bytearray, int, float, complex, range,
           slice)  # fmt: skip
# Modules of Python's library whose functions may be called; others do input and output, or worse.
_STANDARD = frozenset({
    "abc", "bisect", "collections", "contextlib", "copy", "dataclasses", "enum", "fractions",
    "functools", "heapq", "inspect", "itertools", "math", "numbers", "operator", "re", "statistics",
    "string", "types", "typing", "weakref", "_collections_abc", "_weakrefset", "warnings",
})  # fmt: skip
_USER, _INTERNAL = 0, 1

_kinds: dict[CodeType, tuple[int, str, str]] = {}  # whose code, file within the package, name


def _kind_of(frame: FrameType) -> tuple[int, str, str]:
    """(whose code it is, or -1 if that depends on the caller; file within the package; name)."""
    code = frame.f_code
    path = code.co_filename
    if path == "<string>":  # methods that dataclasses and named tuples write
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith("suiren."):
            return _INTERNAL, "", code.co_name
        if module.startswith("namedtuple_"):
            return -1, "", code.co_name
    if path.startswith(PACKAGE):
        return _INTERNAL, path[len(PACKAGE):].replace(os.sep, "/"), code.co_name
    if path.startswith("<frozen"):
        return _INTERNAL, "", code.co_name
    for library in _LIBRARIES:
        if path.startswith(library):
            rest = path[len(library):]
            first = rest.split(os.sep, 1)[0].removesuffix(".py")
            # llvmlite is ours alone: it runs here when the garbage collector frees kernels
            own = first in _STANDARD or first == "llvmlite"
            return (_INTERNAL if own else -1), "", code.co_name
    return _USER, "", code.co_name


class Frames:
    """Notes what runs while it is the profiler of this thread (``with frames: ...``)."""

    def __init__(self, trace: Trace, first: bool = False) -> None:
        self.trace = trace
        self.first = first  # optimizers have no state yet
        self.problem: str | None = None
        self.codes: set[CodeType] = set()  # of the user
        self.names: set[str] = set()  # that the code speaks of
        self.internal: set[CodeType] = set()  # of modules and optimizers, whose names count too
        self.written: dict[int, weakref.ref[Any]] = {}  # storages
        self.leaves: dict[int, weakref.ref[Any]] = {}  # whose gradient was set
        self.pinned: dict[int, tuple[Value, Any]] = {}  # Values that were read, and storages
        self.parts: dict[int, Value] = {}  # Values over the memory of others
        self.draws: list[tuple[Callable, tuple, Value]] = []
        # (optimizer, what it foresaw, numbers among the inputs before and after the step)
        self.steps: list[tuple[Any, Any, int, int]] = []
        self._stack: list[int] = []
        self._open: list[Any] = []  # of draws and steps that are going on
        self._drawing = 0

    def __enter__(self) -> Frames:
        watched[0] += 1
        sys.setprofile(self._event)
        return self

    def __exit__(self, *exception: Any) -> None:
        sys.setprofile(None)
        watched[0] -= 1

    def refuse(self, why: str) -> None:
        """Notes the first reason why the call cannot be replayed."""
        if self.problem is None:
            self.problem = why

    # ---- events

    def _event(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            self._enter(frame)
        elif event == "return":
            self._leave(frame, argument)
        elif event == "c_call" and (not self._stack or self._stack[-1] == _USER):
            self._c_call(argument)

    def _enter(self, frame: FrameType) -> None:
        code = frame.f_code
        kind = _kinds.get(code)
        if kind is None:
            kind = _kinds[code] = _kind_of(frame)
        whose, file, name = kind
        if whose < 0:
            whose = self._stack[-1] if self._stack else _USER
        self._stack.append(whose)
        if whose == _USER:
            if code not in self.codes:
                self.codes.add(code)
                self._note_names(code)
        elif file:
            if file.startswith(("nn/", "optim/")) and code not in self.internal:
                self.internal.add(code)
                self._note_names(code)
            special = _ENTER.get((file, name))
            if special is not None:
                special(self, frame)
            elif file == "mt19937.py":
                if not self._drawing:
                    self.refuse("random numbers are drawn in a way that cannot be repeated")
            elif file.startswith("utils/data/"):
                self.refuse("a data loader or data set is read inside")
            elif file == "settings.py" and name.startswith(("set_", "use_")):
                self.refuse(f"{name} is called inside")

    def _note_names(self, code: CodeType) -> None:
        self.names.update(code.co_names)
        self.names.update(x for x in code.co_consts if x.__class__ is str)

    def _leave(self, frame: FrameType, result: Any) -> None:
        if not self._stack:
            return  # of the frame in which watching began
        self._stack.pop()
        _, file, name = _kinds.get(frame.f_code, (0, "", ""))
        special = _LEAVE.get((file, name))
        if special is not None:
            special(self, frame, result)

    def _c_call(self, function: Any) -> None:
        if self.problem is not None:
            return
        owner = getattr(function, "__self__", None)
        name = getattr(function, "__name__", repr(function))
        if isinstance(owner, ModuleType):
            module = owner.__name__
            if module == "builtins":
                known = name in _BUILTINS
            elif module == "sys":
                known = name == "setprofile"  # our own, at the end
            else:
                known = module in _MODULES
            if not known:
                self.refuse(f"{module}.{name} is called inside")
        elif owner is None or isinstance(owner, type):
            what = getattr(function, "__objclass__", owner)
            if what is not None and what not in _OWNERS and what not in (object, type):
                self.refuse(f"{what.__name__}.{name} is called inside")
        elif not isinstance(owner, _OWNERS) and type(owner).__module__ != "collections":
            self.refuse(f"{type(owner).__name__}.{name} is called inside")

    # ---- functions of the package that say what happens

    def _storage_written(self, frame: FrameType) -> None:
        storage = frame.f_locals["self"]
        self.written[id(storage)] = weakref.ref(storage)

    def _gradient_set(self, frame: FrameType) -> None:
        leaf = frame.f_locals["self"]
        self.leaves[id(leaf)] = weakref.ref(leaf)

    def _accumulated(self, frame: FrameType) -> None:
        node = frame.f_locals["self"]
        if isinstance(node, AccumulateGrad):
            leaf = node._variable()
            if leaf is not None:
                self.leaves[id(leaf)] = weakref.ref(leaf)

    def _planned(self, frame: FrameType) -> None:
        for leaf, _, _ in frame.f_locals["seen"].leaves:
            self.leaves[id(leaf)] = weakref.ref(leaf)

    def _draw(self, frame: FrameType) -> None:
        self._drawing += 1
        self._open.append((frame.f_locals["draw"], frame.f_locals["arguments"]))

    def _drawn(self, frame: FrameType, result: Any) -> None:
        self._drawing -= 1
        function, arguments = self._open.pop()
        if result is not None:
            self.draws.append((function, arguments, result._storage.value))

    def _step(self, frame: FrameType) -> None:
        optimizer = frame.f_locals["self"]
        foresee = getattr(optimizer, "foreseen_numbers", None)
        found = None if foresee is None else foresee()
        if found is None and not (self.first and foresee is not None):
            self.refuse(f"{type(optimizer).__name__}.step(), as it is set, cannot be replayed")
        self._open.append((optimizer, found, len(self.trace.inputs), self.trace.inputs))

    def _stepped(self, frame: FrameType, result: Any) -> None:
        optimizer, found, before, inputs = self._open.pop()
        if self.trace.inputs is inputs:
            self.steps.append((optimizer, found, before, len(inputs)))

    def _pinned_read(self, frame: FrameType, result: Any) -> None:
        if result is not None:
            self.pinned[id(result)] = (result, frame.f_locals["self"])

    def _part_taken(self, frame: FrameType, result: Any) -> None:
        if result is not None:
            self.parts[id(result)] = result

    def _not_compiled(self, frame: FrameType) -> None:
        self.refuse("a function that is kept from compilation is called inside")


_ENTER: dict[tuple[str, str], Callable[[Frames, FrameType], None]] = {
    ("storage.py", "write"): Frames._storage_written,
    ("tensor_methods.py", "_set_grad"): Frames._gradient_set,
    ("tensor_methods.py", "_del_grad"): Frames._gradient_set,
    ("autograd/graph.py", "apply"): Frames._accumulated,
    ("autograd/replay.py", "run"): Frames._planned,
    ("ops/creation.py", "drawn"): Frames._draw,
    ("optim/optimizer.py", "stepped"): Frames._step,
    ("compilation/__init__.py", "not_compiled"): Frames._not_compiled,
}
_LEAVE: dict[tuple[str, str], Callable[[Frames, FrameType, Any], None]] = {
    ("ops/creation.py", "drawn"): Frames._drawn,
    ("optim/optimizer.py", "stepped"): Frames._stepped,
    ("storage.py", "read_pinned"): Frames._pinned_read,
    ("storage.py", "part_of"): Frames._part_taken,
}
