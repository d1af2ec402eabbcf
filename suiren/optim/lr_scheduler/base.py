"""The base class of learning-rate schedulers. Follows PyTorch's `LRScheduler`."""

from __future__ import annotations

import warnings
from typing import Any

from suiren.optim.optimizer import Optimizer
from suiren.tensor import Tensor

EPOCH_DEPRECATION_WARNING = (
    "The epoch parameter in `scheduler.step()` was not necessary and is being deprecated where "
    "possible; call `scheduler.step()` without it. With an epoch the closed form of the schedule "
    "is used, where there is one."
)


def copied(value: Any) -> Any:
    """The number itself, or a copy of a tensor, which later updates must not change."""
    return value.clone() if isinstance(value, Tensor) else value


def set_option(group: dict[str, Any], name: str, value: Any) -> None:
    """Sets an option of a group; a tensor keeps its identity and gets the value."""
    if isinstance(group[name], Tensor):
        group[name].fill_(value)
    else:
        group[name] = value


def per_group(label: str, value: Any, optimizer: Optimizer) -> list[Any]:
    """One value for each parameter group, from one for all or a list of them."""
    count = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [copied(value) for _ in range(count)]
    if len(value) != count:
        raise ValueError(
            f"{label} must have the same length as optimizer.param_groups. "
            f"{label} has {len(value)} values, param_groups has {count}."
        )
    return [copied(v) for v in value]


def check_optimizer(optimizer: Any) -> None:
    """Raises TypeError for anything else than an optimizer."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"{type(optimizer).__name__} is not an Optimizer; a scheduler's first argument is "
            "the optimizer whose learning rates it sets"
        )


class LRScheduler:
    """Sets the learning rates of an optimizer from step to step; base class of schedules.

    A subclass defines `get_lr()`, which gives the next rate of each parameter group, mostly from
    the present one, so that several schedules can act on one optimizer. Constructing a scheduler
    makes its first step, at `last_epoch` 0.

    Args:
        optimizer: whose groups' "lr" is set; each group also gets "initial_lr".
        last_epoch: number of the last epoch, to go on with a schedule; -1 begins one.

    Attributes:
        last_epoch: how often the schedule has stepped.
        base_lrs: the "initial_lr" of each group.

    Raises:
        TypeError: `optimizer` is not an Optimizer.
        KeyError: `last_epoch` is 0 or more, and a group lacks "initial_lr".

    Source: https://docs.pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate

    Example:
        >>> class Halving(suiren.optim.lr_scheduler.LRScheduler):
        ...     def get_lr(self):
        ...         return [lr / 2**self.last_epoch for lr in self.base_lrs]
        >>> scheduler = Halving(optimizer)
        >>> optimizer.step()
        >>> scheduler.step()
    """

    _get_lr_called_within_step = False
    _is_initial = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        check_optimizer(optimizer)
        if last_epoch == -1:
            for group in optimizer.param_groups:
                group.setdefault("initial_lr", copied(group["lr"]))
        else:
            for i, group in enumerate(optimizer.param_groups):
                if "initial_lr" not in group:
                    raise KeyError(
                        f"param 'initial_lr' is not specified in param_groups[{i}] when resuming "
                        "scheduler with last_epoch >= 0; load the optimizer's state first, or "
                        "begin a schedule with last_epoch=-1"
                    )
        self.optimizer = optimizer
        self.base_lrs = [copied(group["initial_lr"]) for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._initial_step()

    def _initial_step(self) -> None:
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def state_dict(self) -> dict[str, Any]:
        """Everything the schedule remembers, without the optimizer."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what `state_dict()` gave."""
        self.__dict__.update(state_dict)

    def get_last_lr(self) -> list[Any]:
        """The learning rates that were set last, one for each group."""
        return self._last_lr

    def get_lr(self) -> list[Any]:
        """The rate for each group at `last_epoch`; called by `step()`."""
        raise NotImplementedError(f"{type(self).__name__} does not define get_lr()")

    def step(self, epoch: int | None = None) -> None:
        """Sets the next learning rates; call it after `optimizer.step()`.

        Args:
            epoch: jump there instead of to the next one (deprecated).
        """
        if self._step_count == 1:
            self._check_order()
        self._step_count += 1
        if epoch is not None:
            warnings.warn(EPOCH_DEPRECATION_WARNING, UserWarning, stacklevel=2)
        self._update_lr(epoch)

    def _check_order(self) -> None:
        """Warns when the first `step()` comes before the optimizer's."""
        hooked = getattr(self.optimizer.step, "hooked", False)
        if hooked and not getattr(self.optimizer, "_opt_called", False):
            warnings.warn(
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`; call them in "
                "the opposite order, or the first value of the schedule is skipped.",
                UserWarning,
                stacklevel=3,
            )

    def _update_lr(self, epoch: int | None = None) -> None:
        self._get_lr_called_within_step = True
        try:
            if epoch is None:
                self.last_epoch += 1
                rates = self.get_lr()
            else:
                self.last_epoch = epoch
                closed_form = getattr(self, "_get_closed_form_lr", self.get_lr)
                rates = closed_form()
        finally:
            self._get_lr_called_within_step = False
        self._set_rates(rates)

    def _set_rates(self, rates: list[Any]) -> None:
        for group, lr in zip(self.optimizer.param_groups, rates, strict=True):
            set_option(group, "lr", lr)
        self._last_lr = [copied(group["lr"]) for group in self.optimizer.param_groups]

    def _rates(self) -> list[Any]:
        """The present rate of each group; copies, so that a tensor is not changed twice."""
        return [copied(group["lr"]) for group in self.optimizer.param_groups]

    def _warn_if_called_outside_step(self) -> None:
        if not self._get_lr_called_within_step:
            warnings.warn(
                "To get the last learning rate computed by the scheduler, please use "
                "`get_last_lr()`.",
                UserWarning,
                stacklevel=3,
            )
