"""All parameters as one vector, and back. Source: PyTorch, torch.nn.utils."""

from __future__ import annotations

from collections.abc import Iterable

import suiren
from suiren.tensor import Tensor


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements in one vector, parameter after parameter."""
    return suiren.cat([parameter.reshape(-1) for parameter in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Cut a vector up into the parameters' values; they become views of it."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {type(vec).__name__}")
    start = 0
    for parameter in parameters:
        count = parameter.numel()
        parameter.data = vec[start:start + count].view(parameter.shape).data
        start += count
