"""Schedules that multiply the learning rate by simple factors.

Each `get_lr` computes the next rate from the present one, in PyTorch's order of operations, so
that schedules can be chained; `_get_closed_form_lr` gives the same from the epoch alone.
"""

from __future__ import annotations

import types
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from suiren.optim.lr_scheduler.base import LRScheduler, check_optimizer
from suiren.optim.optimizer import Optimizer

Factor = Callable[[int], float]


def _factors(lr_lambda: Factor | list[Factor], optimizer: Optimizer) -> list[Factor]:
    """A function for each parameter group."""
    check_optimizer(optimizer)
    count = len(optimizer.param_groups)
    if not isinstance(lr_lambda, (list, tuple)):
        return [lr_lambda] * count
    if len(lr_lambda) != count:
        raise ValueError(f"Expected {count} lr_lambdas, but got {len(lr_lambda)}")
    return list(lr_lambda)


class LambdaLR(LRScheduler):
    """lr = initial lr * lr_lambda(epoch).

    Args:
        optimizer: whose learning rates are set.
        lr_lambda: a function of the epoch, or a list with one for each parameter group.
        last_epoch: as in `LRScheduler`.

    Raises:
        ValueError: the number of functions is not that of the groups.

    `state_dict()` holds the attributes of callable objects, and None for plain functions.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.LambdaLR.html

    Example:
        >>> scheduler = LambdaLR(optimizer, lambda epoch: 0.95**epoch)
    """

    def __init__(
        self, optimizer: Optimizer, lr_lambda: Factor | list[Factor], last_epoch: int = -1
    ) -> None:
        self.optimizer = optimizer
        self.lr_lambdas = _factors(lr_lambda, optimizer)
        super().__init__(optimizer, last_epoch)

    def state_dict(self) -> dict[str, Any]:
        """What the schedule remembers; of each callable object a copy of its attributes."""
        state = {k: v for k, v in self.__dict__.items() if k not in ("optimizer", "lr_lambdas")}
        state["lr_lambdas"] = [
            None if isinstance(factor, types.FunctionType) else vars(factor).copy()
            for factor in self.lr_lambdas
        ]
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what `state_dict()` gave; plain functions stay as they are."""
        state = dict(state_dict)
        attributes = state.pop("lr_lambdas")
        self.__dict__.update(state)
        for factor, saved in zip(self.lr_lambdas, attributes, strict=True):
            if saved is not None:
                vars(factor).update(saved)

    def get_lr(self) -> list[Any]:
        """Initial rate times the function's value."""
        self._warn_if_called_outside_step()
        return [
            base * factor(self.last_epoch)
            for base, factor in zip(self.base_lrs, self.lr_lambdas, strict=True)
        ]


class MultiplicativeLR(LambdaLR):
    """lr <- lr * lr_lambda(epoch) at every epoch from 1 on.

    Args and errors: as those of `LambdaLR`.

    Source:
    https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.MultiplicativeLR.html

    Example:
        >>> scheduler = MultiplicativeLR(optimizer, lambda epoch: 0.95)
    """

    def get_lr(self) -> list[Any]:
        """Present rate times the function's value."""
        self._warn_if_called_outside_step()
        if self._is_initial:
            return self._rates()
        return [
            lr * factor(self.last_epoch)
            for lr, factor in zip(self._rates(), self.lr_lambdas, strict=True)
        ]


class StepLR(LRScheduler):
    """lr = initial lr * gamma**(epoch // step_size).

    Args:
        optimizer: whose learning rates are set.
        step_size: epochs between two decays.
        gamma: factor of each decay.
        last_epoch: as in `LRScheduler`.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.StepLR.html

    Example:
        >>> scheduler = StepLR(optimizer, step_size=30, gamma=0.1)
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """Present rate, times gamma at multiples of the step size."""
        self._warn_if_called_outside_step()
        if self.last_epoch == 0 or self.last_epoch % self.step_size != 0:
            return self._rates()
        return [lr * self.gamma for lr in self._rates()]

    def _get_closed_form_lr(self) -> list[Any]:
        return [lr * self.gamma ** (self.last_epoch // self.step_size) for lr in self.base_lrs]


class MultiStepLR(LRScheduler):
    """lr = initial lr * gamma**(number of milestones up to the epoch).

    Args:
        optimizer: whose learning rates are set.
        milestones: epochs of decay; one that is listed twice decays twice.
        gamma: factor of each decay.
        last_epoch: as in `LRScheduler`.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.MultiStepLR.html

    Example:
        >>> scheduler = MultiStepLR(optimizer, milestones=[30, 80], gamma=0.1)
    """

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones = Counter(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """Present rate, times gamma at a milestone."""
        self._warn_if_called_outside_step()
        if self.last_epoch not in self.milestones:
            return self._rates()
        return [lr * self.gamma ** self.milestones[self.last_epoch] for lr in self._rates()]

    def _get_closed_form_lr(self) -> list[Any]:
        passed = bisect_right(sorted(self.milestones.elements()), self.last_epoch)
        return [lr * self.gamma**passed for lr in self.base_lrs]


class ConstantLR(LRScheduler):
    """lr = initial lr * factor for the first `total_iters` epochs, then the initial lr.

    Args:
        optimizer: whose learning rates are set.
        factor: between 0 and 1.
        total_iters: number of epochs with the factor.
        last_epoch: as in `LRScheduler`.

    Raises:
        ValueError: the factor is not between 0 and 1.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.ConstantLR.html

    Example:
        >>> scheduler = ConstantLR(optimizer, factor=0.1, total_iters=4)
    """

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 1.0 / 3,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if factor > 1.0 or factor < 0:
            raise ValueError(
                "Constant multiplicative factor expected to be between 0 and 1, "
                f"but factor is {factor}"
            )
        self.factor = factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """Present rate, times the factor at epoch 0, divided by it at the end."""
        self._warn_if_called_outside_step()
        if self.last_epoch == 0:
            return [lr * self.factor for lr in self._rates()]
        if self.last_epoch != self.total_iters:
            return self._rates()
        return [lr * (1.0 / self.factor) for lr in self._rates()]

    def _get_closed_form_lr(self) -> list[Any]:
        ended = self.last_epoch >= self.total_iters
        return [lr * (self.factor + ended * (1 - self.factor)) for lr in self.base_lrs]


class LinearLR(LRScheduler):
    """lr = initial lr * a factor that goes linearly from start to end in `total_iters` epochs.

    Args:
        optimizer: whose learning rates are set.
        start_factor: above 0, at most 1.
        end_factor: between 0 and 1.
        total_iters: number of epochs from one to the other.
        last_epoch: as in `LRScheduler`.

    Raises:
        ValueError: a factor out of its range.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.LinearLR.html

    Example:
        >>> scheduler = LinearLR(optimizer, start_factor=0.05, total_iters=4)
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if start_factor > 1.0 or start_factor <= 0:
            raise ValueError(
                "Starting multiplicative factor expected to be greater than 0 and less or equal "
                f"to 1, but start_factor is {start_factor}"
            )
        if end_factor > 1.0 or end_factor < 0:
            raise ValueError(
                "Ending multiplicative factor expected to be between 0 and 1, "
                f"but end_factor is {end_factor}"
            )
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """Present rate, times the ratio of the factors of this epoch and the one before."""
        self._warn_if_called_outside_step()
        if self.last_epoch == 0:
            return [lr * self.start_factor for lr in self._rates()]
        if self._is_initial or self.last_epoch > self.total_iters:
            return self._rates()
        rise = self.end_factor - self.start_factor
        before = self.total_iters * self.start_factor + (self.last_epoch - 1) * rise
        return [lr * (1.0 + rise / before) for lr in self._rates()]

    def _get_closed_form_lr(self) -> list[Any]:
        rise = self.end_factor - self.start_factor
        passed = min(self.total_iters, self.last_epoch)
        factor = self.start_factor + rise * passed / self.total_iters
        return [lr * factor for lr in self.base_lrs]


class ExponentialLR(LRScheduler):
    """lr = initial lr * gamma**epoch.

    Args:
        optimizer: whose learning rates are set.
        gamma: factor of each epoch.
        last_epoch: as in `LRScheduler`.

    Source:
    https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.ExponentialLR.html

    Example:
        >>> scheduler = ExponentialLR(optimizer, gamma=0.95)
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """Present rate times gamma."""
        self._warn_if_called_outside_step()
        if self._is_initial:
            return self._rates()
        return [lr * self.gamma for lr in self._rates()]

    def _get_closed_form_lr(self) -> list[Any]:
        return [lr * self.gamma**self.last_epoch for lr in self.base_lrs]


class PolynomialLR(LRScheduler):
    """lr = initial lr * (1 - epoch / total_iters)**power, and 0 after `total_iters`.

    Args:
        optimizer: whose learning rates are set.
        total_iters: number of epochs until 0.
        power: of the polynomial.
        last_epoch: as in `LRScheduler`.

    Source:
    https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.PolynomialLR.html

    Example:
        >>> scheduler = PolynomialLR(optimizer, total_iters=100, power=0.9)
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_iters: int = 5,
        power: float = 1.0,
        last_epoch: int = -1,
    ) -> None:
        self.total_iters = total_iters
        self.power = power
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """Present rate, times the ratio of the polynomial at this epoch and the one before."""
        self._warn_if_called_outside_step()
        if self._is_initial or self.last_epoch > self.total_iters:
            return self._rates()
        left = 1.0 - self.last_epoch / self.total_iters
        before = 1.0 - (self.last_epoch - 1) / self.total_iters
        return [lr * (left / before) ** self.power for lr in self._rates()]

    def _get_closed_form_lr(self) -> list[Any]:
        left = 1.0 - min(self.total_iters, self.last_epoch) / self.total_iters
        return [lr * left**self.power for lr in self.base_lrs]
