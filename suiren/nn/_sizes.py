"""Small helpers on sizes, shared by the layers: an int or a tuple becomes a tuple of n ints."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


def _ntuple(n: int, name: str) -> Callable[[Any], tuple[Any, ...]]:
    def parse(value: Any) -> tuple[Any, ...]:
        if isinstance(value, Iterable):
            return tuple(value)
        return (value,) * n

    parse.__name__ = name
    return parse


_single = _ntuple(1, "_single")
_pair = _ntuple(2, "_pair")
_triple = _ntuple(3, "_triple")
_quadruple = _ntuple(4, "_quadruple")


def _reverse_repeat_tuple(sizes: tuple[int, ...], times: int) -> tuple[int, ...]:
    """(1, 2), 2 gives (2, 2, 1, 1): per-axis padding in the order that `pad` takes it."""
    return tuple(size for size in reversed(sizes) for _ in range(times))


def _list_with_default(sizes: Any, defaults: list[int]) -> Any:
    """None in an adaptive pooling's output size stands for the size of the input there."""
    if isinstance(sizes, (int, type(None))):
        return sizes
    if len(defaults) <= len(sizes):
        raise ValueError(
            f"Input dimension should be at least {len(sizes) + 1}, got {len(defaults)}: an output "
            f"size of {len(sizes)} entries needs an input with more axes"
        )
    recent = defaults[-len(sizes):]
    return [default if size is None else size for size, default in zip(sizes, recent, strict=True)]
