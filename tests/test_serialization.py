"""torch.save and torch.load: both directions with PyTorch, sharing, and hostile files."""

import io
import os
import pickle
import zipfile
from collections import OrderedDict

import pytest

import suiren
from suiren import nn


def saved(obj, library=suiren, **options):
    file = io.BytesIO()
    library.save(obj, file, **options)
    file.seek(0)
    return file


def again(obj, **options):
    return suiren.load(saved(obj), **options)


DTYPES = ["float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8",
          "uint16", "uint32", "uint64", "bool", "complex64", "complex128"]  # fmt: skip


def example(library):
    base = library.arange(12.0).reshape(3, 4)
    return {
        "by dtype": {name: library.ones(2, dtype=getattr(library, name)) for name in DTYPES},
        "scalar": library.tensor(3.5),
        "empty": library.zeros(0, 3),
        "transposed": base.t(),
        "slice": base[1:, ::2],
        "base": base,
        "grad": library.ones(2, requires_grad=True),
        "parameter": library.nn.Parameter(library.ones(2)),
        "frozen": library.nn.Parameter(library.ones(2), requires_grad=False),
        "channels last": library.ones(1, 2, 3, 3).permute(0, 2, 3, 1),
        "plain": [1, -1, 2**40, -(2**80), 1.5, float("inf"), True, None, "text", "é", b"bytes", 1j],
        "containers": ({1, 2}, (1,), (1, 2, 3, 4), [], {}, OrderedDict(a=1)),
        "words": (library.float32, library.device("cpu"), library.Size([1, 2])),
    }


def described(x):
    """The same text for equal objects of both libraries."""
    if hasattr(x, "untyped_storage"):
        return (
            type(x).__name__, str(x.dtype), tuple(x.shape), x.stride(), x.storage_offset(),
            x.requires_grad, x.tolist(), x.untyped_storage().nbytes(),
        )  # fmt: skip
    if isinstance(x, dict):
        return type(x).__name__, [(k, described(v)) for k, v in x.items()]
    if isinstance(x, (list, tuple)):
        return type(x).__name__, [described(v) for v in x]
    return repr(x)


def test_round_trip():
    assert described(again(example(suiren))) == described(example(suiren))
    found = again(example(suiren), weights_only=False)
    assert described(found) == described(example(suiren))


def test_torch_reads_ours():
    torch = pytest.importorskip("torch")
    found = torch.load(saved(example(suiren)))
    assert described(found) == described(example(torch))


def test_we_read_torchs():
    torch = pytest.importorskip("torch")
    for options in ({}, {"weights_only": False}):
        found = suiren.load(saved(example(torch), torch), **options)
        assert described(found) == described(example(suiren))


def test_we_read_torchs_old_format():
    torch = pytest.importorskip("torch")
    theirs = example(torch)
    for name in ("uint16", "uint32", "uint64"):
        del theirs["by dtype"][name]
    found = suiren.load(saved(theirs, torch, _use_new_zipfile_serialization=False))
    assert described(found["slice"]) == described(example(suiren)["slice"])
    found["base"][1, 0] = 99
    assert found["slice"][0, 0].item() == 99
    assert found["parameter"].requires_grad


def test_shared_storage_stays_shared():
    base = suiren.zeros(4)
    found = again([base, base[1:3], base.view(2, 2), base])
    found[0][1] = 5
    assert found[1].tolist() == [5.0, 0.0] and found[2].tolist() == [[0.0, 5.0], [0.0, 0.0]]
    assert found[3] is found[0]
    part = again(base[1:3])
    assert part.untyped_storage().nbytes() == 16 and part.storage_offset() == 1


def test_state_dicts_go_both_ways():
    torch = pytest.importorskip("torch")
    ours, theirs = nn.Linear(3, 2), torch.nn.Linear(3, 2)
    theirs.load_state_dict(torch.load(saved(ours.state_dict())))
    assert theirs.weight.tolist() == ours.weight.tolist()
    state = suiren.load(saved(torch.nn.BatchNorm1d(2).state_dict(), torch))
    assert state._metadata == torch.nn.BatchNorm1d(2).state_dict()._metadata
    nn.BatchNorm1d(2).load_state_dict(state)


def test_optimizer_state():
    layer = nn.Linear(2, 1)
    optimizer = suiren.optim.Adam(layer.parameters())
    found = again(optimizer.state_dict())
    assert described(found) == described(optimizer.state_dict())


def test_whole_module_needs_trust():
    layer = nn.Linear(2, 1)
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        again(layer)
    found = again(layer, weights_only=False)
    assert isinstance(found, nn.Linear) and found.weight.tolist() == layer.weight.tolist()


def test_attributes_and_subclasses():
    t = suiren.ones(2)
    t.label = "mine"
    assert again(t).label == "mine"
    found = again(Tagged([1.0, 2.0]), weights_only=False)
    assert type(found) is Tagged and found.tolist() == [1.0, 2.0]
    with suiren.serialization.safe_globals([Tagged]):
        assert type(again(Tagged([1.0]))) is Tagged
    with pytest.raises(pickle.UnpicklingError):
        again(Tagged([1.0]))


class Tagged(suiren.Tensor):
    pass


class Setting:
    def __init__(self):
        self.rate = 0.5


def test_safe_globals():
    file = saved(Setting())
    with pytest.raises(pickle.UnpicklingError, match="Setting"):
        suiren.load(file)
    file.seek(0)
    with suiren.serialization.safe_globals([Setting]):
        assert suiren.serialization.get_safe_globals() == [Setting]
        assert suiren.load(file).rate == 0.5
    assert suiren.serialization.get_safe_globals() == []


def test_paths_are_replaced_whole(tmp_path):
    path = tmp_path / "model.pt"
    suiren.save(suiren.ones(2), path)
    assert suiren.load(str(path)).tolist() == [1.0, 1.0]
    assert zipfile.ZipFile(path).namelist()[0] == "model/data.pkl"
    os.chmod(path, 0o640)
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError)):
        suiren.save([suiren.ones(5), lambda: 0], path)
    assert suiren.load(path, mmap=True).tolist() == [1.0, 1.0]
    suiren.save(suiren.zeros(1), path)
    assert os.stat(path).st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["model.pt"]
    with pytest.raises(RuntimeError, match="Parent directory"):
        suiren.save(1, tmp_path / "nowhere" / "x.pt")
    with pytest.raises(FileNotFoundError):
        suiren.load(tmp_path / "nothing.pt")
    link = tmp_path / "link.pt"
    link.symlink_to(path)
    suiren.save(suiren.ones(3), link)
    assert link.is_symlink() and suiren.load(path).numel() == 3


def test_storages_are_aligned():
    data = saved([suiren.ones(3), suiren.ones(5)]).getvalue()
    archive = zipfile.ZipFile(io.BytesIO(data))
    for info in archive.infolist():
        header = info.header_offset
        names = int.from_bytes(data[header + 26 : header + 28], "little")
        extra = int.from_bytes(data[header + 28 : header + 30], "little")
        assert (header + 30 + names + extra) % 64 == 0
    assert archive.testzip() is None


def test_saving_is_deterministic():
    assert saved([suiren.ones(3)]).getvalue() == saved([suiren.ones(3)]).getvalue()


def test_map_location():
    file = saved(suiren.ones(1))
    for location in ("cpu", suiren.device("cpu"), {"cpu": "cpu"}, lambda s, tag: s,
                     lambda s, tag: None):  # fmt: skip
        file.seek(0)
        assert suiren.load(file, map_location=location).item() == 1
    file.seek(0)
    with pytest.raises(RuntimeError, match="CUDA"):
        suiren.load(file, map_location="cuda:0")
    text = zipfile.ZipFile(file).read("archive/data.pkl").replace(
        b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"
    )
    there = made(text, {"0": b"\0\0\x80\x3f"})
    with pytest.raises(RuntimeError, match="CUDA"):
        suiren.load(there)
    there.seek(0)
    assert suiren.load(there, map_location="cpu").item() == 1


def made(text, storages=(), **entries):
    """A checkpoint file with this pickle and these storages."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", text)
        archive.writestr("archive/version", "3\n")
        for key, data in dict(storages).items():
            archive.writestr(f"archive/data/{key}", data)
    file.seek(0)
    return file


HOSTILE = {
    "system": b"cos\nsystem\n(S'echo'\ntR.",
    "builtins": b"\x80\x02c__builtin__\neval\nX\x01\x00\x00\x001\x85R.",
    "getattr": b"\x80\x02cbuiltins\ngetattr\n.",
    "inner attribute": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2.__globals__\n.",
    "numpy": b"\x80\x02cnumpy\nload\n.",
    "our own module": b"\x80\x02csuiren.serialization\nload\nX\x01\x00\x00\x00a\x85R.",
    "os via torch": b"\x80\x02ctorch.serialization\nos\n.",
    "build on a function": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n"
    b"}X\x01\x00\x00\x00aK\x01sb.",
    "build on a class": b"\x80\x02ctorch\nSize\n}X\x01\x00\x00\x00aK\x01sb.",
    "call of a dtype": b"\x80\x02ctorch\nfloat32\n)R.",
    "call of a number": b"\x80\x02K\x01)R.",
    "instance opcode": b"\x80\x02(ios\nsystem\n.",
    "rebuild by set": b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(c__builtin__\nset\n"
    b"ctorch\nTensor\n)}tR.",
    "set items of a tensor": b"\x80\x02ctorch\nTensor\n)RK\x00K\x01s.",
    "append to a tensor": b"\x80\x02ctorch\nTensor\n)RK\x00a.",
    "bytearray of a size": b"\x80\x02c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
    "long length": b"\x80\x02\x8b\xff\xff\xff\xff.",
    "empty stack": b"\x80\x02.",
    "no mark": b"\x80\x02t.",
    "unknown opcode": b"\x80\x02\xff.",
    "memo": b"\x80\x02h\x05.",
    "persistent id": b"\x80\x02K\x01Q.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles(name):
    with pytest.raises(pickle.UnpicklingError):
        suiren.load(made(HOSTILE[name]))


@pytest.mark.parametrize("text", [b"", b"\x80\x02", b"\x80\x02K", b"\x80\x02X\xff\xff\xff\x7fa"])
def test_pickles_that_end_early(text):
    with pytest.raises(EOFError):
        suiren.load(made(text))


def rebuilt(offset, size, stride, count=4, data=b"\0" * 16):
    """A file with one tensor of these numbers over 4 floats."""
    return made(
        pickled_tensor(offset, size, stride, count), {"0": data}
    )


def pickled_tensor(offset, size, stride, count):
    def number(n):
        body = n.to_bytes(16, "little", signed=True)
        return b"\x8a" + bytes([len(body)]) + body

    def group(ns):
        return b"(" + b"".join(map(number, ns)) + b"t"

    def text(s):
        return b"X" + len(s).to_bytes(4, "little") + s.encode()

    identity = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")
    identity += number(count) + b"tQ"
    arguments = b"(" + identity + number(offset) + group(size) + group(stride)
    arguments += b"\x89ccollections\nOrderedDict\n)Rt"
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R."


def test_sizes_out_of_bounds():
    assert suiren.load(rebuilt(0, (4,), (1,))).tolist() == [0.0] * 4
    assert suiren.load(rebuilt(1, (2,), (2,))).tolist() == [0.0] * 2
    assert tuple(suiren.load(rebuilt(0, (3, 4), (0, 1))).shape) == (3, 4)
    for case in [(0, (5,), (1,)), (4, (1,), (1,)), (-1, (1,), (1,)), (0, (2,), (2**40,)),
                 (0, (-1,), (1,)), (0, (1,), (-1,)), (0, (2,), ()), (0, (2**70,), (1,)),
                 (0, (2**40, 2**40), (1, 1))]:  # fmt: skip
        with pytest.raises((RuntimeError, pickle.UnpicklingError)):
            suiren.load(rebuilt(*case))
    with pytest.raises(RuntimeError, match="record size"):
        suiren.load(rebuilt(0, (4,), (1,), count=2**50))
    with pytest.raises((RuntimeError, pickle.UnpicklingError)):
        suiren.load(rebuilt(0, (4,), (1,), count=-4))


def test_damaged_files():
    data = saved(suiren.ones(100)).getvalue()
    with pytest.raises(EOFError):
        suiren.load(io.BytesIO(b""))
    for broken in (data[: len(data) // 2], data[:-30], b"PK\x03\x04rest"):
        with pytest.raises(RuntimeError, match="PytorchStreamReader"):
            suiren.load(io.BytesIO(broken))
    place = data.index(b"\0\0\x80\x3f" * 4)
    flipped = data[:place] + b"\1" + data[place + 1 :]
    with pytest.raises(RuntimeError):
        suiren.load(io.BytesIO(flipped))
    with pytest.raises(RuntimeError, match="locating"):
        suiren.load(made(pickled_tensor(0, (4,), (1,), 4)))
    with pytest.raises(pickle.UnpicklingError):
        suiren.load(io.BytesIO(b"no checkpoint"))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/b", "x")
    file.seek(0)
    with pytest.raises(RuntimeError, match="version"):
        suiren.load(file)


def test_random_damage_never_escapes():
    import random

    data = bytearray(saved({"a": suiren.ones(3), "b": [1, "x"]}).getvalue())
    text = zipfile.ZipFile(io.BytesIO(data)).read("archive/data.pkl")
    draw = random.Random(0)
    for _ in range(300):
        broken = bytearray(text)
        for _ in range(draw.randint(1, 3)):
            broken[draw.randrange(len(broken))] = draw.randrange(256)
        try:
            suiren.load(made(bytes(broken), {"0": b"\0" * 12}))
        except (pickle.UnpicklingError, RuntimeError, EOFError, NotImplementedError, MemoryError):
            pass


def test_wrong_arguments():
    with pytest.raises(AttributeError, match="write"):
        suiren.save(1, 5)
    with pytest.raises(AttributeError, match="seek"):
        suiren.load(5)
    with pytest.raises(ValueError, match="mmap"):
        suiren.load(saved(1), mmap=True)
    with pytest.raises(RuntimeError):
        suiren.load(saved(1), pickle_module=pickle, weights_only=True)
