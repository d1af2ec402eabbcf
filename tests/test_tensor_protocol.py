"""What Python and programs ask of tensors: copies, pickles, old constructors, kinds, settings."""

import copy
import pickle

import numpy as np
import pytest

import suiren
from suiren import nn


class Named(suiren.Tensor):
    pass


# ---- copies and pickles


def pickled(x, protocol=pickle.HIGHEST_PROTOCOL):
    return pickle.loads(pickle.dumps(x, protocol))


@pytest.mark.parametrize("again", [pickled, lambda x: pickled(x, 2), copy.deepcopy])
def test_copies_keep_values_layout_and_sharing(again):
    base = suiren.zeros(2, 3)
    base += suiren.ones(3)
    originals = [base, base.t(), base[1:, ::2], suiren.tensor(3), suiren.zeros(0, 2)]
    originals += [suiren.ones(2, dtype=suiren.bfloat16), suiren.ones(2, requires_grad=True)]
    found = again(originals)
    for ours, theirs in zip(found, originals, strict=True):
        assert ours is not theirs
        assert ours.tolist() == theirs.tolist() and ours.stride() == theirs.stride()
        assert ours.dtype is theirs.dtype and ours.requires_grad == theirs.requires_grad
        assert ours.storage_offset() == theirs.storage_offset()
    found[0][1, 0] = 9
    assert found[1][0, 1].item() == 9 and found[2][0, 0].item() == 9
    assert base[1, 0].item() == 1


def test_copy_shares_and_deepcopy_does_not():
    x = suiren.ones(3)
    shallow, deep = copy.copy(x), copy.deepcopy(x)
    x.add_(1)
    assert shallow.tolist() == [2.0] * 3 and deep.tolist() == [1.0] * 3


def test_deepcopy_of_shared_memory_is_a_copy():
    a = np.zeros(3)
    x = suiren.from_numpy(a)
    y = copy.deepcopy(x)
    a[0] = 1
    assert y.tolist() == [0.0] * 3


def test_deepcopy_takes_gradients_and_attributes():
    x = suiren.ones(2, requires_grad=True)
    (x * 2).sum().backward()
    x.label = ["a"]
    y = copy.deepcopy(x)
    assert y.grad.tolist() == [2.0, 2.0] and y.grad is not x.grad
    assert y.label == ["a"] and y.label is not x.label
    assert pickled(x).label == ["a"]
    with pytest.raises(RuntimeError, match="graph leaves"):
        copy.deepcopy(x * 2)


def test_subclasses_and_parameters_keep_their_class():
    for again in (pickled, copy.deepcopy):
        assert type(again(Named([1.0]))) is Named
        parameter = again(nn.Parameter(suiren.ones(1)))
        assert isinstance(parameter, nn.Parameter) and parameter.requires_grad
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    found = copy.deepcopy(tied)
    assert found[0].weight is found[1].weight


# ---- constructors


def test_old_constructors():
    assert suiren.Tensor().shape == (0,)
    assert suiren.Tensor(2, 3).shape == (2, 3) and suiren.Tensor(suiren.Size([4])).shape == (4,)
    assert suiren.Tensor([1, 2]).tolist() == [1.0, 2.0]
    assert suiren.Tensor((2, 3)).tolist() == [2.0, 3.0]
    assert suiren.Tensor(np.ones(2)).dtype is suiren.float32
    assert suiren.Tensor(range(3)).tolist() == [0.0, 1.0, 2.0]
    assert suiren.LongTensor([1.5]).tolist() == [1]
    assert suiren.BoolTensor([1, 0]).tolist() == [True, False]
    assert suiren.ones(2).new([1, 2]).dtype is suiren.float32
    assert suiren.ones(2, dtype=suiren.int64).new(3).dtype is suiren.int64
    x = suiren.ones(2)
    suiren.FloatTensor(x)[0] = 5
    assert x[0].item() == 5
    for call in (
        lambda: suiren.Tensor(5.0),
        lambda: suiren.Tensor("a"),
        lambda: suiren.Tensor(None),
        lambda: suiren.LongTensor(suiren.ones(2)),
    ):
        with pytest.raises(TypeError):
            call()


def test_tensor_types():
    x = suiren.ones(2)
    assert isinstance(x, suiren.FloatTensor) and not isinstance(x, suiren.LongTensor)
    assert x.type() == "torch.FloatTensor" == suiren.typename(x)
    assert repr(suiren.FloatTensor) == "<class 'torch.FloatTensor'>"
    for wanted in (suiren.int64, "torch.LongTensor", suiren.LongTensor):
        assert x.type(wanted).dtype is suiren.int64
    with pytest.raises(ValueError, match="invalid type"):
        x.type("foo")
    suiren.set_default_tensor_type("torch.DoubleTensor")
    try:
        assert suiren.ones(1).dtype is suiren.float64 and suiren.Tensor(1).dtype is suiren.float64
    finally:
        suiren.set_default_tensor_type(suiren.FloatTensor)
    with pytest.raises(TypeError):
        suiren.set_default_tensor_type(suiren.LongTensor)
    assert suiren.typename(3) == "int"


def test_subclasses():
    made = Named([1, 2])
    assert type(made) is Named and made.tolist() == [1.0, 2.0]
    assert repr(made) == "Named([1., 2.])"
    x = suiren.ones(2, requires_grad=True)
    shown = (x * 2).as_subclass(Named)
    assert type(shown) is Named
    shown.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


# ---- questions


def test_kind_and_place():
    x = suiren.ones(2, 3)
    assert x.is_floating_point() and suiren.is_floating_point(x) and not x.is_complex()
    assert x.is_signed() and not suiren.ones(1, dtype=suiren.uint8).is_signed()
    assert x.layout is suiren.strided and str(x.layout) == "torch.strided"
    assert x.get_device() == -1 and x.cpu() is x
    assert x.is_cpu and not (x.is_cuda or x.is_sparse or x.is_meta or x.is_quantized)
    assert x.is_same_size(suiren.zeros(2, 3)) and not x.is_same_size(x.t())
    assert x.t().dim_order() == (1, 0)
    assert x.type_as(suiren.ones(1, dtype=suiren.int32)).dtype is suiren.int32
    assert suiren.is_tensor(x) and not suiren.is_tensor(3)
    assert str(suiren.channels_last) == "torch.channels_last"
    assert pickled(suiren.channels_last) is suiren.channels_last
    assert copy.deepcopy(suiren.strided) is suiren.strided
    with pytest.raises(AssertionError, match="CUDA"):
        x.cuda()
    with pytest.raises(RuntimeError):
        x.pin_memory()


def test_comparison_hash_and_containment():
    x = suiren.ones(2)
    assert (x == None) is False and (x != None) is True  # noqa: E711
    assert (x == "a") is False
    with pytest.raises(TypeError):
        x < None  # noqa: B015
    with pytest.raises(TypeError):
        x + None
    assert hash(x) == id(x) or len({x, x}) == 1
    assert 1 in x and 2 not in x
    for element in (None, "a"):
        with pytest.raises(RuntimeError, match="__contains__"):
            element in x  # noqa: B015
    assert x in [x]
    assert {x: 1}[x] == 1
    assert "sum" in dir(x)


def test_numbers_and_iteration():
    assert float(suiren.tensor(2.5)) == 2.5 and int(suiren.tensor(2.7)) == 2
    assert [0, 1, 2][suiren.tensor(1)] == 1
    assert list(range(suiren.tensor(3))) == [0, 1, 2]
    assert [x.item() for x in suiren.tensor([3, 1])] == [3, 1]
    for bad in (suiren.tensor(1.0), suiren.tensor([1, 2])):
        with pytest.raises((TypeError, ValueError)):
            bad.__index__()
    with pytest.raises((ValueError, RuntimeError)):
        float(suiren.ones(2))
    with pytest.raises(RuntimeError, match="ambiguous"):
        bool(suiren.ones(2))
    with pytest.raises(TypeError):
        len(suiren.tensor(1))
    with pytest.raises(TypeError):
        iter(suiren.tensor(1))


def test_formatting():
    assert f"{suiren.tensor(1.5):.2f}" == "1.50" and f"{suiren.tensor(7):04d}" == "0007"
    assert f"{suiren.ones(2)}" == "tensor([1., 1.])" == str(suiren.ones(2))
    with pytest.raises(TypeError):
        f"{suiren.ones(2):.2f}"


def test_apply_and_map():
    x = suiren.tensor([1.0, 2.0])
    assert x.apply_(lambda v: v * 10) is x and x.tolist() == [10.0, 20.0]
    x.map_(suiren.tensor([1.0, 2.0]), lambda a, b: a + b)
    assert x.tolist() == [11.0, 22.0]
    with pytest.raises(TypeError):
        suiren.ones(1, requires_grad=True).apply_(abs)


def test_storages():
    x = suiren.tensor([1.0, 2.0, 3.0])
    assert x.untyped_storage().nbytes() == 12 == x[1:].untyped_storage().size()
    assert x.untyped_storage().data_ptr() == x.data_ptr() == x[1:].data_ptr() - 4
    assert x.untyped_storage() == x[1:].untyped_storage() != x.clone().untyped_storage()
    assert x.storage().tolist() == [1.0, 2.0, 3.0] and x.storage()[1] == 2 and len(x.storage()) == 3
    assert x.untyped_storage().tolist()[2:4] == [128, 63]
    assert suiren.zeros(0).data_ptr() == 0
    assert repr(suiren.ones(1).storage()) == (
        " 1.0\n[torch.storage.TypedStorage(dtype=torch.float32, device=cpu) of size 1]"
    )


# ---- settings


def test_settings():
    before = suiren.get_num_threads()
    suiren.set_num_threads(3)
    assert suiren.get_num_threads() == 3
    suiren.set_num_threads(before)
    with pytest.raises(RuntimeError):
        suiren.set_num_threads(0)
    assert suiren.get_float32_matmul_precision() == "highest"
    suiren.set_float32_matmul_precision("high")
    assert suiren.get_float32_matmul_precision() == "high"
    suiren.set_float32_matmul_precision("highest")
    with pytest.warns(UserWarning):
        suiren.set_float32_matmul_precision("wrong")
    assert not suiren.are_deterministic_algorithms_enabled()
    suiren.use_deterministic_algorithms(True)
    assert suiren.are_deterministic_algorithms_enabled()
    suiren.use_deterministic_algorithms(False)


def test_backends_and_cuda():
    suiren.backends.cudnn.benchmark = True
    suiren.backends.cudnn.deterministic = True
    with suiren.backends.cudnn.flags(enabled=False):
        assert suiren.backends.cudnn.enabled is False
    assert suiren.backends.cudnn.enabled and not suiren.backends.cudnn.is_available()
    assert not suiren.backends.mps.is_available() and not suiren.backends.mkldnn.is_available()
    suiren.backends.cuda.matmul.allow_tf32 = True
    assert not suiren.cuda.is_available() and suiren.cuda.device_count() == 0
    suiren.cuda.manual_seed(1)
    suiren.cuda.manual_seed_all(1)
    suiren.cuda.empty_cache()
    with pytest.raises(AssertionError, match="CUDA"):
        suiren.cuda.current_device()


@pytest.mark.parametrize("operation", ["a += b", "a *= b", "a -= b", "a /= b"])
def test_in_place_operators_refuse_partly_shared_memory(operation):
    """The methods (add_) refused it, the operators did not."""
    memory = suiren.ones(4)
    a, b = memory[:3], memory[1:]
    with pytest.raises(RuntimeError, match="single memory location"):
        exec(operation, {"a": a, "b": b})
    assert memory.tolist() == [1.0] * 4
    a += memory[:3]
    assert memory.tolist() == [2.0, 2.0, 2.0, 1.0]
