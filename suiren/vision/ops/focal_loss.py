"""The focal loss of "Focal Loss for Dense Object Detection" (Lin et al., 2017)."""

from typing import Any

from suiren.nn import functional
from suiren.tensor import Tensor

F: Any = functional


def sigmoid_focal_loss(
    inputs: Tensor,
    targets: Tensor,
    alpha: float = 0.25,
    gamma: float = 2,
    reduction: str = "none",
) -> Tensor:
    """Binary cross entropy that counts what is already right less: ``(1 - p)**gamma * -log(p)``,
    p the probability given to the true answer.

    Args:
        inputs: logits of any shape.
        targets: 0 or 1, of that shape.
        alpha: weight of the ones, 1 - alpha of the zeros; negative for neither.
        gamma: how much less.
        reduction: "none", "mean" or "sum".

    Raises:
        ValueError: another `alpha` above 1 or another `reduction`.

    Example:
        >>> import suiren as torch
        >>> from suiren.vision.ops import sigmoid_focal_loss
        >>> sigmoid_focal_loss(torch.tensor([0.0]), torch.tensor([1.0]))
        tensor([0.0433])
    """
    if alpha > 1 or (alpha < 0 and alpha != -1):
        raise ValueError(f"Invalid alpha value: {alpha}. alpha must be in the range [0,1] or -1.")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(
            f"Invalid Value for arg 'reduction': '{reduction} \n Supported reduction modes: "
            "'none', 'mean', 'sum'"
        )
    p = inputs.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(inputs, targets, reduction="none")
    right = p * targets + (1 - p) * (1 - targets)
    loss = entropy * (1 - right) ** gamma
    if alpha >= 0:
        loss = (alpha * targets + (1 - alpha) * (1 - targets)) * loss
    if reduction == "mean":
        return loss.mean()
    return loss.sum() if reduction == "sum" else loss
