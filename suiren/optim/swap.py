"""Runs an optimizer on other parameters and another state for a while.

Follows PyTorch's `torch.optim.swap_in_optimizer_params_and_state`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from suiren.optim.optimizer import Optimizer
from suiren.optim.state_numbers import StateNumbers
from suiren.tensor import Tensor


@contextmanager
def swap_in_optimizer_params_and_state(
    optimizer: Optimizer,
    swapin_parameters: Iterable[Tensor] | Mapping[str, Tensor],
    swapin_optim_state: dict[str, Any],
) -> Iterator[None]:
    """Within the block, `optimizer` has these parameters, this state and these options.

    Args:
        optimizer: gets its own parameters and state back at the end, also after an error.
        swapin_parameters: as many tensors as the optimizer has, in its order, or a dict of them.
        swapin_optim_state: in the form of `optimizer.state_dict()`. Its tensors are used
            themselves: updates in place are seen in it afterwards, entries that are new are not.

    Raises:
        ValueError: the numbers of parameters or of groups differ.

    Example:
        >>> others = [p.detach().clone() for p in model.parameters()]
        >>> import copy
        >>> state = copy.deepcopy(optimizer.state_dict())
        >>> with swap_in_optimizer_params_and_state(optimizer, others, state):
        ...     optimizer.step()
    """
    if isinstance(swapin_parameters, Mapping):
        swapin_parameters = swapin_parameters.values()
    params = list(swapin_parameters)
    saved_groups = swapin_optim_state["param_groups"]
    optimizer._check_groups_match(saved_groups)
    count = sum(len(group["params"]) for group in optimizer.param_groups)
    if len(params) != count:
        raise ValueError(
            f"swap_in_optimizer_params_and_state got {len(params)} parameters, where the "
            f"optimizer has {count}"
        )
    numbers = [number for group in saved_groups for number in group["params"]]
    param_of = dict(zip(numbers, params, strict=True))
    state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
    for key, entry in swapin_optim_state["state"].items():
        state[param_of.get(key, key)] = dict(entry)

    own = (optimizer.param_groups, optimizer._state, optimizer._numbers)
    optimizer.param_groups = [
        {**group, "params": [param_of[number] for number in group["params"]]}
        for group in saved_groups
    ]
    optimizer._state = state
    optimizer._numbers = StateNumbers(optimizer.state_numbers)
    try:
        yield
        optimizer._numbers.publish(state)
    finally:
        optimizer.param_groups, optimizer._state, optimizer._numbers = own
