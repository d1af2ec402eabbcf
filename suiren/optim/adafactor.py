"""Adafactor. Follows PyTorch's `torch.optim.Adafactor`."""

from __future__ import annotations

from typing import Any

import suiren
from suiren.optim.groupwise import GroupwiseOptimizer, Number, number
from suiren.optim.optimizer import ParamsT
from suiren.tensor import Tensor


class Adafactor(GroupwiseOptimizer):
    r"""Adafactor: adaptive steps with memory for rows and columns instead of every element.

    With gradient g of a matrix and t counting steps from 1; RMS(x) is the root mean square of
    all elements of x::

        b     = t**beta2_decay
        alpha = max(eps2, RMS(p)) * min(lr, 1 / sqrt(t))
        p    <- p - lr * weight_decay * p
        R    <- (1 - b) * R + b * mean of g**2 along each row
        C    <- (1 - b) * C + b * mean of g**2 along each column
        v     = outer product of R and C / mean(R)
        u     = g / sqrt(v)
        p    <- p - alpha * u / max(1, RMS(u) / d)

    Of more than two axes the last two are factored; a vector keeps v in full.

    Args:
        params: parameters, named parameters or parameter groups, not complex.
        lr: bound of the relative step size, a float or a tensor of one element.
        beta2_decay: exponent of the decay, at most 0.
        eps: (eps1, eps2); eps1 bounds v from below (None: the dtype's machine epsilon).
        d: threshold of clipping the update, at least 1.
        weight_decay: as in the formula.
        maximize: ascend instead of descend.
        foreach: accepted for compatibility.

    Raises:
        ValueError: an option out of its range.
        RuntimeError: in `step`, a complex parameter.

    Sources: Shazeer and Stern (2018), Adafactor: adaptive learning rates with sublinear memory
    cost; https://docs.pytorch.org/docs/stable/generated/torch.optim.Adafactor.html

    Example:
        >>> optimizer = suiren.optim.Adafactor(model.parameters(), lr=0.01)
    """

    state_numbers = ("step",)
    added_options = {"foreach": None}

    def __init__(
        self,
        params: ParamsT,
        lr: Number = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError(f"Tensor lr must be 1-element, but it has shape {tuple(lr.shape)}")
        if not lr >= 0.0:
            raise ValueError(f"Learning rate should be >= 0 but is: {lr}")
        if not beta2_decay <= 0.0:
            raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
        if eps[0] is not None and not eps[0] >= 0.0:
            raise ValueError(f"epsilon1 should be >= 0 but is: {eps[0]}")
        if not eps[1] >= 0.0:
            raise ValueError(f"epsilon2 should be >= 0 but is: {eps[1]}")
        if not d >= 1.0:
            raise ValueError(f"Clipping threshold d should be >= 1 but is: {d}")
        if not weight_decay >= 0.0:
            raise ValueError(f"weight_decay should be >= 0 but is: {weight_decay}")
        defaults = dict(
            lr=lr,
            beta2_decay=beta2_decay,
            eps=eps,
            d=d,
            weight_decay=weight_decay,
            foreach=foreach,
            maximize=maximize,
        )
        super().__init__(params, defaults)

    def _begin(self, param: Tensor, state: dict[str, Any]) -> None:
        self._numbers.start(param, state, 0.0)
        if param.dim() > 1:
            state["row_var"] = suiren.zeros_like(param[..., :1])  # (..., rows, 1)
            state["col_var"] = suiren.zeros_like(param[..., :1, :])  # (..., 1, columns)
        else:
            state["variance"] = suiren.zeros_like(param)

    def _update_group(self, group: dict[str, Any]) -> None:
        lr = number(group["lr"], group)
        eps1, eps2 = group["eps"]
        for param, grad in self._gradients(group):
            if param.is_complex():
                raise RuntimeError("Adafactor does not support complex parameters")
            state = self._state[param]
            if not state:
                self._begin(param, state)
            numbers = self._numbers.of(param, state)
            step = numbers[0] = numbers[0] + 1
            tiny = suiren.finfo(param.dtype).eps if eps1 is None else eps1

            rms = param.norm(2) / param.numel() ** 0.5
            alpha = rms.clamp(min=eps2) * min(lr, 1 / step**0.5)
            if group["weight_decay"] != 0:
                param.mul_(1 - lr * group["weight_decay"])
            variance = _estimate_variance(grad, state, step ** group["beta2_decay"], tiny)
            update = variance.clamp(min=tiny * tiny).rsqrt() * grad
            clipping = (update.norm(2) / (param.numel() ** 0.5 * group["d"])).clamp(min=1.0)
            param.sub_(update * (alpha / clipping))


def _estimate_variance(
    grad: Tensor, state: dict[str, Any], weight: float, tiny: float
) -> Tensor:
    """The running mean square of `grad`, in the gradient's shape; updates `state`."""
    square = grad * grad
    if grad.dim() <= 1:
        return state["variance"].lerp_(square, weight)
    rows, columns = state["row_var"], state["col_var"]
    rows.lerp_(square.mean(dim=-1, keepdim=True), weight)
    columns.lerp_(square.mean(dim=-2, keepdim=True), weight)
    return rows * columns / rows.mean(dim=-2, keepdim=True).clamp(min=tiny)
