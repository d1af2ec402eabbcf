"""The negative log likelihood of classes: minus the log probability at each target.

Source: PyTorch's torch.nn.functional.nll_loss page.
"""

from __future__ import annotations

import numpy as np

from suiren import dtypes
from suiren.autocasting import in_float32
from suiren.dispatch import apply
from suiren.operator import MAX_PLANS, composite, operator
from suiren.ops.loss import reduction_of
from suiren.tensor import value_of
from suiren.trace import meta


@operator(where=(), name="nll_loss")
class _nll_loss:
    """(minus the log probability of each target class, the sum of the weights that counted)."""

    one_device = True
    tensors = 3
    results = 2
    widen = True

    def call(*arguments):
        return apply(_nll_loss.operator, arguments[:3], arguments[3:])

    def infer(input, target, weight, reduction, ignore_index):
        total = meta((), input.dtype, input.device)
        each = reduction == "none" and target.ndim
        return meta(target.shape if each else (), input.dtype, input.device), total

    def evaluate(input, target, weight, reduction, ignore_index):
        scores, index, factor = _picked(input.shape, target, weight, ignore_index, input.dtype)
        columns = input.reshape(scores)
        picked = np.take_along_axis(columns, index[:, None], 1)[:, 0]  # batch, places
        total = np.add.reduce(factor, axis=None, dtype=np.float64).astype(input.dtype)
        losses = np.where(factor == 0, input.dtype.type(0), -picked * factor)
        if reduction == "none":
            return losses.reshape(target.shape), np.zeros((), input.dtype)
        loss = np.add.reduce(losses, axis=None)
        return np.asarray(loss / total if reduction == "mean" else loss, input.dtype), total

    def decompose(g, input, target, weight, reduction, ignore_index):
        x, index, here, factor = _lowered_classes(
            g, input.shape, target, weight, ignore_index, input.dtype
        )
        picked = g.where(here, input.reshape(*x), 0).sum(1)  # batch, places
        losses = g.where(factor.eq(0), 0, -picked * factor)
        if reduction == "none":
            return losses.reshape(*target.shape), g.full((), 0, input.dtype)
        total = factor.sum()
        loss = losses.sum()
        return (loss / total if reduction == "mean" else loss), total

    def grad_input(grad, target, weight, result1, input_meta, reduction, ignore_index):
        shape = input_meta.shape
        total = result1.detach()
        return _nll_gradient(grad, target, weight, total, shape, reduction, ignore_index)


def _picked(shape, target, weight, ignore_index, kind):
    """The shape (batch, classes, places), the classes to pick there, and their factors."""
    batch, classes = (1, shape[0]) if len(shape) == 1 else (shape[0], shape[1])
    index = target.reshape(batch, target.size // max(batch, 1))
    used = _used(index, classes, ignore_index)
    index = np.where(used, index, 0).astype(np.int64)
    factor = used.astype(kind)
    if weight is not None and classes:
        factor = np.where(used, weight[index], kind.type(0))
    return (batch, classes, index.shape[1]), index, factor


def _used(target: np.ndarray, classes: int, ignore_index: int) -> np.ndarray:
    """Where a target counts; raises IndexError for one that is no class."""
    used = target != ignore_index
    wrong = used & ((target < 0) | (target >= classes))
    if wrong.any():
        raise IndexError(
            f"Target {target[wrong][0]} is out of bounds: nll_loss got {classes} classes, "
            f"numbered from 0, and ignore_index={ignore_index}"
        )
    return used


def _lowered_classes(g, shape, target, weight, ignore_index, kind):
    """The shape (batch, classes, places), the classes, where they are, and their factors.

    The target class is found by comparison: that fuses with what makes the scores.
    """
    batch, classes = (1, shape[0]) if len(shape) == 1 else (shape[0], shape[1])
    if not classes or not target.numel:
        raise g.NotNative("no classes or no targets")
    index = target.cast(dtypes.int64).reshape(batch, target.numel // batch)
    used = index.ne(ignore_index)
    g.check(~used | ((index >= 0) & (index < classes)))
    index = g.where(used, index, 0)
    x = (batch, classes, index.shape[1])
    here = g.iota(x, 1).eq(index.unsqueeze(1))
    if weight is None:
        factor = used.cast(kind)
    else:
        chosen = g.where(here, weight.reshape(1, classes, 1), 0).sum(1)
        factor = g.where(used, chosen, 0)
    return x, index, here, factor


@operator(where=(), name="nll_loss_gradient", node_name="NllLossBackwardBackward0")
class _nll_gradient:
    """The gradient of nll_loss: minus the factors at the target classes."""

    tensors = 4
    widen = True

    def call(*arguments):
        return apply(_nll_gradient.operator, arguments[:4], arguments[4:])

    def infer(grad_output, target, weight, total, shape, reduction, ignore_index):
        return meta(shape, grad_output.dtype, grad_output.device)

    def evaluate(grad_output, target, weight, total, shape, reduction, ignore_index):
        scores, index, factor = _picked(shape, target, weight, ignore_index, grad_output.dtype)
        if reduction == "none":
            grad_output = grad_output.reshape(index.shape)
        elif reduction == "mean":
            grad_output = grad_output / total
        result = np.zeros(scores, grad_output.dtype)
        values = np.where(factor == 0, factor, -factor * grad_output)
        if values.size:
            np.put_along_axis(result, index[:, None], values[:, None], 1)
        return result.reshape(shape)

    def decompose(g, grad_output, target, weight, total, shape, reduction, ignore_index):
        kind = grad_output.dtype
        x, index, here, factor = _lowered_classes(g, shape, target, weight, ignore_index, kind)
        if reduction == "none":
            grad_output = grad_output.reshape(*index.shape)
        elif reduction == "mean":
            grad_output = grad_output / total
        values = g.where(factor.eq(0), factor, -factor * grad_output)
        return g.where(here, values.unsqueeze(1), 0).reshape(*shape)

    def grad_grad_output(grad, target, weight, reduction, ignore_index):
        return _nll_loss(grad, target, weight, reduction, ignore_index)[0]


@operator(where=(), name="nll_loss2d", node_name="NllLoss2DBackward0")
class _nll_loss2d:
    """nll_loss of images: the same, under the node name that PyTorch gives it."""

    one_device = True
    tensors = 3
    results = 2
    widen = True
    infer = _nll_loss.operator.infer

    def call(*arguments):
        return apply(_nll_loss2d.operator, arguments[:3], arguments[3:])

    def evaluate(input, target, weight, reduction, ignore_index):
        return _nll_loss.operator.evaluate(input, target, weight, reduction, ignore_index)

    def decompose(g, input, target, weight, reduction, ignore_index):
        lowered = _nll_loss.operator.decompose
        return lowered(g, input, target, weight, reduction, ignore_index)

    def grad_input(grad, target, weight, result1, input_meta, reduction, ignore_index):
        shape = input_meta.shape
        total = result1.detach()
        return _nll_gradient(grad, target, weight, total, shape, reduction, ignore_index)


_fitting: set[tuple] = set()  # Metas that have passed the checks of shapes and types
_UNSIGNED = {1: np.uint8, 8: np.uint64}  # the targets are uint8 or int64


@composite(where=("nn.functional",), out=False)
@in_float32
def nll_loss(
    input, target, weight=None, size_average=None, ignore_index=-100, reduce=None,
    reduction="mean",
):  # fmt: skip
    """The negative log likelihood of the target classes.

    input: log probabilities (classes,), (batch, classes) or (batch, classes, d1, ...); target:
    int64, the same without classes; weight: (classes,). Targets equal to ignore_index do not
    count; the mean is weighted. Raises IndexError for a class out of bounds (here if the targets
    are known, else when the value is needed), ValueError or RuntimeError for wrong shapes.
    Source: torch.nn.functional.nll_loss.

    >>> import suiren as torch
    >>> torch.nn.functional.nll_loss(torch.tensor([[-0.5, -1.]]), torch.tensor([1]))
    tensor(1.)
    """
    reduction = reduction_of(reduction, size_average, reduce)
    shape = input._meta.shape
    metas = input._meta, target._meta, None if weight is None else weight._meta
    if metas not in _fitting:
        _check_nll(input, target, weight, tuple(shape), tuple(target._meta.shape))
        if len(_fitting) >= MAX_PLANS:
            _fitting.clear()
        _fitting.add(metas)
    known = value_of(target).buffer
    if known is not None:  # computed already, so a mistake can be reported where it is made
        classes = shape[0] if len(shape) == 1 else shape[1]
        # Taken as unsigned, negative numbers are large ones: one look finds all that is unusual.
        if known.size and known.view(_UNSIGNED[known.dtype.itemsize]).max() >= classes:
            _used(known, classes, ignore_index)
    chosen = _nll_loss if len(shape) <= 2 else _nll_loss2d
    return chosen(input, target, weight, reduction, int(ignore_index))[0]


def _check_nll(input, target, weight, shape, places) -> None:
    if len(shape) < 1:
        raise ValueError(f"Expected 1 or more dimensions (got {len(shape)})")
    if len(shape) != 1 and (not places or shape[0] != places[0]):
        found = places[0] if places else 1
        raise ValueError(
            f"Expected input batch_size ({shape[0]}) to match target batch_size ({found})."
        )
    if not input._meta.dtype.is_floating_point:
        raise NotImplementedError(f"nll_loss is not implemented for {input._meta.dtype}")
    if target._meta.dtype not in (dtypes.int64, dtypes.uint8):
        raise RuntimeError(
            f"nll_loss: expected scalar type Long but found {target._meta.dtype}; targets are "
            "class numbers, convert with .long()"
        )
    if len(shape) == 1:
        if len(places) > 1 or (places and places[0] != 1):
            raise ValueError(
                f"Expected input batch_size ({shape[0]}) to match target batch_size ({places[0]})."
                if len(places) == 1
                else f"0D or 1D target tensor expected, got {list(places)}"
            )
    elif (shape[0], *shape[2:]) != places:
        raise RuntimeError(
            f"size mismatch (got input: {list(shape)}, target: {list(places)}): nll_loss wants "
            f"a target of size {[shape[0], *shape[2:]]}"
        )
    classes = shape[0] if len(shape) == 1 else shape[1]
    if weight is not None and (weight._meta.ndim != 1 or weight._meta.shape[0] != classes):
        raise RuntimeError(
            f"weight tensor should be defined either for all {classes} classes or no classes but "
            f"got weight tensor of shape: {list(weight._meta.shape)}"
        )
    if weight is not None and weight._meta.dtype is not input._meta.dtype:
        raise RuntimeError(
            f"nll_loss: expected scalar type {input._meta.dtype} but found {weight._meta.dtype} "
            "for weight"
        )
