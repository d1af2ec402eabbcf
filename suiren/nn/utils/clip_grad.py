"""Clipping gradients by norm or by value, in place. Source: PyTorch, torch.nn.utils.clip_grad_*.

Nothing here looks at a value (unless error_if_nonfinite asks for it), so clipping stays part of
the recorded step.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import suiren
from suiren.tensor import Tensor


def _as_list(tensors: Tensor | Iterable[Tensor]) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def get_total_norm(
    tensors: Tensor | Iterable[Tensor], norm_type: float = 2.0, error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of all these tensors as if they were one vector; shape ().

    error_if_nonfinite: RuntimeError if it is NaN or infinite. foreach is accepted and ignored.
    """
    tensors = _as_list(tensors)
    norm_type = float(norm_type)
    if not tensors:
        return suiren.tensor(0.0)
    with suiren.no_grad():
        norms = [suiren.linalg.vector_norm(tensor, norm_type) for tensor in tensors]
        total = suiren.linalg.vector_norm(
            suiren.stack([norm.to(norms[0].device) for norm in norms]), norm_type)
    if error_if_nonfinite and not bool(total.isfinite()):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, "
            "so it cannot be clipped. To disable this error and scale the gradients by the "
            "non-finite norm anyway, set `error_if_nonfinite=False`")
    return total


def clip_grads_with_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, total_norm: Tensor,
    foreach: bool | None = None,
) -> None:
    """Scale the gradients by max_norm / (total_norm + 1e-6) where that is below 1."""
    with suiren.no_grad():
        # Multiplying always, also by 1, avoids looking at the norm's value.
        factor = (max_norm / (total_norm + 1e-6)).clamp(max=1.0)
        for parameter in _as_list(parameters):
            if parameter.grad is not None:
                parameter.grad.mul_(factor.to(parameter.grad.device))


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0,
    error_if_nonfinite: bool = False, foreach: bool | None = None,
) -> Tensor:
    """Scale the gradients, all by the same factor, to a total norm of at most max_norm.

    Returns the norm before. norm_type may be infinity.
    """
    parameters = _as_list(parameters)
    gradients = [p.grad for p in parameters if p.grad is not None]
    total = get_total_norm(gradients, norm_type, error_if_nonfinite, foreach)
    clip_grads_with_norm_(parameters, float(max_norm), total, foreach)
    return total


def clip_grad_norm(*args: Any, **kwargs: Any) -> Tensor:
    """The old name of clip_grad_norm_."""
    warnings.warn(
        "`torch.nn.utils.clip_grad_norm` is now deprecated in favor of "
        "`torch.nn.utils.clip_grad_norm_`.", FutureWarning, stacklevel=2)
    return clip_grad_norm_(*args, **kwargs)


def clip_grad_value_(
    parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None
) -> None:
    """Clamp every element of the gradients to [-clip_value, clip_value]."""
    clip_value = float(clip_value)
    with suiren.no_grad():
        for parameter in _as_list(parameters):
            if parameter.grad is not None:
                parameter.grad.clamp_(min=-clip_value, max=clip_value)
