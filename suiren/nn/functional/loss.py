"""Classification and regression losses that are compositions. Source: PyTorch, "Loss functions".

The margin and distance losses are in `margin_loss.py`.
"""

from __future__ import annotations

import math
from typing import Any

import suiren
from suiren.autocasting import in_float32
from suiren.nn.functional import _from_ops as ops
from suiren.nn.functional._reduction import check_reduction, reduce_loss, reduction_name
from suiren.tensor import Tensor


@in_float32
def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross entropy between logits and target classes or class probabilities.

    input: (classes), (batch, classes) or (batch, classes, d1, ..., dk) logits.
    target: class indices, int64, of the shape of input without the class axis; or class
        probabilities of the shape of input.
    weight: (classes) factor of each class. ignore_index: a class index that counts for nothing.
    label_smoothing: share of the target that is spread evenly over all classes, 0 to 1.

        >>> F.cross_entropy(suiren.zeros(1, 4), suiren.tensor([2]))
        tensor(1.3863)

    Source: PyTorch, F.cross_entropy; smoothing: Szegedy et al. 2015, arXiv:1512.00567.
    """
    reduction = reduction_name(reduction, size_average, reduce)
    check_reduction(reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(
            f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing:g}")
    class_axis = 0 if input._meta.ndim == 1 else 1
    if input._meta.shape == target._meta.shape:
        _check_probabilities(target, ignore_index)
        return _cross_entropy_of_probabilities(
            ops.log_softmax(input, class_axis), target, weight, reduction, label_smoothing)
    if target._meta.dtype.is_floating_point and target.dim() == input.dim():
        # A shape that almost fits: what nll_loss would say about the dtype would mislead.
        if target.shape[0] != input.shape[0]:
            raise ValueError(
                f"Expected input batch_size ({input.shape[0]}) to match target batch_size "
                f"({target.shape[0]}).")
        raise RuntimeError(
            f"cross_entropy: class probabilities of shape {tuple(target.shape)} for an input of "
            f"shape {tuple(input.shape)}; the two shapes must be equal")
    log_probabilities = ops.log_softmax(input, class_axis)
    loss = ops.nll_loss(
        log_probabilities, target, weight, ignore_index=ignore_index, reduction=reduction)
    if label_smoothing == 0.0:
        return loss
    smooth = _uniform_part(log_probabilities, target, weight, ignore_index, reduction)
    classes = input.shape[class_axis]
    return (1 - label_smoothing) * loss + smooth * (label_smoothing / classes)


def _check_probabilities(target: Tensor, ignore_index: int) -> None:
    if not target.is_floating_point():
        kind = str(target.type()).rsplit(".", 1)[-1].removesuffix("Tensor")
        raise RuntimeError(
            f"Expected floating point type for target with class probabilities, got {kind}")
    if ignore_index >= 0:
        raise RuntimeError("ignore_index is not supported for floating point target")


def _cross_entropy_of_probabilities(
    log_probabilities: Tensor, target: Tensor, weight: Tensor | None, reduction: str,
    label_smoothing: float,
) -> Tensor:
    class_axis = 0 if log_probabilities.dim() == 1 else 1
    classes = log_probabilities.shape[class_axis]
    if label_smoothing > 0.0:
        target = target * (1 - label_smoothing) + label_smoothing / classes
    terms = log_probabilities * target
    if weight is not None:
        _check_class_weight(weight, classes)
        terms = terms * _along_classes(weight, terms.dim())
    if reduction == "none":
        return -terms.sum(class_axis)
    total = -terms.sum()
    if reduction == "sum":
        return total
    samples = math.prod(log_probabilities.shape) // classes if classes else 0
    return total / samples if samples else total * math.nan


def _uniform_part(
    log_probabilities: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int,
    reduction: str,
) -> Tensor:
    """The loss against all classes alike, for label smoothing with class indices."""
    class_axis = 0 if log_probabilities.dim() == 1 else 1
    ignored = target == ignore_index
    terms = log_probabilities
    if weight is not None:
        terms = terms * _along_classes(weight, terms.dim())
    loss = (-terms.sum(class_axis)).masked_fill(ignored, 0.0)
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    if weight is None:
        return loss.sum() / ignored.logical_not().sum()
    used = weight.gather(0, target.masked_fill(ignored, 0).flatten())
    return loss.sum() / used.masked_fill(ignored.flatten(), 0.0).sum()


def _check_class_weight(weight: Tensor, classes: int) -> None:
    if weight.dim() != 1 or weight.shape[0] != classes:
        raise RuntimeError(
            "cross_entropy: weight tensor should be defined either for all "
            f"{classes} classes or no classes but got weight tensor of shape: "
            f"{list(weight.shape)}")


def _along_classes(weight: Tensor, dims: int) -> Tensor:
    """(classes) so that it broadcasts along the class axis of a tensor with `dims` axes."""
    return weight if dims == 1 else weight.view(1, -1, *[1] * (dims - 2))


class LinearCrossEntropyOptions:
    """How PyTorch is to split linear_cross_entropy into chunks. Kept, not used: see there."""

    def __init__(
        self, allow_retain_graph: bool = False, batch_chunk_size: int | None = None,
        chunking_method: str | None = "auto", acc_policy: str = "auto", acc_dtype: Any = None,
    ) -> None:
        self.allow_retain_graph = allow_retain_graph
        self.batch_chunk_size = batch_chunk_size
        self.chunking_method = chunking_method
        self.acc_policy = acc_policy
        self.acc_dtype = acc_dtype

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"LinearCrossEntropyOptions({fields})"


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> Tensor:
    """cross_entropy(linear(input, linear_weight, linear_bias), target).

    input: (features) or (batch, features). linear_weight: (classes, features), or
    (classes, d1, ..., dk, features) for a k-dimensional loss; linear_bias has the shape of
    linear_weight without the features.

    options: a LinearCrossEntropyOptions, by which PyTorch chooses how to compute the same loss in
    chunks; checked for its type and otherwise without effect.

    Source: PyTorch, F.linear_cross_entropy.
    """
    if options is not None and not isinstance(options, LinearCrossEntropyOptions):
        raise TypeError(
            "linear_cross_entropy: options must be a LinearCrossEntropyOptions or None, got "
            + type(options).__name__)
    if input.dim() not in (1, 2):
        raise RuntimeError(
            "linear_cross_entropy: expected input with dimensionality 1 or 2, got "
            f"{input.dim()}")
    if linear_weight.dim() < 2:
        raise RuntimeError(
            "linear_cross_entropy: expected linear_weight with dimensionality at least 2, got "
            f"{linear_weight.dim()}")
    *places, features = linear_weight.shape
    if input.shape[-1] != features:
        raise RuntimeError(
            "linear_cross_entropy: expected equal input and linear_weight last dimensions "
            f"(in_features), got {input.shape[-1]} and {features}, respectively")
    if len(places) > 1 and input.dim() == 1:
        raise RuntimeError(
            "linear_cross_entropy: K-dimensional loss defined by linear_weight shape "
            f"{tuple(linear_weight.shape)} requires batched input, (N, {features}), got unbatched "
            f"input with shape {tuple(input.shape)}")
    if linear_bias is not None and tuple(linear_bias.shape) != tuple(places):
        raise RuntimeError(
            f"linear_cross_entropy: expected linear_bias shape {tuple(places)}, got "
            f"{tuple(linear_bias.shape)}")
    if ignore_index is not None and target.is_floating_point():
        raise RuntimeError(
            "linear_cross_entropy: ignore_index cannot be specified when target contains "
            "probabilities")
    logits = ops.linear(input, linear_weight.reshape(-1, features))
    if linear_bias is not None:
        logits = logits + linear_bias.reshape(-1)
    if len(places) > 1:
        logits = logits.reshape(input.shape[0], *places)  # batch, classes, d1, ..., dk
    return cross_entropy(
        logits, target, weight, reduction=reduction, label_smoothing=label_smoothing,
        ignore_index=-100 if ignore_index is None else ignore_index)


@in_float32
def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Negative log likelihood of counts under Poisson distributions.

    input: expected counts, or their logarithm with `log_input`; target: counts, same shape.
    full: add Stirling's approximation of log(target!) where target > 1.
    eps: keeps log(input + eps) finite when log_input is False.
    """
    reduction = reduction_name(reduction, size_average, reduce)
    check_reduction(reduction)
    if log_input:
        loss = input.exp() - target * input
    else:
        loss = input - target * (input + eps).log()
    if full:
        stirling = target * target.log() - target + 0.5 * (2 * math.pi * target).log()
        loss = loss + stirling.masked_fill(target <= 1, 0)
    return reduce_loss(loss, reduction)


def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """Negative log likelihood of targets under normal distributions.

    input: (..., n) expectations; target: the same shape or one that broadcasts; var: variances of
    the same shape, of (..., 1) or (...) for one per row, or one number. `full` adds the constant
    log(2 pi) / 2. Variances are kept above `eps` for the value, not for the gradient.

    Sources: Nix and Weigend 1994; PyTorch, F.gaussian_nll_loss.
    """
    if not isinstance(var, Tensor):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        variance = suiren.full_like(input, var)
    elif bool((var < 0).any()):
        raise ValueError("var has negative entry/entries")
    else:
        variance = var
    given, wanted = tuple(variance.shape), tuple(input.shape)
    if given != wanted:
        if given == wanted[:-1]:
            variance = variance.unsqueeze(-1)  # (..., 1)
        elif len(given) != len(wanted) or any(
                a not in (1, b) for a, b in zip(given, wanted, strict=True)):
            raise ValueError("var is of incorrect size")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(reduction + " is not valid")
    variance = variance.clone()
    with suiren.no_grad():
        variance.clamp_(min=eps)
    loss = 0.5 * (variance.log() + (input - target) ** 2 / variance)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return reduce_loss(loss, reduction)


@in_float32
def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """log(1 + exp(-target * input)) with targets of 1 and -1, any shape."""
    reduction = reduction_name(reduction, size_average, reduce)
    check_reduction(reduction)
    return reduce_loss((-target * input).exp().log1p(), reduction)


def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Mean binary cross entropy over classes, each on its own.

    input: (..., classes) logits; target: 0s and 1s of the same shape; weight: (classes).
    The result is one number per row before the reduction.
    """
    reduction = reduction_name(reduction, size_average, reduce, 3)
    loss = -(target * ops.logsigmoid(input) + (1 - target) * ops.logsigmoid(-input))
    if weight is not None:
        loss = loss * weight
    class_axis = input.dim() - 1
    loss = loss.sum(class_axis) / input.shape[class_axis]
    return reduce_loss(loss, reduction)
