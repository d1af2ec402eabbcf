"""Adam for sparse gradients. Follows PyTorch's `torch.optim.SparseAdam`."""

from __future__ import annotations

from typing import Any

import suiren
from suiren.optim.groupwise import GroupwiseOptimizer, Number, is_sparse, number
from suiren.optim.optimizer import ParamsT
from suiren.tensor import Tensor


class SparseAdam(GroupwiseOptimizer):
    r"""Adam that updates, of parameters and averages, only the elements a gradient holds.

    For the elements that the sparse (COO) gradient g holds, with t counting steps from 1::

        m <- beta1 * m + (1 - beta1) * g
        v <- beta2 * v + (1 - beta2) * g**2
        p <- p - lr * sqrt(1 - beta2**t) / (1 - beta1**t) * m / (sqrt(v) + eps)

    Meant for large embeddings of which a batch touches a few rows. The averages of elements
    that are not touched do not decay, which makes it an approximation of Adam.

    Args:
        params: dense parameters (or groups of them) that get sparse gradients.
        lr: learning rate above 0, a float or a tensor of one element.
        betas, eps: as in the formula.
        maximize: ascend instead of descend.

    Raises:
        ValueError: an option out of its range, or a sparse or complex parameter.
        RuntimeError: in `step`, a dense gradient.

    Sources: Kingma and Ba (2014), Adam: a method for stochastic optimization;
    https://docs.pytorch.org/docs/stable/generated/torch.optim.SparseAdam.html

    Example:
        >>> embedding = suiren.nn.Embedding(100_000, 64, sparse=True)
        >>> optimizer = suiren.optim.SparseAdam(embedding.parameters(), lr=1e-3)
    """

    takes_sparse_gradients = True

    def __init__(
        self,
        params: ParamsT,
        lr: Number = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
    ) -> None:
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError(f"Tensor lr must be 1-element, but it has shape {tuple(lr.shape)}")
        if not 0.0 < lr:
            raise ValueError(f"Invalid learning rate: {lr}; it must be above 0")
        if not 0.0 < eps:
            raise ValueError(f"Invalid epsilon value: {eps}; it must be above 0")
        for i, beta in enumerate(betas):
            if not 0.0 <= beta < 1.0:
                raise ValueError(
                    f"Invalid beta parameter at index {i}: {beta}; "
                    "it must be in the range [0, 1)"
                )
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, maximize=maximize))
        for i, group in enumerate(self.param_groups):
            for j, param in enumerate(group["params"]):
                if is_sparse(param) or param.is_complex():
                    kind = "sparse" if is_sparse(param) else "complex"
                    raise ValueError(
                        f"SparseAdam requires dense real parameter tensors, but that at index "
                        f"{j} of group {i} is {kind}; its gradients are what may be sparse"
                    )

    def _update_group(self, group: dict[str, Any]) -> None:
        lr = number(group["lr"], group)
        beta1, beta2 = (number(beta, group) for beta in group["betas"])
        for param, grad in self._gradients(group):
            if not is_sparse(grad):
                raise RuntimeError(
                    "SparseAdam does not support dense gradients, but a parameter of shape "
                    f"{tuple(param.shape)} has one; please consider Adam instead"
                )
            state = self._state[param]
            if not state:
                state["step"] = 0  # a plain number here, in PyTorch as well
                state["exp_avg"] = suiren.zeros_like(param)
                state["exp_avg_sq"] = suiren.zeros_like(param)
            state["step"] += 1
            rate = lr * (1 - beta2 ** state["step"]) ** 0.5 / (1 - beta1 ** state["step"])

            grad = grad.coalesce()
            values = grad.values()
            if values.numel() == 0:
                continue
            where = tuple(grad.indices().unbind(0))
            mean = state["exp_avg"][where].lerp_(values, 1 - beta1)
            square = state["exp_avg_sq"][where].lerp_(values * values, 1 - beta2)
            state["exp_avg"].index_put_(where, mean)
            state["exp_avg_sq"].index_put_(where, square)
            update = mean / square.sqrt().add_(group["eps"]) * -rate
            param.index_put_(where, update, accumulate=True)
