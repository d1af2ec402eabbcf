"""Adagrad. Follows PyTorch's `torch.optim.Adagrad`."""

from __future__ import annotations

from typing import Any

from suiren.optim.groupwise import (
    GroupwiseOptimizer,
    Number,
    add_quotient_,
    check_at_least_zero,
    check_implementation,
    check_lr,
    decayed,
    full_state,
    is_sparse,
    kept,
    number,
    real_views,
)
from suiren.optim.optimizer import ParamsT
from suiren.tensor import Tensor


class Adagrad(GroupwiseOptimizer):
    r"""Adagrad: a learning rate for each element, which falls with the gradients it has seen.

    With gradient g, their sum of squares s, and t counting steps from 1::

        g <- g + weight_decay * p
        s <- s + g**2                          (from initial_accumulator_value)
        p <- p - lr / (1 + (t - 1) * lr_decay) * g / (sqrt(s) + eps)

    The state of all parameters exists from construction on. A sparse gradient updates the
    elements that it holds.

    Args:
        params: parameters, named parameters or parameter groups.
        lr: learning rate, a float or a tensor of one element.
        lr_decay, weight_decay, initial_accumulator_value, eps: as in the formula.
        maximize: ascend instead of descend.
        differentiable: record the update with autograd.
        foreach, fused: accepted for compatibility.

    Raises:
        ValueError: a negative option.
        RuntimeError: in `step`, weight decay together with a sparse gradient.

    Sources: Duchi et al. (2011), Adaptive subgradient methods for online learning and
    stochastic optimization; https://docs.pytorch.org/docs/stable/generated/torch.optim.Adagrad.html

    Example:
        >>> optimizer = suiren.optim.Adagrad(model.parameters(), lr=0.01)
    """

    takes_sparse_gradients = True
    state_numbers = ("step",)
    added_options = {"foreach": None, "maximize": False, "differentiable": False, "fused": None}

    def __init__(
        self,
        params: ParamsT,
        lr: Number = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_lr(lr)
        check_at_least_zero("lr_decay value", lr_decay)
        check_at_least_zero("weight_decay value", weight_decay)
        check_at_least_zero("initial_accumulator_value value", initial_accumulator_value)
        check_at_least_zero("epsilon value", eps)
        defaults = dict(
            lr=lr,
            lr_decay=lr_decay,
            eps=eps,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            foreach=foreach,
            maximize=maximize,
            differentiable=differentiable,
            fused=fused,
        )
        super().__init__(params, defaults)
        check_implementation(foreach, fused, differentiable)
        for group in self.param_groups:
            for param in group["params"]:
                self._begin(param, self._state[param], group)

    def share_memory(self) -> None:
        """Moves the sums of squares to memory shared between processes."""
        for state in self._state.values():
            state["sum"].share_memory_()

    def _begin(self, param: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        self._numbers.start(param, state, 0.0)
        state["sum"] = full_state(param.detach(), group["initial_accumulator_value"])

    def _update_group(self, group: dict[str, Any]) -> None:
        lr = number(group["lr"], group)
        weight_decay, eps = group["weight_decay"], group["eps"]
        for param, grad in self._gradients(group):
            state = self._state[param]
            if not state:  # of a group that was added later
                self._begin(param, state, group)
            numbers = self._numbers.of(param, state)
            step = numbers[0] = numbers[0] + 1
            rate = lr / (1 + (step - 1) * group["lr_decay"])

            if is_sparse(grad):
                if weight_decay != 0:
                    raise RuntimeError(
                        "Adagrad: the weight_decay option is not compatible with sparse "
                        "gradients; set weight_decay=0 for the group of that parameter"
                    )
                _update_sparse(param, grad, state["sum"], rate, eps)
                continue
            grad = decayed(grad, param, weight_decay)
            param, grad, total = real_views(param, grad, state["sum"])
            total.addcmul_(grad, grad, value=1)
            divisor = kept(total, group).sqrt().add_(eps)
            add_quotient_(param, grad, divisor, -rate)


def _update_sparse(param: Tensor, grad: Tensor, total: Tensor, rate: Number, eps: float) -> None:
    """The update of the elements that the sparse `grad` holds; the others stay as they are."""
    grad = grad.coalesce()
    where = tuple(grad.indices().unbind(0))
    values = grad.values()
    total.index_put_(where, values * values, accumulate=True)
    divisor = total[where].sqrt().add_(eps)
    param.index_put_(where, values / divisor * -rate, accumulate=True)
