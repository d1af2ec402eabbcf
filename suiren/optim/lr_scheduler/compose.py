"""Schedules made of schedules: one after the other, or all at once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from suiren.optim.lr_scheduler.base import LRScheduler, copied
from suiren.optim.lr_scheduler.plateau import ReduceLROnPlateau
from suiren.optim.optimizer import Optimizer


class _Composed(LRScheduler):
    """What both have in common: checking and saving the schedules inside."""

    _schedulers: Sequence[LRScheduler]

    def _check(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer) -> None:
        name = type(self).__name__
        for i, scheduler in enumerate(schedulers):
            if not hasattr(scheduler, "optimizer"):
                raise TypeError(
                    f"{name} at index {i} should have `optimizer` as its attribute, but it is "
                    f"{type(scheduler).__name__}"
                )
            if isinstance(scheduler, ReduceLROnPlateau):
                raise ValueError(
                    f"{name} does not support `ReduceLROnPlateau`, which needs a metric at "
                    f"`step`, but got one at index {i}"
                )
            if scheduler.optimizer is not optimizer:
                raise ValueError(
                    f"{name} expects all schedulers to belong to the same optimizer, but got "
                    f"scheduler {type(scheduler).__name__} at index {i} with another "
                    f"{type(scheduler.optimizer).__name__}"
                )

    def state_dict(self) -> dict[str, Any]:
        """What the schedule remembers, under "_schedulers" the state of those inside."""
        hidden = ("optimizer", "_schedulers")
        state = {key: value for key, value in self.__dict__.items() if key not in hidden}
        state["_schedulers"] = [scheduler.state_dict() for scheduler in self._schedulers]
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what `state_dict()` gave."""
        state = dict(state_dict)
        inner = state.pop("_schedulers")
        self.__dict__.update(state)
        for scheduler, saved in zip(self._schedulers, inner, strict=True):
            scheduler.load_state_dict(saved)


class SequentialLR(_Composed):
    """One schedule after the other.

    Args:
        optimizer: whose learning rates are set.
        schedulers: schedules of that optimizer.
        milestones: the epochs at which the second, third, ... takes over, at its epoch 0.
        last_epoch: -1 begins.

    Raises:
        ValueError: no schedules, one of another optimizer, a `ReduceLROnPlateau`, or not one
            milestone fewer than schedules.
        TypeError: something that is not a schedule.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.SequentialLR.html

    Example:
        >>> from suiren.optim.lr_scheduler import ExponentialLR, LinearLR
        >>> warmup = LinearLR(optimizer, start_factor=0.1, total_iters=5)
        >>> decay = ExponentialLR(optimizer, gamma=0.9)
        >>> scheduler = SequentialLR(optimizer, [warmup, decay], milestones=[5])
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: list[LRScheduler],
        milestones: list[int],
        last_epoch: int = -1,
    ) -> None:
        if len(schedulers) < 1:
            raise ValueError(
                "SequentialLR expects at least one scheduler, but got no scheduler."
            )
        self._check(schedulers, optimizer)
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                "SequentialLR expects the number of schedulers to be one more than the number "
                f"of milestones, but got {len(schedulers)} schedulers and {len(milestones)} "
                "milestones"
            )
        self._schedulers = schedulers
        self._milestones = milestones
        self.last_epoch = last_epoch + 1
        self.optimizer = optimizer
        # Constructing the schedules has made the first step of each; only that of the first
        # one is to stand.
        for group in optimizer.param_groups:
            group["lr"] = copied(group["initial_lr"])
        for scheduler in schedulers:
            _undo(scheduler)
        schedulers[0]._initial_step()
        self._last_lr = schedulers[0].get_last_lr()

    # No epoch: the schedulers inside count their own.
    def step(self) -> None:  # type: ignore[override]
        """Steps the schedule whose turn it is."""
        self.last_epoch += 1
        turn = bisect_right(self._milestones, self.last_epoch)
        scheduler = self._schedulers[turn]
        if turn > 0 and self._milestones[turn - 1] == self.last_epoch:
            scheduler._update_lr(0)
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()


def _undo(scheduler: Any) -> None:
    """Takes back the step that construction made, also inside composed schedules."""
    for inner in getattr(scheduler, "_schedulers", ()):
        _undo(inner)
    if hasattr(scheduler, "last_epoch"):
        scheduler.last_epoch -= 1


class ChainedScheduler(_Composed):
    """Several schedules at once: each multiplies on top of the others.

    Args:
        schedulers: schedules of one optimizer that compute the next rate from the present one.
        optimizer: that optimizer; None takes the first schedule's.

    Raises:
        ValueError: no schedules, one of another optimizer, or a `ReduceLROnPlateau`.

    Source:
    https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.ChainedScheduler.html

    Example:
        >>> from suiren.optim.lr_scheduler import ConstantLR, ExponentialLR
        >>> warmup = ConstantLR(optimizer, factor=0.1, total_iters=20)
        >>> decay = ExponentialLR(optimizer, gamma=0.9)
        >>> scheduler = ChainedScheduler([warmup, decay])
    """

    def __init__(
        self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None
    ) -> None:
        if len(schedulers) < 1:
            raise ValueError(
                "ChainedScheduler expects at least one scheduler to be chained, but got none"
            )
        optimizer = optimizer or schedulers[0].optimizer
        self._check(schedulers, optimizer)
        self._schedulers = schedulers
        self.optimizer = optimizer
        self._last_lr = [copied(group["lr"]) for group in optimizer.param_groups]

    # No epoch: the schedulers inside count their own.
    def step(self) -> None:  # type: ignore[override]
        """Steps all schedules, in their order."""
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = [copied(group["lr"]) for group in self.optimizer.param_groups]
