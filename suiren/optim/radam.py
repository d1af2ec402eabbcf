"""RAdam. Follows PyTorch's `torch.optim.RAdam`."""

from __future__ import annotations

from typing import Any

import suiren
from suiren.optim.groupwise import (
    GroupwiseOptimizer,
    Number,
    add_quotient_,
    add_scaled_,
    check_at_least_zero,
    check_betas,
    check_lr,
    decayed,
    kept,
    number,
    real_views,
)
from suiren.optim.optimizer import ParamsT


class RAdam(GroupwiseOptimizer):
    r"""RAdam: Adam whose adaptive part waits until its variance can be trusted.

    With gradient g, averages m and v as in Adam, and t counting steps from 1::

        rho_inf = 2 / (1 - beta2) - 1
        rho     = rho_inf - 2 * t * beta2**t / (1 - beta2**t)
        m_hat   = m / (1 - beta1**t)
        rho > 5:  r = sqrt((rho - 4) * (rho - 2) * rho_inf
                           / ((rho_inf - 4) * (rho_inf - 2) * rho))
                  p <- p - lr * m_hat * r * sqrt(1 - beta2**t) / (sqrt(v) + eps)
        else:     p <- p - lr * m_hat

    Args:
        params: parameters, named parameters or parameter groups.
        lr: learning rate, a float or a tensor of one element.
        betas, eps: as in the formula.
        weight_decay, decoupled_weight_decay: decay through the gradient, or of the parameter.
        maximize: ascend instead of descend.
        differentiable: record the update with autograd.
        foreach, capturable: accepted for compatibility.

    Raises:
        ValueError: an option out of its range.

    Sources: Liu et al. (2019), On the variance of the adaptive learning rate and beyond;
    https://docs.pytorch.org/docs/stable/generated/torch.optim.RAdam.html

    Example:
        >>> optimizer = suiren.optim.RAdam(model.parameters(), lr=1e-3)
    """

    state_numbers = ("step",)
    added_options = {
        "foreach": None,
        "maximize": False,
        "differentiable": False,
        "decoupled_weight_decay": False,
        "capturable": False,
    }

    def __init__(
        self,
        params: ParamsT,
        lr: Number = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        check_at_least_zero("epsilon value", eps)
        check_betas(betas)
        check_at_least_zero("weight_decay value", weight_decay)
        defaults = dict(
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            maximize=maximize,
            foreach=foreach,
            capturable=capturable,
            decoupled_weight_decay=decoupled_weight_decay,
            differentiable=differentiable,
        )
        super().__init__(params, defaults)

    def _update_group(self, group: dict[str, Any]) -> None:
        lr = number(group["lr"], group)
        beta1, beta2 = (number(beta, group) for beta in group["betas"])
        weight_decay = group["weight_decay"]
        for param, grad in self._gradients(group):
            state = self._state[param]
            if not state:
                self._numbers.start(param, state, 0.0)
                state["exp_avg"] = suiren.zeros_like(param)
                state["exp_avg_sq"] = suiren.zeros_like(param)
            numbers = self._numbers.of(param, state)
            step = numbers[0] = numbers[0] + 1

            if weight_decay != 0:
                if group["decoupled_weight_decay"]:
                    param.mul_(1 - lr * weight_decay)
                else:
                    grad = decayed(grad, param, weight_decay)
            param, grad, mean, square = real_views(
                param, grad, state["exp_avg"], state["exp_avg_sq"]
            )
            mean.lerp_(grad, 1 - beta1)
            square.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
            mean = kept(mean, group)
            rate = lr / (1 - beta1**step)
            rectification = _rectification(step, beta2)
            if rectification is None:
                add_scaled_(param, mean, -rate)
            else:
                divisor = kept(square, group).sqrt().add_(group["eps"])
                add_quotient_(param, mean, divisor, -rate * rectification)


def _rectification(step: float, beta2: Number) -> Number | None:
    """r * sqrt(1 - beta2**t) of the formula, or None while the variance is not tractable."""
    correction = 1 - beta2**step
    rho_inf = 2 / (1 - beta2) - 1
    rho = rho_inf - 2 * step * beta2**step / correction
    if rho <= 5.0:
        return None
    ratio = (rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)
    return (ratio * correction) ** 0.5
