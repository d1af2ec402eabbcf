"""Brackets, gather and scatter against PyTorch, and against numbers recorded from it."""

import numpy as np
import pytest

import suiren

ITEMS = [0, -1, slice(None), slice(1, None), slice(None, None, 2), None, Ellipsis, True, False,
         [0, 1], [[0], [1]], [-1]]  # fmt: skip


def test_views_share_memory_and_copies_do_not():
    x = suiren.arange(6).reshape(2, 3)
    x[:, 1][0] = 9
    assert x.tolist() == [[0, 9, 2], [3, 4, 5]]
    x[[0]][0, 0] = 7
    assert x.tolist() == [[0, 9, 2], [3, 4, 5]]


def test_recorded():
    x = suiren.arange(24).reshape(2, 3, 4)
    assert x[:, 0, [1, 2]].tolist() == [[1, 2], [13, 14]]
    assert x[[0, 1], :, [0, 1]].tolist() == [[0, 4, 8], [13, 17, 21]]
    assert x[0, :, [0, 1]].tolist() == [[0, 1], [4, 5], [8, 9]]  # NumPy would transpose this
    assert x[x > 21].tolist() == [22, 23]
    assert x[..., None].stride() == (12, 4, 1, 1)
    assert x.transpose(0, 2)[[0, 1]].stride() == (6, 1, 3)
    x[x > 21] = 0
    x[0, [0, 1], 0] = suiren.tensor([50, 60])
    assert x[0, :, 0].tolist() == [50, 60, 8] and x[1, 2].tolist() == [20, 21, 0, 0]


@pytest.mark.parametrize(
    "index, error",
    [((5,), IndexError), ((0, 0, 0), IndexError), ((slice(None, None, -1),), ValueError),
     ((1.0,), IndexError), (([5],), IndexError), (([0, 1], [0, 1, 2]), IndexError)],
)  # fmt: skip
def test_errors(index, error):
    with pytest.raises(error):
        suiren.zeros(2, 3)[index]


def test_gradients():
    x = suiren.arange(6.0).reshape(2, 3).requires_grad_()
    (x[[0, 0, 1]] * suiren.tensor([[1.0], [2.0], [3.0]])).sum().backward()
    assert x.grad.tolist() == [[3.0, 3.0, 3.0], [3.0, 3.0, 3.0]]
    x.grad = None
    y = x * 1
    y[0, 1:] = 5.0
    y[:, [0]] = suiren.zeros(2, 1)
    y.sum().backward()
    assert x.grad.tolist() == [[0.0, 0.0, 0.0], [0.0, 1.0, 1.0]]
    assert x[0].grad_fn.name() == "SelectBackward0"


def test_gather_and_scatter_recorded():
    index = suiren.tensor([[0, 2], [1, 1]])
    x = suiren.arange(6.0).reshape(2, 3)
    assert x.gather(1, index).tolist() == [[0.0, 2.0], [4.0, 4.0]]
    src = suiren.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert x.scatter_add(1, index, src).tolist() == [[1.0, 1.0, 4.0], [3.0, 11.0, 5.0]]
    reduced = x.scatter_reduce(1, index, src, "mean", include_self=False)
    assert reduced.tolist() == [[1.0, 1.0, 2.0], [3.0, 3.5, 5.0]]
    with pytest.raises(RuntimeError):
        x.gather(1, suiren.tensor([[3], [0]]))


def test_random_indices_against_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    for _ in range(300):
        shape = tuple(rng.integers(1, 4, rng.integers(1, 4)).tolist())
        index = tuple(ITEMS[i] for i in rng.integers(0, len(ITEMS), rng.integers(1, 4)))
        values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        results = []
        for m in (torch, suiren):
            x = m.tensor(values)
            try:
                found = x[index]
                x[index] = 7
                results.append((tuple(found.shape), found.tolist(), x.tolist()))
            except (IndexError, RuntimeError) as error:
                results.append(type(error))
        assert results[0] == results[1], (shape, index)
