"""`torch.utils.checkpoint`: computing again instead of keeping.

What a checkpointed function saves for its backward pass is not kept; the function runs a second
time when the backward pass asks for the first of it. Source: PyTorch's torch.utils.checkpoint page,
and T. Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import suiren as torch
from suiren.amp.autocast_mode import again
from suiren.autograd.graph import saved_tensors_hooks
from suiren.tensor import Tensor

__all__ = ["CheckpointError", "checkpoint", "checkpoint_sequential", "set_checkpoint_early_stop"]


class CheckpointError(RuntimeError):
    """The second run of a function did not save what the first one did."""


def _no_contexts() -> tuple[Any, Any]:
    return contextlib.nullcontext(), contextlib.nullcontext()


class _Kept(Exception):
    """Ends the second run once everything that was asked for is there."""


class _Saved:
    """What one call saves: by number; kept only after the second run."""

    def __init__(self, run_again: Callable[[], None]) -> None:
        self.count = 0
        self.metas: list[tuple] = []
        self.tensors: dict[int, Tensor] = {}
        self.run_again = run_again

    def pack(self, tensor: Tensor) -> int:
        self.metas.append((tensor.shape, tensor.dtype))
        self.count += 1
        return self.count - 1

    def unpack(self, number: int) -> Tensor:
        if number not in self.tensors:
            self._recompute()
        if number not in self.tensors:
            raise CheckpointError(
                f"torch.utils.checkpoint: the second run saved {len(self.tensors)} tensors, the "
                f"first one {self.count}; the function must do the same each time"
            )
        tensor = self.tensors[number]
        if (tensor.shape, tensor.dtype) != self.metas[number]:
            raise CheckpointError(
                "torch.utils.checkpoint: Recomputed values have different metadata than those of "
                f"the forward pass: saved {self.metas[number]}, recomputed "
                f"{(tensor.shape, tensor.dtype)}"
            )
        return tensor

    def _recompute(self) -> None:
        found: list[Tensor] = []

        def pack(tensor: Tensor) -> Tensor:
            found.append(tensor.detach())
            if _early_stop and len(found) == self.count:
                raise _Kept
            return tensor.detach()

        with torch.enable_grad(), saved_tensors_hooks(pack, lambda tensor: tensor):
            with contextlib.suppress(_Kept):
                self.run_again()
        self.tensors = dict(enumerate(found))


_early_stop = True


@contextlib.contextmanager
def set_checkpoint_early_stop(enable: bool) -> Iterator[None]:
    """Whether the second run ends as soon as it has saved what is needed (the default).

    Source: torch.utils.checkpoint.set_checkpoint_early_stop.
    """
    global _early_stop
    before, _early_stop = _early_stop, enable
    try:
        yield
    finally:
        _early_stop = before


def checkpoint(
    function: Callable,
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Callable[[], tuple[Any, Any]] = _no_contexts,
    determinism_check: str = "default",
    debug: bool = False,
    early_stop: bool = True,
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """``function(*args, **kwargs)``, computed again during the backward pass.

    Random numbers are the same in both runs unless ``preserve_rng_state`` is False. Both values of
    ``use_reentrant`` run the same code, that of False. Source: torch.utils.checkpoint.checkpoint.

    Raises CheckpointError if the second run differs from the first.

    >>> import suiren as torch
    >>> from suiren.utils.checkpoint import checkpoint
    >>> x = torch.ones(2, requires_grad=True)
    >>> checkpoint(lambda t: (t * t).exp().sum(), x, use_reentrant=False).backward()
    >>> x.grad
    tensor([5.4366, 5.4366])
    """
    if use_reentrant is None:
        warnings.warn(
            "torch.utils.checkpoint: the use_reentrant parameter should be passed explicitly; "
            "use_reentrant=False is recommended.",
            stacklevel=2,
        )
    if use_reentrant and kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    if not torch.is_grad_enabled():
        return function(*args, **kwargs)
    state = torch.get_rng_state() if preserve_rng_state else None
    first, second = context_fn()
    autocast = again()

    def run_again() -> None:
        inner = tuple(
            a.detach().requires_grad_(a.requires_grad) if isinstance(a, Tensor) else a
            for a in args
        )
        scope = torch.random.fork_rng() if state is not None else contextlib.nullcontext()
        with autocast, scope, second:
            if state is not None:
                torch.set_rng_state(state)
            function(*inner, **kwargs)

    saved = _Saved(run_again)
    with saved_tensors_hooks(saved.pack, saved.unpack), first:
        return function(*args, **kwargs)


def checkpoint_sequential(
    functions: Any,
    segments: int,
    input: Tensor,
    use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
) -> Tensor:
    """Runs functions one after the other, in ``segments`` checkpointed parts and a last one.

    ``functions`` is a Sequential or a list. Source: torch.utils.checkpoint.checkpoint_sequential.
    """
    steps: Sequence[Callable] = list(functions)
    size = len(steps) // segments

    def chain(part: Sequence[Callable]) -> Callable:
        def run(value: Any) -> Any:
            for step in part:
                value = step(value)
            return value

        return run

    end = 0
    for start in range(0, size * (segments - 1), size):
        end = start + size
        input = checkpoint(
            chain(steps[start:end]), input, use_reentrant=use_reentrant,
            preserve_rng_state=preserve_rng_state,
        )  # fmt: skip
    return chain(steps[end:])(input)
