"""What an operator is, and how a definition becomes functions and methods.

An operator is one class in ``suiren/ops/<family>.py`` that holds side by side

``call(input, ...)``      what the user calls: checks and normalises the arguments, then
                          ``apply(<operator>, tensors, attributes)``;
``infer(input, ...)``     from the Metas of the tensors (and the attributes) to that of the result;
``evaluate(input, ...)``  its meaning in NumPy, arrays first, then attributes;
``grad_<argument>(...)``  its derivative with respect to that argument, written with operators. The
                          names of the parameters say what is kept for it: ``grad`` (the gradient
                          of the result), ``result``, the name of an argument or attribute,
                          ``<argument>_meta`` for its shape and dtype only, ``needs`` (which
                          arguments want a gradient). Instead of several of them, one
                          ``backward(...)`` may return a tuple with a gradient for each argument.

:func:`operator` turns the class into the function users call, with the record as its ``.operator``.
:func:`composite` registers a plain function over tensors, which autograd follows by itself.
Both put the function where users look for it (``where``) and add the in-place and ``out=`` forms.
This module knows nothing of tensors; recording is in ``dispatch.py``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from suiren import dtypes
from suiren.device import META
from suiren.trace.meta import Meta

_TAKES_ANY_NUMBER = 0x04  # inspect.CO_VARARGS, without importing inspect
MAX_PLANS = 8192  # remembered inferences of one operator; then it starts afresh


def overloaded(name: str, number: int = 0, tensor: int = 1) -> Callable:
    """Node names for PyTorch's overloads by a number and by a tensor, as ``node_name_of``."""

    def node_name_of(metas: tuple, attributes: tuple) -> str:
        return f"{name}Backward{tensor if isinstance(metas[-1], Meta) else number}"

    return node_name_of


class Formula:
    """A derivative function and what its parameters stand for."""

    __slots__ = ("function", "parameters")

    def __init__(self, function: Callable, parameters: tuple[tuple[str, int], ...]):
        self.function = function
        self.parameters = parameters


class Operator:
    """The record of one operator; see the module's text for what a definition holds."""

    __slots__ = (
        "name", "arguments", "attributes", "infer", "evaluate", "formulas", "backward", "plans",
        "consumes", "widen", "results", "view", "write", "node_name", "node_name_of", "_savings",
        "doc", "differentiable", "decompose", "kinds", "module", "one_device", "lasting",
    )  # fmt: skip

    def __init__(self, name: str, definition: type, options: dict[str, Any]):
        def own(key, default=None):
            return getattr(definition, key, default)

        self.name = name
        self.module = definition.__module__  # where it is defined
        self.doc = definition.__doc__ or ""
        self.infer = own("infer")
        self.evaluate = own("evaluate")
        self.decompose = own("decompose")
        self.consumes: int | None = own("consumes")
        self.one_device: bool = own("one_device", False)  # no tensors elsewhere, see _placed
        self.lasting: bool = own("lasting", False)  # its results are kept whatever becomes of them
        self.widen: bool = options.get("widen", own("widen", False))
        self.view = bool(own("write"))
        self.write = own("write")
        names = options.get("arguments") or _parameter_names(self.evaluate, name)
        count = options.get("tensors", own("tensors", 1))
        self.arguments = tuple(names[:count])
        self.attributes = tuple(names[count:])
        self.results: int = own("results", 1)
        self.node_name = options.get("node_name") or own("node_name") or _node_name(name)
        # where PyTorch has several nodes: (metas, attributes) -> the name; asked when printing
        self.node_name_of: Callable | None = own("node_name_of")
        self.plans: dict[tuple, Any] = {}
        self.kinds: dict[tuple, Any] = {}  # of its nodes in the graph, see autograd/graph.py
        self._savings: dict[tuple, tuple] = {}
        self.formulas = self._formulas(definition)
        self.backward = own("backward") and self._formula(own("backward"))
        self.differentiable = self.backward is not None or any(self.formulas)
        if not callable(self.evaluate) or not callable(self.infer):
            raise TypeError(f"operator {name} needs both infer and evaluate")

    def __repr__(self) -> str:
        return f"<operator {self.name}>"

    # ---- derivatives

    def _formulas(self, definition: type) -> tuple[Formula | None, ...]:
        found = []
        for argument in self.arguments:
            function = getattr(definition, f"grad_{argument}", None)
            found.append(function and self._formula(function))
        stray = [
            key
            for key in vars(definition)
            if key.startswith("grad_") and key.removeprefix("grad_") not in self.arguments
        ]
        if stray:
            raise TypeError(f"operator {self.name} has {stray} but arguments {self.arguments}")
        return tuple(found)

    def _formula(self, function: Callable) -> Formula:
        kinds: list[tuple[str, int]] = []
        for name in _parameter_names(function, self.name):
            kinds.append(self._parameter(name))
        return Formula(function, tuple(kinds))

    def _parameter(self, name: str) -> tuple[str, int]:
        if name in ("grad", "grads", "needs", "metas", "attributes"):
            return name, 0
        if name == "result":
            return "result", 0
        if name.startswith("result") and name[6:].isdecimal():
            return "result", int(name[6:])
        if name.endswith("_meta") and name[:-5] in self.arguments:
            return "meta", self.arguments.index(name[:-5])
        if name in self.arguments:
            return "saved", self.arguments.index(name)
        if name in self.attributes:
            return "attribute", self.attributes.index(name)
        raise TypeError(
            f"a derivative of {self.name} asks for {name!r}, which is none of "
            f"{self.arguments + self.attributes}"
        )

    def savings(self, needs: tuple[bool, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Which arguments and which results the derivatives for ``needs`` look at."""
        found = self._savings.get(needs)
        if found is None:
            used = [self.backward] if self.backward else []
            used += [f for f, need in zip(self.formulas, needs, strict=False) if need and f]
            kinds = {kind for formula in used for kind in formula.parameters}
            found = (
                tuple(sorted(i for kind, i in kinds if kind == "saved")),
                tuple(sorted(i for kind, i in kinds if kind == "result")),
            )
            self._savings[needs] = found
        return found

    # ---- inference and evaluation

    def plan(self, metas: tuple, attributes: tuple) -> Any:
        """The result of ``infer``, remembered by identity of the metas."""
        found = self._placed(metas, self.infer(*metas, *attributes))
        if len(self.plans) >= MAX_PLANS:
            self.plans.clear()
        self.plans[metas, attributes] = found
        return found

    def _placed(self, metas: tuple, found: Any) -> Any:
        """What ``infer`` found, as :class:`WithoutData` if it is on the meta device.

        PyTorch's rule: results are where the first tensor is. Tensors of no dimensions may lie on
        the CPU anyway, and so may indices, weights and other arguments of operators that are not
        elementwise.
        """
        tensors = [m for m in metas if m.__class__ is Meta]
        if not any(m.device is META for m in tensors):
            results = found if found.__class__ is tuple else (found,)
            if not any(m.__class__ is Meta and m.device is META for m in results):
                return found
        elsewhere = [m for m in tensors if m.device is not META and m.ndim]
        if elsewhere and (self.one_device or tensors[0] is elsewhere[0]):
            raise RuntimeError(
                f"{self.name}: expected all tensors on the same device, got some on meta and one "
                f"of shape {list(elsewhere[0].shape)} on {elsewhere[0].device}; move it with "
                ".to('meta'), or compute everything on the CPU"
            )
        if found.__class__ is Meta:
            return WithoutData(found.on(META))
        if found.__class__ is tuple:
            return WithoutData(tuple([m.on(META) for m in found]))
        return found  # conversions come first

    def evaluate_for(self, metas: Iterable[Any], results: tuple[Meta, ...]) -> Callable:
        """The NumPy function for arguments of these kinds.

        Half types are widened to float32 and the results narrowed, as PyTorch computes them.
        """
        if not self.widen:
            return self.evaluate
        metas = tuple(metas)
        arrays = [m for m in metas if isinstance(m, Meta)]
        if any(m.dtype.is_half for m in arrays):
            return _widened(self.evaluate, results)
        if arrays and any(m.__class__ is not Meta for m in metas):
            if all(m.dtype.category == dtypes.INTEGER for m in arrays):
                return _wrapping(self.evaluate, arrays[0].dtype.numpy)
        return self.evaluate


class WithoutData:
    """What a plan says instead of Metas when they are on the meta device: nothing is recorded."""

    __slots__ = ("found",)

    def __init__(self, found: Any):
        self.found = found  # a Meta, or a tuple of them


def _widened(evaluate: Callable, results: tuple[Meta, ...]) -> Callable:
    import numpy as np

    def widen(x):
        half = isinstance(x, (np.ndarray, np.generic)) and x.dtype.itemsize == 2
        return x.astype(np.float32) if half and x.dtype.kind not in "iu" else x

    def narrow(x, meta):
        return x.astype(meta.dtype.numpy) if meta.dtype.is_half else x

    def evaluated(*args):
        found = evaluate(*map(widen, args))
        if len(results) == 1:
            return narrow(np.asarray(found), results[0])
        return tuple(narrow(np.asarray(x), m) for x, m in zip(found, results, strict=True))

    return evaluated


def _wrapping(evaluate: Callable, kind: Any) -> Callable:
    # NumPy refuses Python integers that an integer type cannot hold; PyTorch wraps them around.
    import numpy as np

    def evaluated(*args):
        return evaluate(
            *[np.array(x).astype(kind)[()] if isinstance(x, int) else x for x in args]
        )

    return evaluated


def _forget_plans() -> None:
    for record in OPERATORS.values():
        record.plans.clear()


# What a Python float promotes to depends on the default dtype.
dtypes.on_default_change.append(_forget_plans)


def _code_of(function: Any) -> Any:
    # what autocasting.py wraps keeps its own parameters
    return getattr(getattr(function, "__wrapped__", function), "__code__", None)


def _parameter_names(function: Any, owner: str) -> tuple[str, ...]:
    code = _code_of(function)
    if code is None:
        raise TypeError(f"operator {owner}: give arguments=(...) where evaluate is not a def")
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def _node_name(name: str) -> str:
    """PyTorch's name of the gradient node: log_softmax -> LogSoftmaxBackward0."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_")) + "Backward0"


# --------------------------------------------------------------------------
# Where users find an operator

NAMESPACES: dict[str, dict[str, Any]] = {
    "torch": {},
    "Tensor": {},
    "nn.functional": {},
    "linalg": {},
    "special": {},
    "fft": {},
    "signal.windows": {},
    "masked": {},
}
OPERATORS: dict[str, Operator] = {}
finish: list[Callable] = []  # set by views.py: make the out= and the in-place form of a function

# Names from NumPy that PyTorch's functions take as well.
_SYNONYMS = {"axis": "dim", "axes": "dims", "keepdims": "keepdim", "x": "input", "a": "input",
             "x1": "input", "x2": "other"}  # fmt: skip


def operator(
    definition: type | None = None,
    *,
    name: str | None = None,
    where: tuple[str, ...] = ("torch", "Tensor"),
    inplace: bool = False,
    out: bool = True,
    aliases: tuple[str, ...] = (),
    **options: Any,
):
    """Class decorator: makes an :class:`Operator` of a definition and returns its ``call``.

    ``where`` lists the namespaces it appears in (``()`` for internal operators); ``inplace`` adds
    the method with a trailing underscore; ``aliases`` are further names, such as ``"mul"``
    and ``"multiply"``.
    """
    if definition is None:
        return functools.partial(
            operator, name=name, where=where, inplace=inplace, out=out, aliases=aliases, **options
        )
    key = name or definition.__name__
    record = Operator(key, definition, options)
    OPERATORS[key] = record
    call = options.get("call") or definition.__dict__["call"]
    call.operator = record
    call.__name__ = call.__qualname__ = key
    call.__module__ = definition.__module__
    call.__doc__ = definition.__doc__
    register(call, key, where, inplace, out, aliases)
    return call


def composite(
    function: Callable | None = None,
    *,
    name: str | None = None,
    where: tuple[str, ...] = ("torch", "Tensor"),
    inplace: bool = False,
    out: bool = True,
    aliases: tuple[str, ...] = (),
):
    """Registers a function written with operators; it needs no derivative of its own."""
    if function is None:
        return functools.partial(
            composite, name=name, where=where, inplace=inplace, out=out, aliases=aliases
        )
    key = name or function.__name__.rstrip("_")
    register(function, key, where, inplace, out, aliases)
    return function


def register(
    function: Callable,
    name: str,
    where: tuple[str, ...],
    inplace: bool,
    out: bool,
    aliases: tuple[str, ...],
) -> None:
    """Puts a function and its forms into the namespaces."""
    names = _parameter_names(function, name)
    axes = any(n in names for n in ("dim", "dims", "keepdim"))
    function = _with_sizes_by_name(function)
    for space in where:
        shown = function
        if space != "Tensor" and out and "out" not in names:
            shown = finish[0](function)
        elif axes:
            shown = _with_synonyms(function)
        for key in (name, *aliases):
            # "linalg.norm" as an alias names its namespace; a plain alias goes wherever name does
            home, _, short = key.rpartition(".")
            NAMESPACES[home or space].setdefault(short, shown)
    if inplace:
        changed = finish[1](function, name)
        for key in (name, *aliases):
            if "." not in key:
                NAMESPACES["Tensor"][key + "_"] = changed
                if "torch" in where:
                    NAMESPACES["torch"].setdefault(key + "_", changed)


def _with_sizes_by_name(function: Callable) -> Callable:
    """``zeros(*size)`` takes ``size=(2, 3)`` too: sizes given one by one or as one keyword."""
    code = _code_of(function)
    if not code.co_flags & _TAKES_ANY_NUMBER:
        return function
    name = code.co_varnames[code.co_argcount + code.co_kwonlyargcount]

    @functools.wraps(function)
    def called(*args, **kwargs):
        if name in kwargs:
            args = (*args, kwargs.pop(name))
        return function(*args, **kwargs)

    return called


def _with_synonyms(function: Callable) -> Callable:
    @functools.wraps(function)
    def called(*args, **kwargs):
        if kwargs:
            kwargs = translate(kwargs)
        return function(*args, **kwargs)

    return called


def translate(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments with NumPy's names replaced by PyTorch's."""
    return {_SYNONYMS.get(key, key): value for key, value in kwargs.items()}
