"""Backward passes that are replayed give what walking the graph gives, and are given up in time."""

import sys

import numpy as np
import pytest

import suiren as torch
from suiren import nn
from suiren.trace.program import interpreted

replay = sys.modules["suiren.autograd.replay"]
engine = sys.modules["suiren.autograd.engine"]


@pytest.fixture(autouse=True)
def afresh():
    """No plans from before; and no change from interpreted to compiled, for bits are compared."""
    replay._plans.clear()
    with interpreted():
        yield


@pytest.fixture
def walks(monkeypatch):
    """A list that grows by one entry with every walk."""
    walked = []
    walk = engine._walk
    monkeypatch.setattr(engine, "_walk", lambda *args: walked.append(None) or walk(*args))
    return walked


def data(step, *shape):
    return torch.from_numpy(np.random.RandomState(step).randn(*shape).astype(np.float32)).clone()


def leaves(step):
    return [data(step + i, *s).requires_grad_() for i, s in enumerate([(3, 4), (4,), (4, 3)])]


CASES = {
    "chain": lambda a, b, c, i: (a * b).exp().sum(),
    "diamond": lambda a, b, c, i: (a * a + a.sin() * b).mean(),
    "matrices": lambda a, b, c, i: (a @ c).relu().pow(2).sum(),
    "a leaf alone": lambda a, b, c, i: (a + b).sum() + c.sum(),
    "saved twice": lambda a, b, c, i: (a * b.detach() * b.detach()).sum() + b.sum(),
    "coinciding at first": lambda a, b, c, i: (
        (a * (x := data(i, 4)) * (x if i < 2 else data(i + 9, 4))).sum()),
    "views": lambda a, b, c, i: (a.t()[1:] * c[:3, :1]).reshape(-1)[2:].sum() + a[0].prod(),
    "written to": lambda a, b, c, i: (a * 1).mul_(b).add_(1).relu_().sum(),
    "written through a view": lambda a, b, c, i: _written(a * 2, b),
    "numbers that stay": lambda a, b, c, i: (a * 0.5 + b ** 3.0 / 2).sum(),
    "numbers that change": lambda a, b, c, i: (a * float(i) + b ** float(i)).sum(),
    "zeros of both signs": lambda a, b, c, i: (a * (0.0 if i % 2 else -0.0)).sum(),
    "softmax": lambda a, b, c, i: nn.functional.cross_entropy(a @ c, torch.tensor([0, 2, 1])),
    "several results": lambda a, b, c, i: sum(x.max() for x in a.split(1)) + a.max(1)[0].sum(),
    "layers": lambda a, b, c, i: nn.functional.layer_norm(a, (4,), b).square().mean(),
    "shape from data": lambda a, b, c, i: a[a > 0].sum(),
    "an unused result": lambda a, b, c, i: a.unbind()[1].sum(),
    "integers between": lambda a, b, c, i: (a * (a > 0).long()).sum(),
}  # fmt: skip


def _written(x, b):
    x[1] = b
    x[:, 0].mul_(3)
    return x.sum()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("accumulate", [False, True])
def test_a_replayed_pass_gives_the_gradients_of_the_walk(name, accumulate, monkeypatch):
    def gradients():
        found = []
        held = leaves(0)
        for i in range(6):
            if not accumulate:
                held = leaves(i)
            CASES[name](*held, i).backward()
            found.append([None if x.grad is None else x.grad.numpy().copy() for x in held])
        return found

    replayed = gradients()
    monkeypatch.setattr(replay, "glance", lambda *args: None)
    for ours, walked in zip(replayed, gradients(), strict=True):
        for a, b in zip(ours, walked, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                np.testing.assert_array_equal(np.signbit(a), np.signbit(b))
                np.testing.assert_array_equal(a, b)


def test_the_third_pass_is_replayed(walks):
    for i in range(5):
        a, b, c = leaves(i)
        (a @ c).sum().backward()
        assert len(walks) == min(i + 1, 2)


def test_gradients_add_up_in_place(walks):
    a, _, _ = leaves(0)
    (a * 2).sum().backward()
    held, version = a.grad, a.grad._version
    for i in range(5):
        (a * 2).sum().backward()
        assert a.grad is held
        assert a.grad._version == version + i + 1
        assert a.grad[0, 0].item() == 2 * (i + 2)
    assert len(walks) == 3


def test_a_hook_is_heard_whenever_it_comes(walks):
    for i in range(5):
        a, b, _ = leaves(i)
        y = a * b
        called = []
        if i == 3:
            y.register_hook(lambda grad: called.append(grad) or grad * 2)  # noqa: B023
        y.sum().backward()
        assert len(called) == (i == 3)
        np.testing.assert_array_equal(a.grad[0].numpy(), b.detach().numpy() * (1 + (i == 3)))


def test_retained_gradients_are_there():
    for i in range(4):
        a, b, _ = leaves(i)
        y = a * b
        if i == 3:
            y.retain_grad()
        y.sum().backward()
        assert (y.grad is not None) == (i == 3)


def test_the_graph_is_freed_or_kept(walks):
    for keep in (False, True):
        for _ in range(3):
            a, b, _ = leaves(1)
            y = (a * b).exp().sum()
            y.backward(retain_graph=keep)
            if keep:
                y.backward()
                expected = (2 * torch.exp(a * b) * b).detach().numpy()
                np.testing.assert_allclose(a.grad.numpy(), expected, rtol=1e-6)
            with pytest.raises(RuntimeError, match="second time"):
                y.backward()


def test_a_write_to_what_was_saved_is_noticed():
    for i in range(4):
        a, b, _ = leaves(i)
        x = b * 1
        y = (a * x).sum()
        if i == 3:
            x.add_(1)
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                y.backward()
        else:
            y.backward()


def test_data_of_a_leaf_written_meanwhile_is_read_anew(monkeypatch):
    found = []
    for i in range(4):
        a, b, _ = leaves(i)
        y = (a * b).sum()
        b.data.mul_(2)
        y.backward()
        found.append(a.grad[0].numpy() / b.detach().numpy())
    np.testing.assert_allclose(found, 1)


def test_custom_functions_are_called_each_time():
    calls = []

    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            calls.append(None)
            return grad * 2

    for i in range(4):
        a, _, _ = leaves(i)
        Double.apply(a).sum().backward()
        assert len(calls) == i + 1


def test_numbers_that_change_do_not_fill_the_memory():
    a, _, _ = leaves(0)
    for i in range(100):
        (a * (i + 0.5)).sum().backward()
    assert all(len(variants) <= replay.MAX_NUMBERS for variants in replay._plans.values())


def test_memory_shared_with_numpy_is_read_when_it_is_needed():
    for i in range(4):
        array = np.full((3,), float(i), np.float32)
        a = torch.from_numpy(array).requires_grad_()
        (a * a).sum().backward()
        np.testing.assert_array_equal(a.grad.numpy(), 2 * array)


def test_no_leaf_is_kept_alive():
    import gc
    import weakref

    for i in range(4):
        a, b, _ = leaves(i)
        (a * b).sum().backward()
        gone = weakref.ref(a)
        del a, b
        gc.collect()
        assert gone() is None


@pytest.fixture
def keys(monkeypatch):
    """The keys of the programs that ran, in order."""
    recorder = sys.modules["suiren.trace.recorder"]
    found = []
    run = recorder.run_program

    def watched(key, *args, **kwargs):
        found.append(key)
        return run(key, *args, **kwargs)

    monkeypatch.setattr(recorder, "run_program", watched)
    return found


def train(steps, keys):
    """Some steps of a small model, two programs each; ``keys`` then has only theirs."""
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    keys.clear()  # what the parameters begin with was computed by now
    for i in range(steps):
        x = data(i, 16, 4)
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("heavy", [True, False])
def test_the_first_step_over_much_data_is_the_program_of_the_others(heavy, keys, monkeypatch):
    if heavy:
        monkeypatch.setattr(replay, "HEAVY_BYTES", 0)
    train(3, keys)
    first, second, third = keys[::2]  # backward(), step(), backward(), ...
    assert second == third
    assert (first == second) == heavy
