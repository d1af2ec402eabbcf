"""Schedules that let the learning rate rise and fall, and the momentum fall and rise.

Sources: Smith (2015), Cyclical learning rates for training neural networks; Smith and Topin
(2017), Super-convergence: very fast training of neural networks using large learning rates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

from suiren.optim.lr_scheduler.base import (
    LRScheduler,
    check_optimizer,
    per_group,
    set_option,
)
from suiren.optim.optimizer import Optimizer


def _momentum_option(optimizer: Optimizer) -> bool:
    """Whether momentum is beta1 of "betas" (else it is "momentum")."""
    if "momentum" not in optimizer.defaults and "betas" not in optimizer.defaults:
        raise ValueError(
            "optimizer must support momentum or beta1 with `cycle_momentum` option enabled; "
            f"{type(optimizer).__name__} does not, so pass cycle_momentum=False"
        )
    return "betas" in optimizer.defaults


def _set_momentum(group: dict[str, Any], value: float, use_beta1: bool) -> None:
    if use_beta1:
        group["betas"] = (value, *group["betas"][1:])
    else:
        group["momentum"] = value


class CyclicLR(LRScheduler):
    """The learning rate goes between two bounds in triangles, one step for each batch.

    A cycle of `step_size_up` + `step_size_down` steps leads linearly from base_lr to max_lr and
    back; the height max_lr - base_lr is scaled by

    * "triangular": 1,
    * "triangular2": half as much in every cycle,
    * "exp_range": gamma**(number of steps),
    * or `scale_fn` of the number of the cycle (from 1) or of the steps, by `scale_mode`.

    Momentum goes the other way, between max_momentum and base_momentum.

    Args:
        optimizer: whose learning rates and momenta are set.
        base_lr, max_lr: bounds, one for all groups or a list.
        step_size_up, step_size_down: steps of the rise and of the fall (None: the same).
        mode, gamma, scale_fn, scale_mode: as above.
        cycle_momentum, base_momentum, max_momentum: whether momentum cycles, and its bounds.
        last_epoch: number of the last step; -1 begins.

    Raises:
        ValueError: an unknown mode, a list of the wrong length, or no momentum to cycle.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.CyclicLR.html

    Example:
        >>> scheduler = CyclicLR(optimizer, base_lr=0.01, max_lr=0.1, step_size_up=500)
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | list[float],
        max_lr: float | list[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: Literal["cycle", "iterations"] = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float = 0.8,
        max_momentum: float = 0.9,
        last_epoch: int = -1,
    ) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        base_lrs = per_group("base_lr", base_lr, optimizer)
        if last_epoch == -1:
            for group, lr in zip(optimizer.param_groups, base_lrs, strict=True):
                set_option(group, "lr", lr)
        self.max_lrs = per_group("max_lr", max_lr, optimizer)
        up = float(step_size_up)
        down = up if step_size_down is None else float(step_size_down)
        self.total_size = up + down
        self.step_ratio = up / self.total_size
        if mode not in ("triangular", "triangular2", "exp_range") and scale_fn is None:
            raise ValueError(
                f"mode is invalid and scale_fn is None: mode is {mode!r}; take 'triangular', "
                "'triangular2' or 'exp_range', or give scale_fn"
            )
        self.mode = mode
        self.gamma = gamma
        self._scale_fn_custom = scale_fn
        self.scale_mode = scale_mode
        if scale_fn is None:
            self.scale_mode = "iterations" if mode == "exp_range" else "cycle"
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self._init_momentum(base_momentum, max_momentum, last_epoch)
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def _init_momentum(self, base_momentum: float, max_momentum: float, last_epoch: int) -> None:
        self.use_beta1 = _momentum_option(self.optimizer)
        self.base_momentums = per_group("base_momentum", base_momentum, self.optimizer)
        self.max_momentums = per_group("max_momentum", max_momentum, self.optimizer)
        if last_epoch != -1:
            return
        for group, base, top in zip(
            self.optimizer.param_groups, self.base_momentums, self.max_momentums, strict=True
        ):
            _set_momentum(group, top, self.use_beta1)
            group["max_momentum"] = top
            group["base_momentum"] = base

    def scale_fn(self, x: float) -> float:
        """The factor of the triangle's height at cycle or step `x`."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        if self.mode == "triangular":
            return 1.0
        if self.mode == "triangular2":
            return 1 / 2.0 ** (x - 1)
        return self.gamma**x

    def get_lr(self) -> list[Any]:
        """The rate of each group; sets the momenta, too."""
        self._warn_if_called_outside_step()
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle  # place in the cycle, 0 to 1
        if x <= self.step_ratio:
            height = x / self.step_ratio
        else:
            height = (x - 1) / (self.step_ratio - 1)
        scale = self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            for group, base, top in zip(
                self.optimizer.param_groups, self.base_momentums, self.max_momentums, strict=True
            ):
                _set_momentum(group, top - (top - base) * height * scale, self.use_beta1)
        return [
            base + (top - base) * height * scale
            for base, top in zip(self.base_lrs, self.max_lrs, strict=True)
        ]

    def state_dict(self) -> dict[str, Any]:
        """What the schedule remembers; of a callable object as scale_fn its attributes."""
        state = super().state_dict()
        custom = state.pop("_scale_fn_custom")
        is_object = custom is not None and hasattr(custom, "__dict__") and not hasattr(
            custom, "__code__"
        )
        state["_scale_fn_custom"] = custom.__dict__.copy() if is_object else None
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what `state_dict()` gave; a function as scale_fn stays as it is."""
        state = dict(state_dict)
        attributes = state.pop("_scale_fn_custom", None)
        super().load_state_dict(state)
        if attributes is not None:
            self._scale_fn_custom.__dict__.update(attributes)


class OneCycleLR(LRScheduler):
    """One rise of the learning rate and one long fall, one step for each batch.

    From max_lr / div_factor to max_lr in the first `pct_start` of the steps, then down to
    max_lr / div_factor / final_div_factor; with `three_phase` first back to the initial rate
    in as many steps as the rise took. Momentum goes the other way.

    Args:
        optimizer: whose learning rates and momenta are set.
        max_lr: the highest rate, one for all groups or a list.
        total_steps: number of steps, or
        epochs, steps_per_epoch: which are multiplied to give it.
        pct_start: share of the steps that the rise takes.
        anneal_strategy: "cos" or "linear".
        cycle_momentum, base_momentum, max_momentum: whether momentum cycles, and its bounds.
        div_factor, final_div_factor, three_phase: as above.
        last_epoch: number of the last step; -1 begins.

    Raises:
        ValueError: an option out of its range, no momentum to cycle, or in `step`, more steps
            than there are.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.OneCycleLR.html

    Example:
        >>> scheduler = OneCycleLR(optimizer, max_lr=0.1, epochs=10, steps_per_epoch=100)
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        self.total_steps = _total_steps(total_steps, epochs, steps_per_epoch)
        if pct_start < 0 or pct_start > 1 or not isinstance(pct_start, (float, int)):
            raise ValueError(f"Expected float between 0 and 1 pct_start, but got {pct_start}")
        self._schedule_phases = _phases(self.total_steps, pct_start, three_phase)
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}"
            )
        self._anneal_func_type = anneal_strategy
        max_lrs = per_group("max_lr", max_lr, optimizer)
        if last_epoch == -1:
            for group, top in zip(optimizer.param_groups, max_lrs, strict=True):
                group["initial_lr"] = top / div_factor
                group["max_lr"] = top
                group["min_lr"] = group["initial_lr"] / final_div_factor
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self._init_momentum(base_momentum, max_momentum, last_epoch)
        super().__init__(optimizer, last_epoch)

    def _init_momentum(self, base_momentum: Any, max_momentum: Any, last_epoch: int) -> None:
        self.use_beta1 = _momentum_option(self.optimizer)
        bases = per_group("base_momentum", base_momentum, self.optimizer)
        tops = per_group("max_momentum", max_momentum, self.optimizer)
        if last_epoch != -1:
            return
        for group, base, top in zip(self.optimizer.param_groups, bases, tops, strict=True):
            _set_momentum(group, top, self.use_beta1)
            group["max_momentum"] = top
            group["base_momentum"] = base

    def _anneal(self, start: float, end: float, part: float) -> float:
        """From start (part 0) to end (part 1)."""
        if self._anneal_func_type == "cos":
            return end + (start - end) / 2.0 * (math.cos(math.pi * part) + 1)
        return (end - start) * part + start

    def get_lr(self) -> list[Any]:
        """The rate of each group; sets the momenta, too."""
        self._warn_if_called_outside_step()
        step = self.last_epoch
        if step > self.total_steps:
            raise ValueError(
                f"Tried to step {step} times. The specified number of total steps is "
                f"{self.total_steps}; give OneCycleLR as many as the training makes"
            )
        start_step = 0.0
        for phase in self._schedule_phases:
            if step <= phase["end_step"]:
                break
            start_step = phase["end_step"]
        else:  # one step beyond the last phase is allowed, which extrapolates it
            start_step = self._schedule_phases[-2]["end_step"]
        part = (step - start_step) / (phase["end_step"] - start_step)
        rates = []
        for group in self.optimizer.param_groups:
            rates.append(self._anneal(group[phase["start_lr"]], group[phase["end_lr"]], part))
            if self.cycle_momentum:
                momentum = self._anneal(
                    group[phase["start_momentum"]], group[phase["end_momentum"]], part
                )
                _set_momentum(group, momentum, self.use_beta1)
        return rates


def _total_steps(
    total_steps: int | None, epochs: int | None, steps_per_epoch: int | None
) -> int:
    if total_steps is not None:
        given = {"total_steps": total_steps}
    elif epochs is not None and steps_per_epoch is not None:
        given = {"epochs": epochs, "steps_per_epoch": steps_per_epoch}
    else:
        raise ValueError("You must define either total_steps OR (epochs AND steps_per_epoch)")
    for name, value in given.items():
        if value <= 0 or not isinstance(value, int):
            raise ValueError(f"Expected positive integer {name}, but got {value}")
    return math.prod(given.values())


def _phases(total_steps: int, pct_start: float, three_phase: bool) -> list[dict[str, Any]]:
    """What each phase goes from and to, as names of group options, and its last step."""

    def phase(end_step: float, lrs: tuple[str, str], momenta: tuple[str, str]) -> dict[str, Any]:
        return {
            "end_step": end_step,
            "start_lr": lrs[0],
            "end_lr": lrs[1],
            "start_momentum": momenta[0],
            "end_momentum": momenta[1],
        }

    falling = ("max_momentum", "base_momentum")
    rising = ("base_momentum", "max_momentum")
    top = float(pct_start * total_steps) - 1
    last = total_steps - 1
    rise = phase(top, ("initial_lr", "max_lr"), falling)
    if not three_phase:
        return [rise, phase(last, ("max_lr", "min_lr"), rising)]
    back = float(2 * pct_start * total_steps) - 2
    return [
        rise,
        phase(back, ("max_lr", "initial_lr"), rising),
        phase(last, ("initial_lr", "min_lr"), ("max_momentum", "max_momentum")),
    ]
