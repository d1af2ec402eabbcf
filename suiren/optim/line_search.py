"""A line search for the strong Wolfe conditions, on Python floats. Used by L-BFGS.

Sources: Nocedal and Wright (2006), Numerical optimization, algorithms 3.5 (bracketing), 3.6
(zoom) and equation 3.59 (cubic interpolation); safeguards as in Mark Schmidt's minFunc, so
that it takes the steps that PyTorch's LBFGS takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from suiren.tensor import Tensor

SUFFICIENT_DECREASE = 1e-4  # c1 of the conditions
CURVATURE = 0.9  # c2
LEAST_CHANGE = 1e-9  # narrower brackets are not searched


class Trial(NamedTuple):
    """A point on the line: its place t, the loss there, the gradient, and the slope."""

    t: float
    loss: float
    gradient: Tensor
    slope: float


def strong_wolfe(
    evaluate: Callable[[float], tuple[float, Tensor]],
    length: float,
    direction: Tensor,
    loss: float,
    gradient: Tensor,
    slope: float,
    most_trials: int,
) -> tuple[float, Tensor, float, int]:
    """A step length at which the loss has fallen enough and its slope is flat enough.

    With f(t) the loss at x + t * direction: f(t) <= f(0) + c1 * t * f'(0) and
    |f'(t)| <= c2 * |f'(0)|. If the trials do not find one, the best bracket end is taken.

    Args:
        evaluate: gives the loss and the gradient at x + t * direction.
        length: the first t to try.
        loss, gradient, slope: those at t = 0.
        most_trials: how many points to try beyond the first.

    Returns:
        loss, gradient and t of the step, and the number of evaluations.
    """

    def attempt(t: float) -> Trial:
        value, flat = evaluate(t)
        return Trial(t, value, flat, float(flat.dot(direction)))

    def rises(trial: Trial) -> bool:
        return trial.loss > loss + SUFFICIENT_DECREASE * trial.t * slope

    def is_flat(trial: Trial) -> bool:
        return abs(trial.slope) <= -CURVATURE * slope

    start = Trial(0.0, loss, gradient, slope)
    previous, trial = start, attempt(length)
    trials = 0
    bracket = [start, trial]
    while trials < most_trials:  # bracketing: go on until a minimum must lie between
        bracket = [previous, trial]
        if rises(trial) or (trials > 1 and trial.loss >= previous.loss):
            break
        if is_flat(trial):
            return trial.loss, trial.gradient, trial.t, trials + 1
        if trial.slope >= 0:
            break
        at_least = trial.t + 0.01 * (trial.t - previous.t)
        t = cubic_minimum(previous, trial, at_least, trial.t * 10)
        previous, trial = trial, attempt(t)
        trials += 1
    else:
        bracket = [start, trial]

    stalled = False
    low, high = _lower_first(bracket)
    width = float(direction.abs().max())
    evaluations = trials + 1
    while trials < most_trials:  # zoom: narrow the bracket, low always the better end
        if abs(high.t - low.t) * width < LEAST_CHANGE:
            break
        t, stalled = _inside(bracket, stalled)
        trial = attempt(t)
        evaluations += 1
        trials += 1
        i, j = bracket.index(low), bracket.index(high)
        if rises(trial) or trial.loss >= low.loss:
            bracket[j] = trial
            low, high = _lower_first(bracket)
            continue
        if is_flat(trial):
            low = trial
            break
        if trial.slope * (high.t - low.t) >= 0:
            bracket[j] = high = low
        bracket[i] = low = trial
    return low.loss, low.gradient, low.t, evaluations


def _lower_first(bracket: list[Trial]) -> tuple[Trial, Trial]:
    first, second = bracket
    return (first, second) if first.loss <= second.loss else (second, first)


def _inside(bracket: list[Trial], stalled: bool) -> tuple[float, bool]:
    """Where to look next, and whether it is close to an end of the bracket.

    Twice in a row close to an end means hardly any progress; then a tenth inwards is taken.
    """
    first, second = bracket
    left, right = min(first.t, second.t), max(first.t, second.t)
    t = cubic_minimum(first, second, left, right)
    margin = 0.1 * (right - left)
    if min(right - t, t - left) >= margin:
        return t, False
    if stalled or t >= right or t <= left:
        return (right - margin if abs(t - right) < abs(t - left) else left + margin), False
    return t, True


def cubic_minimum(a: Trial, b: Trial, left: float, right: float) -> float:
    """The minimum of the cubic through loss and slope of two trials, within [left, right]."""
    if a.t > b.t:
        a, b = b, a
    mean = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = mean * mean - a.slope * b.slope
    if square < 0:
        return (left + right) / 2
    root = square**0.5
    t = b.t - (b.t - a.t) * ((b.slope + root - mean) / (b.slope - a.slope + 2 * root))
    return min(max(t, left), right)
