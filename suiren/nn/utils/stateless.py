"""functional_call: a module as a function of its parameters.

Source: PyTorch, torch.func.functional_call and torch.nn.utils.stateless.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from suiren.nn.modules.module import Module
from suiren.tensor import Tensor


@contextmanager
def _replaced(
    module: Module, tensors: Mapping[str, Tensor], tie_weights: bool, strict: bool
) -> Iterator[None]:
    """Inside, the module's parameters and buffers of these names are the given tensors."""
    places: dict[str, list[tuple[dict[str, Any], str]]] = {}
    by_object: dict[int, list[str]] = {}
    for path, owner in module.named_modules(remove_duplicate=False):
        kinds: tuple[dict[str, Any], ...] = (owner._parameters, owner._buffers)
        for kind in kinds:
            for name, tensor in kind.items():
                if tensor is None:
                    continue
                full = f"{path}.{name}" if path else name
                places.setdefault(full, []).append((kind, name))
                by_object.setdefault(id(tensor), []).append(full)
    unexpected = [name for name in tensors if name not in places]
    missing = [name for name in places if name not in tensors]
    if strict and (unexpected or missing):
        raise RuntimeError(
            f"functional_call: strict=True, but the names do not match {type(module).__name__}: "
            f"unexpected {unexpected}, missing {missing}")
    if unexpected:
        raise KeyError(
            f"functional_call: {type(module).__name__} has no parameter or buffer "
            + ", ".join(repr(name) for name in unexpected))
    chosen = dict(tensors)
    if tie_weights:
        # A tensor known by several names is replaced under all of them.
        for names in by_object.values():
            given = {name for name in names if name in tensors}
            if len({id(tensors[name]) for name in given}) > 1:
                raise ValueError(
                    f"functional_call: the tied names {sorted(given)} were given different "
                    "tensors; give one of them or pass tie_weights=False")
            for name in given:
                chosen.update(dict.fromkeys(names, tensors[name]))
    before = [
        (kind, short, kind[short]) for name in chosen for kind, short in places[name]]
    try:
        for name, tensor in chosen.items():
            for kind, short in places[name]:
                kind[short] = tensor
        yield
    finally:
        for kind, short, tensor in before:
            kind[short] = tensor


def functional_call(
    module: Module, parameter_and_buffer_dicts: Any, args: Any = None,
    kwargs: dict[str, Any] | None = None, *, tie_weights: bool = True, strict: bool = False,
) -> Any:
    """Call the module with these tensors in place of its parameters and buffers.

    parameter_and_buffer_dicts: dictionary of dotted names, or several whose names differ.
    strict: all names must be given. The module is as before afterwards.

        >>> layer = nn.Linear(1, 1, bias=False)
        >>> functional_call(layer, {"weight": suiren.tensor([[3.0]])}, suiren.tensor([2.0]))
        tensor([6.])
    """
    if isinstance(parameter_and_buffer_dicts, Mapping):
        tensors = dict(parameter_and_buffer_dicts)
    elif isinstance(parameter_and_buffer_dicts, Sequence):
        tensors = {}
        for part in parameter_and_buffer_dicts:
            repeated = [name for name in part if name in tensors]
            if repeated:
                raise ValueError(
                    f"functional_call: {repeated} appear in more than one dictionary")
            tensors.update(part)
    else:
        raise ValueError(
            "Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got "
            f"{type(parameter_and_buffer_dicts)}")
    if args is None:
        args = ()
    elif not isinstance(args, tuple):
        args = (args,)
    with _replaced(module, tensors, tie_weights, strict):
        return module(*args, **(kwargs or {}))
