"""From a list of samples to one batch: ``default_collate`` and ``default_convert``.

Follows the page torch.utils.data ("Automatic batching"): tensors are stacked, numbers become
tensors (floats float64), strings stay a list, and dicts, named tuples and sequences are collated
member by member. Lists of NumPy values of one dtype and shape are stacked by NumPy in one step,
which gives the same tensor as stacking them one by one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

import suiren
from suiren.tensor import Tensor

_WHAT_IS_ALLOWED = (
    "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found "
)


def default_convert(data: Any) -> Any:
    """``data`` with its NumPy arrays and scalars made tensors, containers kept; tuples become
    lists.

    This is what a loader with ``batch_size=None`` applies to each sample. Strings, bytes and Python
    numbers, and arrays of strings or objects, stay as they are. Source:
    torch.utils.data.default_convert.

    >>> import numpy as np
    >>> from suiren.utils.data import default_convert
    >>> default_convert({"x": np.arange(2), "name": "a"})
    {'x': tensor([0, 1]), 'name': 'a'}
    """
    if isinstance(data, Tensor):
        return data
    if isinstance(data, (np.ndarray, np.generic)):
        return data if data.dtype.kind in "SUO" else suiren.as_tensor(np.asarray(data))
    if isinstance(data, (str, bytes, bytearray)):
        return data
    if isinstance(data, Mapping):
        return _same_mapping(data, {key: default_convert(data[key]) for key in data})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(default_convert(member) for member in data))
    if isinstance(data, tuple):
        return [default_convert(member) for member in data]
    if isinstance(data, Sequence):
        return _same_sequence(data, [default_convert(member) for member in data])
    return data


def collate(batch: Sequence, *, collate_fn_map: dict | None = None) -> Any:
    """One batch from the list ``batch`` of samples of like structure.

    ``collate_fn_map`` says what to do with the leaves: it maps a type, or a tuple of types, to a
    function ``(batch, *, collate_fn_map) -> batch``; an exact match of the first sample's type is
    looked for before a base class. Containers are collated member by member. TypeError for a leaf
    of no known type, RuntimeError when sequences differ in length. Source:
    torch.utils.data._utils.collate.collate.
    """
    first = batch[0]
    kind = type(first)
    if collate_fn_map is not None:
        leaf = _find_leaf(first, kind, collate_fn_map)
        if leaf is not None:
            return leaf(batch, collate_fn_map=collate_fn_map)

    if isinstance(first, Mapping):
        table = {
            key: collate([sample[key] for sample in batch], collate_fn_map=collate_fn_map)
            for key in first
        }
        return _same_mapping(first, table)
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        columns = zip(*batch, strict=False)
        return kind(*(collate(column, collate_fn_map=collate_fn_map) for column in columns))
    if isinstance(first, Sequence):
        size = len(first)
        if any(len(sample) != size for sample in batch):
            raise RuntimeError(
                f"default_collate: sequences of lengths {[len(sample) for sample in batch]} in one"
                " batch; each element in list of batch should be of equal size: pad them, or pass"
                " a collate_fn that does"
            )
        members = [
            collate(column, collate_fn_map=collate_fn_map) for column in zip(*batch, strict=True)
        ]
        return members if isinstance(first, tuple) else _same_sequence(first, members)
    raise TypeError(f"{_WHAT_IS_ALLOWED}{kind}; pass a collate_fn that says how to batch it")


def _find_leaf(first: Any, kind: type, collate_fn_map: dict) -> Callable | None:
    """The function that ``collate_fn_map`` has for ``first``, if any."""
    exact = collate_fn_map.get(kind)
    if exact is not None:
        return exact
    for types, function in collate_fn_map.items():
        if isinstance(first, types):
            return function
    return None


def _same_mapping(model: Mapping, members: dict) -> Any:
    """``members`` in a mapping of ``model``'s type; in a dict if that cannot be built."""
    if type(model) is dict:
        return members
    try:
        if isinstance(model, MutableMapping):
            # A copy keeps what a constructor would not be told, such as a defaultdict's factory.
            clone = copy.copy(model)
            clone.update(members)
            return clone
        # A user's kind of collection, taken to be made from an iterable as its base is.
        return type(model)(members)  # type: ignore[call-arg]
    except TypeError:
        return members


def _same_sequence(model: Sequence, members: list) -> Any:
    """``members`` in a sequence of ``model``'s type; in a list if that cannot be built."""
    if type(model) is list or isinstance(model, (range, memoryview)):
        return members
    try:
        if isinstance(model, MutableSequence):
            clone = copy.copy(model)
            for position, member in enumerate(members):
                clone[position] = member
            return clone
        # A user's kind of collection, taken to be made from an iterable as its base is.
        return type(model)(members)  # type: ignore[call-arg]
    except TypeError:
        return members


def _collate_tensors(batch: Sequence, *, collate_fn_map: dict | None = None) -> Any:
    return suiren.stack(list(batch), 0)  # samples, *shape


def _collate_arrays(batch: Sequence, *, collate_fn_map: dict | None = None) -> Any:
    first = batch[0]
    if first.dtype.kind in "SUO":
        raise TypeError(
            f"{_WHAT_IS_ALLOWED}{first.dtype}; pass a collate_fn that says how to batch it"
        )
    if all(array.dtype == first.dtype and array.shape == first.shape for array in batch):
        return suiren.from_numpy(np.stack(batch))  # samples, *shape
    # Tensors of several dtypes promote by PyTorch's rules, and shapes that differ raise as stack
    # does.
    return suiren.stack([suiren.as_tensor(array) for array in batch], 0)


def _collate_scalars(batch: Sequence, *, collate_fn_map: dict | None = None) -> Any:
    return _collate_arrays([np.asarray(scalar) for scalar in batch])  # samples


def _collate_floats(batch: Sequence, *, collate_fn_map: dict | None = None) -> Any:
    return suiren.tensor(batch, dtype=suiren.float64)  # samples


def _collate_ints(batch: Sequence, *, collate_fn_map: dict | None = None) -> Any:
    return suiren.tensor(batch)  # samples


def _collate_text(batch: Sequence, *, collate_fn_map: dict | None = None) -> Any:
    return batch


default_collate_fn_map: dict = {
    Tensor: _collate_tensors,
    np.ndarray: _collate_arrays,
    (np.bool_, np.number, np.object_): _collate_scalars,
    float: _collate_floats,
    int: _collate_ints,
    str: _collate_text,
    bytes: _collate_text,
}


def default_collate(batch: Sequence) -> Any:
    """One batch from a list of samples: what a loader does with them unless told otherwise.

    ``batch`` is a list of ``samples`` samples. Tensors and NumPy arrays of shape (*shape), equal in
    all samples, give a tensor of shape (samples, *shape) and their dtype; Python floats a float64
    tensor (samples,), ints int64, bools bool; strings and bytes the list itself; mappings, named
    tuples and sequences are collated member by member (a tuple gives a list). TypeError for
    anything else (None too), RuntimeError for tensors of unequal shape or sequences of unequal
    length, IndexError for an empty batch. Source: torch.utils.data.default_collate.

    >>> from suiren.utils.data import default_collate
    >>> default_collate([(1, "a"), (2, "b")])
    [tensor([1, 2]), ('a', 'b')]
    """
    return collate(batch, collate_fn_map=default_collate_fn_map)
