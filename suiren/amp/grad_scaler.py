"""`GradScaler`: losses scaled so that gradients of float16 do not vanish, and scaled back.

Everything but one question is recorded: `step` asks whether a gradient was infinite or NaN, which
computes what is recorded so far; scaling, the checks and the scale's growth are part of the same
programs as the rest of the step. Source: PyTorch's torch.amp.GradScaler page, and P. Micikevicius
et al., "Mixed Precision Training", 2018.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable
from enum import Enum
from typing import Any

from suiren import dtypes
from suiren.autograd.mode import no_grad
from suiren.operator import NAMESPACES
from suiren.tensor import Tensor

__all__ = ["GradScaler", "OptState"]


class OptState(Enum):
    """How far an optimizer has come since the last update()."""

    READY = 0
    UNSCALED = 1
    STEPPED = 2


def _refresh_per_optimizer_state() -> dict[str, Any]:
    return {"stage": OptState.READY, "found_inf_per_device": {}}


def _number(x: float, dtype: Any = dtypes.float32) -> Tensor:
    return NAMESPACES["torch"]["full"]((), x, dtype=dtype)


class GradScaler:
    """Multiplies losses by a scale that adapts, so that small gradients stay above zero.

    ``scale(loss).backward()``, then ``step(optimizer)``, which divides the gradients again and
    leaves the step out if one is infinite or NaN, then ``update()``: the scale is multiplied by
    ``backoff_factor`` after such a step, and by ``growth_factor`` after ``growth_interval`` good
    ones in a row. To clip gradients call ``unscale_(optimizer)`` first. Not ``enabled``, or for
    CUDA, which is not there (with a warning), everything passes through. bfloat16 needs no scaler.
    Raises AssertionError for factors out of range. Source: torch.amp.GradScaler.

    >>> import suiren as torch
    >>> w = torch.ones(2, requires_grad=True)
    >>> optimizer = torch.optim.SGD([w], lr=0.5)
    >>> scaler = torch.amp.GradScaler("cpu")
    >>> scaler.scale(w.sum()).backward()
    >>> scaler.step(optimizer)
    >>> scaler.update()
    >>> w.detach(), scaler.get_scale()
    (tensor([0.5000, 0.5000]), 65536.0)
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ):
        self._device = device
        self._enabled = enabled
        if enabled and device == "cuda":
            warnings.warn(
                "GradScaler for 'cuda' has no effect: CUDA is not available. Disabling.",
                UserWarning,
                stacklevel=2 + (type(self) is not GradScaler),
            )
            self._enabled = False
        if self._enabled:
            assert growth_factor > 1.0, f"The growth factor must be > 1.0, got {growth_factor}"
            assert backoff_factor < 1.0, f"The backoff factor must be < 1.0, got {backoff_factor}"
            self._init_scale = init_scale
            self._scale: Tensor | None = None
            self._growth_factor = growth_factor
            self._backoff_factor = backoff_factor
            self._growth_interval = growth_interval
            self._init_growth_tracker = 0
            self._growth_tracker: Tensor | None = None
            self._per_optimizer_states: dict[int, dict[str, Any]] = defaultdict(
                _refresh_per_optimizer_state
            )

    def _check_scale(self, name: str) -> tuple[Tensor, Tensor]:
        assert self._scale is not None and self._growth_tracker is not None, (
            f"Attempted {name} but there is no scale yet: call scale(loss).backward() before"
        )
        return self._scale, self._growth_tracker

    # ---- scaling

    def scale(self, outputs: Any) -> Any:
        """A tensor, or an iterable of them, times the scale.

        Raises ValueError for anything else.
        """
        if not self._enabled:
            return outputs
        if self._scale is None:
            self._scale = _number(self._init_scale)
            self._growth_tracker = _number(self._init_growth_tracker, dtypes.int32)
        return self._scaled(outputs)

    def _scaled(self, x: Any) -> Any:
        if isinstance(x, Tensor):
            return x * self._scale
        if isinstance(x, Iterable):
            found = map(self._scaled, x)
            return type(x)(found) if isinstance(x, (list, tuple)) else found  # type: ignore[call-arg]
        raise ValueError(
            f"outputs must be a Tensor or an iterable of Tensors, got {type(x).__name__}"
        )

    def unscale_(self, optimizer: Any) -> None:
        """Divides the gradients of the optimizer's parameters by the scale, once a step.

        Raises RuntimeError if that has been done since the last update(), or the step already;
        ValueError for gradients of float16 (parameters should be float32).
        """
        if not self._enabled:
            return
        self._check_scale("unscale_")
        record = self._per_optimizer_states[id(optimizer)]
        if record["stage"] is OptState.UNSCALED:
            raise RuntimeError(
                "unscale_() has already been called on this optimizer since the last update()."
            )
        if record["stage"] is OptState.STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        assert self._scale is not None
        with no_grad():
            inverse = self._scale.double().reciprocal().float()
            record["found_inf_per_device"] = self._unscale_grads(optimizer, inverse)
        record["stage"] = OptState.UNSCALED

    def _unscale_grads(self, optimizer: Any, inverse: Tensor) -> dict[Any, Tensor]:
        grads = [
            p.grad for group in optimizer.param_groups for p in group["params"]
            if p.grad is not None
        ]  # fmt: skip
        for grad in grads:
            if grad.dtype is dtypes.float16:
                raise ValueError(
                    "Attempting to unscale FP16 gradients: keep the parameters in float32 and let "
                    "autocast convert them"
                )
        if not grads:
            return {}
        bad = [grad.isfinite().all().logical_not() for grad in grads]
        for grad in grads:
            grad.mul_(inverse)
        found = NAMESPACES["torch"]["stack"](bad).any().float()
        return {grads[0].device: found}

    # ---- a step

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """``optimizer.step(...)`` with unscaled gradients, left out if one is infinite or NaN.

        Returns what the optimizer does, None where the step is left out. Raises RuntimeError for a
        closure, and if the step has been done since the last update().
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        self._check_scale("step")
        record = self._per_optimizer_states[id(optimizer)]
        if record["stage"] is OptState.STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if record["stage"] is OptState.READY:
            self.unscale_(optimizer)
        found = record["found_inf_per_device"]
        assert found, "No inf checks were recorded for this optimizer: it has no gradients"
        result = None
        if not sum(x.item() for x in found.values()):
            result = optimizer.step(*args, **kwargs)
        record["stage"] = OptState.STEPPED
        return result

    def update(self, new_scale: Any = None) -> None:
        """Adapts the scale after the steps of all optimizers, or sets it to ``new_scale``.

        ``new_scale`` is a float or a tensor of one float32 element. Raises AssertionError if no
        gradients were unscaled since the last update().
        """
        if not self._enabled:
            return
        scale, tracker = self._check_scale("update")
        if new_scale is not None:
            self._set_scale(scale, new_scale)
        else:
            found = [
                x for record in self._per_optimizer_states.values()
                for x in record["found_inf_per_device"].values()
            ]  # fmt: skip
            assert found, "No inf checks were recorded prior to update."
            with no_grad():
                self._adapt(scale, tracker, found)
        self._per_optimizer_states = defaultdict(_refresh_per_optimizer_state)

    @staticmethod
    def _set_scale(scale: Tensor, new: Any) -> None:
        if isinstance(new, Tensor):
            assert new.dtype is dtypes.float32 and new.numel() == 1 and not new.requires_grad, (
                "new_scale should be a float or a 1-element torch.FloatTensor with "
                "requires_grad=False."
            )
            scale.copy_(new.reshape(()))
        else:
            scale.fill_(new)

    def _adapt(self, scale: Tensor, tracker: Tensor, found: list[Tensor]) -> None:
        where = NAMESPACES["torch"]["where"]
        bad = found[0] if len(found) == 1 else sum(found[1:], found[0])
        bad = bad > 0
        good = tracker + 1
        due = good == self._growth_interval
        grown = scale * self._growth_factor
        grown = where(due & grown.isfinite(), grown, scale)
        scale.copy_(where(bad, scale * self._backoff_factor, grown))
        tracker.copy_(where(bad | due, 0, good))

    # ---- settings

    def get_scale(self) -> float:
        """The scale as a number, which computes what is recorded; 1.0 if not enabled."""
        if not self._enabled:
            return 1.0
        return self._init_scale if self._scale is None else self._scale.item()

    def get_growth_factor(self) -> float:
        """By what the scale grows."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Sets by what the scale grows."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """By what the scale shrinks."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Sets by what the scale shrinks."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """After how many good steps in a row the scale grows."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Sets after how many good steps in a row the scale grows."""
        self._growth_interval = new_interval

    def _get_growth_tracker(self) -> int:
        if not self._enabled:
            return 0
        tracker = self._growth_tracker
        return self._init_growth_tracker if tracker is None else int(tracker.item())

    def is_enabled(self) -> bool:
        """Whether anything is scaled."""
        return self._enabled

    # ---- state

    def state_dict(self) -> dict[str, Any]:
        """Scale, factors and the count of good steps; empty if not enabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self.get_scale(),
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._get_growth_tracker(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over a state_dict. Raises RuntimeError for an empty one; nothing if not enabled."""
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved from a disabled "
                "instance of GradScaler."
            )
        self._init_scale = state_dict["scale"]
        if self._scale is not None:
            self._scale.fill_(state_dict["scale"])
        self._growth_factor = state_dict["growth_factor"]
        self._backoff_factor = state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        self._init_growth_tracker = state_dict["_growth_tracker"]
        if self._growth_tracker is not None:
            self._growth_tracker.fill_(state_dict["_growth_tracker"])

    def __getstate__(self) -> dict[str, Any]:
        own = self.__dict__.copy()
        if self._enabled:
            assert not self._per_optimizer_states, (
                "A GradScaler instance may only be pickled at the beginning of an iteration, or "
                "at the end after scaler.update()."
            )
            own["_init_scale"] = self.get_scale()
            own["_init_growth_tracker"] = self._get_growth_tracker()
            own["_scale"] = own["_growth_tracker"] = None
        return own

    def __setstate__(self, own: dict[str, Any]) -> None:
        self.__dict__.update(own)
