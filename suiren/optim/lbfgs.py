"""L-BFGS. Follows PyTorch's `torch.optim.LBFGS`, which follows Mark Schmidt's minFunc.

The algorithm decides by values (convergence, curvature, line search), so a step is several
programs: one flush for each evaluation of the closure and a few for its decisions. The
two-loop recursion between them reads nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import suiren
from suiren.optim.groupwise import check_lr, is_sparse, plain_number
from suiren.optim.line_search import strong_wolfe
from suiren.optim.optimizer import Optimizer, ParamsT
from suiren.tensor import Tensor

# Below this product of step and change of gradient a pair says nothing about curvature.
LEAST_CURVATURE = 1e-10

# What an iteration leaves to the next, in the order of PyTorch's state.
MEMORY = ("d", "t", "old_dirs", "old_stps", "ro", "H_diag", "prev_flat_grad", "prev_loss")


class LBFGS(Optimizer):
    r"""L-BFGS: a quasi-Newton method that remembers the last changes of the gradient.

    All parameters are one vector x with gradient g. From pairs s = x_new - x_old and
    y = g_new - g_old the two-loop recursion gives the direction d = -H g, where H stands for
    the inverse Hessian and starts from (s.y / y.y) I. Then x <- x + t d, with t = lr (in the very
    first iteration min(1, 1 / |g|_1) * lr) or as the line search finds it.

    One `step` makes up to `max_iter` such iterations and needs a closure that clears the
    gradients, computes the loss, calls `backward()` and returns the loss. There is only one
    parameter group.

    Args:
        params: parameters (one group).
        lr: step size.
        max_iter: iterations in each `step`.
        max_eval: evaluations of the closure in each `step`; None is max_iter * 5 // 4.
        tolerance_grad: stop when no element of the gradient is larger.
        tolerance_change: stop when neither parameters nor loss change by more.
        history_size: number of remembered pairs; memory is that many times two copies of x.
        line_search_fn: "strong_wolfe" or None.

    Raises:
        ValueError: a negative learning rate, or several parameter groups.
        RuntimeError: in `step`, another line search.

    Sources: Nocedal and Wright (2006), Numerical optimization, algorithms 7.4, 7.5 and 3.5;
    https://docs.pytorch.org/docs/stable/generated/torch.optim.LBFGS.html

    Example:
        >>> optimizer = suiren.optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe")
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = loss_fn(model(input), target)
        ...     loss.backward()
        ...     return loss
        >>> loss = optimizer.step(closure)
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        check_lr(lr)
        defaults = dict(
            lr=lr,
            max_iter=max_iter,
            max_eval=max_iter * 5 // 4 if max_eval is None else max_eval,
            tolerance_grad=tolerance_grad,
            tolerance_change=tolerance_change,
            history_size=history_size,
            line_search_fn=line_search_fn,
        )
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError(
                "LBFGS doesn't support per-parameter options (parameter groups); it treats all "
                "parameters as one vector"
            )

    @property
    def _params(self) -> list[Tensor]:
        return self.param_groups[0]["params"]

    # Unlike elsewhere the closure is not optional: there is nothing to search along without it.
    def step(self, closure: Callable[[], float]) -> float:  # type: ignore[override]
        """Performs up to `max_iter` iterations.

        Args:
            closure: clears the gradients, evaluates the model, calls `backward()` and returns
                the loss.

        Returns:
            The loss before the first iteration, as the closure returned it.
        """
        with suiren.no_grad():
            return self._iterate(suiren.enable_grad()(closure))

    def _iterate(self, closure: Callable[[], float]) -> float:
        group = self.param_groups[0]
        lr = plain_number(group["lr"])
        state = self._state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)

        first_loss = closure()
        loss = float(first_loss)
        evaluations = 1
        state["func_evals"] += 1
        gradient = self._flat_gradient()
        if self._is_optimal(gradient):
            return first_loss

        memory: dict[str, Any] = {name: state.get(name) for name in MEMORY}
        iteration = 0
        while iteration < group["max_iter"]:
            iteration += 1
            state["n_iter"] += 1
            length = lr
            if state["n_iter"] == 1:
                _forget(memory, gradient)
                length = min(1.0, 1.0 / float(gradient.abs().sum())) * lr
            else:
                _remember(memory, gradient, group["history_size"])
                coefficients = state.setdefault("al", [None] * group["history_size"])
                memory["d"] = _newton_direction(memory, gradient, coefficients)
            direction = memory["d"]
            memory["t"] = self._shown_length(length)
            memory["prev_flat_grad"] = gradient
            memory["prev_loss"] = loss
            slope = float(gradient.dot(direction))
            if slope > -group["tolerance_change"]:
                break

            optimal = False
            calls = 0
            if group["line_search_fn"] is not None:
                loss, gradient, length, calls = self._line_search(
                    closure,
                    length,
                    direction,
                    loss,
                    gradient,
                    slope,
                    group["max_eval"] - evaluations,
                )
                memory["t"] = self._shown_length(length)
                self._move(length, direction)
                optimal = self._is_optimal(gradient)
            else:
                self._move(length, direction)
                if iteration != group["max_iter"]:  # the next step() will evaluate anyway
                    loss = float(closure())
                    gradient = self._flat_gradient()
                    optimal = self._is_optimal(gradient)
                    calls = 1
            evaluations += calls
            state["func_evals"] += calls

            if iteration == group["max_iter"] or evaluations >= group["max_eval"] or optimal:
                break
            if float(direction.abs().max()) * abs(length) <= group["tolerance_change"]:
                break
            if abs(loss - memory["prev_loss"]) < group["tolerance_change"]:
                break
        state.update(memory)
        return first_loss

    def _line_search(
        self,
        closure: Callable[[], float],
        length: float,
        direction: Tensor,
        loss: float,
        gradient: Tensor,
        slope: float,
        most_trials: int,
    ) -> tuple[float, Tensor, float, int]:
        """(loss, gradient, length, evaluations) of the found step; parameters are put back."""
        if self.param_groups[0]["line_search_fn"] != "strong_wolfe":
            raise RuntimeError(
                "LBFGS: only 'strong_wolfe' is supported as line_search_fn, not "
                f"{self.param_groups[0]['line_search_fn']!r}"
            )
        start = [param.clone() for param in self._params]

        def evaluate(t: float) -> tuple[float, Tensor]:
            self._move(t, direction)
            value = float(closure())
            flat = self._flat_gradient()
            for param, before in zip(self._params, start, strict=True):
                param.copy_(before)
            return value, flat

        return strong_wolfe(
            evaluate, length, direction, loss, gradient, slope, most_trials
        )

    def _shown_length(self, length: float) -> float | Tensor:
        """The step length as the state keeps it: a tensor if the learning rate is one."""
        lr = self.param_groups[0]["lr"]
        return suiren.full_like(lr, length) if isinstance(lr, Tensor) else length

    def _is_optimal(self, gradient: Tensor) -> bool:
        return float(gradient.abs().max()) <= self.param_groups[0]["tolerance_grad"]

    def _flat_gradient(self) -> Tensor:
        """All gradients as one vector; zeros for parameters that have none."""
        parts = []
        for param in self._params:
            grad = suiren.zeros_like(param) if param.grad is None else param.grad
            if is_sparse(grad):
                grad = grad.to_dense()
            if grad.is_complex():
                grad = suiren.view_as_real(grad)
            parts.append(grad.reshape(-1))
        return suiren.cat(parts)

    def _move(self, length: float, direction: Tensor) -> None:
        """x += length * direction."""
        at = 0
        for param in self._params:
            target = suiren.view_as_real(param) if param.is_complex() else param
            count = target.numel()
            target.add_(direction[at : at + count].view_as(target), alpha=length)
            at += count


def _forget(memory: dict[str, Any], gradient: Tensor) -> None:
    """Starts from steepest descent, without pairs."""
    memory.update(d=-gradient, old_dirs=[], old_stps=[], ro=[], H_diag=1)


def _remember(memory: dict[str, Any], gradient: Tensor, history_size: int) -> None:
    """Adds the pair of the last iteration, unless its curvature is too small to tell."""
    change = gradient - memory["prev_flat_grad"]
    moved = memory["d"] * float(memory["t"])
    curvature = change.dot(moved)
    if not float(curvature) > LEAST_CURVATURE:
        return
    pairs = (memory["old_dirs"], memory["old_stps"], memory["ro"])
    for remembered, new in zip(pairs, (change, moved, 1.0 / curvature), strict=True):
        if len(remembered) == history_size:
            remembered.pop(0)
        remembered.append(new)
    memory["H_diag"] = curvature / change.dot(change)


def _newton_direction(
    memory: dict[str, Any], gradient: Tensor, coefficients: list[Tensor | None]
) -> Tensor:
    """-H g by the two-loop recursion over the remembered pairs; fills `coefficients`."""
    pairs = list(zip(memory["old_dirs"], memory["old_stps"], memory["ro"], strict=True))
    direction = -gradient
    for i in reversed(range(len(pairs))):
        change, moved, inverse = pairs[i]
        coefficients[i] = moved.dot(direction) * inverse
        direction = direction.addcmul(change, coefficients[i], value=-1)
    direction = direction * memory["H_diag"]
    for i, (change, moved, inverse) in enumerate(pairs):
        correction = coefficients[i] - change.dot(direction) * inverse
        direction = direction.addcmul(moved, correction)
    return direction
