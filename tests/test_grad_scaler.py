"""GradScaler: scaling, the checks for infinities, the scale's growth, errors and state."""

import copy
import pickle

import numpy as np
import pytest

import suiren
from suiren.amp import GradScaler

INF, NAN = float("inf"), float("nan")


def _run(torch, factors, scaler=None, lr=0.5, before=None):
    """Losses ``factor * w.sum()`` one after the other; scale, tracker and weights after each."""
    w = torch.ones(2, requires_grad=True)
    v = torch.full((3,), 2.0, requires_grad=True)
    optimizer = torch.optim.SGD([w, v], lr=lr)
    scaler = scaler or torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    found = []
    for factor in factors:
        optimizer.zero_grad()
        scaler.scale((w.sum() + (v * v).sum()) * factor).backward()
        if before is not None:
            before(scaler, optimizer, [w, v])
        scaler.step(optimizer)
        scaler.update()
        found.append((scaler.get_scale(), scaler._get_growth_tracker(), w.tolist(), v.tolist()))
    return found


def test_scale_grows_and_backs_off():
    factors = [0.1, 0.1, 0.1, INF, 0.1, NAN, -INF, 0.1, 0.1, 0.25]
    mine = _run(suiren, factors)
    assert [s for s, *_ in mine] == [8, 16, 16, 8, 8, 4, 2, 2, 4, 4]
    assert [t for _, t, *_ in mine] == [1, 0, 1, 0, 1, 0, 0, 1, 0, 1]
    assert mine[3][2:] == mine[2][2:] and mine[4][2:] != mine[3][2:]  # steps left out
    torch = pytest.importorskip("torch")
    for a, b in zip(mine, _run(torch, factors), strict=True):
        assert a[:2] == b[:2]
        np.testing.assert_allclose(a[2] + a[3], b[2] + b[3], rtol=1e-6)


def test_scale_stays_finite():
    def run(torch):
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=1)
        return [s for s, *_ in _run(torch, [1e-20] * 3, scaler)]

    assert run(suiren) == [2.0**127] * 3
    torch = pytest.importorskip("torch")
    assert run(torch) == [2.0**127] * 3


def test_clipping_after_unscale():
    def clip(torch):
        def before(scaler, optimizer, parameters):
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(parameters, 0.1)

        return before

    mine = _run(suiren, [1.0, 2.0, INF, 1.0], before=clip(suiren))
    torch = pytest.importorskip("torch")
    for a, b in zip(mine, _run(torch, [1.0, 2.0, INF, 1.0], before=clip(torch)), strict=True):
        assert a[:2] == b[:2]
        np.testing.assert_allclose(a[2] + a[3], b[2] + b[3], rtol=1e-6)


def test_two_optimizers_have_checks_of_their_own():
    def run(torch):
        w, v = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
        first, second = torch.optim.SGD([w], lr=1.0), torch.optim.SGD([v], lr=1.0)
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
        losses = scaler.scale([w.sum(), (v * torch.tensor([INF, 1.0])).sum()])
        for loss in losses:
            loss.backward()
        scaler.step(first)
        scaler.step(second)
        scaler.update()
        return type(losses).__name__, w.tolist(), v.tolist(), scaler.get_scale()

    assert run(suiren) == ("list", [0.0, 0.0], [1.0, 1.0], 2.0)
    torch = pytest.importorskip("torch")
    assert run(torch) == ("list", [0.0, 0.0], [1.0, 1.0], 2.0)


def _prepared(torch, kind="float32"):
    w = torch.ones(2, dtype=getattr(torch, kind), requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.5)
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(w.sum()).backward()
    return w, optimizer, scaler


def _twice(method):
    def call(torch):
        _, optimizer, scaler = _prepared(torch)
        getattr(scaler, method)(optimizer)
        getattr(scaler, method)(optimizer)

    return call


def _unscale_after_step(torch):
    _, optimizer, scaler = _prepared(torch)
    scaler.step(optimizer)
    scaler.unscale_(optimizer)


def _closure(torch):
    _, optimizer, scaler = _prepared(torch)
    scaler.step(optimizer, closure=lambda: None)


def _before_scale(torch):
    _, optimizer, _ = _prepared(torch)
    torch.amp.GradScaler("cpu").step(optimizer)


def _without_gradients(torch):
    _, _, scaler = _prepared(torch)
    scaler.step(torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0))


def _in_the_middle(torch):
    _, optimizer, scaler = _prepared(torch)
    scaler.unscale_(optimizer)
    pickle.dumps(scaler)


def _half(torch):
    _, optimizer, scaler = _prepared(torch, "float16")
    scaler.unscale_(optimizer)


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (RuntimeError, _twice("unscale_")),
        (RuntimeError, _twice("step")),
        (RuntimeError, _unscale_after_step),
        (RuntimeError, _closure),
        (RuntimeError, lambda t: t.amp.GradScaler("cpu").load_state_dict({})),
        (AssertionError, _before_scale),
        (AssertionError, _without_gradients),
        (AssertionError, lambda t: t.amp.GradScaler("cpu").update()),
        (AssertionError, lambda t: _prepared(t)[2].update()),
        (AssertionError, _in_the_middle),
        (AssertionError, lambda t: t.amp.GradScaler("cpu", growth_factor=1.0)),
        (AssertionError, lambda t: t.amp.GradScaler("cpu", backoff_factor=1.0)),
        (ValueError, lambda t: t.amp.GradScaler("cpu").scale(3)),
        (ValueError, _half),
    ],
)
def test_errors(error, call):
    with pytest.raises(error):
        call(suiren)
    torch = pytest.importorskip("torch")
    with pytest.raises(error):
        call(torch)


def test_gradients_of_bfloat16_and_new_scales():
    def run(torch):
        w, optimizer, scaler = _prepared(torch, "bfloat16")
        scaler.unscale_(optimizer)
        found = [str(w.grad.dtype), w.grad.tolist()]
        scaler.step(optimizer)
        scaler.update(3.0)
        found.append(scaler.get_scale())
        scaler.update(torch.tensor(5.0))
        return [*found, scaler.get_scale(), w.tolist()]

    mine = run(suiren)
    assert mine == ["torch.bfloat16", [1.0, 1.0], 3.0, 5.0, [0.5, 0.5]]
    torch = pytest.importorskip("torch")
    assert run(torch)[:3] == mine[:3]


def test_state_goes_along():
    scaler = GradScaler("cpu", init_scale=8.0, growth_interval=3)
    _run(suiren, [0.1, 0.1], scaler)
    state = scaler.state_dict()
    assert state == {
        "scale": 8.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 3,
        "_growth_tracker": 2,
    }  # fmt: skip
    for other in (pickle.loads(pickle.dumps(scaler)), copy.deepcopy(scaler), GradScaler("cpu")):
        other.load_state_dict(state)
        assert other.state_dict() == state
        assert _run(suiren, [0.1], other)[-1][:2] == (16.0, 0)
    scaler.load_state_dict(state | {"scale": 2.0})
    assert scaler.get_scale() == 2.0 and scaler.scale(suiren.ones(1)).item() == 2.0
    scaler.set_growth_factor(3.0)
    scaler.set_backoff_factor(0.25)
    scaler.set_growth_interval(7)
    assert (scaler.get_growth_factor(), scaler.get_backoff_factor()) == (3.0, 0.25)
    assert scaler.get_growth_interval() == 7
    torch = pytest.importorskip("torch")
    assert list(torch.amp.GradScaler("cpu").state_dict()) == list(state)


def test_switched_off():
    scalers = [GradScaler("cpu", enabled=False)]
    with pytest.warns(UserWarning, match="not available") as caught:
        scalers.append(GradScaler())
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="not available"), pytest.warns(FutureWarning) as caught:
        scalers.append(suiren.cuda.amp.GradScaler())
    assert [x.filename for x in caught] == [__file__] * 2
    for scaler in scalers:
        w = suiren.ones(2, requires_grad=True)
        optimizer = suiren.optim.SGD([w], lr=0.5)
        loss = w.sum()
        assert scaler.scale(loss) is loss and not scaler.is_enabled()
        loss.backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        assert w.tolist() == [0.5, 0.5] and scaler.get_scale() == 1.0 and scaler.state_dict() == {}
        scaler.load_state_dict({})
    with pytest.warns(FutureWarning, match=r"amp.GradScaler\(.cpu., ") as caught:
        assert suiren.cpu.amp.GradScaler().is_enabled()
    assert caught[0].filename == __file__
    assert suiren.GradScaler is GradScaler


def test_a_step_computes_twice():
    """Once for the question whether the gradients are finite, once for the step itself."""
    from suiren.trace.program import Program

    runs = []
    original = Program.run

    def run(self, *args, **kwargs):
        runs.append(self)
        return original(self, *args, **kwargs)

    model = suiren.nn.Sequential(suiren.nn.Linear(4, 8), suiren.nn.ReLU(), suiren.nn.Linear(8, 2))
    optimizer = suiren.optim.SGD(model.parameters(), lr=0.1)
    scaler = GradScaler("cpu")
    x = suiren.randn(3, 4)
    Program.run = run
    try:
        for _ in range(4):
            optimizer.zero_grad()
            with suiren.autocast("cpu", suiren.float16):
                loss = model(x).float().pow(2).mean()
            scaler.scale(loss).backward()
            runs.clear()
            scaler.step(optimizer)
            scaler.update()
            assert len(runs) <= 2
    finally:
        Program.run = original


def test_float16_trains():
    suiren.manual_seed(0)
    model = suiren.nn.Sequential(suiren.nn.Linear(4, 16), suiren.nn.ReLU(), suiren.nn.Linear(16, 1))
    optimizer = suiren.optim.Adam(model.parameters(), lr=0.02)
    scaler = GradScaler("cpu", growth_interval=10)
    x = suiren.randn(32, 4)
    y = (x * suiren.tensor([1.0, -2.0, 0.5, 0.0])).sum(1, keepdim=True)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        with suiren.autocast("cpu", dtype=suiren.float16):
            loss = suiren.nn.functional.mse_loss(model(x), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 20
