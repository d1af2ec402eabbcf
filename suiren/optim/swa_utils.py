"""Averages of weights over the course of training. Follows PyTorch's `torch.optim.swa_utils`.

Sources: Izmailov et al. (2018), Averaging weights leads to wider optima and better
generalization; Polyak and Juditsky (1992) for the exponential moving average.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

import suiren
from suiren import nn
from suiren.optim.lr_scheduler.base import LRScheduler, check_optimizer, per_group
from suiren.optim.optimizer import Optimizer
from suiren.tensor import Tensor

__all__ = [
    "AveragedModel",
    "SWALR",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]

AverageFn = Callable[[Tensor, Tensor, Tensor], Tensor]
MultiAverageFn = Callable[[list[Tensor], list[Tensor], Tensor], None]


def _check_decay(decay: float) -> None:
    if not 0.0 <= decay <= 1.0:
        raise ValueError(f"Invalid decay value {decay} provided; it must be in the range [0, 1]")


def get_ema_multi_avg_fn(decay: float = 0.999) -> MultiAverageFn:
    """An exponential moving average, ema <- decay * ema + (1 - decay) * p, in place on lists."""
    _check_decay(decay)

    def update(averages: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        for average, value in zip(averages, current, strict=True):
            if average.is_floating_point() or average.is_complex():
                average.lerp_(value.to(average.dtype), 1 - decay)
            else:  # a count of batches has no average
                average.copy_(average * decay + value * (1 - decay))

    return update


def get_swa_multi_avg_fn() -> MultiAverageFn:
    """The equal average, avg <- avg + (p - avg) / (count + 1), in place on lists."""

    def update(averages: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        weight = 1 / (int(count) + 1)
        for average, value in zip(averages, current, strict=True):
            if average.is_floating_point() or average.is_complex():
                average.lerp_(value.to(average.dtype), weight)
            else:
                average.copy_(average + (value - average) * weight)

    return update


def get_ema_avg_fn(decay: float = 0.999) -> AverageFn:
    """An exponential moving average of one tensor, as a function that gives the new average."""
    _check_decay(decay)

    def update(average: Tensor, current: Tensor, count: Tensor) -> Tensor:
        return decay * average + (1 - decay) * current

    return update


def get_swa_avg_fn() -> AverageFn:
    """The equal average of one tensor, as a function that gives the new average."""

    def update(average: Tensor, current: Tensor, count: Tensor) -> Tensor:
        return average + (current - average) / (count + 1)

    return update


class AveragedModel(nn.Module):
    """A copy of a model whose parameters are averages of the model's.

    Args:
        model: is copied (deeply) into `self.module`.
        device: where the average is kept; None leaves it beside the model.
        avg_fn: new average from (average, parameter, number of averaged models).
        multi_avg_fn: updates in place a list of averages, from the same with lists.
        use_buffers: average the buffers as well; else they are copied from the model.

    The buffer `n_averaged` counts the models. Without a function it is the equal average (SWA).

    Raises:
        AssertionError: both functions are given.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.optim.swa_utils.AveragedModel.html

    Example:
        >>> ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.999))
        >>> optimizer.step()
        >>> ema.update_parameters(model)
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: nn.Module,
        device: Any = None,
        avg_fn: AverageFn | None = None,
        multi_avg_fn: MultiAverageFn | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = copy.deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", suiren.tensor(0, dtype=suiren.long, device=device))
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the averaged model computes."""
        return self.module(*args, **kwargs)

    def update_parameters(self, model: nn.Module) -> None:
        """Takes the model's present parameters into the average; the first are copied."""
        with suiren.no_grad():
            averages, current = self._pairs(model)
            if int(self.n_averaged) == 0:
                for average, value in zip(averages, current, strict=True):
                    average.copy_(value)
            elif self.avg_fn is not None:
                for average, value in zip(averages, current, strict=True):
                    average.copy_(self.avg_fn(average, value, self.n_averaged))
            else:
                update = self.multi_avg_fn or get_swa_multi_avg_fn()
                update(averages, current, self.n_averaged)
            if not self.use_buffers:
                for average, value in zip(self.module.buffers(), model.buffers(), strict=True):
                    average.copy_(value.to(average.device))
            self.n_averaged += 1

    def _pairs(self, model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
        averages: list[Tensor] = list(self.module.parameters())
        current: list[Tensor] = list(model.parameters())
        if self.use_buffers:
            averages += self.module.buffers()
            current += model.buffers()
        averages = [average.detach() for average in averages]
        current = [
            value.detach().to(average.device)
            for average, value in zip(averages, current, strict=True)
        ]
        return averages, current


def update_bn(loader: Iterable[Any], model: nn.Module, device: Any = None) -> None:
    """Computes the statistics of a model's batch normalizations anew, from all of `loader`.

    Averaged weights never saw data, so their running means and variances are not theirs.

    Args:
        loader: gives inputs, or lists or tuples that begin with the input.
        model: whose `BatchNorm1d`, `2d` and `3d` layers are updated; training mode is restored.
        device: where inputs are moved before use; None leaves them.

    Example:
        >>> averaged_model = AveragedModel(model)
        >>> update_bn([input], averaged_model)
    """
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    norms = [module for module in model.modules() if isinstance(module, kinds)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    was_training = model.training
    with suiren.no_grad():
        try:
            model.train()
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # an equal average over the batches
            for batch in loader:
                data = batch[0] if isinstance(batch, (list, tuple)) else batch
                model(data if device is None else data.to(device))
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
            model.train(was_training)


class SWALR(LRScheduler):
    """Brings the learning rate to a constant one in `anneal_epochs` epochs, and keeps it there.

    Args:
        optimizer: whose learning rates are set; each group gets the option "swa_lr".
        swa_lr: the rate in the end, one for all groups or a list.
        anneal_epochs: epochs until then, 0 or more.
        anneal_strategy: "cos" or "linear".
        last_epoch: as in `LRScheduler`.

    Raises:
        ValueError: an option out of its range, or a list of the wrong length.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.optim.swa_utils.SWALR.html

    Example:
        >>> scheduler = SWALR(optimizer, swa_lr=0.05, anneal_epochs=5)
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | list[float],
        anneal_epochs: int = 10,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        last_epoch: int = -1,
    ) -> None:
        check_optimizer(optimizer)
        rates = per_group("swa_lr", swa_lr, optimizer)
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}"
            )
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(
                f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}"
            )
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["swa_lr"] = rate
        self._anneal_strategy = anneal_strategy
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _progress(self, step: int) -> float:
        """How much of the way is gone after `step` steps, from 0 to 1."""
        part = max(0.0, min(1.0, step / max(1, self.anneal_epochs)))
        return part if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * part)) / 2

    def get_lr(self) -> list[Any]:
        """A mixture of swa_lr and of the rate before annealing, which the present one tells."""
        self._warn_if_called_outside_step()
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._progress(step - 1), self._progress(step)
        rates = []
        for group, lr in zip(self.optimizer.param_groups, self._rates(), strict=True):
            target = group["swa_lr"]
            initial = target if before == 1 else (lr - before * target) / (1 - before)
            rates.append(target * now + initial * (1 - now))
        return rates
