"""How a module's backward hooks get into the autograd graph.

The tensors that enter the module pass through an identity function, and so do those that leave
it. The gradients that reach the outer identity are those of the module's result; those that
reach the inner one are those of its inputs. `BackwardHooks` follows one call of one module.

Loaded only when a module with backward hooks is called. Follows the behaviour described on the
PyTorch page "Module", `register_full_backward_hook`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import suiren
from suiren.tensor import Tensor


class PassThrough(suiren.autograd.Function):
    """Identity on several tensors at once, one node of the graph to hang hooks on."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        # view_as: an input returned as it is would not become a new node's output
        renewed = tuple(tensor.view_as(tensor) for tensor in tensors)
        plain = [out for out, x in zip(renewed, tensors, strict=True) if not x.requires_grad]
        ctx.mark_non_differentiable(*plain)
        return renewed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        """The gradients as they come."""
        return gradients


class BackwardHooks:
    """The hooks of one module around one of its calls."""

    def __init__(
        self, module: Any, hooks: Sequence[Callable], pre_hooks: Sequence[Callable]
    ) -> None:
        self.module = module
        self.hooks = list(hooks)
        self.pre_hooks = list(pre_hooks)
        self.gradients_of_result: tuple[Any, ...] | None = None
        self.input_count = -1
        self.input_places: list[int] = []
        self.result_count = -1
        self.result_places: list[int] = []

    def enter(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Route the tensors among the inputs through the inner identity."""
        if not self.hooks:
            return inputs
        inputs, places, node = _pass_through(inputs)
        self.input_count, self.input_places = len(inputs), places
        if node is not None:
            node.register_hook(self._inputs_done)
        return inputs

    def leave(self, result: Any) -> Any:
        """Route the result, a tensor or a tuple with tensors, through the outer identity."""
        several = isinstance(result, tuple)
        results, places, node = _pass_through(result if several else (result,))
        self.result_count, self.result_places = len(results), places
        if node is not None:
            node.register_prehook(self._result_gradients_known)
        if not several:
            return results[0]
        fields = getattr(type(result), "_fields", None)
        return type(result)(*results) if fields else results

    def _result_gradients_known(self, gradients: tuple[Any, ...]) -> tuple[Any, ...] | None:
        known = _spread(gradients, self.result_places, self.result_count)
        changed = False
        for hook in self.pre_hooks:
            answer = hook(self.module, known)
            if answer is None:
                continue
            known = _as_tuple(answer)
            changed = True
            if len(known) != self.result_count:
                raise RuntimeError(
                    "Backward pre hook returned an invalid number of grad_output, "
                    f"got {len(known)}, but expected {self.result_count}"
                )
        self.gradients_of_result = known
        if self.hooks and not self.input_places:
            # No input needs a gradient, so nothing will arrive at the inner identity.
            for hook in self.hooks:
                answer = hook(self.module, (None,) * max(self.input_count, 0), known)
                if answer is not None and not all(item is None for item in _as_tuple(answer)):
                    raise RuntimeError(
                        "Backward hook for Modules where no input requires gradient should "
                        "always return None or None for all gradients."
                    )
            self.gradients_of_result = None
        if not changed:
            return None
        return tuple(known[place] for place in self.result_places)

    def _inputs_done(self, gradients: tuple[Any, ...], _: Any) -> tuple[Any, ...] | None:
        if self.gradients_of_result is None:
            raise RuntimeError(
                "Module backward hook for grad_input is called before the grad_output one. "
                "This happens because the gradient in your nn.Module flows to the Module's input "
                "without passing through the Module's output. Make sure that the output depends "
                "on the input and that the loss is computed based on the output."
            )
        known = _spread(gradients, self.input_places, self.input_count)
        changed = False
        for hook in self.hooks:
            answer = hook(self.module, known, self.gradients_of_result)
            if answer is None:
                continue
            known = _as_tuple(answer)
            changed = True
            if len(known) != self.input_count:
                raise RuntimeError(
                    "Backward hook returned an invalid number of grad_input, "
                    f"got {len(known)}, but expected {self.input_count}"
                )
        self.gradients_of_result = None
        if not changed:
            return None
        return tuple(known[place] for place in self.input_places)


def _pass_through(values: tuple[Any, ...]) -> tuple[tuple[Any, ...], list[int], Any]:
    """The values with their tensors renewed, where those are, and the node they now come from."""
    places = [i for i, value in enumerate(values) if isinstance(value, Tensor)]
    tensors = [values[i] for i in places]
    if not suiren.is_grad_enabled() or not any(tensor.requires_grad for tensor in tensors):
        return values, [], None
    renewed = PassThrough.apply(*tensors)
    node = next((t.grad_fn for t in renewed if t.grad_fn is not None), None)
    if node is None:
        raise RuntimeError("Error while setting up backward hooks: no tensor has a grad_fn")
    everything = list(values)
    for place, tensor in zip(places, renewed, strict=True):
        everything[place] = tensor
    return tuple(everything), places, node


def _spread(gradients: tuple[Any, ...], places: list[int], count: int) -> tuple[Any, ...]:
    """Gradients of the tensors only, to gradients of all values with None for the others."""
    everything: list[Any] = [None] * count
    for place, gradient in zip(places, gradients, strict=True):
        everything[place] = gradient
    return tuple(everything)


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def hook_last_operation(module: Any, hooks: Sequence[Callable], inputs: Any, result: Any) -> None:
    """The older backward hooks: on the operation that made the result, and on that only."""
    found = result
    while not isinstance(found, Tensor):
        values = list(found.values()) if isinstance(found, dict) else found
        found = next(value for value in values if isinstance(value, (Tensor, dict, list, tuple)))
    node = found.grad_fn
    if node is None:
        return
    for hook in hooks:
        def call(grad_input: Any, grad_output: Any, hook: Callable = hook) -> Any:
            return hook(module, grad_input, grad_output)

        node.register_hook(call)
