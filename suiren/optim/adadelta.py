"""Adadelta. Follows PyTorch's `torch.optim.Adadelta`."""

from __future__ import annotations

from typing import Any

import suiren
from suiren.optim.groupwise import (
    GroupwiseOptimizer,
    Number,
    add_scaled_,
    check_at_least_zero,
    check_lr,
    decayed,
    kept,
    number,
    real_views,
)
from suiren.optim.optimizer import ParamsT


class Adadelta(GroupwiseOptimizer):
    r"""Adadelta: steps in the unit of the parameter, from running averages of both squares.

    With gradient g, mean square v of gradients and u of updates::

        g <- g + weight_decay * p
        v <- rho * v + (1 - rho) * g**2
        d  = sqrt(u + eps) / sqrt(v + eps) * g
        u <- rho * u + (1 - rho) * d**2
        p <- p - lr * d

    Args:
        params: parameters, named parameters or parameter groups.
        lr: factor of the update, a float or a tensor of one element.
        rho, eps, weight_decay: as in the formula.
        maximize: ascend instead of descend.
        differentiable: record the update with autograd.
        foreach, capturable: accepted for compatibility.

    Raises:
        ValueError: a negative option, or `rho` outside [0, 1].

    Sources: Zeiler (2012), ADADELTA: an adaptive learning rate method;
    https://docs.pytorch.org/docs/stable/generated/torch.optim.Adadelta.html

    Example:
        >>> optimizer = suiren.optim.Adadelta(model.parameters())
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
        lr: Number = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}; it must be in the range [0, 1]")
        check_at_least_zero("epsilon value", eps)
        check_at_least_zero("weight_decay value", weight_decay)
        defaults = dict(
            lr=lr,
            rho=rho,
            eps=eps,
            weight_decay=weight_decay,
            maximize=maximize,
            capturable=capturable,
            foreach=foreach,
            differentiable=differentiable,
        )
        super().__init__(params, defaults)

    def _update_group(self, group: dict[str, Any]) -> None:
        lr = number(group["lr"], group)
        rho, eps = group["rho"], group["eps"]
        for param, grad in self._gradients(group):
            state = self._state[param]
            if not state:
                self._numbers.start(param, state, 0.0)
                state["square_avg"] = suiren.zeros_like(param)
                state["acc_delta"] = suiren.zeros_like(param)
            self._numbers.of(param, state)[0] += 1

            grad = decayed(grad, param, group["weight_decay"])
            param, grad, square, delta_square = real_views(
                param, grad, state["square_avg"], state["acc_delta"]
            )
            square.mul_(rho).addcmul_(grad, grad, value=1 - rho)
            delta = kept(delta_square, group).add(eps).sqrt() / square.add(eps).sqrt() * grad
            delta_square.mul_(rho).addcmul_(delta, delta, value=1 - rho)
            add_scaled_(param, delta, -lr)
