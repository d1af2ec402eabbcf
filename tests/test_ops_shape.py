"""Joining, splitting and rearranging against PyTorch, and against values recorded from it."""

import pytest

import suiren

CASES = [
    "torch.cat([x, x], 1)", "torch.cat([x, torch.ones(2, 3, dtype=torch.int64)])",
    "torch.stack([x, x], -1)", "torch.hstack([x, x])", "torch.vstack([x, x])",
    "torch.dstack([x, x])", "x.split(2, 1)", "x.split([1, 2], 1)", "x.chunk(2, 1)",
    "torch.tensor_split(x, 2, 1)", "x.unbind(1)", "x.narrow(1, 1, 2)", "x.flatten()",
    "x.unflatten(1, (3, 1))", "x.movedim(0, 1)", "x.repeat(2, 1, 2)", "x.tile(2)",
    "x.repeat_interleave(2, 1)", "x.repeat_interleave(torch.tensor([1, 2, 0]), 1)", "x.flip(0, 1)",
    "x.roll(1, 1)", "x.roll(2)", "x.rot90()", "x.tril()", "x.triu(1)", "x.diag()", "x[0].diag(1)",
    "torch.diag_embed(x, 1)", "torch.block_diag(x, x[0])", "x.unfold(1, 2, 1)", "x.mT", "x.H",
    "torch.meshgrid(x[0], x[1], indexing='xy')", "torch.cartesian_prod(x[0], x[1])",
    "torch.combinations(x[0])", "x.clone().t_()", "x.clone().unsqueeze_(1)",
    "torch.broadcast_tensors(x, x[:1])", "torch.tril_indices(3, 2)", "x.clone().resize_(2, 2)",
]  # fmt: skip


def _seen(result):
    parts = result if isinstance(result, (tuple, list)) else (result,)
    return [(tuple(p.shape), p.stride(), p.storage_offset(), p.tolist()) for p in parts]


@pytest.mark.parametrize("case", CASES)
def test_against_torch(case):
    torch = pytest.importorskip("torch")
    results = [
        _seen(eval(case, {"torch": m, "x": m.arange(6.0).reshape(2, 3)})) for m in (torch, suiren)
    ]
    assert results[0] == results[1]


def test_recorded():
    x = suiren.arange(5)
    assert [p.tolist() for p in x.split(2)] == [[0, 1], [2, 3], [4]]
    assert x.unfold(0, 3, 2).tolist() == [[0, 1, 2], [2, 3, 4]]
    assert suiren.cat([x, x[:1]]).tolist() == [0, 1, 2, 3, 4, 0]
    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
        suiren.cat([suiren.zeros(2, 3), suiren.zeros(2, 4)])


def test_several_views_may_not_be_written_under_autograd():
    x = suiren.ones(4, requires_grad=True) * 2
    with pytest.raises(RuntimeError, match="several views"):
        x.chunk(2)[0].add_(1)


def test_metadata_in_place_keeps_history():
    x = suiren.arange(6.0).reshape(2, 3).requires_grad_()
    y = (x * 2).t_()
    assert y.shape == (3, 2)
    y[0] = 0.0
    (y * 3).sum().backward()
    assert x.grad.tolist() == [[0.0, 6.0, 6.0], [0.0, 6.0, 6.0]]


def test_gradients():
    x = suiren.arange(4.0).requires_grad_()
    suiren.cat([x.unfold(0, 2, 1).sum(0), x.flip(0)[:2], x.repeat(2)]).sum().backward()
    assert x.grad.tolist() == [3.0, 4.0, 5.0, 4.0]


# ---- as_strided from tensors that are a part of their memory


def test_as_strided_outside_its_input_takes_no_gradient():
    """A leaf that is a part of a larger memory got no gradient at all. From PyTorch 2.13."""
    memory = suiren.arange(20.0)
    for offset, expected in [
        (None, [1.0, 3.0, 2.0, 4.0]), (0, [0.0] * 4), (4, [3.0, 2.0, 4.0, 0.0]),
    ]:  # fmt: skip
        x = memory[5:15].requires_grad_()
        y = x.as_strided((2, 2), (1, 2), offset)
        assert y.grad_fn.name() == "AsStridedBackward0"
        (y * suiren.tensor([[1.0, 2], [3, 4]])).sum().backward()
        assert x.grad.tolist() == expected + [0.0] * 6


def test_as_strided_keeps_the_dtype_that_a_view_reads_memory_in():
    """The step from one dtype to the other was lost, which gave other numbers."""
    bits = suiren.arange(4.0).view(suiren.int32)
    assert bits.as_strided((2, 2), (1, 1)).tolist() == [[0, 1065353216], [1065353216, 1073741824]]
    memory = suiren.arange(4.0)
    memory.view(suiren.int32).as_strided((2,), (2,), 1).fill_(0)
    assert memory.tolist() == [0.0, 0.0, 2.0, 0.0]
    with pytest.raises(NotImplementedError, match="clone"):
        memory[1:].view(suiren.int16).as_strided((2,), (1,), 0)
    with pytest.raises(NotImplementedError, match="clone"):
        suiren.tensor([1 + 2j, 3j]).real.as_strided((2,), (1,), 1)


def test_writing_through_as_strided_outside_its_input_is_refused_under_autograd():
    """Gradients of what lies outside would be lost."""
    x = suiren.arange(6.0).requires_grad_()
    part = (x * 1)[2:5]
    with pytest.raises(NotImplementedError, match="as_strided"):
        part.as_strided((2,), (2,), 1).mul_(3)


def test_narrow_copy_past_the_last_dimension_is_a_runtime_error():
    """narrow raises IndexError there, narrow_copy does not: as in PyTorch."""
    with pytest.raises(RuntimeError):
        suiren.ones(2, 3).narrow_copy(2, 0, 1)
    with pytest.raises(IndexError):
        suiren.ones(2, 3).narrow_copy(-3, 0, 1)
