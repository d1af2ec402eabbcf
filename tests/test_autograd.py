"""The autograd engine's rules: accumulation, hooks, freed graphs, modes, memory, long graphs."""

from __future__ import annotations

import gc
import threading
import warnings
import weakref

import pytest

import suiren as torch


def leaf(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, requires_grad=True)


# ---- accumulation


def test_gradients_accumulate_in_the_same_object() -> None:
    x = leaf(1.0, 2.0)
    (x * 3).sum().backward()
    first = x.grad
    (x * 3).sum().backward()
    assert x.grad is first
    assert x.grad.tolist() == [6.0, 6.0]


def test_create_graph_accumulates_into_a_new_object_with_history() -> None:
    x = leaf(2.0)
    (x**3).sum().backward(create_graph=True)
    first = x.grad
    assert first.requires_grad
    (x**3).sum().backward(create_graph=True)
    assert x.grad is not first
    assert x.grad.tolist() == [24.0]
    (again,) = torch.autograd.grad(x.grad.sum(), x)
    assert again.tolist() == [24.0]  # 2 * 6x
    x.grad = None


def test_first_gradient_has_the_strides_of_a_dense_leaf() -> None:
    x = torch.ones(2, 3).T.requires_grad_()
    (x * 2).sum().backward()
    assert x.grad.stride() == (1, 3)
    y = torch.ones(1, 3).expand(2, 3).requires_grad_()
    (y * 2).sum().backward()
    assert y.grad.stride() == (3, 1)


def test_backward_with_inputs_leaves_other_leaves_alone() -> None:
    x, w = leaf(1.0), leaf(2.0)
    y = x * w
    z = y * 3
    z.backward(inputs=[x], retain_graph=True)
    assert (x.grad.item(), w.grad) == (6.0, None)
    z.backward(inputs=[y])
    assert (y.grad.item(), y.retains_grad, x.grad.item()) == (3.0, True, 6.0)
    with pytest.raises(RuntimeError, match="cannot be empty"):
        (x * 2).backward(inputs=[])


def test_grad_checks_its_arguments() -> None:
    x, other = leaf(1.0, 2.0), leaf(1.0)
    y = (x * 2).sum()
    with pytest.raises(RuntimeError, match="does not require grad"):
        torch.autograd.grad(y, torch.ones(2))
    with pytest.raises(RuntimeError, match="index 0 appears to not have been used"):
        torch.autograd.grad(y, other, retain_graph=True)
    assert torch.autograd.grad(y, other, allow_unused=True, retain_graph=True) == (None,)
    (zero,) = torch.autograd.grad(y, other, materialize_grads=True, retain_graph=True)
    assert zero.tolist() == [0.0]
    with pytest.raises(ValueError, match="allow_unused"):
        torch.autograd.grad(y, other, materialize_grads=True, allow_unused=False)
    with pytest.raises(RuntimeError, match="only for scalar outputs"):
        torch.autograd.grad(x * 2, x)
    with pytest.raises(RuntimeError, match=r"Mismatch in shape: grad_output\[0\]"):
        torch.autograd.grad(x * 2, x, torch.ones(3))
    with pytest.raises(RuntimeError, match="got 2 tensors and 1 gradients"):
        torch.autograd.backward([x.sum(), x.sum()], [None])
    with pytest.raises(RuntimeError, match="element 0 of tensors does not require grad"):
        torch.ones(1).backward()


def test_batched_gradients_are_rows_of_the_jacobian() -> None:
    x = leaf(1.0, 3.0)
    (rows,) = torch.autograd.grad(x * x, x, torch.eye(2), is_grads_batched=True)
    assert rows.tolist() == [[2.0, 0.0], [0.0, 6.0]]


# ---- freed graphs, versions


def test_second_backward_needs_retain_graph() -> None:
    x = leaf(2.0)
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        y.backward()
    z = x + 1  # nothing was saved: may be walked again, as in PyTorch
    z.backward()
    z.backward()


def test_a_write_to_a_saved_tensor_is_noticed() -> None:
    x, w = leaf(1.0), torch.ones(1)
    y = x * w
    w.detach().add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation.*expected version 0"):
        y.backward()
    y = x * w
    w.data.add_(1)  # escapes the version counter
    y.backward()


def test_an_operation_may_overwrite_what_it_saves_itself() -> None:
    x, w = torch.tensor([3.0]), leaf(2.0)
    x.mul_(w)
    x.backward()
    assert w.grad.tolist() == [3.0]


def test_writes_to_leaves_that_require_grad_are_refused() -> None:
    x = leaf(1.0, 2.0)
    for write in (lambda: x.add_(1), lambda: x[:1].add_(1), lambda: x.mul_(x)):
        with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
            write()
    with torch.no_grad():
        x.add_(1)
    assert x.tolist() == [2.0, 3.0]


# ---- hooks


def test_hooks_run_in_order_and_may_replace_the_gradient() -> None:
    seen = []
    x = leaf(1.0)
    y = x * 2
    y.register_hook(lambda g: (seen.append(("first", g.item())), g * 2)[1])
    y.register_hook(lambda g: seen.append(("second", g.item())))
    y.retain_grad()
    y.grad_fn.register_prehook(lambda grads: seen.append(("before node", grads[0].item())))
    y.grad_fn.register_hook(lambda ins, outs: seen.append(("after node", ins[0].item())))
    x.register_hook(lambda g: seen.append(("leaf", g.item())))
    x.register_post_accumulate_grad_hook(lambda t: seen.append(("accumulated", t.grad.item())))
    (y * 3).backward()
    assert seen == [
        ("first", 3.0), ("second", 6.0), ("before node", 6.0), ("after node", 12.0),
        ("leaf", 12.0), ("accumulated", 12.0),
    ]  # fmt: skip
    assert y.grad.item() == 6.0


def test_hooks_can_be_removed_and_are_checked() -> None:
    x = leaf(1.0)
    handle = x.register_hook(lambda g: g * 100)
    handle.remove()
    (x * 2).backward()
    assert x.grad.item() == 2.0
    y = x * 2
    y.register_hook(lambda g: 3)
    with pytest.raises(TypeError, match="hook returned 'int'"):
        y.backward()
    y = x * 2
    y.register_hook(lambda g: torch.ones(3))
    with pytest.raises(RuntimeError, match="has changed the size"):
        y.backward()


def test_retained_gradient_moves_with_an_in_place_operation() -> None:
    x = leaf(1.0, 1.0)
    y = x * 2
    y.retain_grad()
    y.mul_(3)
    y.sum().backward()
    assert y.grad.tolist() == [1.0, 1.0]
    assert x.grad.tolist() == [6.0, 6.0]


def test_multi_grad_hooks() -> None:
    a, b, c = leaf(1.0), leaf(2.0), leaf(3.0)
    seen = []
    graph = torch.autograd.graph
    with graph.register_multi_grad_hook((a, b, c), seen.append):
        (a * b).backward()
        (c * 1).backward()
    assert [[g and g.item() for g in grads] for grads in seen] == [
        [2.0, 1.0, None], [None, None, 1.0],
    ]  # fmt: skip
    firsts = []
    with graph.register_multi_grad_hook((a, b), firsts.append, mode="any"):
        (a * b).backward()
    assert len(firsts) == 1


# ---- torch.autograd.graph


def test_saved_tensor_hooks() -> None:
    packed = []
    x = leaf(3.0)

    def pack(t):
        packed.append(t.item())
        return t.item()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda number: torch.tensor([number])):
        y = x * x
    assert packed == [3.0, 3.0]
    (g,) = torch.autograd.grad(y, x, create_graph=True)
    assert g.item() == 6.0
    g.backward()
    assert x.grad.item() == 2.0
    with torch.autograd.graph.save_on_cpu():
        y = x.exp()
    y.backward()
    with torch.autograd.graph.disable_saved_tensors_hooks("not here"):
        with pytest.raises(RuntimeError, match="not here"):
            with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
                pass


def test_edges_stand_for_tensors() -> None:
    x = leaf(3.0)
    y = x * x
    z = y * 2
    edge = torch.autograd.graph.get_gradient_edge(y)
    assert edge.node is y.grad_fn
    assert isinstance(edge.node, torch.autograd.graph.Node)
    (g,) = torch.autograd.grad(z, edge, retain_graph=True)
    assert g.item() == 2.0
    torch.autograd.backward(torch.autograd.graph.get_gradient_edge(z))
    assert x.grad.item() == 12.0
    with pytest.raises(NotImplementedError):
        torch.autograd.graph.allow_mutation_on_saved_tensors()


def test_next_functions_lead_to_the_leaves() -> None:
    x, w = leaf(1.0), torch.ones(1)
    y = x * w
    (first, second) = y.grad_fn.next_functions
    assert y.grad_fn.name() == "MulBackward0"
    assert first[0].name() == "AccumulateGrad"
    assert first[0].variable is x
    assert second == (None, 0)


def test_increment_version() -> None:
    w = torch.ones(1)
    y = leaf(1.0) * w
    torch.autograd.graph.increment_version(w)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


# ---- anomaly detection


def test_anomaly_mode_names_the_forward_line() -> None:
    x = leaf(-1.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with torch.autograd.detect_anomaly():
            y = torch.sqrt(x)  # the line to be named
            with pytest.raises(RuntimeError, match="'SqrtBackward0' returned nan values in its 0"):
                y.backward()
    assert any("the line to be named" in str(w.message) for w in caught)
    assert not torch.is_anomaly_enabled()


# ---- modes


def test_modes_as_decorators_and_in_generators() -> None:
    @torch.no_grad()
    def inside():
        return torch.is_grad_enabled()

    @torch.no_grad
    def bare():
        return torch.is_grad_enabled()

    @torch.no_grad()
    def steps():
        got = yield torch.is_grad_enabled()
        yield got, torch.is_grad_enabled()

    assert (inside(), bare()) == (False, False)
    generator = steps()
    assert next(generator) is False
    assert torch.is_grad_enabled()
    assert generator.send("sent") == ("sent", False)
    assert torch.is_grad_enabled()

    @torch.set_grad_enabled(False)
    def switched():
        return torch.is_grad_enabled()

    assert torch.is_grad_enabled()
    assert switched() is False
    with pytest.raises(TypeError, match="must be bool"):
        torch.set_grad_enabled(1)


def test_inference_mode() -> None:
    x = leaf(1.0, 2.0)
    with torch.inference_mode():
        made = torch.ones(2)
        computed = x * 2
        view = x[:1]
        made.add_(1)
        assert made.is_inference() and computed.is_inference() and not view.is_inference()
        assert not computed.requires_grad
    assert made[:1].is_inference()
    assert not made.clone().is_inference()
    with pytest.raises(RuntimeError, match="outside InferenceMode"):
        made.add_(1)
    with pytest.raises(RuntimeError, match="cannot be saved for backward"):
        x * made
    (x + made).sum().backward()
    with pytest.raises(RuntimeError, match="version counter"):
        made._version  # noqa: B018
    with pytest.raises(RuntimeError, match="Setting requires_grad=True"):
        made.requires_grad_()


def test_modes_belong_to_their_thread() -> None:
    w = leaf(1.0)
    seen = []

    def work(k: int) -> None:
        seen.append(torch.is_grad_enabled())
        (w * k).backward()

    with torch.no_grad():
        threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
        for thread in threads:
            thread.start()
            thread.join()
    assert seen == [True] * 4
    assert w.grad.item() == 6.0
    loss = w * 2
    thread = threading.Thread(target=loss.backward)
    thread.start()
    thread.join()
    assert w.grad.item() == 8.0


# ---- detaching


def test_detach_and_data() -> None:
    x = leaf(1.0, 2.0)
    y = x * 2
    d = y.detach()
    d.add_(1)
    assert y.tolist() == [3.0, 5.0]
    assert (y._version, d._version) == (1, 1)
    y.data.add_(1)
    assert y._version == 1
    with pytest.raises(RuntimeError, match="only change requires_grad flags of leaf"):
        y.requires_grad = False
    with pytest.raises(RuntimeError, match="Can't detach views"):
        y[0].detach_()
    y.detach_()
    assert y.is_leaf and not y.requires_grad
    with pytest.raises(RuntimeError, match="floating point and complex"):
        torch.ones(2, dtype=torch.int64).requires_grad_()


def test_a_view_of_a_detached_view_writes_to_it() -> None:
    base, w = torch.zeros(4), leaf(2.0)
    part = base[1:3].detach()
    part[:1].add_(w)
    assert part.requires_grad and not base.requires_grad
    assert base.tolist() == [0.0, 2.0, 0.0, 0.0]
    part.sum().backward()
    assert w.grad.item() == 1.0


def test_writes_through_expanded_and_overlapping_views() -> None:
    x = torch.zeros(3)
    x.expand(2, 3)[1].add_(1)
    assert x.tolist() == [1.0, 1.0, 1.0]
    x.unfold(0, 2, 1)[0].mul_(5)
    assert x.tolist() == [5.0, 5.0, 1.0]
    with pytest.raises(RuntimeError, match="single memory location"):
        x.expand(2, 3).add_(1)


# ---- memory and long graphs


def test_graphs_die_without_the_garbage_collector() -> None:
    w = torch.ones(3, 3).requires_grad_()

    def step(backward: bool) -> list:
        h = torch.tanh(w @ w)
        y = h * 1
        y[0] = 2.0
        y.mul_(3)
        loss = (h.exp() * h).sum() + y.sum()
        dead = [weakref.ref(x) for x in (h, y, loss, loss.grad_fn, h.grad_fn, y.grad_fn)]
        h.register_hook(lambda g: g)
        h.retain_grad()
        if backward:
            loss.backward()
            w.grad = None
        return dead

    gc.collect()
    gc.disable()
    try:
        for backward in (True, False):
            assert all(ref() is None for ref in step(backward))
    finally:
        gc.enable()


def test_long_chains_need_no_recursion() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(20000):
        y = y + 1
    y.backward()
    assert x.grad.item() == 1.0
    del y  # taken apart without recursion either


NODE_NAMES = {
    "w.clamp(0, 1)": "ClampBackward1", "w.clamp(min=0)": "ClampBackward1",
    "w.clamp(v[0], v[0])": "ClampBackward0", "w.clamp_min(0)": "ClampMinBackward0",
    "w.clamp_min(v[0])": "ClampMinBackward1", "w.fmod(2)": "FmodBackward0",
    "w.fmod(v[0])": "FmodBackward1", "w % 2": "RemainderBackward0", "w % w": "RemainderBackward1",
    "w.round()": "RoundBackward0", "w.round(decimals=1)": "RoundBackward1",
    "w.div(2, rounding_mode='trunc')": "DivBackward2", "w / w": "DivBackward0",
    "w.split([1, 2])[0]": "SplitWithSizesBackward0", "w.split(2)[0]": "SplitBackward0",
    "w.unsafe_split(2)[0]": "UnsafeSplitBackward0", "w.hsplit(2)[0]": "SliceBackward0",
    "w.roll(1)": "RollBackward0", "v @ w": "SqueezeBackward4", "T.deg2rad(w)": "Deg2RadBackward0",
    "1 - w": "RsubBackward1", "w - 1": "SubBackward0",
}  # fmt: skip


@pytest.mark.parametrize("expression", NODE_NAMES)
def test_nodes_have_pytorchs_names(expression):
    """grad_fn names that differ by overload, recorded from PyTorch 2.13."""
    w, v = torch.ones(3, 4, requires_grad=True), torch.ones(3, requires_grad=True)
    assert eval(expression, {"w": w, "v": v, "T": torch}).grad_fn.name() == NODE_NAMES[expression]


def test_what_a_node_keeps_can_be_looked_at() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    square, exp = x.pow(2), x.exp()
    assert square.grad_fn._saved_self.tolist() == [1, 2]
    assert square.grad_fn._saved_exponent == 2
    assert exp.grad_fn._saved_result.equal(exp)
    assert exp.grad_fn._saved_result is not exp
    assert x.softmax(0).grad_fn._saved_dim == 0
    assert not hasattr(square.grad_fn, "_saved_nothing")
    square.sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        _ = square.grad_fn._saved_self


def test_gradgradcheck_draws_as_pytorch_does() -> None:
    x = torch.ones(3, dtype=torch.double, requires_grad=True)
    torch.manual_seed(0)
    assert torch.autograd.gradgradcheck(torch.exp, (x,))
    assert round(torch.rand(1).item(), 4) == 0.4901


def test_numpy_is_allowed_where_no_gradients_are_recorded() -> None:
    x = torch.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="requires grad"):
        x.numpy()
    with torch.no_grad():
        assert x.numpy().tolist() == [1, 1]
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: t.numpy(), torch.from_numpy)
    with hooks:
        y = (x * x).sum()
    y.backward()
    assert x.grad.tolist() == [2, 2]
