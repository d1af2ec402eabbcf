"""`Tensor`: what the user holds.

A tensor is a Storage (the mutable cell) seen through a chain of view steps (empty for a base
tensor), with PyTorch's visible shape, strides and offset, and its place in the autograd graph.
Operators are attached as methods by ``suiren.ops``; what is here is Python's own protocol and the
state. Reading a view whose storage has moved on replays its steps; writing is in ``views.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from threading import get_ident
from typing import TYPE_CHECKING, Any

from suiren.dtypes import dtype
from suiren.size import Size
from suiren.storage import Storage, inferring, part_of, places
from suiren.trace import Meta, Value, current_trace
from suiren.trace.value import BORROWED


class View:
    """How a tensor looks at its storage: steps from the root, and what was read last."""

    __slots__ = ("base", "steps", "offset", "value", "seen", "epoch", "origin", "start")

    def __init__(self, base: Tensor, steps: tuple, offset: int, start: int = 0):
        self.base = base
        self.steps = steps  # from the storage's root, of (operator, attributes, Meta of the result)
        # How many of the steps lead to the base: some where the base is itself the detached form
        # of a view. -1: this is such a base; it has steps, but a history of its own.
        self.start = start
        self.offset = offset
        self.value: Value | None = None
        self.seen = -1
        self.epoch = base._epoch
        self.origin = ""  # "no_grad" or "multi": views that may not be written to under autograd

    def read(self, storage: Storage) -> Value:
        """The Value seen, replayed if the storage has changed since it was read last."""
        value = self.value
        if value is not None and self.seen == storage.changes and storage.pinned is None:
            return value
        value = storage.value
        if value is None:
            value = storage.read_pinned()
        # Rows of data that is there already are looked at, not recorded: which rows a step takes
        # (x[i], x[i : i + 64]) would make each step a program of its own.
        steps = self.steps
        if (
            value.buffer is not None and value.slot != BORROWED and not self.base._requires_grad
        ):  # fmt: skip
            part, count = places(value.buffer, steps)
            if count:
                value = part_of(part, steps[count - 1][2].flat)
                steps = steps[count:]
        for operator, attributes, meta in steps:
            value = current_trace().record(operator, attributes, (value,), meta.flat)
        self.value = value
        self.seen = storage.changes
        return value


def value_of(tensor: Tensor) -> Value:
    """The tensor's contents as an immutable Value."""
    view = tensor._view
    if view is not None:
        return view.read(tensor._storage)
    value = tensor._storage.value
    return tensor._storage.read_pinned(copy=True) if value is None else value


def new_tensor(value: Value, meta: Meta | None = None) -> Tensor:
    """A base tensor over this Value, with the visible strides of ``meta``."""
    tensor = _new(Tensor)
    tensor._meta = meta = meta or value.meta
    tensor._storage = storage = _new(Storage)
    storage.value = value
    storage.meta = meta
    if inferring and get_ident() in inferring:
        tensor._inference = True
    return tensor


class Tensor:
    """A multi-dimensional array of one dtype; see PyTorch's torch.Tensor page.

    Made by ``torch.tensor``, ``torch.zeros`` and so on. ``Tensor(2, 3)`` makes an uninitialised
    tensor of that shape, ``Tensor([1, 2])`` one of the default dtype with these elements.

    >>> import suiren as torch
    >>> torch.tensor([[1., 2.], [3., 4.]]).sum(dim=0)
    tensor([4., 6.])
    """

    _meta: Meta
    _storage: Storage
    _view: View | None = None
    _requires_grad = False
    _grad_fn: Any = None
    _output_index = 0
    _grad: Tensor | None = None
    _accumulator: Any = None
    _counter: Any = None  # a version counter of its own, for what .data returns
    _epoch = 0  # how often the history of this base tensor was rewritten by in-place operations
    _inference = False
    _backward_hooks: Any = None
    _is_param = False
    __array_priority__ = 1000  # numpy_array * tensor calls Tensor.__rmul__

    # Operators and Python's protocol methods are attached by suiren.ops and suiren.tensor_methods;
    # a type checker is told here what they come to.
    if TYPE_CHECKING:
        requires_grad: bool
        grad: Tensor | None
        grad_fn: Any
        data: Tensor

        def __getattr__(self, name: str) -> Any: ...
        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __floordiv__(self, other: Any) -> Tensor: ...
        def __mod__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __xor__(self, other: Any) -> Tensor: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __eq__(self, other: Any) -> Tensor: ...  # type: ignore[override]
        def __ne__(self, other: Any) -> Tensor: ...  # type: ignore[override]
        def __neg__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __getitem__(self, index: Any) -> Tensor: ...
        def __setitem__(self, index: Any, value: Any) -> None: ...
        def __iter__(self) -> Iterator[Tensor]: ...
        def __len__(self) -> int: ...
        def __bool__(self) -> bool: ...
        def __float__(self) -> float: ...
        def __int__(self) -> int: ...
        def __index__(self) -> int: ...

    __hash__ = object.__hash__

    def __new__(cls, *args: Any, **kwargs: Any) -> Tensor:
        made = constructors["Tensor"](*args, **kwargs)
        return made if cls is Tensor else Tensor._make_subclass(cls, made)

    @staticmethod
    def _make_subclass(cls: type, data: Tensor, requires_grad: bool = False) -> Any:
        """A tensor of class ``cls`` over the memory of ``data``, without its history."""
        made: Any = object.__new__(cls)
        made._meta = data._meta
        made._storage = data._storage
        made._counter = data._counter
        if data._view is not None:
            root = object.__new__(Tensor)
            root._meta = data._storage.meta
            root._storage = data._storage
            root._counter = data._counter
            made._view = View(root, data._view.steps, data._view.offset, -1)
        if requires_grad:
            made.requires_grad_()
        return made

    @property
    def shape(self) -> Size:
        """The sizes of the dimensions."""
        return self._meta.shape

    @property
    def dtype(self) -> dtype:
        """The type of the elements."""
        return self._meta.dtype

    @property
    def device(self):
        """Where the memory lies."""
        return self._meta.device

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self._meta.ndim


_new = object.__new__
constructors: dict[str, Any] = {}  # filled by suiren.legacy

__all__ = ["Storage", "Tensor", "View", "constructors", "new_tensor", "value_of"]
