"""Making and filling tensors against PyTorch, and against values recorded from it."""

import numpy as np
import pytest

import suiren

CASES = [
    "torch.tensor([1, 2.5])", "torch.tensor([[1, 2], [3]])", "torch.tensor([1, [2]])",
    "torch.tensor('a')", "torch.tensor(None)", "torch.tensor([None])", "torch.tensor(2**63)",
    "torch.tensor(300, dtype=torch.uint8)", "torch.tensor(-1, dtype=torch.uint8)",
    "torch.tensor(1j, dtype=torch.float32)", "torch.tensor([2.7, -2.7], dtype=torch.int32)",
    "torch.tensor([np.float32(1)])", "torch.tensor(np.arange(3, dtype=np.int16))",
    "torch.tensor([torch.tensor(1.), torch.tensor(2)])", "torch.tensor({1, 2})",
    "torch.full((2,), True)", "torch.full((2, 2), 1j)", "torch.full((2,), 300, dtype=torch.int8)",
    "torch.zeros(-1)", "torch.zeros(2.5)", "torch.zeros((2, 0))", "torch.eye(3, 2)",
    "torch.arange(0, 1, 0.1)", "torch.arange(5, 0, -2)", "torch.arange(0, 3, 0)",
    "torch.linspace(0, 10, 4)", "torch.linspace(0, 10, 4, dtype=torch.int64)",
    "torch.logspace(0, 2, 3)", "torch.zeros_like(torch.ones(2, 3).t())",
    "torch.empty_permuted((2, 3), (1, 0)).zero_()", "torch.ones(2, 3).new_full((2,), 3.)",
    "torch.zeros(2).copy_(torch.tensor([1, 2]))", "torch.zeros(2).copy_(torch.ones(3))",
    "torch.zeros(2, dtype=torch.int64).copy_(torch.tensor([1.7, -1.7]))",
    "torch.zeros(2).fill_(torch.tensor([1, 2]))", "torch.hann_window(5)",
    "torch.signal.windows.kaiser(5)", "torch.vander(torch.tensor([1., 2.]))",
    "torch.ones(1, 2, 3, 4).to(memory_format=torch.channels_last)",
    "torch.ones(1, 2, 3, 4).double(memory_format=torch.channels_last)",
    "torch.ones(1, 2, 3, 4, device='cpu').cpu(memory_format=torch.channels_last)",
    "torch.ones(2, 3).t().to(torch.int32, memory_format=torch.contiguous_format)",
    "torch.ones(2, 3).t().to(torch.int32)", "torch.ones(3).to(memory_format=torch.channels_last)",
]  # fmt: skip


def test_conversions_lay_elements_out_as_asked():
    x = suiren.arange(24.0).view(1, 2, 3, 4)
    y = x.to(memory_format=suiren.channels_last)
    assert y.stride() == (24, 1, 8, 2) and suiren.equal(x, y)
    assert y.to(memory_format=suiren.channels_last) is y
    assert x.to(memory_format=suiren.preserve_format) is x
    layer = suiren.nn.Conv2d(2, 3, 2).to(memory_format=suiren.channels_last)
    assert layer.weight.stride() == (8, 1, 4, 2)


@pytest.mark.parametrize("case", CASES)
def test_against_torch(case):
    torch = pytest.importorskip("torch")
    results = []
    for m in (torch, suiren):
        try:
            found = eval(case, {"torch": m, "np": np})
        except Exception as error:
            results.append(type(error))
        else:
            kind = str(found.dtype), tuple(found.shape), found.stride()
            values = found.reshape(-1).tolist()
            results.append((kind, pytest.approx(values) if m is torch else values))
    assert results[1] == results[0]


def test_recorded():
    assert suiren.linspace(0, 1, 5).tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert suiren.arange(1, 2.5, 0.5).tolist() == [1.0, 1.5, 2.0]
    assert suiren.tensor([1, 2.5]).dtype is suiren.float32
    assert suiren.zeros_like(suiren.ones(2, 3).t()).stride() == (1, 3)
    with pytest.raises(ValueError):
        suiren.tensor([[1, 2], [3]])


def test_copy_passes_gradients():
    a = suiren.ones(2, requires_grad=True)
    b = suiren.ones(1, requires_grad=True)
    x = a * 2
    x.copy_(b * 3)
    (x * suiren.tensor([1.0, 4.0])).sum().backward()
    assert b.grad.tolist() == [15.0] and a.grad.tolist() == [0.0, 0.0]


def test_copy_does_not_disturb_what_was_saved():
    x = suiren.ones(2, requires_grad=True)
    y = x.exp()
    z = suiren.zeros(2)
    z.copy_(y)
    z.add_(1)
    y.sum().backward()
    assert x.grad.tolist() == y.tolist()


@pytest.mark.parametrize("name", ["zeros", "ones", "empty"])
def test_sizes_by_keyword_are_called_size(name):
    """`shape=` was taken as well, which PyTorch refuses."""
    assert getattr(suiren, name)(size=(2, 3)).shape == (2, 3)
    with pytest.raises(TypeError):
        getattr(suiren, name)(shape=(2, 3))


def test_arange_rounds_as_pytorch_does():
    """relu at the "zero" of this range has gradient 1 in PyTorch, because it is 4e-16 there."""
    x = suiren.arange(-8.0, 8.0, 0.1)
    assert 0 < x[80].item() < 1e-15
    torch = pytest.importorskip("torch")
    for start, end, step in [(-8.0, 8.0, 0.1), (-5, 5, 0.01), (0, 100, 0.7), (0, 1, 0.1)]:
        assert suiren.arange(start, end, step).tolist() == torch.arange(start, end, step).tolist()
