"""How elementwise operators are defined: broadcasting, promotion and strides in one place.

``@elementwise(kind)`` on a class with ``evaluate`` (NumPy) and ``grad_<argument>`` makes an
operator of one, two or three broadcast arguments, tensors or Python numbers. The kinds of promotion
are

``same``   computed and returned in the promoted type;
``float``  integers and truth values become the default floating type first;
``bool``   computed in the promoted type, returned as truth values;
``real``   like ``same``, complex numbers refused.

Source: PyTorch's "Broadcasting semantics" and "Tensor Attributes" (type promotion) pages.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from suiren import dtypes
from suiren import operator as registry
from suiren.dispatch import Casts, apply
from suiren.dtypes import dtype
from suiren.operator import Operator
from suiren.tensor import Tensor
from suiren.trace import Meta, meta
from suiren.views import assign

NUMBERS = frozenset({int, float, bool, complex})


def broadcast_shapes(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The common shape of these; raises RuntimeError where sizes differ and none of them is 1."""
    count = max(map(len, shapes), default=0)
    result = [1] * count
    for shape in shapes:
        for i, size in enumerate(reversed(shape)):
            at = count - 1 - i
            if size != 1:
                if result[at] != 1 and result[at] != size:
                    raise RuntimeError(
                        f"The size of tensor a ({result[at]}) must match the size of tensor b "
                        f"({size}) at non-singleton dimension {at}: shapes "
                        f"{', '.join(str(list(s)) for s in shapes)} do not broadcast; "
                        "reshape or transpose one of them"
                    )
                result[at] = size
    return tuple(result)


def result_type_of(metas: Sequence[Any]) -> dtype:
    """The promoted dtype of Metas and classes of Python numbers."""
    dimensioned = zero_dim = number = None
    for m in metas:
        if m.__class__ is Meta:
            if m.ndim:
                dimensioned = _join(dimensioned, m.dtype)
            else:
                zero_dim = _join(zero_dim, m.dtype)
        elif m is not type(None):
            number = _join(number, dtypes.of_number(m))
    found = dtypes.combine_categories(
        dimensioned, dtypes.combine_categories(zero_dim, number)
    )
    assert found is not None
    return found


@registry.composite(where=("torch",), out=False)
def result_type(tensor1, tensor2):
    """The dtype of an elementwise result of these tensors or numbers. Source: torch.result_type.

    >>> import suiren as torch
    >>> torch.result_type(torch.tensor([1, 2], dtype=torch.int32), 1.0)
    torch.float32
    """
    return result_type_of(
        [x._meta if isinstance(x, Tensor) else x.__class__ for x in (tensor1, tensor2)]
    )


def _join(a: dtype | None, b: dtype) -> dtype:
    return b if a is None else dtypes.promote_types(a, b)


def broadcast_meta(metas: Sequence[Any], kind: dtype) -> Meta:
    """The Meta of an elementwise result; its strides follow those of the arguments."""
    arrays = [m for m in metas if m.__class__ is Meta]
    shape = arrays[0].shape if len(arrays) == 1 else broadcast_shapes(*[m.shape for m in arrays])
    device = arrays[0].device
    full = [m for m in arrays if m.shape == shape]
    # A number or a smaller argument makes PyTorch look at the strides of dimensions of size one.
    alike = len(full) == len(metas)
    if full and all(m.flat is m or (alike and m.contiguous) for m in full):
        return meta(shape, kind, device)
    return meta(shape, kind, device, elementwise_strides(shape, arrays))


def elementwise_strides(shape: Sequence[int], arrays: Sequence[Meta]) -> tuple[int, ...]:
    """Dense strides in the order of the arguments' strides, as PyTorch's iterator allocates.

    Dimensions are ordered by the first argument in which both move and their strides differ.
    """
    ndim = len(shape)
    strides = []
    for m in arrays:
        missing = ndim - m.ndim
        own = [0] * missing + [
            0 if size == 1 and shape[missing + i] != 1 else stride
            for i, (size, stride) in enumerate(zip(m.shape, m.strides, strict=True))
        ]
        strides.append(own)

    def outer_first(a: int, b: int) -> int:
        for own in strides:
            if own[a] == 0 or own[b] == 0:
                continue
            if own[a] != own[b]:
                return -1 if own[a] > own[b] else 1
            if shape[a] != shape[b]:
                return -1 if shape[a] > shape[b] else 1
        return a - b

    # insertion sort: the comparison is not transitive, and PyTorch sorts so too
    order = list(range(ndim))
    for i in range(1, ndim):
        j = i
        while j and outer_first(order[j - 1], order[j]) > 0:
            order[j - 1], order[j] = order[j], order[j - 1]
            j -= 1
    found = [0] * ndim
    step = 1
    for axis in reversed(order):
        found[axis] = step
        step *= max(shape[axis], 1)
    return tuple(found)


def kept_layout(m: Meta) -> Meta:
    """``m`` itself if it is dense, else the same with dense strides in the order of its own."""
    return m if m is m.flat or is_dense(m) else m.like(strides=elementwise_strides(m.shape, [m]))


def is_dense(m: Meta) -> bool:
    """Whether the elements fill their memory without gaps, in some order of the dimensions."""
    if m.contiguous:
        return True
    expected = 1
    for stride, size in sorted(zip(m.strides, m.shape, strict=True)):
        if size > 1:
            if stride != expected:
                return False
            expected *= size
    return True


def elementwise(
    kind: str = "same",
    *,
    tensors: int | None = None,
    name: str | None = None,
    inplace: bool = True,
    **options: Any,
):
    """Class decorator for an elementwise operator; see the module's text for ``kind``.

    ``tensors`` (how many broadcast arguments) is needed only where ``evaluate`` is not a ``def``;
    a definition with further, constant arguments or one that normalises them brings its own
    ``call``.
    """

    def define(definition: type):
        own = vars(definition)
        function = own["evaluate"]
        names = options.pop("arguments", None)
        count = tensors or (len(names) if names else function.__code__.co_argcount)
        if names is None and not hasattr(function, "__code__"):
            names = ("input", "other", "third")[:count]
        definition.infer = staticmethod(functools.partial(_infer, kind, count, own.get("refuse")))
        definition.widen = True
        definition.one_device = True
        if "call" not in own:
            options["call"] = _call_of(count, names or function.__code__.co_varnames[:count])
        call = registry.operator(
            definition, name=name, inplace=inplace, tensors=count, arguments=names, **options
        )
        if "call" not in own:
            call.__globals__["_operator"] = call.operator
        return call

    return define


def _infer(kind: str, count: int, refuse: Any, *given: Any) -> Meta | Casts:
    metas = given[:count]
    for m in metas:
        if m.__class__ is not Meta and m not in NUMBERS:
            raise TypeError(
                f"an elementwise operator takes tensors and Python numbers, got {m.__name__}"
            )
    common = result_type_of(metas)
    if refuse is not None:
        refuse(common, metas)
    if kind == "float" and common.category < dtypes.FLOATING:
        common = dtypes.get_default_dtype()
    elif kind == "real" and common.is_complex:
        raise RuntimeError(f"not implemented for complex numbers, got {common}")
    needed = [
        None if m.__class__ is not Meta or m.dtype is common else common for m in metas
    ]
    if any(needed):
        return Casts(tuple(needed) + (None,) * 0)
    return broadcast_meta(metas, dtypes.bool if kind == "bool" else common)


_TEMPLATE = """
def call({parameters}):
    return _apply(_operator, ({parameters},))
"""


@functools.cache
def _code_of(parameters: str):
    # Few different parameter lists serve a hundred operators: compiling them once halves the time
    # that importing the elementwise families takes.
    return compile(_TEMPLATE.format(parameters=parameters), __file__, "exec")


def _call_of(count: int, names: Sequence[str]):
    # Written out per operator rather than as a closure: it gets real parameter names, which users
    # may pass by keyword, and one call less on the way to recording.
    scope: dict[str, Any] = {"_apply": apply, "_operator": None, "__name__": __name__}
    exec(_code_of(", ".join(names[:count])), scope)
    return scope["call"]


def as_tensor_like(x: Any, other: Tensor) -> Any:
    """NumPy scalars and arrays that meet a tensor in an expression, as numbers or tensors."""
    import numpy as np

    if isinstance(x, np.generic):
        return x.item()
    if isinstance(x, np.ndarray):
        return registry.NAMESPACES["torch"]["from_numpy"](np.array(x))
    return NotImplemented


def is_operand(x: Any) -> bool:
    """Whether an elementwise operator takes this as it is."""
    return isinstance(x, Tensor) or x.__class__ in NUMBERS


__all__ = [
    "Operator", "assign", "broadcast_meta", "broadcast_shapes", "elementwise", "result_type_of",
]  # fmt: skip
