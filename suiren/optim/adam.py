"""Adam, AdamW and their AMSGrad variant. Follows PyTorch's `torch.optim.Adam` and `AdamW`."""

from __future__ import annotations

from typing import Any

import suiren
from suiren.optim.groupwise import (
    GroupwiseOptimizer,
    Number,
    add_product_,
    add_quotient_,
    check_at_least_zero,
    check_betas,
    check_implementation,
    check_lr,
    decayed,
    kept,
    number,
    plain_number,
    real_views,
)
from suiren.optim.optimizer import ParamsT
from suiren.optim.steps import adam_step, amsgrad_step, update
from suiren.tensor import Tensor


class Adam(GroupwiseOptimizer):
    r"""Adam: steps of even size by running averages of the gradient and of its square.

    With gradient g, the averages m and v, and t counting steps from 1::

        g <- g + weight_decay * p
        m <- beta1 * m + (1 - beta1) * g
        v <- beta2 * v + (1 - beta2) * g**2
        p <- p - lr / (1 - beta1**t) * m / (sqrt(v) / sqrt(1 - beta2**t) + eps)

    With `amsgrad` the largest v so far takes the place of v in the last line. With
    `decoupled_weight_decay` the decay is p <- p - lr * weight_decay * p instead (AdamW).

    Args:
        params: parameters, named parameters or parameter groups.
        lr: learning rate, a float or a tensor of one element.
        betas: decay rates of the two averages, both floats or both tensors.
        eps: keeps the divisor from zero.
        weight_decay, amsgrad, decoupled_weight_decay: as above.
        maximize: ascend instead of descend.
        differentiable: record the update with autograd.
        foreach, capturable, fused: accepted for compatibility.

    Raises:
        ValueError: an option out of its range; `lr` or `betas` are tensors together with
            foreach=True and capturable=False, which PyTorch refuses.

    Sources: Kingma and Ba (2014), Adam: a method for stochastic optimization; Reddi et al.
    (2018), On the convergence of Adam and beyond;
    https://docs.pytorch.org/docs/stable/generated/torch.optim.Adam.html

    Example:
        >>> optimizer = suiren.optim.Adam(model.parameters(), lr=1e-3)
        >>> optimizer.zero_grad()
        >>> loss_fn(model(input), target).backward()
        >>> optimizer.step()
    """

    state_numbers = ("step",)
    added_options = {
        "amsgrad": False,
        "maximize": False,
        "foreach": None,
        "capturable": False,
        "differentiable": False,
        "decoupled_weight_decay": False,
        "fused": None,
    }

    def __init__(
        self,
        params: ParamsT,
        lr: Number = 1e-3,
        betas: tuple[Number, Number] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        check_lr(lr)
        check_at_least_zero("epsilon value", eps)
        check_betas(betas)
        check_at_least_zero("weight_decay value", weight_decay)
        _check_tensor_options(lr, betas, foreach, capturable)
        defaults = dict(
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            amsgrad=amsgrad,
            maximize=maximize,
            foreach=foreach,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=decoupled_weight_decay,
        )
        super().__init__(params, defaults)
        check_implementation(foreach, fused, differentiable)

    def _begin(self, param: Tensor, state: dict[str, Any], amsgrad: bool) -> None:
        self._numbers.start(param, state, 0.0)
        state["exp_avg"] = suiren.zeros_like(param)
        state["exp_avg_sq"] = suiren.zeros_like(param)
        if amsgrad:
            state["max_exp_avg_sq"] = suiren.zeros_like(param)

    def _update_group(self, group: dict[str, Any]) -> None:
        lr = number(group["lr"], group)
        beta1, beta2 = (number(beta, group) for beta in group["betas"])
        eps, weight_decay, amsgrad = group["eps"], group["weight_decay"], group["amsgrad"]
        pairs = self._gradients(group)
        steps = []
        for param, _ in pairs:
            state = self._state[param]
            if not state:
                self._begin(param, state, amsgrad)
            numbers = self._numbers.of(param, state)
            numbers[0] += 1
            steps.append(numbers[0])
        if not group["differentiable"] and self._update_at_once(group, pairs, steps, lr):
            return
        for (param, grad), step in zip(pairs, steps, strict=True):
            state = self._state[param]
            if weight_decay != 0:
                if group["decoupled_weight_decay"]:
                    param.mul_(1 - lr * weight_decay)
                else:
                    grad = decayed(grad, param, weight_decay)
            param, grad, mean, square = real_views(
                param, grad, state["exp_avg"], state["exp_avg_sq"]
            )
            mean.lerp_(grad, 1 - beta1)
            square.mul_(beta2)
            add_product_(square, grad, grad, 1 - beta2)
            if amsgrad:
                (largest,) = real_views(state["max_exp_avg_sq"])
                square = largest.copy_(suiren.maximum(largest, square))
            root = kept(square, group).sqrt()
            divisor = (root / (1 - beta2**step) ** 0.5).add_(eps)
            add_quotient_(param, kept(mean, group), divisor, -(lr / (1 - beta1**step)))

    def _update_at_once(
        self, group: dict[str, Any], pairs: list[tuple[Tensor, Tensor]], steps: list[float], lr: Any
    ) -> bool:
        """The same as one entry for each parameter, if they are plain and have come equally far."""
        if not pairs or steps.count(steps[0]) != len(steps):
            return False
        names = ["exp_avg", "exp_avg_sq"]
        written = [(0, 1), (2, 1), (3, 2)]  # the square is multiplied and then added to
        if group["amsgrad"]:
            names.append("max_exp_avg_sq")
            written.append((4, 1))
        states = self._state
        rows = [(*pair, *[states[pair[0]][name] for name in names]) for pair in pairs]
        attributes, numbers = self._numbers_of(group, lr, steps[0])
        if attributes[0]:  # decoupled: the parameter is multiplied first
            written[0] = (0, 2)
        record: Any = amsgrad_step if group["amsgrad"] else adam_step
        return update(record, attributes, rows, numbers, written)

    @staticmethod
    def _numbers_of(group: dict[str, Any], lr: Any, step: float) -> tuple[tuple, tuple]:
        """The attributes and numbers of the update's operator."""
        beta1, beta2 = (plain_number(beta) for beta in group["betas"])
        decay = group["weight_decay"] or None
        decoupled = decay is not None and group["decoupled_weight_decay"]
        if decoupled:
            decay = 1 - lr * decay
        weight = 1 - beta1
        near = abs(weight) < 0.5
        numbers = (
            decay, weight if near else 1 - weight, beta2, 1 - beta2,
            (1 - beta2**step) ** 0.5, group["eps"], -(lr / (1 - beta1**step)),
        )  # fmt: skip
        return (decoupled, near), numbers

    def _foreseen(self, group: dict[str, Any]) -> tuple[Any, tuple] | None:
        values = self._numbers._values
        counts = [values[param][0] for param in group["params"] if param in values]
        options = (group["lr"], *group["betas"])
        if (
            not counts or counts.count(counts[0]) != len(counts) or group["differentiable"]
            or any([isinstance(option, Tensor) for option in options])
        ):  # fmt: skip
            return None
        return self._numbers_of(group, group["lr"], counts[0] + 1)

    def count_step(self) -> None:
        super().count_step()
        for numbers in self._numbers._values.values():
            numbers[0] += 1
        self._numbers._published = False


class AdamW(Adam):
    r"""Adam with decoupled weight decay: the weights shrink directly, not through the gradient.

    The update is Adam's without decay in the gradient, and before it::

        p <- p - lr * weight_decay * p

    Args and errors: as those of `Adam`; `weight_decay` defaults to 0.01.

    Sources: Loshchilov and Hutter (2017), Decoupled weight decay regularization;
    https://docs.pytorch.org/docs/stable/generated/torch.optim.AdamW.html

    Example:
        >>> optimizer = suiren.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    """

    def __init__(
        self,
        params: ParamsT,
        lr: Number = 1e-3,
        betas: tuple[Number, Number] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:  # also for checkpoints written as plain Adam
            group["decoupled_weight_decay"] = True


def _check_tensor_options(
    lr: Number, betas: tuple[Number, Number], foreach: bool | None, capturable: bool
) -> None:
    tensors = [isinstance(beta, Tensor) for beta in betas]
    if any(tensors) and not all(tensors):
        raise ValueError("betas must be either both floats or both Tensors")
    if any(beta.numel() != 1 for beta in betas if isinstance(beta, Tensor)):
        raise ValueError("Tensor betas must be 1-element")
    for name, value in (("lr", lr), ("betas[0]", betas[0]), ("betas[1]", betas[1])):
        if isinstance(value, Tensor) and foreach and not capturable:
            raise ValueError(
                f"{name} as a Tensor is not supported for capturable=False and foreach=True"
            )
