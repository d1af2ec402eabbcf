"""Averaged stochastic gradient descent. Follows PyTorch's `torch.optim.ASGD`."""

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
    plain_number,
    real_views,
)
from suiren.optim.optimizer import ParamsT


class ASGD(GroupwiseOptimizer):
    r"""Averaged stochastic gradient descent: descends, and averages the iterates from `t0` on.

    With gradient g, running average ax, and t counting steps from 1 (eta = lr, mu = 1 at the
    start)::

        g   <- g + weight_decay * p
        p   <- (1 - lambd * eta) * p - eta * g
        ax  <- ax + mu * (p - ax)
        eta <- lr / (1 + lambd * lr * t)**alpha
        mu  <- 1 / max(1, t - t0)

    The average is in the state, under "ax"; the parameters themselves stay the last iterate.

    Args:
        params: parameters, named parameters or parameter groups.
        lr: learning rate, a float or a tensor of one element.
        lambd, alpha, t0, weight_decay: as in the formula.
        maximize: ascend instead of descend.
        differentiable: record the update with autograd.
        foreach, capturable: accepted for compatibility.

    Raises:
        ValueError: a negative learning rate or weight decay.

    Sources: Polyak and Juditsky (1992), Acceleration of stochastic approximation by averaging;
    https://docs.pytorch.org/docs/stable/generated/torch.optim.ASGD.html

    Example:
        >>> optimizer = suiren.optim.ASGD(model.parameters(), lr=0.01, t0=100)
    """

    state_numbers = ("step", "eta", "mu")
    added_options = {
        "foreach": None,
        "maximize": False,
        "differentiable": False,
        "capturable": False,
    }

    def __init__(
        self,
        params: ParamsT,
        lr: Number = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_lr(lr)
        check_at_least_zero("weight_decay value", weight_decay)
        defaults = dict(
            lr=lr,
            lambd=lambd,
            alpha=alpha,
            t0=t0,
            weight_decay=weight_decay,
            foreach=foreach,
            maximize=maximize,
            differentiable=differentiable,
            capturable=capturable,
        )
        super().__init__(params, defaults)

    def _update_group(self, group: dict[str, Any]) -> None:
        # eta and mu are numbers of the state, so a tensor lr is read here in any case.
        lr = plain_number(group["lr"])
        lambd = group["lambd"]
        for param, grad in self._gradients(group):
            state = self._state[param]
            if not state:
                self._numbers.start(param, state, 0.0, lr, 1.0)
                state["ax"] = suiren.zeros_like(param)
            numbers = self._numbers.of(param, state)
            step, eta, mu = numbers
            step += 1

            grad = decayed(grad, param, group["weight_decay"])
            param, grad, average = real_views(param, grad, state["ax"])
            param.mul_(1 - lambd * eta)
            add_scaled_(param, grad, -eta)
            if mu == 1:
                average.copy_(param.detach())
            else:
                average.add_(param.detach().sub(average).mul_(mu))
            eta = lr / (1 + lambd * lr * step) ** group["alpha"]
            numbers[:] = step, eta, 1 / max(1, step - group["t0"])
