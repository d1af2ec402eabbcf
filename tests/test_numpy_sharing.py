"""Memory shared with NumPy: both ways, through views, in-place operators and pending traces."""

import gc

import numpy as np
import pytest

import suiren
from suiren.storage import SNAPSHOT_BYTES

LARGE = SNAPSHOT_BYTES // 8 + 1000


def test_the_tutorial():
    a = np.ones(5)
    t = suiren.from_numpy(a)
    np.add(a, 1, out=a)
    assert t.tolist() == [2.0] * 5
    t.add_(1)
    assert a.tolist() == [3.0] * 5


def test_numpy_of_a_tensor():
    t = suiren.ones(5)
    n = t.numpy()
    t.add_(1)
    assert n.tolist() == [2.0] * 5
    n[0] = 7
    assert t.tolist() == [7.0, 2, 2, 2, 2]
    assert n.dtype == np.float32


@pytest.mark.parametrize("size", [6, LARGE])
def test_reads_see_memory_as_it_was_when_they_were_recorded(size):
    a = np.zeros(size)
    t = suiren.from_numpy(a)
    total = t + 1
    copied = t.clone()
    kept = t[::2].contiguous()
    both = t * total + t[:1]
    a[:] = 5
    assert total[0].item() == 1 and total[-1].item() == 1
    assert copied[-1].item() == 0 and kept[-1].item() == 0 and both[-1].item() == 0
    assert t[-1].item() == 5 and (t + 1)[0].item() == 6


@pytest.mark.parametrize("size", [6, LARGE])
def test_copy_does_not_alias(size):
    a = np.zeros(size)
    x = suiren.ones(size, dtype=suiren.float64)
    x.copy_(suiren.from_numpy(a))
    a[:] = 5
    assert x[-1].item() == 0


@pytest.mark.parametrize("size", [6, LARGE])
def test_saved_for_backward_is_not_changed(size):
    a = np.full(size, 2.0)
    w = suiren.ones(size, dtype=suiren.float64, requires_grad=True)
    loss = (w * suiren.from_numpy(a)).sum()
    a[:] = 9
    loss.backward()
    assert w.grad[0].item() == 2


def views_of(t):
    return {
        "slice": t[1:3],
        "column": t[:, 1],
        "step": t[::2, 1::2],
        "transpose": t.t(),
        "reshape": t.view(-1),
        "permuted slice": t.t()[1:, 1:],
        "strided": t.as_strided((2, 3), (5, 1), 2),
        "0-d": t[1, 2],
        "unsqueeze": t.unsqueeze(1),
        "diagonal": t.diagonal(),
        "double transpose": t.t().t()[2:],
    }


@pytest.mark.parametrize("name", views_of(suiren.zeros(4, 5)))
def test_numpy_of_views_aliases(name):
    base = suiren.zeros(4, 5)
    base += suiren.ones(5)
    view = views_of(base)[name]
    array = view.numpy()
    assert array.shape == tuple(view.shape)
    if array.ndim:
        assert array.strides == tuple(4 * s for s in view.stride())
    array[...] = 7
    assert (view == 7).all().item()
    assert int((base == 7).sum()) == view.numel()
    view.mul_(2)
    assert (array == 14).all()
    assert int((base == 14).sum()) == view.numel()
    base.zero_()
    assert (array == 0).all()


ARRAYS = {
    "contiguous": lambda: np.arange(20.0).reshape(4, 5),
    "transpose": lambda: np.arange(20.0).reshape(4, 5).T,
    "slice": lambda: np.arange(40.0).reshape(4, 10)[:, 1::2],
    "rows": lambda: np.arange(40.0).reshape(8, 5)[2:6],
    "permuted": lambda: np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1),
    "strided permuted": lambda: np.arange(48.0).reshape(2, 6, 4).transpose(2, 0, 1)[:, :, ::2],
    "scalar": lambda: np.array(3.0),
    "empty": lambda: np.zeros((0, 3)),
    "fortran": lambda: np.asfortranarray(np.arange(6.0).reshape(2, 3)),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_from_numpy_shares_any_layout(name):
    array = ARRAYS[name]()
    t = suiren.from_numpy(array)
    assert tuple(t.shape) == array.shape
    np.testing.assert_array_equal(t.numpy(), array)
    torch = pytest.importorskip("torch")
    assert t.stride() == torch.from_numpy(array).stride()
    assert t.storage_offset() == 0
    if array.size:
        assert t.data_ptr() == array.ctypes.data
    array += 1
    np.testing.assert_array_equal(t.tolist(), array.tolist())
    before = array.copy()
    t.mul_(3)
    np.testing.assert_array_equal(array, before * 3)
    if array.ndim == 2 and array.size:
        t[1:, 0] = -1
        assert (array[1:, 0] == -1).all() and (array[0] >= 0).all()
        array[0, 1] = 99
        assert t.t()[1, 0].item() == 99 and t.reshape(-1)[1].item() == 99


def test_numpy_of_shared_views_goes_back_to_the_array():
    a = np.zeros((3, 4))
    t = suiren.from_numpy(a[:, ::2])
    t.numpy()[1, 1] = 5
    assert a[1, 2] == 5


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "int8", "int16", "int32",
                                  "int64", "uint8", "uint16", "uint32", "uint64", "bool",
                                  "complex64", "complex128"])  # fmt: skip
def test_dtypes(kind):
    array = np.ones(3, kind)
    t = suiren.from_numpy(array)
    assert str(t.dtype) == f"torch.{kind}"
    assert t.numpy().dtype == kind


def test_sharing_ends_when_the_outside_lets_go():
    t = suiren.ones(5)
    array = t.numpy()
    part = array[2:]
    assert t._storage.pinned is not None
    del array
    gc.collect()
    part[0] = 4
    assert t[2].item() == 4
    del part
    t.add_(1)
    assert t._storage.pinned is None
    assert t.tolist() == [2.0, 2.0, 5.0, 2.0, 2.0]

    a = np.ones((2, 3))
    t = suiren.from_numpy(a.T)
    del a
    assert t.sum().item() == 6
    assert t._storage.pinned is None
    t += 1
    assert t.tolist() == [[2.0, 2.0]] * 3 and t.stride() == (1, 3)


def test_sharing_again_gives_the_same_memory():
    t = suiren.zeros(3)
    a, b = t.numpy(), t.numpy()
    a[0] = 1
    assert b[0] == 1 and np.shares_memory(a, b)


def test_numpy_does_not_change_other_tensors():
    x = suiren.zeros(3)
    y = x.clone()
    z = x + 0
    x.numpy()[:] = 5
    assert y.tolist() == [0.0] * 3 and z.tolist() == [0.0] * 3


def test_pending_operations_do_not_see_later_writes():
    x = suiren.zeros(3)
    y = x + 1  # pending, reads x
    x.numpy()[:] = 5
    assert y.tolist() == [1.0] * 3


def test_detached_tensors_share():
    x = suiren.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="detach"):
        x.numpy()
    x.detach().numpy()[0] = 9
    assert x.tolist() == [9.0, 1, 1]
    assert x.numpy(force=True).tolist() == [9.0, 1, 1]


def test_refusals():
    with pytest.raises(TypeError, match="expected np.ndarray"):
        suiren.from_numpy([1])
    with pytest.raises(TypeError):
        suiren.from_numpy(np.float32(3))
    for kind in ("U1", object, [("a", float)], "M8[s]"):
        with pytest.raises(TypeError):
            suiren.from_numpy(np.zeros(2, kind))
    with pytest.raises(ValueError, match="negative"):
        suiren.from_numpy(np.zeros(3)[::-1])
    with pytest.raises(ValueError, match="byte order"):
        suiren.from_numpy(np.zeros(3, ">f4"))
    fields = np.zeros(3, [("a", "f4"), ("b", "i2")])
    with pytest.raises(ValueError, match="multiple"):
        suiren.from_numpy(fields["a"])
    with pytest.raises(TypeError, match="BFloat16"):
        suiren.ones(2, dtype=suiren.bfloat16).numpy()


def test_read_only_arrays_warn_and_are_copied_at_a_write():
    array = np.ones(3)
    array.flags.writeable = False
    with pytest.warns(UserWarning, match="not writable"):
        t = suiren.from_numpy(array)
    assert t.sum().item() == 3
    t.add_(1)
    assert t.tolist() == [2.0] * 3 and array.tolist() == [1.0] * 3


def test_array_protocol():
    t = suiren.ones(2)
    assert isinstance(np.sin(t), suiren.Tensor)
    assert np.add(t, 1).tolist() == [2.0, 2.0]
    assert np.equal(t, 1).dtype is suiren.uint8
    assert np.add(np.ones(2), t).dtype is suiren.float64
    assert (t + np.ones(2)).dtype is suiren.float64
    assert np.array(t, dtype=np.int32).tolist() == [1, 1]
    assert np.array([suiren.tensor(1.0), suiren.tensor(2.0)]).tolist() == [1.0, 2.0]
    assert isinstance(np.asarray(t), np.ndarray) and np.shares_memory(np.asarray(t), t.numpy())
    assert isinstance(np.float64(2) * t, suiren.Tensor)
    assert np.stack([t, t]).shape == (2, 2)
    np.testing.assert_allclose(t, [1, 1])
    with pytest.raises(RuntimeError):
        np.asarray(suiren.ones(2, requires_grad=True))


def test_as_tensor_and_asarray():
    a = np.zeros(3)
    for make in (suiren.as_tensor, suiren.asarray):
        t = make(a)
        a[0] += 1
        assert t[0].item() == a[0]
        assert make(t) is t
    assert suiren.as_tensor(a, dtype=suiren.float32).dtype is suiren.float32
    copied = suiren.asarray(a, copy=True)
    a[1] = 9
    assert copied[1].item() == 0
    with pytest.raises(ValueError):
        suiren.asarray([1], copy=False)


def test_frombuffer():
    memory = bytearray(8)
    t = suiren.frombuffer(memory, dtype=suiren.int16)
    memory[0] = 7
    assert t.tolist() == [7, 0, 0, 0]
    t[1] = 1
    assert memory[2] == 1
    assert suiren.frombuffer(memory, dtype=suiren.int16, count=2, offset=1).shape == (2,)
    for options in ({"count": 0}, {"offset": 8}, {"offset": 1}, {"count": 5}, {"offset": -1}):
        with pytest.raises(ValueError):
            suiren.frombuffer(memory, dtype=suiren.int16, **options)
    with pytest.raises(ValueError):
        suiren.frombuffer(bytearray(), dtype=suiren.int16)
    with pytest.raises(ValueError, match="protocol"):
        suiren.frombuffer(5, dtype=suiren.int16)


def test_dlpack():
    t = suiren.ones(3)
    array = np.from_dlpack(t)
    t.add_(1)
    assert array.tolist() == [2.0] * 3
    a = np.zeros(3)
    shared = suiren.from_dlpack(a)
    shared += 1
    assert a.tolist() == [1.0] * 3
    assert suiren.from_dlpack(t.__dlpack__()).tolist() == [2.0] * 3
    assert suiren.utils.dlpack.from_dlpack(suiren.utils.dlpack.to_dlpack(t)).tolist() == [2.0] * 3
    assert t.__dlpack_device__() == (1, 0)
    with pytest.raises(BufferError):
        suiren.ones(1, requires_grad=True).__dlpack__()
    with pytest.raises(RuntimeError):
        suiren.from_dlpack(3)


def test_dlpack_with_torch():
    torch = pytest.importorskip("torch")
    t = suiren.ones(3)
    theirs = torch.from_dlpack(t)
    theirs[0] = 5
    assert t.tolist() == [5.0, 1, 1]
    ours = suiren.from_dlpack(torch.arange(3))
    assert ours.tolist() == [0, 1, 2] and ours.dtype is suiren.int64


def test_share_memory():
    t = suiren.ones(2, 3).t()
    assert not t.is_shared()
    assert t.share_memory_() is t and t.is_shared()
    t.add_(1)
    assert t.tolist() == [[2.0, 2.0]] * 3 and t.stride() == (1, 3)


def test_converted_views_with_gaps_are_dense():
    x = suiren.arange(24.0).reshape(2, 3, 4)
    for view, strides in ((x[:, :, ::3], (6, 2, 1)), (x.permute(2, 0, 1)[::2], (1, 6, 2))):
        found = view.double()
        assert found.stride() == strides
        np.testing.assert_array_equal(found.numpy(), view.numpy())
