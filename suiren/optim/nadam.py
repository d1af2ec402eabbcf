"""NAdam. Follows PyTorch's `torch.optim.NAdam`."""

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


class NAdam(GroupwiseOptimizer):
    r"""NAdam: Adam with Nesterov's momentum, on a momentum that grows with the steps.

    With gradient g, averages m and v, and t counting steps from 1::

        g    <- g + weight_decay * p
        mu_t  = beta1 * (1 - 0.96**(t * momentum_decay) / 2)
        m    <- beta1 * m + (1 - beta1) * g
        v    <- beta2 * v + (1 - beta2) * g**2
        d     = sqrt(v / (1 - beta2**t)) + eps
        p    <- p - lr * (1 - mu_t) / (1 - mu_1 ... mu_t) * g / d
                  - lr * mu_(t+1) / (1 - mu_1 ... mu_(t+1)) * m / d

    With `decoupled_weight_decay` the decay is p <- p - lr * weight_decay * p instead.

    Args:
        params: parameters, named parameters or parameter groups.
        lr: learning rate, a float or a tensor of one element.
        betas, eps, weight_decay, momentum_decay, decoupled_weight_decay: as above.
        maximize: ascend instead of descend.
        differentiable: record the update with autograd.
        foreach, capturable: accepted for compatibility.

    Raises:
        ValueError: an option out of its range.

    Sources: Dozat (2016), Incorporating Nesterov momentum into Adam;
    https://docs.pytorch.org/docs/stable/generated/torch.optim.NAdam.html

    Example:
        >>> optimizer = suiren.optim.NAdam(model.parameters(), lr=0.002)
    """

    state_numbers = ("step", "mu_product")
    added_options = {
        "maximize": False,
        "foreach": None,
        "capturable": False,
        "differentiable": False,
        "decoupled_weight_decay": False,
    }

    def __init__(
        self,
        params: ParamsT,
        lr: Number = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
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
        check_at_least_zero("momentum_decay value", momentum_decay)
        defaults = dict(
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            momentum_decay=momentum_decay,
            decoupled_weight_decay=decoupled_weight_decay,
            maximize=maximize,
            foreach=foreach,
            capturable=capturable,
            differentiable=differentiable,
        )
        super().__init__(params, defaults)

    def _update_group(self, group: dict[str, Any]) -> None:
        lr = number(group["lr"], group)
        beta1, beta2 = (number(beta, group) for beta in group["betas"])
        weight_decay, momentum_decay = group["weight_decay"], group["momentum_decay"]
        for param, grad in self._gradients(group):
            state = self._state[param]
            if not state:
                self._numbers.start(param, state, 0.0, 1.0)
                state["exp_avg"] = suiren.zeros_like(param)
                state["exp_avg_sq"] = suiren.zeros_like(param)
            numbers = self._numbers.of(param, state)
            step = numbers[0] + 1
            mu = beta1 * (1 - 0.5 * 0.96 ** (step * momentum_decay))
            next_mu = beta1 * (1 - 0.5 * 0.96 ** ((step + 1) * momentum_decay))
            mu_product = numbers[1] * mu
            numbers[:] = step, mu_product

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
            divisor = square.div(1 - beta2**step).sqrt().add(group["eps"])
            add_quotient_(param, grad, divisor, -lr * (1 - mu) / (1 - mu_product))
            add_quotient_(
                param, kept(mean, group), divisor, -lr * next_mu / (1 - mu_product * next_mu)
            )
