"""RMSprop, plain, centered and with momentum. Follows PyTorch's `torch.optim.RMSprop`."""

from __future__ import annotations

from typing import Any

import suiren
from suiren.optim.groupwise import (
    GroupwiseOptimizer,
    Number,
    add_quotient_,
    add_scaled_,
    check_at_least_zero,
    check_lr,
    decayed,
    kept,
    number,
    real_views,
)
from suiren.optim.optimizer import ParamsT
from suiren.tensor import Tensor


class RMSprop(GroupwiseOptimizer):
    r"""RMSprop: the gradient divided by a running root mean square of itself.

    With gradient g, mean square v, mean a and momentum buffer b::

        g <- g + weight_decay * p
        v <- alpha * v + (1 - alpha) * g**2
        a <- alpha * a + (1 - alpha) * g                  (centered)
        d  = sqrt(v - a**2 if centered else v) + eps
        b <- momentum * b + g / d                         (momentum > 0)
        p <- p - lr * (b if momentum > 0 else g / d)

    As in PyTorch `eps` is added after the root; TensorFlow adds it before.

    Args:
        params: parameters, named parameters or parameter groups.
        lr: learning rate, a float or a tensor of one element.
        alpha, eps, weight_decay, momentum, centered: as in the formula.
        maximize: ascend instead of descend.
        differentiable: record the update with autograd.
        foreach, capturable: accepted for compatibility.

    Raises:
        ValueError: a negative option.

    Sources: Hinton (2012), Neural networks for machine learning, lecture 6e; Graves (2013),
    Generating sequences with recurrent neural networks (centered);
    https://docs.pytorch.org/docs/stable/generated/torch.optim.RMSprop.html

    Example:
        >>> optimizer = suiren.optim.RMSprop(model.parameters(), lr=0.01, momentum=0.9)
    """

    state_numbers = ("step",)
    added_options = {
        "momentum": 0,
        "centered": False,
        "foreach": None,
        "maximize": False,
        "differentiable": False,
        "capturable": False,
    }

    def __init__(
        self,
        params: ParamsT,
        lr: Number = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        check_at_least_zero("epsilon value", eps)
        check_at_least_zero("momentum value", momentum)
        check_at_least_zero("weight_decay value", weight_decay)
        check_at_least_zero("alpha value", alpha)
        defaults = dict(
            lr=lr,
            momentum=momentum,
            alpha=alpha,
            eps=eps,
            centered=centered,
            weight_decay=weight_decay,
            capturable=capturable,
            foreach=foreach,
            maximize=maximize,
            differentiable=differentiable,
        )
        super().__init__(params, defaults)

    def _begin(self, param: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        self._numbers.start(param, state, 0.0)
        state["square_avg"] = suiren.zeros_like(param)
        if group["momentum"] > 0:
            state["momentum_buffer"] = suiren.zeros_like(param)
        if group["centered"]:
            state["grad_avg"] = suiren.zeros_like(param)

    def _update_group(self, group: dict[str, Any]) -> None:
        lr = number(group["lr"], group)
        alpha, momentum = group["alpha"], group["momentum"]
        for param, grad in self._gradients(group):
            state = self._state[param]
            if not state:
                self._begin(param, state, group)
            self._numbers.of(param, state)[0] += 1

            grad = decayed(grad, param, group["weight_decay"])
            param, grad, square = real_views(param, grad, state["square_avg"])
            square.mul_(alpha).addcmul_(grad, grad, value=1 - alpha)
            if group["centered"]:
                (mean,) = real_views(state["grad_avg"])
                mean.lerp_(grad, 1 - alpha)
                mean = kept(mean, group)
                divisor = square.addcmul(mean, mean, value=-1).sqrt()
            else:
                divisor = kept(square, group).sqrt()
            divisor = divisor.add_(group["eps"])
            if momentum > 0:
                (buffer,) = real_views(state["momentum_buffer"])
                buffer.mul_(momentum).addcdiv_(grad, divisor)
                add_scaled_(param, kept(buffer, group), -lr)
            else:
                add_quotient_(param, grad, divisor, -lr)
