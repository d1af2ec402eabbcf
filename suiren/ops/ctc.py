"""Connectionist temporal classification: the likelihood of a label sequence over all alignments.

Forward and backward recursions run in log space over time, for the whole batch at once. Source:
Graves et al. 2006, "Connectionist Temporal Classification"; torch.nn.functional.ctc_loss.
"""

from __future__ import annotations

import numpy as np

from suiren import dtypes
from suiren.autocasting import in_float32
from suiren.device import META
from suiren.dispatch import apply
from suiren.operator import composite, operator
from suiren.ops.creation import from_array
from suiren.ops.loss import reduction_of
from suiren.tensor import Tensor
from suiren.trace import meta


def _log_sum(*terms: np.ndarray) -> np.ndarray:
    """log of the sum of exponentials, minus infinity for no probability at all."""
    top = np.maximum.reduce(terms)
    safe = np.where(np.isneginf(top), 0, top)
    return np.log(sum(np.exp(t - safe) for t in terms)) + safe


def _states(targets: np.ndarray, blank: int) -> np.ndarray:
    """blank, label 1, blank, label 2, ..., blank: (batch, 2 * labels + 1)."""
    states = np.full((len(targets), 2 * targets.shape[1] + 1), blank, np.int64)
    states[:, 1::2] = targets
    return states


def _forward(log_probs, targets, lengths, blank):
    """log of the probability of all beginnings: (time, batch, states)."""
    steps, batch, _ = log_probs.shape
    states = _states(targets, blank)
    skip = np.zeros(states.shape, bool)
    skip[:, 2:] = (states[:, 2:] != blank) & (states[:, 2:] != states[:, :-2])
    emitted = np.take_along_axis(log_probs, np.broadcast_to(states, (steps, *states.shape)), 2)
    # two places before the first state, so that what comes from states before is a view
    room = np.full((steps, batch, states.shape[1] + 2), -np.inf, log_probs.dtype)
    alpha = room[:, :, 2:]
    if steps:
        alpha[0, :, :2] = emitted[0, :, :2]
        # a target of no labels has one state only
        alpha[0][(np.arange(states.shape[1]) >= 2 * lengths[:, None] + 1)] = -np.inf
    terms = np.full((3, *states.shape), -np.inf, log_probs.dtype)
    lowest = np.finfo(log_probs.dtype).min
    for t in range(1, steps):
        last = room[t - 1]
        terms[0] = last[:, 2:]  # stay, go on, or leave out a blank
        terms[1] = last[:, 1:-1]
        np.copyto(terms[2], last[:, :-2], where=skip)
        top = np.maximum(terms.max(axis=0), lowest)
        shares = np.exp(terms - top)
        alpha[t] = np.log(shares[0] + shares[1] + shares[2]) + top + emitted[t]
    return alpha, states


@operator(where=(), name="ctc_loss", node_name="CtcLossBackward0")
class _ctc_loss:
    """(minus the log likelihood of each sequence, the forward recursion's log probabilities)."""

    tensors = 2
    results = 2

    def call(*arguments):
        return apply(_ctc_loss.operator, arguments[:2], arguments[2:])

    def infer(log_probs, targets, input_lengths, target_lengths, blank, zero_infinity):
        steps, batch, _ = log_probs.shape
        states = 2 * targets.shape[1] + 1
        kind, place = log_probs.dtype, log_probs.device
        return meta((batch,), kind, place), meta((batch, steps, states), kind, place)

    def evaluate(log_probs, targets, input_lengths, target_lengths, blank, zero_infinity):
        lengths = np.array(target_lengths, np.int64)
        alpha, _ = _forward(log_probs, targets, lengths, blank)
        ends = _ends(alpha, input_lengths, lengths)
        return -ends.astype(log_probs.dtype), np.ascontiguousarray(alpha.swapaxes(0, 1))

    def grad_log_probs(grad, log_probs, targets, result0, result1, attributes):
        return _ctc_gradient(grad, log_probs, targets, result0, result1, *attributes)


def _ends(alpha: np.ndarray, input_lengths, lengths: np.ndarray) -> np.ndarray:
    """log likelihoods: both last states at the last step."""
    found = np.full(len(lengths), -np.inf)
    for n, (steps, length) in enumerate(zip(input_lengths, lengths, strict=True)):
        if steps == 0:
            found[n] = 0.0 if length == 0 else -np.inf
            continue
        last = alpha[steps - 1, n, : 2 * length + 1][-2:]
        found[n] = _log_sum(*[np.asarray(x, np.float64) for x in last])
    return found


def _turned(size: int, lengths: np.ndarray) -> np.ndarray:
    """Positions that read the first so many of each row from their end: (rows, size)."""
    at = np.arange(size)
    return np.where(at < lengths[:, None], lengths[:, None] - 1 - at, at)


@operator(where=(), name="ctc_loss_gradient", node_name="CtcLossBackwardBackward0")
class _ctc_gradient:
    """The gradient of ctc_loss, for log_probs that come from log_softmax, as PyTorch has it."""

    tensors = 5

    def call(*arguments):
        return apply(_ctc_gradient.operator, arguments[:5], arguments[5:])

    def infer(grad_output, log_probs, targets, loss, alpha, *attributes):
        return log_probs.flat

    def evaluate(
        grad_output, log_probs, targets, loss, alpha, input_lengths, target_lengths, blank,
        zero_infinity,
    ):  # fmt: skip
        lengths = np.array(target_lengths, np.int64)
        steps, states = np.array(input_lengths, np.int64), 2 * lengths + 1
        left = np.nonzero(steps > 0)[0]
        if zero_infinity:
            left = left[~np.isinf(loss[left])]
        result = np.zeros_like(log_probs)
        if not len(left):
            return result
        # the backward recursion is the forward one of what is left, read from the end
        own = log_probs[:, left]
        turned = np.take_along_axis(own, _turned(len(own), steps[left]).T[:, :, None], 0)
        backwards = _turned(targets.shape[1], lengths[left])
        labels = np.take_along_axis(targets[left], backwards, 1)
        beta, labels = _forward(turned, labels, lengths[left], blank)
        beta = beta.swapaxes(0, 1)  # batch, time, states
        beta = np.take_along_axis(beta, _turned(len(own), steps[left])[:, :, None], 1)
        order = _turned(beta.shape[2], states[left])
        beta, labels = (
            np.take_along_axis(beta, order[:, None], 2), np.take_along_axis(labels, order, 1)
        )  # fmt: skip
        outside = np.arange(beta.shape[2]) >= states[left][:, None]
        both = np.where(outside[:, None], -np.inf, alpha[left] + beta)
        top = np.maximum(both.max(axis=2, keepdims=True), np.finfo(both.dtype).min)
        part = np.exp(both - top)
        share = np.zeros((len(left), log_probs.shape[2], len(own)))  # batch, classes, time
        number = np.arange(len(left))
        for s in range(both.shape[2]):
            share[number, labels[:, s]] += part[:, :, s]
        share = share.transpose(2, 0, 1)
        expected = np.exp(np.log(share) + top.swapaxes(0, 1) + loss[left][:, None] - own)
        found = (np.exp(own) - expected) * grad_output[left][:, None]
        inside = np.arange(len(own))[:, None] < steps[left]
        result[:, left] = np.where(inside[:, :, None], found, 0)
        return result


def _lengths(x, name: str) -> tuple[int, ...]:
    if isinstance(x, Tensor):
        if x._meta.dtype.category >= dtypes.FLOATING:
            raise RuntimeError(f"{name} must be integral")
        return tuple(x.peek().reshape(-1).tolist())
    if isinstance(x, int):
        return (x,)
    return tuple([int(n) for n in x])


@composite(where=("nn.functional",), out=False)
@in_float32
def ctc_loss(
    log_probs, targets, input_lengths, target_lengths, blank=0, reduction="mean",
    zero_infinity=False,
):  # fmt: skip
    """Minus the log likelihood of label sequences, summed over all alignments with blanks.

    log_probs: (time, batch, classes) or (time, classes); targets: (batch, labels), or all labels
    in one dimension; lengths: one for each sequence. The mean divides each loss by its number of
    labels first. Lengths and targets are looked at when this is called. Raises RuntimeError or
    ValueError where they do not fit. Source: torch.nn.functional.ctc_loss.
    """
    reduction = reduction_of(reduction)
    batched = log_probs._meta.ndim == 3
    if not batched:
        log_probs = log_probs.unsqueeze(1)
    if not log_probs._meta.dtype.is_floating_point:
        raise RuntimeError(f"ctc_loss: log_probs must be floating, got {log_probs._meta.dtype}")
    if targets._meta.dtype.category >= dtypes.FLOATING:
        raise RuntimeError(f"ctc_loss: targets must be integral, got {targets._meta.dtype}")
    inputs = _lengths(input_lengths, "input_lengths")
    labels = _lengths(target_lengths, "target_lengths")
    padded = _padded(log_probs, targets, inputs, labels, blank)
    result = _ctc_loss(
        log_probs, from_array(padded), inputs, labels, blank, bool(zero_infinity)
    )[0]
    if zero_infinity:
        result = result.masked_fill(result == float("inf"), 0)
    if reduction == "mean":
        counts = np.maximum(np.array(labels), 1)
        counts = from_array(counts, where=result._meta.device).to(result._meta.dtype)
        return (result / counts).mean()
    if reduction == "sum":
        return result.sum()
    return result if batched else result.squeeze(0)


composite(ctc_loss, where=("torch",), out=False)


def _padded(log_probs, targets, inputs, labels, blank: int) -> np.ndarray:
    """Targets as (batch, most labels), checked against the lengths."""
    steps, batch, classes = log_probs._meta.shape
    if not 0 <= blank < classes:
        raise RuntimeError("ctc_loss: blank must be in label range")
    for name, found in (("input_lengths", inputs), ("target_lengths", labels)):
        if len(found) != batch:
            raise RuntimeError(f"ctc_loss: {name} must be of size batch_size, got {len(found)}")
    if any(n < 0 for n in (*inputs, *labels)):
        raise RuntimeError("ctc_loss: lengths must not be negative")
    if max(inputs, default=0) > steps:
        raise RuntimeError(
            f"Expected input_lengths to have value at most {steps}, but got value "
            f"{max(inputs)} (while checking arguments for ctc_loss)"
        )
    most = max(labels, default=0)
    result = np.full((batch, most), blank, np.int64)
    if targets._meta.device is META:
        return result
    values = targets.peek()
    if values.ndim == 1:
        if values.size < sum(labels):
            raise RuntimeError(
                f"ctc_loss: {values.size} labels in targets, but target_lengths name {sum(labels)}"
            )
        start = 0
        for n, count in enumerate(labels):
            result[n, :count] = values[start : start + count]
            start += count
        return result
    if values.shape[0] != batch or values.shape[1] < most:
        raise RuntimeError(
            f"Expected tensor to have size at least {most} at dimension 1, but got size "
            f"{list(values.shape)} for targets (while checking arguments for ctc_loss)"
        )
    for n, count in enumerate(labels):
        result[n, :count] = values[n, :count]
    return result
