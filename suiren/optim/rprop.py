"""Resilient backpropagation. Follows PyTorch's `torch.optim.Rprop`."""

from __future__ import annotations

from typing import Any

import suiren
from suiren.optim.groupwise import (
    GroupwiseOptimizer,
    Number,
    check_lr,
    full_state,
    kept,
    plain_number,
    real_views,
)
from suiren.optim.optimizer import ParamsT


class Rprop(GroupwiseOptimizer):
    r"""Resilient backpropagation: only the signs of full-batch gradients matter.

    Each element has a step size s (lr at first). With gradient g and the one before, h::

        g * h > 0:  s <- min(s * etaplus, max_step)
        g * h < 0:  s <- max(s * etaminus, min_step);  g <- 0
        p <- p - sign(g) * s
        h <- g

    Args:
        params: parameters, named parameters or parameter groups.
        lr: first step size, a float or a tensor of one element.
        etas: (etaminus, etaplus), the factors of shrinking and growing.
        step_sizes: (min_step, max_step), the bounds of s.
        maximize: ascend instead of descend.
        differentiable: record the update with autograd.
        foreach, capturable: accepted for compatibility.

    Raises:
        ValueError: a negative learning rate, or not 0 < etaminus < 1 < etaplus.

    Sources: Riedmiller and Braun (1993), A direct adaptive method for faster backpropagation
    learning; https://docs.pytorch.org/docs/stable/generated/torch.optim.Rprop.html

    Example:
        >>> optimizer = suiren.optim.Rprop(model.parameters(), lr=0.01)
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
        lr: Number = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(
                f"Invalid eta values: {etas[0]}, {etas[1]}; "
                "the first must lie between 0 and 1, the second above 1"
            )
        defaults = dict(
            lr=lr,
            etas=etas,
            step_sizes=step_sizes,
            foreach=foreach,
            maximize=maximize,
            differentiable=differentiable,
            capturable=capturable,
        )
        super().__init__(params, defaults)

    def _update_group(self, group: dict[str, Any]) -> None:
        eta_minus, eta_plus = group["etas"]
        smallest, largest = group["step_sizes"]
        for param, grad in self._gradients(group):
            state = self._state[param]
            if not state:
                self._numbers.start(param, state, 0.0)
                state["prev"] = suiren.zeros_like(param)
                state["step_size"] = full_state(param.detach(), plain_number(group["lr"]))
            self._numbers.of(param, state)[0] += 1

            param, grad, previous, size = real_views(
                param, grad, state["prev"], state["step_size"]
            )
            agreement = grad * kept(previous, group)
            turned = agreement < 0
            shrunk = suiren.where(turned, size * eta_minus, size)
            resized = suiren.where(agreement > 0, size * eta_plus, shrunk)
            size.copy_(resized.clamp_(smallest, largest))
            grad = grad.masked_fill(turned, 0)
            param.addcmul_(grad.sign(), kept(size, group), value=-1)
            previous.copy_(grad)
