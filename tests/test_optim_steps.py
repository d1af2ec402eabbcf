"""Updates recorded as one entry a parameter give the bits of the same update written out."""

import sys

import numpy as np
import pytest

import suiren as torch
from suiren import nn, optim

MODULES = [sys.modules["suiren.optim.sgd"], sys.modules["suiren.optim.adam"]]

CASES = {
    "SGD": (optim.SGD, {}),
    "SGD with decay": (optim.SGD, dict(weight_decay=0.1, maximize=True)),
    "momentum": (optim.SGD, dict(momentum=0.9)),
    "dampened": (optim.SGD, dict(momentum=0.9, dampening=0.3, weight_decay=0.01)),
    "Nesterov": (optim.SGD, dict(momentum=0.9, nesterov=True)),
    "Adam": (optim.Adam, {}),
    "Adam far from the old mean": (optim.Adam, dict(betas=(0.3, 0.6), eps=1e-3)),
    "Adam with decay": (optim.Adam, dict(weight_decay=0.1, maximize=True)),
    "AMSGrad": (optim.Adam, dict(amsgrad=True, weight_decay=0.1)),
    "AdamW": (optim.AdamW, {}),
    "AdamW, AMSGrad": (optim.AdamW, dict(amsgrad=True)),
}


def weights(kind=torch.float32):
    numbers = np.random.RandomState(0)
    return [
        torch.tensor(numbers.randn(*shape), dtype=kind, requires_grad=True)
        for shape in [(3, 4), (4,), (), (0, 2)]
    ]


def run(make, params, steps=6, skipped=()):
    optimizer = make(params)
    numbers = np.random.RandomState(1)
    for step in range(steps):
        for i, p in enumerate(params):
            p.grad = torch.tensor(numbers.randn(*p.shape)).to(p.dtype)
            if (step, i) in skipped:
                p.grad = None
        optimizer.step()
    state = [s for p in params for s in optimizer.state[p].values() if isinstance(s, torch.Tensor)]
    found = [*params, *state]
    return [(x.detach().float().numpy(), x._version) for x in found]


def by_itself(monkeypatch, make, *args, **kwargs):
    with monkeypatch.context() as patched:
        for module in MODULES:
            patched.setattr(module, "update", lambda *args: False)
        return run(make, *args, **kwargs)


def assert_same(ours, theirs):
    for (a, version), (b, expected) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)
        assert version == expected


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", CASES)
def test_the_bits_of_the_update_written_out(name, kind, monkeypatch):
    algorithm, options = CASES[name]
    make = lambda params: algorithm(params, lr=0.1, **options)  # noqa: E731
    assert_same(run(make, weights(kind)), by_itself(monkeypatch, make, weights(kind)))


@pytest.mark.parametrize("name", ["momentum", "Adam"])
def test_parameters_that_take_no_part_in_a_step(name, monkeypatch):
    algorithm, options = CASES[name]
    make = lambda params: algorithm(params, lr=0.1, **options)  # noqa: E731
    skipped = {(0, 1), (2, 0)}
    assert_same(
        run(make, weights(), skipped=skipped),
        by_itself(monkeypatch, make, weights(), skipped=skipped),
    )


@pytest.mark.parametrize("name", ["SGD", "momentum", "Adam"])
def test_a_parameter_listed_twice_and_one_that_is_a_view(name, monkeypatch):
    algorithm, options = CASES[name]
    make = lambda params: algorithm(params, lr=0.1, **options)  # noqa: E731

    def params():
        flat = torch.arange(6.0)
        return [flat[:2].requires_grad_(), flat[2:].requires_grad_()]

    assert_same(run(make, params()), by_itself(monkeypatch, make, params()))
    with pytest.warns(UserWarning, match="duplicate"):
        ours = run(make, weights()[:1] * 2)
        theirs = by_itself(monkeypatch, make, weights()[:1] * 2)
    assert_same(ours, theirs)


def test_memory_shared_with_numpy_is_updated():
    array = np.ones(3, np.float32)
    p = torch.from_numpy(array).requires_grad_()
    optimizer = optim.SGD([p], lr=0.5)
    p.grad = torch.ones(3)
    optimizer.step()
    np.testing.assert_array_equal(array, 0.5)


def test_one_entry_a_parameter(monkeypatch):
    recorder = sys.modules["suiren.trace.recorder"]
    keys = []
    run_program = recorder.run_program
    monkeypatch.setattr(
        recorder, "run_program", lambda key, *a, **k: keys.append(key) or run_program(key, *a, **k)
    )
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    for algorithm in (optim.SGD, optim.Adam):
        optimizer = algorithm(model.parameters())
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.ones(1, 3)).sum().backward()
            optimizer.step()
        assert len(keys[-1][0]) == 4


@pytest.mark.parametrize("near", [True, False])
@pytest.mark.parametrize("decay", [None, 0.1])
@pytest.mark.parametrize("flag", [True, False])
def test_the_compilers_terms_say_the_same(near, decay, flag):
    from graph_numpy import run_graph

    from suiren.compiler.lower import lower
    from suiren.optim.steps import adam_step, amsgrad_step, sgd_momentum_step, sgd_step
    from suiren.trace.meta import meta

    numbers = np.random.RandomState(0)
    arrays = [np.abs(numbers.randn(5)).astype(np.float32) for _ in range(5)]
    weight = 0.1 if near else 0.7
    averages = (decay, weight, 0.9, 0.1, 0.3, 1e-8, -0.1)
    flags = (flag and decay is not None, near)
    cases = [
        (sgd_step, arrays[:2], (-0.1, decay), ()),
        (sgd_momentum_step, arrays[:3], (-0.1, decay, 0.9, None if flag else 0.5), (near,)),
        (adam_step, arrays[:4], averages, flags),
        (amsgrad_step, arrays, averages, flags),
    ]
    kind = meta((5,), torch.float32)
    for step, tensors, given, attributes in cases:
        record = step.operator
        arguments = [*tensors, *given]
        keys = [(i, kind if i < len(tensors) else x.__class__) for i, x in enumerate(arguments)]
        slots = tuple(range(len(arguments)))
        entry = (record, attributes, slots, (kind,) * record.results)
        wanted = tuple(range(len(arguments), len(arguments) + record.results))
        graph = lower((entry,), tuple(keys), wanted)
        assert "host" not in repr(graph)
        expected = record.evaluate(*arguments, *attributes)
        found = run_graph(graph, dict(enumerate(arguments)))
        for a, b in zip(found, expected if record.results > 1 else [expected], strict=True):
            np.testing.assert_array_equal(a, b)
