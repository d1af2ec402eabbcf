"""suiren.utils.data against torch.utils.data: orders, batches, random stream, workers.

Orders and seeds that PyTorch 2.13 gives are recorded here as well, so that they are checked where
torch is not installed. Worker tests use two processes and small data.
"""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections import OrderedDict, defaultdict, deque, namedtuple
from pathlib import Path

import numpy as np
import pytest

import suiren
from suiren.utils import data

PACKAGE_ROOT = str(Path(__file__).resolve().parent.parent)
Point = namedtuple("Point", "x y")

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


# ---------------------------------------------------------------- data sets that workers can import


class Numbers(data.IterableDataset):
    """Worker w yields 100 w, 100 w + 1, ...; later workers have fewer."""

    def __init__(self, size=7):
        self.size = size

    def __iter__(self):
        info = data.get_worker_info()
        if info is None:
            return iter(range(self.size))
        return iter([info.id * 100 + k for k in range(self.size - 3 * info.id)])


class NumbersWithLength(Numbers):
    def __len__(self):
        return 3


class Faulty(data.Dataset):
    """Sample 3 calls ``fault``."""

    def __init__(self, fault):
        self.fault = fault

    def __getitem__(self, index):
        if index == 3:
            self.fault()
        return index

    def __len__(self):
        return 6


class Seeds(data.Dataset):
    def __getitem__(self, index):
        info = data.get_worker_info()
        drawn = (random.random(), np.random.randint(2**31), suiren.rand(2).tolist())
        return index, info.id, info.num_workers, info.seed, suiren.initial_seed(), drawn

    def __len__(self):
        return 4


class Large(data.Dataset):
    """Samples of more than 64 KiB, which do not travel inside the pickle."""

    def __getitem__(self, index):
        return suiren.full((150, 150), float(index)), np.full(20_000, index), index

    def __len__(self):
        return 6


class TwoPaths(data.Dataset):
    """One sample of every kind that default_collate knows."""

    def __getitem__(self, index):
        return {
            "tensor": suiren.ones(2) * index,
            "array": np.arange(3, dtype=np.int16) + index,
            "pair": (index, index / 2),
            "name": f"sample {index}",
            "point": Point(index, np.float32(index)),
        }

    def __len__(self):
        return 5


def same(batch):
    return batch


def raise_value_error():
    raise ValueError("sample three is bad")


def raise_key_error():
    raise KeyError("no such column")


class PickyError(Exception):
    def __init__(self, code, place):
        super().__init__(f"{code} at {place}")


def raise_picky_error():
    raise PickyError(7, "home")


def kill_own_process():
    os.kill(os.getpid(), signal.SIGKILL)


def leave():
    os._exit(5)


def plain(value):
    """Tensors as (dtype, list) so that batches of the two libraries compare with ==."""
    if hasattr(value, "tolist") and hasattr(value, "dtype"):
        return str(value.dtype).rpartition(".")[2], value.tolist()
    if isinstance(value, dict):
        return {key: plain(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(member) for member in value]
    return value


# ---------------------------------------------------------------------------- recorded orders


def test_orders_recorded_from_torch():
    """PyTorch 2.13, torch.manual_seed(3) before each."""

    def order(sampler):
        suiren.manual_seed(3)
        return list(sampler), list(sampler)

    first, second = order(data.RandomSampler(range(10)))
    assert first == [7, 0, 9, 1, 6, 4, 5, 3, 2, 8]
    assert second == [6, 2, 0, 1, 8, 3, 5, 4, 7, 9]
    first, second = order(data.RandomSampler(range(10), replacement=True))
    assert first == [7, 8, 5, 1, 8, 6, 2, 2, 3, 9]
    assert second == [6, 3, 8, 7, 2, 6, 8, 0, 2, 9]
    first, _ = order(data.RandomSampler(range(10), num_samples=13))
    assert first == [7, 0, 9, 1, 6, 4, 5, 3, 2, 8, 9, 5, 6]
    first, second = order(data.SubsetRandomSampler([3, 1, 4, 15, 9, 2, 6]))
    assert first == [2, 15, 9, 6, 3, 4, 1]
    assert second == [4, 6, 15, 1, 2, 3, 9]
    first, second = order(data.WeightedRandomSampler([0.1, 0.5, 1, 2], 8))
    assert first == [1, 2, 3, 2, 3, 3, 2, 2]
    assert second == [2, 3, 2, 3, 3, 2, 3, 1]
    first, second = order(data.WeightedRandomSampler([0.1, 0.5, 1, 2], 3, replacement=False))
    assert (first, second) == ([3, 0, 1], [2, 3, 1])


def test_orders_with_a_generator_recorded_from_torch():
    """The epoch's permutation, then one more that nothing is taken from, leave the generator."""
    generator = suiren.Generator()
    generator.manual_seed(3)
    sampler = data.RandomSampler(range(10), generator=generator)
    assert list(sampler) == [6, 0, 3, 7, 8, 5, 1, 9, 2, 4]
    assert list(sampler) == [0, 9, 6, 1, 7, 2, 5, 3, 4, 8]


def test_distributed_sampler_recorded_from_torch():
    def order(epoch, **options):
        sampler = data.DistributedSampler(range(10), **options)
        sampler.set_epoch(epoch)
        assert len(sampler) == len(list(sampler))
        return list(sampler)

    assert order(0, num_replicas=2, rank=1) == [1, 5, 9, 8, 2]
    assert order(1, num_replicas=2, rank=1) == [6, 2, 8, 3, 4]
    assert order(0, num_replicas=3, rank=2) == [7, 9, 6, 1]
    assert order(0, num_replicas=3, rank=2, drop_last=True) == [7, 9, 6]
    assert order(0, num_replicas=3, rank=0, seed=5) == [1, 6, 0, 7]
    assert order(0, num_replicas=25, rank=24) == [3]
    with pytest.raises(ValueError, match="Invalid rank 2"):
        data.DistributedSampler(range(10), num_replicas=2, rank=2)


def test_random_split_recorded_from_torch():
    def split(lengths):
        suiren.manual_seed(1)
        return [part.indices for part in data.random_split(range(10), lengths)]

    assert split([3, 7]) == [[5, 6, 1], [2, 0, 8, 9, 3, 7, 4]]
    assert split([0.33, 0.33, 0.34]) == [[5, 6, 1, 2], [0, 8, 9], [3, 7, 4]]
    generator = suiren.Generator()
    generator.manual_seed(42)
    first, second = data.random_split(range(10), [4, 6], generator=generator)
    assert (first.indices, second.indices) == ([2, 6, 1, 8], [4, 5, 0, 9, 3, 7])
    for bad in ([3, 3], [0.5, 0.25], [-0.1, 1.1], []):
        with pytest.raises(ValueError):
            data.random_split(range(10), bad)
    with pytest.warns(UserWarning):
        split([0.0, 1.0])


# ----------------------------------------------------------------- the random stream, step by step


def rng_log(module, library, make, with_generator, stop_after=None, epochs=3):
    """Every batch, and the state of both generators before and after it."""
    library.manual_seed(5)
    generator = None
    if with_generator:
        generator = library.Generator()
        generator.manual_seed(9)
    log = []

    def note():
        log.append(library.get_rng_state().numpy().tobytes())
        if generator is not None:
            log.append(generator.get_state().numpy().tobytes())

    loader = make(module, library, generator)
    for _ in range(epochs):
        iterator = iter(loader)
        note()
        for count, batch in enumerate(iterator):
            log.append(plain(batch))
            note()
            if count == stop_after:
                break
        note()
        del iterator
    return log


def columns(module, library, size):
    rows = library.arange(size)
    return module.TensorDataset(rows, (rows * 1.5).view(size, 1))


LOADERS = {
    f"{size} samples, {options}": lambda m, t, g, size=size, options=options, **more: m.DataLoader(
        columns(m, t, size), generator=g, **options, **more
    )
    for size in (9, 10)
    for options in (
        dict(batch_size=3),
        dict(batch_size=3, shuffle=True),
        dict(batch_size=4, shuffle=True, drop_last=True),
        dict(batch_size=None, shuffle=True),
    )
}
LOADERS["own sampler"] = lambda m, t, g, **more: m.DataLoader(
    list(range(10)), batch_size=4, sampler=m.RandomSampler(range(10), True, 70), generator=g, **more
)
LOADERS["own batch sampler"] = lambda m, t, g, **more: m.DataLoader(
    list(range(10)),
    batch_sampler=m.BatchSampler(m.RandomSampler(range(10), generator=g), 4, True),
    **more,
)
LOADERS["weighted"] = lambda m, t, g, **more: m.DataLoader(
    list(range(3)), batch_size=4, sampler=m.WeightedRandomSampler([1, 2, 3.0], 9, generator=g)
)
LOADERS["split"] = lambda m, t, g, **more: m.DataLoader(
    m.random_split(columns(m, t, 20), [0.3, 0.7], g or t.default_generator)[1],
    batch_size=4,
    shuffle=True,
    generator=g,
    **more,
)


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("with_generator", (False, True))
@pytest.mark.parametrize("stop_after", (None, 1))
def test_random_stream_is_torch_s(name, with_generator, stop_after):
    torch = pytest.importorskip("torch")
    import torch.utils.data as torch_data

    ours = rng_log(data, suiren, LOADERS[name], with_generator, stop_after)
    theirs = rng_log(torch_data, torch, LOADERS[name], with_generator, stop_after)
    assert ours == theirs


@needs_fork
@pytest.mark.parametrize("persistent", (False, True))
def test_random_stream_with_workers_is_torch_s(persistent):
    torch = pytest.importorskip("torch")
    import torch.utils.data as torch_data

    def make(module, library, generator):
        return LOADERS["10 samples, {'batch_size': 3, 'shuffle': True}"](
            module,
            library,
            generator,
            num_workers=2,
            persistent_workers=persistent,
            multiprocessing_context="fork",
        )

    for with_generator in (False, True):
        ours = rng_log(data, suiren, make, with_generator, epochs=2)
        assert ours == rng_log(torch_data, torch, make, with_generator, epochs=2)


# ------------------------------------------------------------------------------- collate, convert


class Names(list):
    pass


COLLATE_CASES = {
    "floats": [1.0, 2.0],
    "ints": [1, 2],
    "bools": [True, False],
    "int first": [1, 2.0],
    "float first": [1.0, 2],
    "strings": ["a", "b"],
    "bytes": [b"a", b"b"],
    "arrays": [np.arange(3, dtype=np.int16), np.ones(3, dtype=np.int16)],
    "arrays of two dtypes": [np.zeros(2, np.float32), np.zeros(2, np.int64)],
    "0-d arrays": [np.array(1.0), np.array(2.0)],
    "float32 scalars": [np.float32(1), np.float32(2)],
    "int8 scalars": [np.int8(1), np.int8(2)],
    "bool scalars": [np.bool_(True), np.bool_(False)],
    "dicts": [{"a": 1, "b": [1, 2.0]}, {"a": 2, "b": [3, 4.0]}],
    "tuples": [(1, "a"), (2, "b")],
    "lists": [[1, 2], [3, 4]],
    "ranges": [range(2), range(2)],
    "empty tuples": [(), ()],
}


@pytest.mark.parametrize("name", COLLATE_CASES)
def test_collate_and_convert_as_torch(name):
    torch_data = pytest.importorskip("torch.utils.data")
    batch = COLLATE_CASES[name]
    assert plain(data.default_collate(batch)) == plain(torch_data.default_collate(batch))
    assert plain(data.default_convert(batch)) == plain(torch_data.default_convert(batch))


def test_collate_recorded():
    tensors = data.default_collate([suiren.tensor([1, 2]), suiren.tensor([3, 4])])
    assert plain(tensors) == ("int64", [[1, 2], [3, 4]])
    assert plain(data.default_collate([1.0, 2])) == ("float64", [1.0, 2.0])
    assert plain(data.default_collate([(1, "a"), (2, "b")])) == [("int64", [1, 2]), ["a", "b"]]


def test_collate_keeps_container_types():
    point = data.default_collate([Point(1, 2.0), Point(3, 4.0)])
    assert type(point) is Point and plain(point.y) == ("float64", [2.0, 4.0])
    for kind in (OrderedDict, dict):
        assert type(data.default_collate([kind(a=1), kind(a=2)])) is kind
    table = data.default_collate([defaultdict(int, a=1), defaultdict(int, a=2)])
    assert type(table) is defaultdict and table.default_factory is int
    assert type(data.default_collate([Names([1]), Names([2])])) is Names
    assert type(data.default_collate([deque([1]), deque([2])])) is deque


@pytest.mark.parametrize(
    ("batch", "error"),
    [
        ([None, None], TypeError),
        ([1j, 2j], TypeError),
        ([{1}, {2}], TypeError),
        ([np.array(["a"])], TypeError),
        ([np.datetime64("2020-01-01")], TypeError),
        ([[1, 2], [3]], RuntimeError),
        ([np.zeros(2), np.zeros(3)], RuntimeError),
        ([{"a": 1}, {"b": 1}], KeyError),
        ([], IndexError),
    ],
)
def test_collate_errors(batch, error):
    with pytest.raises(error):
        data.default_collate(batch)


# ------------------------------------------------------------------------------------- data sets


def test_data_sets():
    rows = suiren.arange(4)
    assert plain(data.TensorDataset(rows, rows * 2)[3]) == [("int64", 3), ("int64", 6)]
    with pytest.raises(AssertionError, match="Size mismatch"):
        data.TensorDataset(suiren.zeros(2), suiren.zeros(3))

    joined = data.ConcatDataset([[1, 2], [3]])
    assert [joined[i] for i in (0, 1, 2, -1, -3)] == [1, 2, 3, 3, 1]
    assert joined.cumulative_sizes == [2, 3]
    with pytest.raises(ValueError):
        joined[-4]
    with pytest.raises(IndexError):
        joined[3]
    with pytest.raises(AssertionError):
        data.ConcatDataset([Numbers()])
    assert type(TwoPaths() + TwoPaths()) is data.ConcatDataset

    assert list(Numbers(2) + Numbers(3)) == [0, 1, 0, 1, 2]
    with pytest.raises(AssertionError):
        list(data.ChainDataset([[1]]))

    assert data.StackDataset([1, 2], [3, 4])[0] == (1, 3)
    stack = data.StackDataset(a=[1, 2], b=data.Subset([3, 4], [1, 0]))
    assert stack.__getitems__([0, 1]) == [{"a": 1, "b": 4}, {"a": 2, "b": 3}]
    with pytest.raises(ValueError):
        data.StackDataset([1], [1, 2])

    subset = data.Subset("abcd", [3, 1])
    assert (subset[0], subset[-1], subset.__getitems__([0, 1])) == ("d", "b", ["d", "b"])
    with pytest.raises(NotImplementedError):
        data.Dataset()[0]
    with pytest.raises(TypeError):
        data.IterableDataset()


def test_tensor_batches_in_one_step_equal_sample_by_sample():
    """The short cut for TensorDataset against a subclass that does not take it."""

    class SampleBySample(data.TensorDataset):
        def __getitem__(self, index):
            return super().__getitem__(index)

    tensors = (suiren.arange(12.0).view(6, 2), suiren.arange(6))
    indices = [[0, -1], [5], [2, 2, 3]]
    for wrap in (lambda d: d, lambda d: data.Subset(data.Subset(d, [5, 4, 3, 2, 1, 0]), range(6))):
        fast = data.DataLoader(wrap(data.TensorDataset(*tensors)), batch_sampler=indices)
        slow = data.DataLoader(wrap(SampleBySample(*tensors)), batch_sampler=indices)
        assert [plain(batch) for batch in fast] == [plain(batch) for batch in slow]
    loader = data.DataLoader(data.TensorDataset(*tensors), batch_sampler=[[0, 6]])
    with pytest.raises(IndexError):
        plain(list(loader))


# ---------------------------------------------------------------------------- arguments and length


@pytest.mark.parametrize(
    "options",
    [
        dict(batch_size=0),
        dict(batch_size=True),
        dict(num_workers=-1),
        dict(timeout=-1),
        dict(prefetch_factor=2),
        dict(persistent_workers=True),
        dict(sampler=[0], shuffle=True),
        dict(batch_sampler=[[0]], batch_size=2),
        dict(batch_sampler=[[0]], batch_size=None),
        dict(batch_sampler=[[0]], shuffle=True),
        dict(batch_sampler=[[0]], drop_last=True),
        dict(batch_size=None, drop_last=True),
        dict(multiprocessing_context="spawn"),
        dict(num_workers=1, multiprocessing_context="no such method"),
    ],
    ids=str,
)
def test_conflicting_arguments(options):
    with pytest.raises(ValueError):
        data.DataLoader(range(10), **options)


def test_more_argument_errors():
    for options in (dict(shuffle=True), dict(sampler=[0]), dict(batch_sampler=[[0]])):
        with pytest.raises(ValueError, match="IterableDataset"):
            data.DataLoader(Numbers(), **options)
    with pytest.raises(TypeError):
        data.DataLoader(range(3), num_workers=1, multiprocessing_context=3)
    loader = data.DataLoader(range(3))
    with pytest.raises(ValueError, match="batch_size"):
        loader.batch_size = 2
    with pytest.raises(TypeError):
        data.RandomSampler(range(3), replacement=1)
    for bad in (0, -1, 1.5):
        with pytest.raises(ValueError):
            data.RandomSampler(range(3), num_samples=bad)
    with pytest.raises(ValueError):
        data.WeightedRandomSampler([[1.0, 2.0]], 1)
    with pytest.raises(ValueError):
        data.BatchSampler(range(3), 2, 1)
    with pytest.warns(UserWarning, match="worker"):
        data.DataLoader(range(3), num_workers=10_000)


def test_lengths():
    rows = range(10)
    assert len(data.DataLoader(rows, batch_size=3)) == 4
    assert len(data.DataLoader(rows, batch_size=3, drop_last=True)) == 3
    assert len(data.DataLoader(rows, batch_size=None)) == 10
    assert len(data.DataLoader(rows, batch_sampler=[[1], [2]])) == 2
    with pytest.raises(TypeError):
        len(data.DataLoader(Numbers()))
    loader = data.DataLoader(NumbersWithLength(), batch_size=2)
    assert len(loader) == 2
    with pytest.warns(UserWarning, match="Length of IterableDataset"):
        assert len(list(loader)) == 4


def test_iterable_data_set_in_this_process():
    def batches(**options):
        return [batch.tolist() for batch in data.DataLoader(Numbers(), **options)]

    assert batches(batch_size=3) == [[0, 1, 2], [3, 4, 5], [6]]
    assert batches(batch_size=3, drop_last=True) == [[0, 1, 2], [3, 4, 5]]
    assert list(data.DataLoader(Numbers(), batch_size=None)) == list(range(7))


def test_getitems_is_asked_for_whole_batches():
    class Table(data.Dataset):
        def __getitems__(self, indices):
            return [10 * index for index in indices]

        def __len__(self):
            return 5

    batches = [batch.tolist() for batch in data.DataLoader(Table(), batch_size=2)]
    assert batches == [[0, 10], [20, 30], [40]]


def test_importing_is_light():
    """No multiprocessing before a worker is asked for."""
    code = "import suiren.utils.data, sys; assert 'multiprocessing' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE_ROOT)


# ------------------------------------------------------------------------------------------ workers


def fork_loader(dataset, **options):
    options.setdefault("num_workers", 2)
    return data.DataLoader(dataset, multiprocessing_context="fork", **options)


def children():
    import multiprocessing

    return multiprocessing.active_children()


@needs_fork
def test_workers_give_the_same_batches_in_order():
    alone = [plain(batch) for batch in data.DataLoader(TwoPaths(), batch_size=2)]
    assert [plain(batch) for batch in fork_loader(TwoPaths(), batch_size=2)] == alone
    assert [plain(b) for b in data.DataLoader(TwoPaths(), batch_size=None)] == [
        plain(b) for b in fork_loader(TwoPaths(), batch_size=None)
    ]
    ready = fork_loader(range(9), batch_size=None, in_order=False)
    assert sorted(ready) == list(range(9))
    assert not children()


@needs_fork
@pytest.mark.parametrize("memory_files", (True, False))
def test_large_arrays_travel_whole_and_are_writable(memory_files, monkeypatch):
    """Through anonymous memory files, and through the pipe where there are none."""
    if not memory_files:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    batches = list(fork_loader(Large(), batch_size=2))
    assert [labels.tolist() for _, _, labels in batches] == [[0, 1], [2, 3], [4, 5]]
    for images, arrays, labels in batches:
        assert images.shape == (2, 150, 150) and arrays.shape == (2, 20_000)
        assert images[:, 7, 9].tolist() == labels.tolist()
        assert arrays[:, -1].tolist() == labels.tolist()
        images += 1
        assert images[1, 149, 149].item() == labels[1].item() + 1
    if descriptors is not None:
        assert len(os.listdir("/proc/self/fd")) == descriptors


@needs_fork
def test_tensor_kinds_survive_the_way():
    samples = [
        suiren.ones(2).to(suiren.bfloat16),
        suiren.tensor(3),
        suiren.ones(2, requires_grad=True),
        suiren.nn.Parameter(suiren.ones(2)),
        suiren.arange(6).view(2, 3).t(),
    ]
    came = list(fork_loader(samples, batch_size=None, num_workers=1))
    for sent, got in zip(samples, came, strict=True):
        assert type(got) is type(sent)
        assert got.dtype == sent.dtype and got.requires_grad == sent.requires_grad
        assert got.tolist() == sent.tolist()


@needs_fork
def test_iterable_data_set_in_workers():
    """The workers take turns until one has no more; recorded from torch."""
    loader = fork_loader(Numbers(), batch_size=2, persistent_workers=True)
    expected = [[0, 1], [100, 101], [2, 3], [102, 103], [4, 5], [6]]
    assert [batch.tolist() for batch in loader] == expected
    assert [batch.tolist() for batch in loader] == expected


def check_seeds(context):
    """Recorded from torch after manual_seed(0): base seed 900450186894289455."""
    suiren.manual_seed(0)
    loader = data.DataLoader(
        Seeds(), num_workers=2, collate_fn=same, multiprocessing_context=context
    )
    rows = [batch[0] for batch in loader]
    assert [row[:3] for row in rows] == [(0, 0, 2), (1, 1, 2), (2, 0, 2), (3, 1, 2)]
    base = 900450186894289455
    assert [row[3] for row in rows] == [row[4] for row in rows] == [base, base + 1] * 2
    assert [row[5][0] for row in rows[:2]] == [0.21315340548154382, 0.7733861492043289]
    assert [row[5][1] for row in rows[:2]] == [1448108554, 731306218]
    assert rows[0][5][2] == pytest.approx([0.7821, 0.0536], abs=1e-4)


@needs_fork
def test_worker_seeds_recorded_from_torch():
    check_seeds("fork")


def test_worker_seeds_when_spawned():
    check_seeds("spawn")


@needs_fork
def test_persistent_workers_and_an_epoch_given_up():
    loader = fork_loader(range(20), batch_size=2, persistent_workers=True)
    first = iter(loader)
    pids = {child.pid for child in children()}
    assert next(first).tolist() == [0, 1]
    second = iter(loader)  # takes the same workers; what they still had in hand is passed over
    assert [batch.tolist() for batch in second] == [[k, k + 1] for k in range(0, 20, 2)]
    assert {child.pid for child in children()} == pids and len(pids) == 2
    del first, second, loader
    assert not children()


@needs_fork
@pytest.mark.parametrize(
    ("fault", "error", "text"),
    [
        (raise_value_error, ValueError, "ValueError: sample three is bad"),
        (raise_key_error, KeyError, "KeyError: 'no such column'"),
        (raise_picky_error, RuntimeError, "PickyError: 7 at home"),
    ],
)
def test_exception_in_a_worker(fault, error, text):
    iterator = iter(fork_loader(Faulty(fault)))
    assert [next(iterator).item() for _ in range(3)] == [0, 1, 2]
    with pytest.raises(error) as caught:
        next(iterator)
    message = str(caught.value)
    assert "in DataLoader worker process 1" in message and text in message
    assert fault.__name__ in message  # the worker's traceback
    assert [batch.item() for batch in iterator] == [4, 5]
    assert not children()


@needs_fork
def test_unpicklable_sample_and_failing_init():
    with pytest.raises(Exception, match="in DataLoader worker process 0"):
        list(fork_loader([lambda: 1], num_workers=1, collate_fn=same))
    with pytest.raises(ZeroDivisionError, match="worker process 0"):
        list(fork_loader(range(3), num_workers=1, worker_init_fn=lambda worker: 1 / 0))
    assert not children()


@needs_fork
@pytest.mark.parametrize("fault", (kill_own_process, leave))
def test_a_worker_that_dies_gives_an_error(fault):
    start = time.monotonic()
    with pytest.raises(RuntimeError, match="exited unexpectedly"):
        list(fork_loader(Faulty(fault)))
    assert time.monotonic() - start < 5
    assert not children()


@needs_fork
def test_timeout():
    class Slow(Faulty):
        def __getitem__(self, index):
            time.sleep(0.6 if index == 0 else 0)
            return index

    iterator = iter(fork_loader(Slow(None), timeout=0.1, num_workers=1))
    with pytest.raises(RuntimeError, match="timed out after 0.1"):
        next(iterator)
    time.sleep(0.7)
    assert next(iterator).item() == 0  # late, not lost


@needs_fork
def test_workers_end_when_the_iterator_is_dropped():
    for _ in fork_loader(Large(), batch_size=1):
        break
    assert not children()


@needs_fork
def test_long_index_lists_do_not_lock_up():
    """More indices than the socket holds go out while large batches come in."""
    batches = list(fork_loader(range(200_000), batch_size=50_000, num_workers=1))
    assert [len(batch) for batch in batches] == [50_000] * 4


@needs_fork
@pytest.mark.parametrize("sent", ("SIGINT", "SIGKILL"))
def test_no_worker_outlives_its_parent(sent, tmp_path):
    """Ctrl-C, and a parent killed outright, while workers are busy and the socket is full."""
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(f"""
        import sys, time
        sys.path[:0] = {sys.path!r}
        from suiren.utils.data import DataLoader

        class Data:
            def __getitem__(self, index):
                return "x" * 500_000
            def __len__(self):
                return 1000

        loader = DataLoader(
            Data(), num_workers=2, multiprocessing_context="fork", collate_fn=list
        )
        iterator = iter(loader)
        next(iterator)
        print(*(process.pid for process in iterator._pool.processes), flush=True)
        time.sleep(60)
    """))
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    workers = [int(pid) for pid in process.stdout.readline().split()]
    assert len(workers) == 2
    process.send_signal(getattr(signal, sent))
    _, errors = process.communicate(timeout=15)
    if sent == "SIGINT":
        assert errors.count("Traceback") == 1 and "KeyboardInterrupt" in errors
    deadline = time.monotonic() + 8
    while any(is_running(pid) for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(pid):
    """Whether ``pid`` lives; a zombie that no one has reaped yet does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return not stat.parent.parent.exists()
