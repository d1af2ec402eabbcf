"""`torch.compile`: a replayed call does what the function would have done, to the last bit."""

import logging
import threading

import numpy as np
import pytest

import suiren as torch
from suiren import nn
from suiren.compilation import Unsupported
from suiren.trace import program

F = nn.functional
STEPS = 12


# A watched call would take the tests' own hooks (conftest.py) for code of the user.
PROGRAMS_FROM_DISK = True


@pytest.fixture(autouse=True, params=["interpreted", "compiled"])
def tier(request, monkeypatch):
    """Each test with the interpreter alone, and with programs compiled at first sight.

    By the usual rule a program is interpreted once, and a watched call is another program than an
    unwatched one: bits would then differ in the first steps.
    """
    at = float("inf") if request.param == "interpreted" else 1
    monkeypatch.setattr(program, "COMPILE_AT", at)
    program.programs.clear()
    return request.param


def bits(*tensors):
    return [np.array(t.detach().clone().numpy()).tobytes() for t in tensors]


def plans(compiled):
    return len(compiled._replays.plans)


def both(make, steps=STEPS, replayed=True, seed=0):
    """Runs ``make()`` -> (step, state, arguments of call i) plainly and compiled.

    Compares what the steps return and what ``state()`` gives, after each step.
    """
    found = []
    for compile in (False, True):
        torch.manual_seed(seed)
        step, state, arguments = make()
        call = torch.compile(step) if compile else step
        seen = []
        for i in range(steps):
            result = call(*arguments(i))
            seen.append((describe(result), describe(state())))
        found.append(seen)
    assert (plans(call) > 0) is replayed, call._replays.why
    for i, (plain, compiled) in enumerate(zip(*found, strict=True)):
        assert plain == compiled, f"step {i}"
    return call


def describe(x):
    if isinstance(x, torch.Tensor):
        return (str(x.dtype), tuple(x.shape), x.stride(), x.requires_grad,
                x.grad_fn and x.grad_fn.name(), x._version, bits(x))  # fmt: skip
    if isinstance(x, (list, tuple)):
        return (type(x), *map(describe, x))
    if isinstance(x, dict):
        return {key: describe(y) for key, y in x.items()}
    return x


def nothing(i):
    return ()


# --------------------------------------------------------------------------
# Whole steps


def line():
    x = torch.rand(1000, 1)
    y = 10 * x + 4 + torch.randn(1000, 1)
    w = torch.zeros(1, requires_grad=True)
    b = torch.zeros(1, requires_grad=True)

    def step():
        loss = ((w * x + b - y) ** 2).mean()
        loss.backward()
        with torch.no_grad():
            w.sub_(0.01 * w.grad)
            b.sub_(0.01 * b.grad)
        w.grad.zero_()
        b.grad.zero_()
        return loss

    return step, lambda: (w, b, w.grad, b.grad), nothing


def test_a_line_fitted_by_hand():
    both(line)


def test_gradients_set_to_none():
    def make():
        w = torch.ones(3, requires_grad=True)
        x = torch.randn(5, 3)

        def step():
            (x * w).exp().sum().backward()
            with torch.no_grad():
                w.sub_(w.grad, alpha=1e-3)
            w.grad = None

        return step, lambda: w, nothing

    both(make)


def test_parameters_as_arguments():
    def make():
        w = torch.ones(3, requires_grad=True)
        x = torch.randn(5, 3)

        def step(w, x):
            loss = (x * w).exp().sum()
            loss.backward()
            with torch.no_grad():
                w.sub_(w.grad, alpha=1e-3)
            w.grad.zero_()
            return loss.detach()

        return step, lambda: (w, w.grad), lambda i: (w, x)

    both(make)


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "decay": lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=1e-3),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=1e-2),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=1e-2, amsgrad=True, weight_decay=1e-2),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-2),
}


def mlp(optimizer, schedule=False, layers=None):
    def make():
        model = nn.Sequential(*(layers or (lambda: [
            nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)]))())  # fmt: skip
        x, y = torch.randn(16, 6), torch.randint(0, 4, (16,))
        opt = OPTIMIZERS[optimizer](model.parameters())
        scheduler = torch.optim.lr_scheduler.StepLR(opt, 2, 0.9) if schedule else None

        def step():
            opt.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            opt.step()
            return loss

        def state():
            if scheduler:
                scheduler.step()
            return [*model.parameters(), *model.buffers(), *[p.grad for p in model.parameters()]]

        return step, state, nothing

    return make


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers(optimizer):
    both(mlp(optimizer))


@pytest.mark.parametrize("optimizer", ["momentum", "adamw"])
def test_a_scheduler_changes_the_learning_rate(optimizer):
    call = both(mlp(optimizer, schedule=True))
    assert plans(call) == 1  # numbers are read anew


def test_steps_are_counted():
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    opt = torch.optim.Adam(model.parameters())
    x = torch.randn(4, 2)

    @torch.compile
    def step():
        opt.zero_grad()
        model(x).sum().backward()
        opt.step()

    for _ in range(9):
        step()
    assert plans(step) == 1
    assert opt.state_dict()["state"][0]["step"].item() == 9
    step()
    opt.load_state_dict(opt.state_dict())
    step()
    assert opt.state_dict()["state"][0]["step"].item() == 11


def test_dropout_draws_anew():
    both(mlp("sgd", layers=lambda: [
        nn.Linear(6, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 4)]))  # fmt: skip


def test_batch_norm_keeps_its_statistics():
    both(mlp("sgd", layers=lambda: [
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4)]))  # fmt: skip


def test_noise_inside():
    def make():
        w = torch.ones(3, requires_grad=True)

        def step(n):
            noise = torch.randn(n, 3) + torch.rand(3) + torch.rand_like(w)
            loss = (noise * w).pow(2).mean()
            loss.backward()
            with torch.no_grad():
                w.sub_(0.1 * w.grad)
            w.grad = None
            return {"loss": loss.detach(), "noise": (noise, n)}

        return step, lambda: w, lambda i: (4,)

    both(make)


def test_the_batch_changes():
    def make():
        model = nn.Linear(3, 2)
        opt = torch.optim.SGD(model.parameters(), lr=0.1)
        data = torch.randn(200, 3)

        def step(x):
            opt.zero_grad()
            loss = model(x).pow(2).mean()
            loss.backward()
            opt.step()
            return loss

        def arguments(i):
            if i % 3 == 2:
                return (torch.ones(5, 3) * (0.1 * i),)
            return (data[8 * i : 8 * i + 8],)

        return step, lambda: list(model.parameters()), arguments

    assert plans(both(make, steps=24)) == 2


def test_training_and_evaluation():
    def make():
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
        x = torch.randn(8, 3)

        def arguments(i):
            model.train(i % 8 < 4)
            return ()

        def step():
            with torch.no_grad():
                return model(x) * 2

        return step, lambda: list(model.buffers()), arguments

    assert plans(both(make, steps=40)) == 2


# --------------------------------------------------------------------------
# What the code can see


class Options:
    scale = 2.0


options = Options()
factor = 3


def test_python_values_that_change():
    global factor
    flags = {"double": False}
    table = [1.0, 2.0]

    @torch.compile
    def f(x):
        y = x * factor * options.scale + table[0]
        return y * 2 if flags["double"] else y

    x = torch.arange(4.0)

    def check():
        expected = x * factor * options.scale + table[0]
        expected = expected * 2 if flags["double"] else expected
        for _ in range(5):
            assert bits(f(x)) == bits(expected)

    check()
    assert plans(f) == 1
    flags["double"] = True
    check()
    options.scale = 4.0
    check()
    Options.scale = 1.0
    del options.scale
    check()
    table[0] = 7.0
    check()
    factor = 5
    check()
    factor = 3
    Options.scale = 2.0


def test_tensors_that_are_replaced():
    w = torch.ones(2)

    def f(x):
        return x + w

    g = torch.compile(f)
    x = torch.zeros(2)
    for i in range(20):
        if i % 5 == 0:
            w = torch.full((2,), float(i))
        if i == 7:
            w.fill_(70.0)
        assert g(x).tolist() == w.tolist()


def test_a_parameter_is_replaced_or_frozen():
    model = nn.Linear(2, 2)
    f = torch.compile(lambda x: model(x).detach() + 0)
    x = torch.ones(1, 2)
    for i in range(18):
        if i == 6:
            model.weight = nn.Parameter(torch.zeros(2, 2))
        if i == 12:
            model.weight.data = torch.ones(2, 2)
        assert bits(f(x)) == bits(model(x).detach() + 0)


def test_side_effects_are_not_lost():
    seen = []
    count = {"calls": 0}
    said = []

    @torch.compile
    def appending(x):
        seen.append(x.sum())
        return x + 1

    @torch.compile
    def counting(x):
        count["calls"] += 1
        return x + 1

    @torch.compile
    def saying(x):
        print("x", file=Said(said))
        return x + 1

    @torch.compile
    def looking(x):
        return x + 1 if x.sum() > 0 else x - 1

    x = torch.ones(2)
    for i in range(10):
        appending(x)
        counting(x)
        saying(x)
        sign = 1.0 if i % 2 else -1.0
        assert looking(x * sign).tolist() == [sign * 2] * 2
    assert len(seen) == 10 and count["calls"] == 10 and "".join(said) == "x\n" * 10
    for f in (appending, counting, saying, looking):
        assert plans(f) == 0 and f._replays.why


class Said:
    def __init__(self, said):
        self.write = said.append


def test_random_numbers_of_others():
    import random

    @torch.compile
    def f(x):
        return x * random.randint(0, 1)

    @torch.compile
    def g(x):
        return x * int(np.random.randint(2))

    x = torch.ones(1)
    assert {f(x).item() for _ in range(60)} == {0.0, 1.0}
    assert {g(x).item() for _ in range(60)} == {0.0, 1.0}


def test_iterators_are_not_stopped():
    batches = iter(range(100))

    @torch.compile
    def f(x):
        return x + next(batches)

    assert [f(torch.zeros(1)).item() for _ in range(8)] == list(range(8))


def test_hooks_run():
    model = nn.Linear(2, 1)
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.ones(3, 2)
    calls = []

    @torch.compile
    def step():
        opt.zero_grad()
        model(x).sum().backward()
        opt.step()

    for _ in range(5):
        step()
    assert plans(step) == 1
    handle = model.weight.register_hook(lambda grad: calls.append(1))
    step()
    handle.remove()
    handle = opt.register_step_post_hook(lambda *_: calls.append(2))
    step()
    handle.remove()
    handle = model.register_forward_hook(lambda *_: calls.append(3))
    step()
    assert calls == [1, 2, 3]


def test_arguments_that_are_aliases():
    @torch.compile
    def f(a, b):
        a.add_(1)
        return a + b

    for _ in range(5):
        assert f(torch.zeros(2), torch.zeros(2)).tolist() == [1, 1]
    assert plans(f) == 1
    a = torch.zeros(2)
    assert f(a, a).tolist() == [2, 2]
    v = torch.zeros(4)
    assert f(v, v[:4]).tolist() == [2, 2, 2, 2]


def test_views_as_arguments():
    data = torch.arange(40.0).view(20, 2)

    @torch.compile
    def f(x):
        return x.view(-1) * 2

    @torch.compile
    def g(x):
        return x * 2

    for i in range(10):
        part = data[2 * i : 2 * i + 2]
        assert bits(f(part)) == bits(part.reshape(-1) * 2)
        assert bits(g(part)) == bits(part * 2)
    assert plans(g) == 1


def test_memory_shared_with_numpy():
    array = np.zeros(3, np.float32)
    x = torch.from_numpy(array)

    @torch.compile
    def f(x):
        return x + 1

    for i in range(10):
        array[:] = i
        assert f(x).tolist() == [i + 1] * 3
    w = torch.zeros(3)

    @torch.compile
    def g():
        w.add_(1)

    for _ in range(5):
        g()
    shared = w.numpy()
    for _ in range(5):
        g()
    assert shared.tolist() == [10.0] * 3 == w.tolist()


# --------------------------------------------------------------------------
# Errors, nesting, threads, switches


def test_errors_inside():
    @torch.compile
    def f(x, bad):
        y = x + 1
        if bad:
            raise ValueError("mine")
        return y

    for i in range(12):
        if i % 4 == 3:
            with pytest.raises(ValueError, match="mine"):
                f(torch.ones(1), True)
        else:
            assert f(torch.ones(1), False).item() == 2


def test_an_index_that_is_out_of_range_when_replayed():
    table = torch.randn(5, 2)

    @torch.compile
    def f(i):
        return F.embedding(i, table)

    for _ in range(5):
        f(torch.tensor([1, 2]))
    with pytest.raises(IndexError):
        f(torch.tensor([1, 7])).tolist()
    assert bits(f(torch.tensor([4, 0]))) == bits(table[torch.tensor([4, 0])])


def test_recursion_and_compiled_within_compiled():
    @torch.compile
    def power(x, n):
        return x if n == 0 else x * power(x, n - 1)

    @torch.compile
    def outer(x):
        return power(x, 3) + 1

    for _ in range(8):
        assert outer(torch.full((1,), 2.0)).item() == 17
        assert power(torch.full((1,), 3.0), 2).item() == 27
    assert plans(outer) == 1


def test_threads():
    w = torch.ones(4)

    @torch.compile
    def f(x):
        return (x * w).sum()

    wrong = []

    def work(n):
        for i in range(50):
            if f(torch.full((4,), float(n * i))).item() != 4 * n * i:
                wrong.append((n, i))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_graph_of_a_returned_loss_is_used_up():
    step, _, _ = line()
    call = torch.compile(step)
    for _ in range(6):
        loss = call()
    assert plans(call) == 1 and loss.grad_fn.name() == "MeanBackward0"
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_modes_are_compared():
    @torch.compile
    def f(x):
        return (x * 2).requires_grad

    x = torch.ones(1, requires_grad=True)
    for _ in range(5):
        assert f(x) is True
        with torch.no_grad():
            assert f(x) is False


def test_fullgraph_raises():
    @torch.compile(fullgraph=True)
    def f(x):
        return x + x.sum().item()

    with pytest.raises(Unsupported, match="looked at"):
        for _ in range(4):
            f(torch.ones(2))


def test_switches(caplog):
    assert not torch.compiler.is_compiling()
    assert torch.compile(torch.compiler.is_compiling)()
    runs = []

    @torch.compiler.disable
    def noted(x):
        runs.append(1)
        return x + 1

    @torch.compile
    def f(x):
        return noted(x) * 2

    @torch.compile(backend="eager", mode="max-autotune", dynamic=True)
    def eager(x):
        runs.append(1)
        return x

    for _ in range(6):
        assert f(torch.ones(1)).item() == 4
        eager(torch.ones(1))
    assert len(runs) == 12
    with caplog.at_level(logging.DEBUG, "suiren.compiler"):
        g = torch.compile(lambda x: x + 1)
        for _ in range(5):
            g(torch.ones(1))
    assert "replayed from now on" in caplog.text
    torch.compiler.reset()
    g(torch.ones(1))
    assert plans(g) == 0


def test_methods_and_modules():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.calls = 0

        def forward(self, x, scale=1.0):
            return self.layer(x) * scale

    torch.manual_seed(0)
    model = Model()
    compiled = torch.compile(model)
    method = torch.compile(model.forward)
    x = torch.randn(3, 2)
    for _ in range(6):
        with torch.no_grad():
            assert bits(compiled(x, scale=2.0)) == bits(model(x) * 2) == bits(method(x, 2.0))
    assert len(compiled.__dict__["_replays"].plans) == 1 and plans(method) == 1
    assert list(compiled.state_dict()) == ["_orig_mod.layer.weight", "_orig_mod.layer.bias"]


# --------------------------------------------------------------------------
# The backward pass comes outside


def outside(build, optimizer="adam"):
    def make():
        model = build()
        opt = OPTIMIZERS[optimizer](model.parameters())
        x, y = torch.randn(8, 6), torch.randint(0, 4, (8,))
        return model, opt, x, y

    found = []
    for compile in (False, True):
        torch.manual_seed(0)
        model, opt, x, y = make()
        call = torch.compile(model) if compile else model
        seen = []
        for _ in range(STEPS):
            opt.zero_grad()
            out = call(x)
            loss = F.cross_entropy(out, y)
            loss.backward()
            opt.step()
            parameters = list(model.parameters())
            seen.append(describe([loss, out, *parameters, *[p.grad for p in parameters]]))
        found.append(seen)
    assert len(call.__dict__["_replays"].plans) == 1, call.__dict__["_replays"].why
    for i, (plain, compiled) in enumerate(zip(*found, strict=True)):
        assert plain == compiled, f"step {i}"


def test_a_compiled_model():
    outside(lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)))


def test_a_compiled_model_with_dropout_and_statistics():
    outside(lambda: nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.LayerNorm(8),
        nn.Linear(8, 4)))  # fmt: skip


def test_a_compiled_part_of_a_model():
    class Model(nn.Module):
        def __init__(self, compile):
            super().__init__()
            self.first = nn.Linear(6, 8)
            part = nn.Sequential(nn.Linear(8, 8), nn.GELU())
            self.part = torch.compile(part) if compile else part
            self.last = nn.Linear(8, 4)

        def forward(self, x):
            return self.last(self.part(self.first(x)))

    found = []
    for compile in (False, True):
        torch.manual_seed(0)
        model = Model(compile)
        x = torch.randn(5, 6)
        seen = []
        for _ in range(8):
            model.zero_grad()
            model(x).exp().sum().backward()
            seen.append(bits(*[p.grad for p in model.parameters()]))
        found.append(seen)
    assert found[0] == found[1]
    assert len(model.part.__dict__["_replays"].plans) == 1


def test_gradients_of_gradients_and_writes_to_what_was_saved():
    w = torch.tensor([2.0], requires_grad=True)
    f = torch.compile(lambda x: (x * w).exp())
    x = torch.tensor([0.5], requires_grad=True)
    for _ in range(5):
        y = f(x)
    assert plans(f) == 1
    (first,) = torch.autograd.grad(y, x, create_graph=True)
    (second,) = torch.autograd.grad(first, x)
    assert second.item() == pytest.approx(4 * np.exp(1.0), rel=1e-5)
    y = f(x)
    with torch.no_grad():
        w.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()
    y = f(x)
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()
    f(x).backward()
    assert x.grad.item() == pytest.approx(3 * np.exp(1.5), rel=1e-5)


def test_what_changes_all_the_time_is_given_up():
    table = {"n": 0}

    @torch.compile
    def f(x):
        return x + table["n"]

    for i in range(200):
        table["n"] = i // 5 if i < 80 else i
        assert f(torch.zeros(1)).item() == table["n"]
    assert f._replays.given_up


def test_copies_are_compiled_too():
    import copy

    model = copy.deepcopy(torch.compile(nn.Linear(2, 2)))
    for _ in range(5):
        model(torch.ones(1, 2))
    assert len(model.__dict__["_replays"].plans) == 1


def test_what_is_saved_may_be_a_view_of_a_temporary():
    w = torch.ones(2, 3, requires_grad=True)

    @torch.compile(fullgraph=True)
    def product(x):
        return x @ (w * 2).t()

    for i in range(5):
        w.grad = None
        y = product(torch.full((1, 3), float(i)))
        y.sum().backward()
        assert y.tolist() == [[6.0 * i] * 2] and w.grad.tolist() == [[2.0 * i] * 3] * 2
    assert len(product._replays.plans) == 1
