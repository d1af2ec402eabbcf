"""Adamax. Follows PyTorch's `torch.optim.Adamax`."""

from __future__ import annotations

from typing import Any

import suiren
from suiren.optim.groupwise import (
    GroupwiseOptimizer,
    Number,
    add_quotient_,
    check_at_least_zero,
    check_betas,
    check_lr,
    decayed,
    kept,
    number,
    real_views,
)
from suiren.optim.optimizer import ParamsT


class Adamax(GroupwiseOptimizer):
    r"""Adamax: Adam with the largest recent gradient in place of the root mean square.

    With gradient g, average m, decayed maximum u, and t counting steps from 1::

        g <- g + weight_decay * p
        m <- beta1 * m + (1 - beta1) * g
        u <- max(beta2 * u, |g| + eps)
        p <- p - lr / (1 - beta1**t) * m / u

    Args:
        params: parameters, named parameters or parameter groups.
        lr: learning rate, a float or a tensor of one element.
        betas, eps, weight_decay: as in the formula.
        maximize: ascend instead of descend.
        differentiable: record the update with autograd.
        foreach, capturable: accepted for compatibility.

    Raises:
        ValueError: an option out of its range.

    Sources: Kingma and Ba (2014), Adam: a method for stochastic optimization, section 7.1;
    https://docs.pytorch.org/docs/stable/generated/torch.optim.Adamax.html

    Example:
        >>> optimizer = suiren.optim.Adamax(model.parameters(), lr=0.002)
    """

    state_numbers = ("step",)
    added_options = {
        "foreach": None,
        "maximize": False,
        "differentiable": False,
        "capturable": False,
    }

    def __init__(
        self,
        params: ParamsT,
        lr: Number = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
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
            foreach=foreach,
            maximize=maximize,
            differentiable=differentiable,
            capturable=capturable,
        )
        super().__init__(params, defaults)

    def _update_group(self, group: dict[str, Any]) -> None:
        lr = number(group["lr"], group)
        beta1, beta2 = (number(beta, group) for beta in group["betas"])
        for param, grad in self._gradients(group):
            state = self._state[param]
            if not state:
                self._numbers.start(param, state, 0.0)
                state["exp_avg"] = suiren.zeros_like(param)
                state["exp_inf"] = suiren.zeros_like(param)
            numbers = self._numbers.of(param, state)
            step = numbers[0] = numbers[0] + 1

            grad = decayed(grad, param, group["weight_decay"])
            param, grad, mean, largest = real_views(
                param, grad, state["exp_avg"], state["exp_inf"]
            )
            mean.lerp_(grad, 1 - beta1)
            largest.copy_(suiren.maximum(largest * beta2, grad.abs().add_(group["eps"])))
            rate = lr / (1 - beta1**step)
            add_quotient_(param, kept(mean, group), kept(largest, group), -rate)
