"""Autocast's settings and scopes: nesting, threads, remembered parameters, backward, replays."""

import threading
import warnings

import numpy as np
import pytest

import suiren
from suiren.amp import autocast, custom_bwd, custom_fwd
from suiren.autocast_state import casting, state
from suiren.nn import functional as F
from suiren.utils.checkpoint import checkpoint

bf16, f16 = suiren.bfloat16, suiren.float16


@pytest.fixture(autouse=True)
def nothing_left_behind():
    yield
    assert not state.enabled and not casting and not state.cache and state.nesting == 0
    assert state.dtype is bf16 and state.caching and not state.entered


def _product():
    return (suiren.ones(2, 2) @ suiren.ones(2, 2)).dtype


def _settings(torch=suiren):
    return (torch.is_autocast_enabled("cpu"), str(torch.get_autocast_dtype("cpu")),
            torch.is_autocast_cache_enabled())  # fmt: skip


# ---- settings


def test_nesting_is_pytorchs():
    def run(torch):
        found = [_settings(torch)]
        with torch.autocast("cpu", torch.float16, cache_enabled=False):
            found.append(_settings(torch))
            with torch.autocast("cpu"):
                found.append(_settings(torch))
            with torch.autocast("cpu", enabled=False):
                found.append(_settings(torch))
            with torch.autocast("cpu", torch.bfloat16, cache_enabled=True):
                found.append(_settings(torch))
            found.append(_settings(torch))
        found.append(_settings(torch))
        with pytest.raises(KeyError), torch.autocast("cpu"):
            raise KeyError
        return [*found, _settings(torch)]

    half, brain = "torch.float16", "torch.bfloat16"
    wanted = [(False, brain, True), (True, half, False), (True, half, False), (False, half, False),
              (True, brain, True), (True, half, False), (False, brain, True),
              (False, brain, True)]  # fmt: skip
    assert run(suiren) == wanted
    torch = pytest.importorskip("torch")
    assert run(torch) == wanted


def test_settings_by_function():
    suiren.set_autocast_enabled("cpu", True)
    suiren.set_autocast_dtype("cpu", f16)
    try:
        assert _product() is f16 and not suiren.is_autocast_enabled()
    finally:
        suiren.set_autocast_enabled("cpu", False)
        suiren.set_autocast_dtype("cpu", bf16)
    assert suiren.autocast_increment_nesting() == 1
    assert suiren.autocast_decrement_nesting() == 0
    suiren.set_autocast_cache_enabled(False)
    assert not suiren.is_autocast_cache_enabled()
    suiren.set_autocast_cache_enabled(True)
    assert suiren.get_autocast_dtype("cuda") is f16
    suiren.set_autocast_enabled(True)
    assert suiren.is_autocast_enabled("cuda") and _product() is suiren.float32
    suiren.set_autocast_enabled("cuda", False)
    assert [suiren.amp.is_autocast_available(d) for d in ("cpu", "cuda", "meta")] == [
        True, True, False
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (RuntimeError, lambda t: t.is_autocast_enabled("nothing")),
        (RuntimeError, lambda t: t.is_autocast_enabled("meta")),
        (RuntimeError, lambda t: t.get_autocast_dtype("nothing")),
        (RuntimeError, lambda t: t.amp.is_autocast_available("nothing")),
        (TypeError, lambda t: t.get_autocast_dtype(t.device("cpu"))),
        (TypeError, lambda t: t.set_autocast_enabled("cpu")),
        (TypeError, lambda t: t.set_autocast_enabled("cpu", 1)),
        (TypeError, lambda t: t.set_autocast_dtype("cpu", 3)),
        (TypeError, lambda t: t.autocast()),
        (TypeError, lambda t: t.autocast("cpu", enabled=1).__enter__()),
        (ValueError, lambda t: t.autocast(3)),
        (ValueError, lambda t: t.autocast(t.device("cpu"))),
        (RuntimeError, lambda t: t.autocast("nothing")),
        (RuntimeError, lambda t: t.autocast("nothing", enabled=False)),
        (ValueError, lambda t: t.amp.custom_fwd(device_type=3)),
        (TypeError, lambda t: t.amp.custom_bwd()),
    ],
)
def test_errors(error, call):
    with pytest.raises(error):
        call(suiren)
    torch = pytest.importorskip("torch")
    with pytest.raises(error):
        call(torch)


def test_warnings_and_devices_that_are_not_there():
    for dtype in (suiren.float32, suiren.float64, suiren.int32):
        with pytest.warns(UserWarning, match="not supported") as caught, autocast("cpu", dtype):
            assert _product() is suiren.float32
        assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="not available"), autocast("cuda", dtype=f16):
        assert _product() is suiren.float32
    with pytest.warns(UserWarning, match="not available"), pytest.warns(FutureWarning):
        suiren.cuda.amp.autocast()
    with pytest.warns(FutureWarning) as caught, suiren.cpu.amp.autocast():
        assert _product() is bf16
    assert caught[0].filename == __file__
    with pytest.warns(FutureWarning):
        suiren.cuda.amp.custom_bwd(print)
    with pytest.warns(DeprecationWarning):
        assert not suiren.is_autocast_cpu_enabled()
    with pytest.warns(DeprecationWarning):
        assert suiren.get_autocast_gpu_dtype() is f16
    with autocast("mps"), autocast("cpu:0"):
        assert _product() is bf16


def test_decorator():
    @suiren.autocast("cpu")
    def product(times=0):
        """Its text."""
        if times:
            product(times - 1)
        return _product()

    assert product() is bf16 and product.__doc__ == "Its text."
    assert product(2) is bf16 and not suiren.is_autocast_enabled("cpu")  # entered while it is in

    class Net(suiren.nn.Module):
        @suiren.autocast(device_type="cpu", dtype=suiren.float16)
        def forward(self, x):
            return x @ x

    assert Net()(suiren.ones(2, 2)).dtype is f16


def test_threads_have_settings_of_their_own():
    found = []
    with autocast("cpu", f16):
        thread = threading.Thread(target=lambda: found.append((_settings(), _product())))
        thread.start()
        thread.join()
        assert _product() is f16
    assert found == [((False, "torch.bfloat16", True), suiren.float32)]


# ---- parameters are converted once


def _cast_node(y):
    return y.grad_fn.next_functions[1][0]


def test_parameters_are_converted_once_and_gradients_add_up():
    w = suiren.ones(2, 2, requires_grad=True)
    x = suiren.eye(2)
    with autocast("cpu"):
        a, b = x @ w, x @ w
        with autocast("cpu", enabled=False):
            pass
        c = x @ w
    assert _cast_node(a) is _cast_node(b) is _cast_node(c)
    assert type(_cast_node(a)).__name__ == "ToCopyBackward0"
    (a.sum() + b.sum() + c.sum()).backward()
    assert w.grad.dtype is suiren.float32 and w.grad.tolist() == [[3.0, 3.0], [3.0, 3.0]]
    with autocast("cpu"):
        again = x @ w
    assert _cast_node(again) is not _cast_node(a)
    with autocast("cpu", cache_enabled=False):
        assert _cast_node(x @ w) is not _cast_node(x @ w)
    with autocast("cpu"):
        assert _cast_node(x @ w.t()) is not _cast_node(x @ w.t())  # views are not
        first = x @ w
        suiren.clear_autocast_cache()
        assert _cast_node(x @ w) is not _cast_node(first)


def test_conversions_without_gradients_serve_no_others():
    w = suiren.ones(2, 2, requires_grad=True)
    for switch in (suiren.no_grad, suiren.inference_mode):
        with autocast("cpu"):
            with switch():
                assert not (suiren.eye(2) @ w).requires_grad
            y = suiren.eye(2) @ w
        assert y.requires_grad
        y.sum().backward()
    with autocast("cpu"):
        for _ in range(2):
            (suiren.eye(2) @ w).sum().backward()
    assert w.grad.tolist() == [[4.0, 4.0], [4.0, 4.0]]


def test_parameters_that_are_written_to_are_converted_again():
    w = suiren.ones(2, 2, requires_grad=True)
    with autocast("cpu"):
        before = suiren.eye(2) @ w
        with suiren.no_grad():
            w.zero_()
        after = suiren.eye(2) @ w
        with autocast("cpu", f16):
            assert (suiren.eye(2) @ w).dtype is f16
    assert before.tolist() == [[1.0, 1.0], [1.0, 1.0]] and after.tolist() == [[0.0] * 2] * 2


# ---- backward


def test_backward_outside_and_inside():
    """A derivative's products are converted where backward() is called under autocast."""

    def run(torch, inside):
        rng = np.random.default_rng(0)
        x, w, g = (torch.tensor(rng.standard_normal((4, 4)).astype("f")) for _ in range(3))
        w.requires_grad_()
        x.requires_grad_()
        found = []
        for _ in range(4):  # the later ones are replays
            x.grad = w.grad = None
            y = x @ w
            if inside:
                with torch.autocast("cpu"):
                    y.backward(g)
            else:
                y.backward(g)
            found.append((x.grad.numpy().copy(), w.grad.numpy().copy()))
        for a, b in found[1:]:
            assert np.array_equal(a, found[0][0]) and np.array_equal(b, found[0][1])
        return found[0]

    outside, inside = run(suiren, False), run(suiren, True)
    assert not np.array_equal(outside[0], inside[0])
    torch = pytest.importorskip("torch")
    for mine, theirs in zip((*outside, *inside),
                            (*run(torch, False), *run(torch, True)), strict=True):  # fmt: skip
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


def test_functions_see_the_settings():
    seen = []

    class Double(suiren.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            seen.append(suiren.is_autocast_enabled("cpu"))
            return 2 * x

        @staticmethod
        def backward(ctx, grad):
            seen.append(suiren.is_autocast_enabled("cpu"))
            return 2 * grad

    x = suiren.ones(2, requires_grad=True)
    with autocast("cpu"):
        y = Double.apply(x)
    y.sum().backward()
    assert seen == [True, False]


def _custom(torch, cast_inputs, seen):
    class Product(torch.autograd.Function):
        @staticmethod
        @torch.amp.custom_fwd(device_type="cpu", cast_inputs=cast_inputs)
        def forward(ctx, a, b, more):
            seen.append((a.dtype, more["b"][0].dtype, torch.is_autocast_enabled("cpu")))
            ctx.save_for_backward(a, b)
            return a @ b

        @staticmethod
        @torch.amp.custom_bwd(device_type="cpu")
        def backward(ctx, grad):
            a, b = ctx.saved_tensors
            seen.append((torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")))
            return grad @ b.t(), a.t() @ grad, None

    return Product


@pytest.mark.parametrize("cast", [None, "float32", "float16"])
@pytest.mark.parametrize("on", [True, False])
def test_custom_functions_run_backward_as_forward(cast, on):
    def run(torch):
        seen = []
        x = torch.ones(2, 2, requires_grad=True)
        wanted = None if cast is None else getattr(torch, cast)
        more = {"b": [torch.ones(1, dtype=torch.bfloat16)], "n": "text"}
        with torch.autocast("cpu", torch.bfloat16, enabled=on):
            y = _custom(torch, wanted, seen).apply(x, x, more)
        y.float().sum().backward()
        return [*map(str, seen), str(y.dtype), x.grad.tolist()]

    mine = run(suiren)
    torch = pytest.importorskip("torch")
    assert mine == run(torch)


def test_custom_decorators_keep_names():
    @custom_fwd(device_type="cpu")
    def forward(ctx):
        """Its text."""

    @custom_bwd(device_type="cpu")
    def backward(ctx):
        """Its text."""

    assert forward.__name__ == "forward" and backward.__doc__ == "Its text."


def test_checkpoint_runs_again_as_it_ran():
    seen = []

    def block(x, w):
        seen.append((suiren.is_autocast_enabled("cpu"), (x @ w).dtype))
        return F.relu(x @ w).float().exp()

    x = suiren.randn(3, 3)
    grads = []
    for kept in (True, False):
        w = suiren.full((3, 3), 0.3, requires_grad=True)
        with autocast("cpu", f16):
            y = block(x, w) if kept else checkpoint(block, x, w, use_reentrant=False)
        y.sum().backward()
        grads.append(w.grad.tolist())
    assert seen == [(True, f16)] * 3 and grads[0] == grads[1]


# ---- writing


def test_what_writes_is_not_converted():
    x = suiren.ones(2, 2)
    with autocast("cpu"):
        assert x.clone().addmm_(x, x).dtype is suiren.float32
        with pytest.raises(RuntimeError):
            x.clone().addmm_(x.bfloat16(), x)
        with pytest.raises(RuntimeError):
            suiren.cat([x.half(), x.bfloat16()])
        out = suiren.empty(2, 2)
        assert suiren.mm(x, x, out=out) is out and out.dtype is suiren.float32
        assert _product() is bf16  # on again


# ---- torch.compile


def test_compiled_calls_are_not_replayed_under_other_settings():
    w = suiren.ones(2, 2, requires_grad=True)

    @suiren.compile
    def product(x):
        return x @ w

    x = suiren.ones(2, 2)
    for _ in range(6):
        assert product(x).dtype is suiren.float32
        for dtype in (bf16, f16):
            with autocast("cpu", dtype):
                assert product(x).dtype is dtype
    assert len(product._replays.plans) == 3
    with suiren.no_grad():
        w.mul_(2)
    with autocast("cpu"):
        assert product(x).tolist() == [[4.0, 4.0], [4.0, 4.0]]


def test_compiled_calls_see_the_type_that_is_set():
    @suiren.compile
    def product(x):
        with suiren.autocast("cpu"):
            return x @ x

    for _ in range(4):
        assert product(suiren.ones(2, 2)).dtype is bf16
    suiren.set_autocast_dtype("cpu", f16)
    try:
        assert product(suiren.ones(2, 2)).dtype is f16
    finally:
        suiren.set_autocast_dtype("cpu", bf16)
    assert product._replays.plans


def test_compiled_calls_with_autocast_inside():
    model = suiren.nn.Sequential(suiren.nn.Linear(3, 4), suiren.nn.ReLU(), suiren.nn.Linear(4, 2))
    optimizer = suiren.optim.SGD(model.parameters(), lr=0.1)
    y = suiren.tensor([0, 1, 1, 0])

    def step(x):
        optimizer.zero_grad()
        with suiren.autocast("cpu"):
            loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    x = suiren.randn(4, 3)
    start = {k: v.clone() for k, v in model.state_dict().items()}
    plain = [step(x).item() for _ in range(8)]
    model.load_state_dict(start)
    compiled = suiren.compile(step, fullgraph=True)
    np.testing.assert_allclose([compiled(x).item() for _ in range(8)], plain, rtol=1e-2)
    assert compiled._replays.plans

    @suiren.compile(fullgraph=True)
    @suiren.autocast("cpu")
    def forward(x):
        return model(x)

    for _ in range(5):
        assert forward(x).dtype is bf16
    assert forward._replays.plans


# ---- training


def _train(torch, make, x, y, lower, steps=6, lr=0.05, state=None):
    torch.manual_seed(0)
    model = make(torch)
    if state is not None:
        model.load_state_dict({k: torch.tensor(v) for k, v in state.items()})
    first = {k: v.detach().numpy().copy() for k, v in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    x, y = torch.tensor(x), torch.tensor(y)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        with torch.autocast("cpu", getattr(torch, lower or "bfloat16"), enabled=lower is not None):
            loss = torch.nn.functional.cross_entropy(model(x), y)
        assert loss.dtype is torch.float32
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(p.dtype is torch.float32 is p.grad.dtype for p in model.parameters())
    return losses, first


def _cnn(torch):
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 4),
    )  # fmt: skip


@pytest.mark.parametrize("lower", ["bfloat16", "float16"])
def test_a_network_trains(lower):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((8, 1, 8, 8)).astype("f")
    y = rng.integers(0, 4, 8)
    losses, first = _train(suiren, _cnn, x, y, lower)
    full, _ = _train(suiren, _cnn, x, y, None)
    assert losses[-1] < losses[0]
    np.testing.assert_allclose(losses, full, rtol=0.05, atol=0.02)
    torch = pytest.importorskip("torch")
    theirs, _ = _train(torch, _cnn, x, y, lower, state=first)
    np.testing.assert_allclose(losses, theirs, rtol=0.05, atol=0.02)


MODULES = {
    "LSTM": lambda nn: (nn.LSTM(4, 5), (3, 2, 4)),
    "LSTM, two layers": lambda nn: (nn.LSTM(4, 5, 2, bidirectional=True), (3, 2, 4)),
    "LSTM, projected": lambda nn: (nn.LSTM(4, 5, proj_size=3), (3, 2, 4)),
    "GRU": lambda nn: (nn.GRU(4, 5), (3, 2, 4)),
    "RNN": lambda nn: (nn.RNN(4, 5), (3, 2, 4)),
    "LSTMCell": lambda nn: (nn.LSTMCell(4, 5), (2, 4)),
    "GRUCell": lambda nn: (nn.GRUCell(4, 5), (2, 4)),
    "MultiheadAttention": lambda nn: (nn.MultiheadAttention(8, 2), (3, 2, 8)),
    "TransformerEncoderLayer": lambda nn: (nn.TransformerEncoderLayer(8, 2, 16, 0.0), (3, 2, 8)),
    "BatchNorm2d": lambda nn: (nn.BatchNorm2d(3), (2, 3, 4, 4)),
    "ConvTranspose2d": lambda nn: (nn.ConvTranspose2d(3, 4, 3), (2, 3, 4, 4)),
    "PReLU": lambda nn: (nn.PReLU(), (5,)),
}


def _leaves(x):
    if isinstance(x, (tuple, list)):
        return [z for y in x for z in _leaves(y)]
    return [] if x is None else [x]


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", MODULES)
def test_modules_are_pytorchs(name, kind):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    theirs, shape = MODULES[name](torch.nn)
    mine, _ = MODULES[name](suiren.nn)
    mine.load_state_dict({k: suiren.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    given = np.random.default_rng(0).standard_normal(shape).astype("f")
    found = []
    for library, module in ((suiren, mine), (torch, theirs)):
        x = library.tensor(given).to(getattr(library, kind)).requires_grad_()
        arguments = (x, x, x) if name == "MultiheadAttention" else (x,)
        with library.autocast("cpu"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results = _leaves(module(*arguments))
        sum((y.float() * y.float().exp()).sum() for y in results).backward()
        grads = [p.grad for p in module.parameters() if p.grad is not None]
        found.append((
            [str(y.dtype) for y in (*results, *grads, x.grad)],
            [y.detach().float().numpy() for y in (*results, *grads, x.grad)],
        ))  # fmt: skip
    assert found[0][0] == found[1][0]
    for a, b in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_allclose(a, b, atol=0.03 * np.abs(b).max() + 1e-2)
