"""Muon. Follows PyTorch's `torch.optim.Muon`."""

from __future__ import annotations

from typing import Any

import suiren
from suiren.optim.groupwise import GroupwiseOptimizer, number
from suiren.optim.optimizer import ParamsT
from suiren.tensor import Tensor


class Muon(GroupwiseOptimizer):
    r"""Muon: momentum whose matrices are orthogonalised before they are applied.

    For matrices only (hidden layers); biases, embeddings and the last layer go to AdamW. With
    gradient g and momentum buffer b::

        b <- momentum * b + (1 - momentum) * g
        u  = (1 - momentum) * g + momentum * b  if nesterov else  b
        O  = Newton-Schulz(u)                    about the nearest semi-orthogonal matrix
        p <- p - lr * weight_decay * p
        p <- p - lr * ratio * O

    Newton-Schulz starts from u / |u| in bfloat16 and repeats `ns_steps` times, with
    (a, b, c) = `ns_coefficients`, X <- a X + (b X X^T + c (X X^T)^2) X. The ratio for a matrix
    of m rows and n columns is sqrt(max(1, m / n)) for "original", 0.2 sqrt(max(m, n)) for
    "match_rms_adamw".

    Args:
        params: matrices, named matrices or groups of them.
        lr, weight_decay, momentum, nesterov, ns_coefficients, ns_steps: as above.
        eps: lower bound of |u|.
        adjust_lr_fn: "original" (also None) or "match_rms_adamw".

    Raises:
        ValueError: an option out of its range, a parameter that is not a matrix, or 100 and
            more Newton-Schulz steps.

    Sources: Jordan et al. (2024), Muon: an optimizer for hidden layers in neural networks;
    Liu et al. (2025), Muon is scalable for LLM training (the second ratio);
    https://docs.pytorch.org/docs/stable/generated/torch.optim.Muon.html

    Example:
        >>> optimizer = suiren.optim.Muon([p for p in model.parameters() if p.ndim == 2])
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError(f"Tensor lr must be 1-element, but it has shape {tuple(lr.shape)}")
        if not lr >= 0.0:
            raise ValueError(f"Learning rate should be >= 0 but is: {lr}")
        if not momentum >= 0.0:
            raise ValueError(f"momentum should be >= 0 but is: {momentum}")
        if not weight_decay >= 0.0:
            raise ValueError(f"weight decay should be >= 0 but is: {weight_decay}")
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(
                f"Adjust learning rate function {adjust_lr_fn} is not supported; "
                "take 'original' or 'match_rms_adamw'"
            )
        defaults = dict(
            lr=lr,
            weight_decay=weight_decay,
            momentum=momentum,
            nesterov=nesterov,
            ns_coefficients=ns_coefficients,
            eps=eps,
            ns_steps=ns_steps,
            adjust_lr_fn=adjust_lr_fn,
        )
        super().__init__(params, defaults)
        for group in self.param_groups:
            for param in group["params"]:
                if param.dim() != 2:
                    raise ValueError(
                        "Muon only supports 2D parameters whereas we found a parameter with "
                        f"size: {tuple(param.shape)}; give that one to AdamW"
                    )

    def _update_group(self, group: dict[str, Any]) -> None:
        lr = number(group["lr"], group)
        momentum = group["momentum"]
        for param, grad in self._gradients(group):
            if param.is_complex():
                raise RuntimeError("Muon does not support complex parameters")
            state = self._state[param]
            if not state:
                state["momentum_buffer"] = suiren.zeros_like(grad)
            buffer = state["momentum_buffer"]
            buffer.lerp_(grad, 1 - momentum)
            update = grad.lerp(buffer, momentum) if group["nesterov"] else buffer
            update = _orthogonalised(
                update, group["ns_coefficients"], group["ns_steps"], group["eps"]
            )
            ratio = _rate_ratio(group["adjust_lr_fn"], *param.shape)
            param.mul_(1 - lr * group["weight_decay"])
            param.add_(update, alpha=-lr * ratio)


def _rate_ratio(adjust_lr_fn: str | None, rows: int, columns: int) -> float:
    """By how much the learning rate is adjusted to the shape of the matrix."""
    if adjust_lr_fn == "match_rms_adamw":
        return 0.2 * max(rows, columns) ** 0.5
    return max(1, rows / columns) ** 0.5


def _orthogonalised(
    matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float
) -> Tensor:
    """A (rows, columns) bfloat16 matrix whose singular values are all about one."""
    if steps >= 100:
        raise ValueError(
            "Muon: the number of steps must be less than 100 for computational efficiency, "
            f"but ns_steps is {steps}"
        )
    if len(coefficients) != 3:
        raise ValueError(f"Muon: ns_coefficients must be three numbers, but is {coefficients}")
    a, b, c = coefficients
    x = matrix.bfloat16()
    tall = x.size(0) > x.size(1)
    if tall:  # the Gram matrix is then the smaller one
        x = x.T
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T  # (rows, rows)
        x = suiren.addmm(x, suiren.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
