"""Results with named parts: tuples that print and read as PyTorch's ``torch.return_types``.

Operators with several results return one of these, so ``values, indices = x.max(0)`` and
``x.max(0).values`` both work. :func:`make` adds a kind. Source: torch.return_types.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from typing import Any


class NamedResult(tuple):
    """A tuple whose parts have names; its kinds are made by :func:`make`."""

    __slots__ = ()
    __match_args__: tuple[str, ...] = ()
    n_fields = n_sequence_fields = n_unnamed_fields = 0

    def __new__(cls, parts: Iterable[Any] = ()) -> NamedResult:
        found = tuple.__new__(cls, parts)
        if len(found) != len(cls.__match_args__):
            raise TypeError(
                f"torch.return_types.{cls.__name__}() takes a sequence of "
                f"{len(cls.__match_args__)} parts ({', '.join(cls.__match_args__)}), "
                f"got {len(found)}"
            )
        return found

    def __repr__(self) -> str:
        parts = [f"{n}={x!r}" for n, x in zip(self.__match_args__, self, strict=True)]
        return f"torch.return_types.{type(self).__name__}(\n" + ",\n".join(parts) + ")"

    def __reduce__(self):
        return _rebuild, (type(self).__name__, tuple(self))


def _rebuild(name: str, parts: tuple) -> NamedResult:
    return globals()[name](parts)


def make(name: str, fields: str | Iterable[str]) -> type[NamedResult]:
    """The kind of result called ``name`` with these fields, in order.

    It becomes an attribute of this module (so that it can be pickled) and takes a sequence of its
    parts: ``make("max", "values indices")((values, indices))``.
    """
    names = tuple(fields.split()) if isinstance(fields, str) else tuple(fields)
    known = globals().get(name)
    if isinstance(known, type) and issubclass(known, NamedResult):
        if known.__match_args__ != names:
            raise ValueError(f"return type {name} has fields {known.__match_args__}, not {names}")
        return known
    body: dict[str, Any] = {
        field: property(itemgetter(i), doc=f"Part {i} of the result.")
        for i, field in enumerate(names)
    }
    body.update(__slots__=(), __match_args__=names, __module__=__name__)
    body.update(n_fields=len(names), n_sequence_fields=len(names))
    body["__doc__"] = f"The results ({', '.join(names)}) of torch.{name}."
    made = type(name, (NamedResult,), body)
    globals()[name] = made
    return made


for _name in ("max", "min", "sort", "topk", "kthvalue", "mode", "median", "nanmedian", "cummax",
              "cummin"):  # fmt: skip
    make(_name, "values indices")
make("aminmax", "min max")
make("histogram", "hist bin_edges")
