"""Stochastic gradient descent with momentum. Follows PyTorch's `torch.optim.SGD`."""

from __future__ import annotations

from typing import Any

from suiren.optim.groupwise import (
    GroupwiseOptimizer,
    Number,
    add_scaled_,
    check_at_least_zero,
    check_implementation,
    check_lr,
    decayed,
    kept,
    number,
)
from suiren.optim.optimizer import ParamsT
from suiren.optim.steps import sgd_momentum_step, sgd_step, update
from suiren.tensor import Tensor


class SGD(GroupwiseOptimizer):
    r"""Stochastic gradient descent, plain, with momentum or with Nesterov's momentum.

    With gradient g, learning rate lr and momentum buffer b::

        g <- g + weight_decay * p
        b <- momentum * b + (1 - dampening) * g        (b = g in the first step)
        p <- p - lr * (g + momentum * b  if nesterov else  b)

    Without momentum p <- p - lr * g. Unlike in Sutskever's form the learning rate multiplies
    the buffer, not the gradient that enters it.

    Args:
        params: parameters, named parameters or parameter groups.
        lr: learning rate, a float or a tensor of one element.
        momentum, dampening, weight_decay, nesterov: as in the formula.
        maximize: ascend instead of descend.
        differentiable: record the update with autograd.
        foreach, fused: accepted for compatibility.

    Raises:
        ValueError: a negative option, or Nesterov's momentum without momentum or with dampening.

    Sources: Sutskever et al. (2013), On the importance of initialization and momentum in deep
    learning; https://docs.pytorch.org/docs/stable/generated/torch.optim.SGD.html

    Example:
        >>> optimizer = suiren.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        >>> optimizer.zero_grad()
        >>> loss_fn(model(input), target).backward()
        >>> optimizer.step()
    """

    takes_sparse_gradients = True
    added_options = {
        "nesterov": False,
        "maximize": False,
        "foreach": None,
        "differentiable": False,
        "fused": None,
    }

    def __init__(
        self,
        params: ParamsT,
        lr: Number = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: Number = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_lr(lr)
        check_at_least_zero("momentum value", momentum)
        check_at_least_zero("weight_decay value", weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError(
                "Nesterov momentum requires a momentum and zero dampening, "
                f"but momentum={momentum} and dampening={dampening}"
            )
        defaults = dict(
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
            maximize=maximize,
            foreach=foreach,
            differentiable=differentiable,
            fused=fused,
        )
        super().__init__(params, defaults)
        check_implementation(foreach, fused, differentiable)

    def _update_group(self, group: dict[str, Any]) -> None:
        lr = number(group["lr"], group)
        momentum = group["momentum"]
        weight_decay = number(group["weight_decay"], group)
        pairs = self._gradients(group)
        if not group["differentiable"] and self._update_at_once(group, pairs, lr, weight_decay):
            return
        for param, grad in pairs:
            grad = decayed(grad, param, weight_decay)
            if momentum != 0:
                state = self._state[param]
                buffer = state.get("momentum_buffer")
                if buffer is None:
                    buffer = state["momentum_buffer"] = grad.detach().clone()
                else:
                    buffer.mul_(momentum).add_(grad, alpha=1 - group["dampening"])
                grad = grad.add(buffer, alpha=momentum) if group["nesterov"] else buffer
            add_scaled_(param, kept(grad, group), -lr)

    def _update_at_once(
        self, group: dict[str, Any], pairs: list[tuple[Tensor, Tensor]], lr: Any, decay: Any
    ) -> bool:
        """The same as one entry for each parameter, if they are plain.

        In the first step buffers become what the gradients are; decayed ones are left out.
        """
        momentum = group["momentum"]
        attributes, numbers = self._numbers_of(group, lr, decay)
        if momentum == 0:
            return update(sgd_step, attributes, pairs, numbers, ((0, 1),))
        buffers = [self._state[param].get("momentum_buffer") for param, _ in pairs]
        if all(buffer is None for buffer in buffers) and not (group["nesterov"] or decay):
            if not update(sgd_step, (), pairs, (-lr, None), ((0, 1),)):
                return False
            for param, grad in pairs:
                self._state[param]["momentum_buffer"] = grad.detach().clone()
            return True
        rows = []
        for (param, grad), buffer in zip(pairs, buffers, strict=True):
            if buffer is None:
                return False
            rows.append((param, grad, buffer))
        return update(sgd_momentum_step, attributes, rows, numbers, ((0, 1), (2, 2)))

    @staticmethod
    def _numbers_of(group: dict[str, Any], lr: Any, decay: Any) -> tuple[tuple, tuple]:
        """The attributes and numbers of the update's operator."""
        momentum = group["momentum"]
        decay = None if decay == 0 else decay
        if momentum == 0:
            return (), (-lr, decay)
        weight = 1 - group["dampening"]
        return (bool(group["nesterov"]),), (-lr, decay, momentum, None if weight == 1 else weight)

    def _foreseen(self, group: dict[str, Any]) -> tuple[Any, tuple] | None:
        lr, decay = group["lr"], group["weight_decay"]
        if isinstance(lr, Tensor) or isinstance(decay, Tensor) or group["differentiable"]:
            return None
        return self._numbers_of(group, lr, decay)
