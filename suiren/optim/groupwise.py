"""What the algorithms share: the loop over parameter groups and a few forms of arithmetic.

Sits between `suiren.optim.optimizer` and the files of the algorithms. An algorithm derives
from `GroupwiseOptimizer` and writes `_update_group`, with in-place tensor operations in the
order of PyTorch's unfused (`foreach=False`) implementation, so that results agree to rounding.

Nothing in an update may read a tensor's value: that would flush the trace half-way. Numbers
that change from step to step are Python floats; they are inputs of the recorded program, so a
new learning rate makes no new program. `foreach`, `fused` and `capturable` are accepted and
select nothing, for the whole step is one program anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import suiren
from suiren.optim.hooks import global_step_post_hooks, global_step_pre_hooks
from suiren.optim.optimizer import Optimizer
from suiren.tensor import Tensor

Number = float | Tensor


class GroupwiseOptimizer(Optimizer):
    """An optimizer that updates one parameter group after the other, each in `_update_group`.

    With the option `differentiable` the update itself is recorded by autograd, and options
    that are tensors (a learning rate) stay tensors, so that gradients flow through the update.
    """

    takes_sparse_gradients = False
    # Options that `foreseen_numbers` reads anew at each step (torch.compile; see there).
    param_groups_replayed: frozenset[str] = frozenset({
        "lr", "initial_lr", "min_lr", "max_lr", "betas", "momentum", "base_momentum",
        "max_momentum",
    })  # fmt: skip

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Performs one update of all parameters that have a gradient.

        Args:
            closure: evaluates the model anew, calls `backward()` and returns the loss.

        Returns:
            What `closure` returned, or None without one.
        """
        loss = None
        if closure is not None:
            with suiren.enable_grad():
                loss = closure()
        with suiren.set_grad_enabled(self.defaults.get("differentiable", False)):
            for group in self.param_groups:
                self._update_group(group)
        return loss

    def _update_group(self, group: dict[str, Any]) -> None:
        raise NotImplementedError

    def foreseen_numbers(self) -> tuple[list[Any], list[float | None]] | None:
        """What the next step will be recorded with: operators' attributes, and the numbers.

        ``torch.compile`` replays a step's program with these numbers and then calls
        `count_step`. None if only the step itself knows.
        """
        if (
            self._numbers.watched or self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks or global_step_pre_hooks or global_step_post_hooks
        ):  # fmt: skip
            return None
        kinds: list[Any] = []
        numbers: list[float | None] = []
        for group in self.param_groups:
            found = self._foreseen(group)
            if found is None:
                return None
            kinds.append(found[0])
            numbers += [
                x if x is None or x.__class__ is int else float(x) for x in found[1]
            ]
        return kinds, numbers

    def _foreseen(self, group: dict[str, Any]) -> tuple[Any, Sequence[float | None]] | None:
        return None

    def count_step(self) -> None:
        """Counts a step whose program was run with the numbers foreseen."""
        self._opt_called = True

    def _gradients(self, group: dict[str, Any]) -> list[tuple[Tensor, Tensor]]:
        """(parameter, gradient) of the group where there is one; negated to maximize."""
        maximize = group.get("maximize", False)
        found = []
        for param in group["params"]:
            grad = param.grad
            if grad is None:
                continue
            if is_sparse(grad) and not self.takes_sparse_gradients:
                raise RuntimeError(
                    f"{type(self).__name__} does not support sparse gradients, but a parameter "
                    f"of shape {tuple(param.shape)} has one; use SGD, Adagrad or SparseAdam, or "
                    "an embedding with sparse=False"
                )
            found.append((param, -grad if maximize else grad))
        return found


# ---- Arithmetic


def is_sparse(tensor: Tensor) -> bool:
    """Whether a gradient is a sparse tensor."""
    return getattr(tensor, "is_sparse", False)


def plain_number(value: Number) -> float:
    """An option as a float; reads the value of one that is a tensor."""
    return value.item() if isinstance(value, Tensor) else value


def number(value: Number, group: dict[str, Any]) -> Number:
    """An option as a float; a tensor stays one where the update is to be differentiated."""
    return value if group.get("differentiable", False) else plain_number(value)


def add_scaled_(target: Tensor, tensor: Tensor, scale: Number) -> Tensor:
    """target += scale * tensor, with `scale` a float or a tensor of one element."""
    if isinstance(scale, Tensor):
        return target.add_(tensor * scale)
    return target.add_(tensor, alpha=scale)


def add_product_(target: Tensor, a: Tensor, b: Tensor, scale: Number) -> Tensor:
    """target += scale * a * b, with `scale` a float or a tensor of one element."""
    if isinstance(scale, Tensor):
        return target.add_(a * b * scale)
    return target.addcmul_(a, b, value=scale)


def add_quotient_(target: Tensor, a: Tensor, b: Tensor, scale: Number) -> Tensor:
    """target += scale * a / b, with `scale` a float or a tensor of one element."""
    if isinstance(scale, Tensor):
        return target.add_(a / b * scale)
    return target.addcdiv_(a, b, value=scale)


def decayed(grad: Tensor, param: Tensor, weight_decay: Number) -> Tensor:
    """The gradient of the loss plus weight_decay / 2 * param**2 (an L2 penalty)."""
    if isinstance(weight_decay, Tensor):
        return grad + param * weight_decay
    return grad.add(param, alpha=weight_decay) if weight_decay != 0 else grad


def kept(tensor: Tensor, group: dict[str, Any]) -> Tensor:
    """A buffer as operand of the update; a copy where autograd will want it at backward().

    The next step changes the buffer in place, which would invalidate what autograd saved.
    """
    return tensor.clone() if group.get("differentiable", False) else tensor


def real_views(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Views of complex tensors as real ones with a last axis of two; real ones as they are.

    The adaptive methods treat the real and the imaginary part as two parameters.
    """
    if not tensors[0].is_complex():
        return tensors
    return tuple(suiren.view_as_real(tensor) for tensor in tensors)


def full_state(param: Tensor, value: float) -> Tensor:
    """A state buffer like `param`; in both parts of each element if that is complex."""
    return suiren.full_like(param, complex(value, value) if param.is_complex() else value)


# ---- Checking options


def check_at_least_zero(label: str, value: Any) -> None:
    """Raises ValueError unless value >= 0; `label` names it as PyTorch's message does."""
    if not value >= 0.0:
        raise ValueError(f"Invalid {label}: {value}; it must be 0 or more")


def check_lr(lr: Number) -> None:
    """Raises ValueError for a negative learning rate or a tensor of several elements."""
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError(f"Tensor lr must be 1-element, but it has shape {tuple(lr.shape)}")
    check_at_least_zero("learning rate", lr)


def check_betas(betas: tuple[Number, Number]) -> None:
    """Raises ValueError unless both decay rates are in [0, 1)."""
    for i, beta in enumerate(betas):
        if not 0.0 <= beta < 1.0:
            raise ValueError(
                f"Invalid beta parameter at index {i}: {beta}; it must be in the range [0, 1)"
            )


def check_implementation(foreach: bool | None, fused: bool | None, differentiable: bool) -> None:
    """Raises RuntimeError where PyTorch's implementation choices exclude each other."""
    if fused and differentiable:
        raise RuntimeError("`fused` does not support `differentiable`; set one of them only")
    if fused and foreach:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
