"""Losses with a gradient node of their own: each element's loss and its reduction in one operator.

Losses that PyTorch composes (l1_loss, kl_div) are composed here too; nll_loss is in ``nll.py``,
ctc_loss in ``ctc.py``, the remaining ones in ``suiren/nn/functional``. Source: PyTorch's
torch.nn.functional page, "Loss functions".
"""

from __future__ import annotations

import warnings

import numpy as np

from suiren import dtypes
from suiren.autocasting import in_float32
from suiren.dispatch import apply
from suiren.interpreter import accurate
from suiren.operator import NAMESPACES, composite, operator
from suiren.ops.elementwise import broadcast_shapes, result_type_of
from suiren.tensor import Tensor

FUNCTIONAL = ("nn.functional",)


# ---- reductions


def reduction_of(
    reduction: str, size_average: bool | None = None, reduce: bool | None = None
) -> str:
    """A checked reduction; the deprecated arguments are translated with a warning."""
    if size_average is not None or reduce is not None:
        average = size_average is None or size_average
        reduction = "none" if reduce is False else "mean" if average else "sum"
        warnings.warn(
            "size_average and reduce args will be deprecated, please use "
            f"reduction='{reduction}' instead.",
            stacklevel=4,  # losses are in_float32, which is a call more
        )
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return reduction


def _reduced(losses: np.ndarray, reduction: str) -> np.ndarray:
    if reduction == "none":
        return losses
    total = np.add.reduce(losses, axis=None)
    if reduction == "mean":
        total = total / losses.dtype.type(losses.size)
    return np.asarray(total, losses.dtype)


def _lowered_reduced(losses, reduction: str):
    if reduction == "none":
        return losses
    total = losses.sum()
    return total / float(losses.numel) if reduction == "mean" else total


def _reduced_meta(m, reduction: str):
    return m if reduction == "none" else m.like(shape=())


def _each(grad, m, reduction: str):
    """The gradient of each element's loss, from that of the reduced one."""
    if reduction == "mean":
        return grad / m.numel if m.numel else grad
    return grad


def expand_tensors(*tensors):
    """The tensors, broadcast to their common shape."""
    shape = broadcast_shapes(*[t._meta.shape for t in tensors])
    return tuple([t if tuple(t._meta.shape) == shape else t.expand(shape) for t in tensors])


def warn_sizes(input: Tensor, target: Tensor) -> None:
    """The warning PyTorch gives where a loss broadcasts, which is seldom meant."""
    if tuple(input._meta.shape) != tuple(target._meta.shape):
        warnings.warn(
            f"Using a target size ({target.shape}) that is different to the input size "
            f"({input.shape}). This will likely lead to incorrect results due to broadcasting. "
            "Please ensure they have the same size.",
            stacklevel=4,  # losses are in_float32, which is a call more
        )


def _promoted(input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    kind = result_type_of((input._meta, target._meta))
    if kind.category < dtypes.FLOATING:
        raise NotImplementedError(
            f"this loss is not implemented for {kind}: convert input and target to a floating "
            "type"
        )
    return input.to(kind), target.to(kind)


class _Pointwise:
    """What the losses of an input and a target element by element share."""

    one_device = True
    tensors = 2
    widen = True


# ---- regression


@operator(where=FUNCTIONAL, out=False)
class mse_loss(_Pointwise):
    """The mean (or sum, or each) of ``(input - target) ** 2``; weight: factors of the elements.

    Source: torch.nn.functional.mse_loss.

    >>> import suiren as torch
    >>> torch.nn.functional.mse_loss(torch.tensor([1., 2.]), torch.tensor([3., 2.]))
    tensor(2.)
    """

    @in_float32
    def call(
        input, target, size_average=None, reduce=None, reduction="mean", weight=None
    ):
        warn_sizes(input, target)
        reduction = reduction_of(reduction, size_average, reduce)
        if weight is not None:
            input, target, weight = expand_tensors(input, target, weight)
            losses = apply(mse_loss.operator, _promoted(input, target), ("none",)) * weight
            if reduction == "none":
                return losses
            total = losses.sum()
            return total if reduction == "sum" else total / weight.sum()
        input, target = expand_tensors(input, target)
        return apply(mse_loss.operator, _promoted(input, target), (reduction,))

    def infer(input, target, reduction):
        return _reduced_meta(input.flat, reduction)

    def evaluate(input, target, reduction):
        difference = input - target
        return _reduced(difference * difference, reduction)

    def decompose(g, input, target, reduction):
        difference = input - target
        return _lowered_reduced(difference * difference, reduction)

    def grad_input(grad, input, target, reduction):
        return _each(grad * 2, input._meta, reduction) * (input - target)

    def grad_target(grad, input, target, reduction):
        return _each(grad * 2, input._meta, reduction) * (target - input)


@composite(where=FUNCTIONAL, out=False)
@in_float32
def l1_loss(input, target, size_average=None, reduce=None, reduction="mean", weight=None):
    """The mean (or sum, or each) of ``|input - target|``. Source: F.l1_loss."""
    warn_sizes(input, target)
    reduction = reduction_of(reduction, size_average, reduce)
    if weight is not None:
        input, target, weight = expand_tensors(input, target, weight)
        losses = (input - target).abs() * weight
        if reduction == "mean":
            return losses.sum() / weight.sum()
    else:
        input, target = expand_tensors(input, target)
        losses = (input - target).abs()
    if reduction == "none":
        return losses
    return losses.mean() if reduction == "mean" else losses.sum()


@operator(where=(), name="smooth_l1_loss")
class _smooth_l1_loss(_Pointwise):
    """``d * d / (2 beta)`` below beta, ``d - beta / 2`` from there on, d = |input - target|."""

    tensors = 3

    def call(*arguments):
        return apply(_smooth_l1_loss.operator, arguments[:3], arguments[3:])

    def infer(input, target, beta, reduction):
        return _reduced_meta(input.flat, reduction)

    def evaluate(input, target, beta, reduction):
        d = np.abs(input - target)
        half = input.dtype.type(0.5)
        return _reduced(np.where(d < beta, half * d * d / beta, d - half * beta), reduction)

    def decompose(g, input, target, beta, reduction):
        d = (input - target).abs()
        beta = beta.cast(d.dtype)
        return _lowered_reduced(g.where(d < beta, d * 0.5 * d / beta, d - beta * 0.5), reduction)

    def grad_input(grad, input, target, beta, reduction):
        difference = input - target
        return _each(grad, input._meta, reduction) * _limited(difference, beta) / beta

    def grad_target(grad, input, target, beta, reduction):
        difference = target - input
        return _each(grad, input._meta, reduction) * _limited(difference, beta) / beta


def _limited(difference, bound):
    return difference.clamp(-bound, bound)


@composite(where=FUNCTIONAL, out=False)
@in_float32
def smooth_l1_loss(
    input, target, size_average=None, reduce=None, reduction="mean", beta=1.0
):
    """Squared below ``beta``, absolute beyond; l1_loss for beta = 0. Source: F.smooth_l1_loss.

    Raises RuntimeError for a negative beta.
    """
    warn_sizes(input, target)
    reduction = reduction_of(reduction, size_average, reduce)
    if beta < 0:
        raise RuntimeError(f"smooth_l1_loss does not support negative values for beta, got {beta}")
    input, target = expand_tensors(input, target)
    if beta == 0:
        return l1_loss(input, target, reduction=reduction)
    input, target = _promoted(input, target)
    return apply(_smooth_l1_loss.operator, (input, target, float(beta)), (reduction,))


@operator(where=(), name="huber_loss")
class _huber_loss(_Pointwise):
    """``d * d / 2`` up to delta, ``delta * (d - delta / 2)`` beyond, d = |input - target|."""

    tensors = 3

    def call(*arguments):
        return apply(_huber_loss.operator, arguments[:3], arguments[3:])

    def infer(input, target, delta, reduction):
        return _reduced_meta(input.flat, reduction)

    def evaluate(input, target, delta, reduction):
        d = np.abs(input - target)
        half = input.dtype.type(0.5)
        return _reduced(np.where(d <= delta, half * d * d, delta * (d - half * delta)), reduction)

    def decompose(g, input, target, delta, reduction):
        d = (input - target).abs()
        delta = delta.cast(d.dtype)
        losses = g.where(d <= delta, d * 0.5 * d, delta * (d - delta * 0.5))
        return _lowered_reduced(losses, reduction)

    def grad_input(grad, input, target, delta, reduction):
        return _each(grad, input._meta, reduction) * _limited(input - target, delta)

    def grad_target(grad, input, target, delta, reduction):
        return _each(grad, input._meta, reduction) * _limited(target - input, delta)


@composite(where=FUNCTIONAL, out=False)
@in_float32
def huber_loss(input, target, reduction="mean", delta=1.0, weight=None):
    """Squared up to ``delta``, linear beyond. Source: torch.nn.functional.huber_loss.

    Raises RuntimeError for delta <= 0.
    """
    warn_sizes(input, target)
    reduction = reduction_of(reduction)
    if delta <= 0:
        raise RuntimeError(
            f"huber_loss does not support non-positive values for delta, got {delta}"
        )
    if weight is not None:
        input, target, weight = expand_tensors(input, target, weight)
        losses = apply(
            _huber_loss.operator, (*_promoted(input, target), float(delta)), ("none",)
        ) * weight
        if reduction == "none":
            return losses
        return losses.sum() if reduction == "sum" else losses.sum() / weight.sum()
    input, target = _promoted(*expand_tensors(input, target))
    return apply(_huber_loss.operator, (input, target, float(delta)), (reduction,))


# ---- two classes


@operator(where=(), name="binary_cross_entropy")
class _binary_cross_entropy(_Pointwise):
    """``-weight * (target * log(input) + (1 - target) * log(1 - input))``, logs at least -100."""

    tensors = 3

    def call(*arguments):
        return apply(_binary_cross_entropy.operator, arguments[:3], arguments[3:])

    def infer(input, target, weight, reduction):
        return _reduced_meta(input.flat, reduction)

    def evaluate(input, target, weight, reduction):
        kind = input.dtype.type
        if ((input < 0) | (input > 1)).any():
            raise RuntimeError(
                "binary_cross_entropy: all elements of input should be between 0 and 1; apply "
                "sigmoid to the input, or use binary_cross_entropy_with_logits"
            )
        losses = (target - kind(1)) * np.maximum(accurate.log1p(-input), kind(-100)) - (
            target * np.maximum(accurate.log(input), kind(-100))
        )
        return _reduced(losses if weight is None else losses * weight, reduction)

    def decompose(g, input, target, weight, reduction):
        g.check(~((input < 0) | (input > 1)))
        below, above = (-input).log1p().max(-100), input.log().max(-100)
        losses = (target - 1) * below - target * above
        return _lowered_reduced(losses if weight is None else losses * weight, reduction)

    def grad_input(grad, input, target, weight, reduction):
        each = _each(grad, input._meta, reduction)
        found = each * (input - target) / ((1 - input) * input).clamp(min=1e-12)
        return found if weight is None else found * weight

    def grad_target(grad, input, weight, reduction):
        each = _each(grad, input._meta, reduction)
        found = each * ((-input).log1p().clamp(min=-100) - input.log().clamp(min=-100))
        return found if weight is None else found * weight


def _spread(weight, input):
    if weight is None:
        return None
    broadcast_shapes(weight._meta.shape, input._meta.shape)
    return weight.to(input._meta.dtype).expand(input._meta.shape)


@composite(where=FUNCTIONAL, out=False)
@in_float32
def binary_cross_entropy(
    input, target, weight=None, size_average=None, reduce=None, reduction="mean"
):
    """Cross entropy of probabilities (in [0, 1]) and targets of the same shape.

    Source: torch.nn.functional.binary_cross_entropy. Logarithms are cut at -100, as there.
    """
    reduction = reduction_of(reduction, size_average, reduce)
    if tuple(input._meta.shape) != tuple(target._meta.shape):
        raise ValueError(
            f"Using a target size ({target.shape}) that is different to the input size "
            f"({input.shape}) is deprecated. Please ensure they have the same size."
        )
    if target._meta.dtype is not input._meta.dtype:
        raise RuntimeError(
            f"binary_cross_entropy: Found dtype {target._meta.dtype} but expected "
            f"{input._meta.dtype}; convert the target"
        )
    weight = _spread(weight, input)
    return apply(_binary_cross_entropy.operator, (input, target, weight), (reduction,))


@operator(where=(), name="binary_cross_entropy_with_logits")
class _with_logits(_Pointwise):
    """Cross entropy of sigmoid(input), computed without overflow."""

    tensors = 4

    def call(*arguments):
        return apply(_with_logits.operator, arguments[:4], arguments[4:])

    def infer(input, target, weight, pos_weight, reduction):
        return _reduced_meta(input.flat, reduction)

    def evaluate(input, target, weight, pos_weight, reduction):
        one = input.dtype.type(1)
        positive_part = accurate.log1p(accurate.exp(-np.abs(input)))
        log_sigmoid = np.minimum(input, input.dtype.type(0)) - positive_part
        if pos_weight is None:
            losses = (one - target) * input - log_sigmoid
        else:
            losses = (one - target) * input - ((pos_weight - one) * target + one) * log_sigmoid
        return _reduced(losses if weight is None else losses * weight, reduction)

    def decompose(g, input, target, weight, pos_weight, reduction):
        log_sigmoid = input.min(0) - (-input.abs()).exp().log1p()
        if pos_weight is None:
            losses = (1 - target) * input - log_sigmoid
        else:
            losses = (1 - target) * input - ((pos_weight - 1) * target + 1) * log_sigmoid
        return _lowered_reduced(losses if weight is None else losses * weight, reduction)

    def grad_input(grad, input, target, weight, pos_weight, reduction):
        each = _each(grad, input._meta, reduction)
        if pos_weight is None:
            found = (input.sigmoid() - target) * each
        else:
            positive = pos_weight * target
            found = ((positive + 1 - target) * input.sigmoid() - positive) * each
        return found if weight is None else found * weight

    def grad_target(grad, input, weight, pos_weight, reduction):
        each = _each(grad, input._meta, reduction)
        if pos_weight is None:
            found = each * -input
        else:
            # d/dt of (1 - t) x - ((p - 1) t + 1) log_sigmoid(x)
            found = each * (_log_sigmoid(-input) - pos_weight * _log_sigmoid(input))
        return found if weight is None else found * weight


def _log_sigmoid(x):
    return NAMESPACES["nn.functional"]["logsigmoid"](x)


@composite(where=FUNCTIONAL, out=False)
@in_float32
def binary_cross_entropy_with_logits(
    input, target, weight=None, size_average=None, reduce=None, reduction="mean", pos_weight=None
):
    """binary_cross_entropy of ``sigmoid(input)``; pos_weight: factors of the positive targets.

    Raises ValueError for different sizes. Source: F.binary_cross_entropy_with_logits.
    """
    reduction = reduction_of(reduction, size_average, reduce)
    if tuple(input._meta.shape) != tuple(target._meta.shape):
        raise ValueError(
            f"Target size ({target.shape}) must be the same as input size ({input.shape})"
        )
    if not input._meta.dtype.is_floating_point:
        raise NotImplementedError(
            f"binary_cross_entropy_with_logits is not implemented for {input._meta.dtype}"
        )
    target = target.to(input._meta.dtype)
    return apply(
        _with_logits.operator,
        (input, target, _spread(weight, input), _spread(pos_weight, input)),
        (reduction,),
    )


def _with_logits_in_torch(input, target, weight=None, pos_weight=None, reduction=1):
    """binary_cross_entropy_with_logits, the reduction as a number: none, mean, sum."""
    return binary_cross_entropy_with_logits(
        input, target, weight, None, None, ("none", "mean", "sum")[reduction], pos_weight
    )


_with_logits_in_torch.__name__ = "binary_cross_entropy_with_logits"
composite(
    _with_logits_in_torch, name="binary_cross_entropy_with_logits", where=("torch",), out=False
)


# ---- divergence


@composite(where=FUNCTIONAL, out=False)
@in_float32
def kl_div(
    input, target, size_average=None, reduce=None, reduction="mean", log_target=False
):
    """Pointwise ``target * (log(target) - input)``, input being log probabilities.

    reduction "batchmean" is the sum divided by the first size. Source: F.kl_div.
    """
    if size_average is not None or reduce is not None:
        reduction = reduction_of("mean", size_average, reduce)
    elif reduction == "mean":
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support "
            "size. 'batchmean' divides only by the batch size, and aligns with the KL div math "
            "definition. 'mean' will be changed to behave the same as 'batchmean' in the next "
            "major release.",
            stacklevel=3,
        )
    if reduction not in ("none", "mean", "sum", "batchmean"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    losses = _divergence(input, target, log_target)
    if reduction == "none":
        return losses
    if reduction == "mean":
        return losses.mean()
    total = losses.sum()
    if reduction == "batchmean" and input._meta.ndim:
        total = total / input._meta.shape[0]
    return total


def _divergence(input, target, log_target: bool):
    if input._meta.dtype.is_complex or target._meta.dtype.is_complex:
        raise NotImplementedError("kl_div: complex numbers are not supported")
    if log_target:
        return target.exp() * (target - input)
    return NAMESPACES["torch"]["xlogy"](target, target) - target * input


def _kl_div_in_torch(input, target, reduction=1, *, log_target=False):
    """kl_div, the reduction as a number: none, mean, sum."""
    losses = _divergence(input, target, log_target)
    return (losses, losses.mean, losses.sum)[reduction]() if reduction else losses


_kl_div_in_torch.__name__ = "kl_div"
composite(_kl_div_in_torch, name="kl_div", where=("torch",), out=False)
