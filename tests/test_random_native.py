"""The compiled kernels of the random streams: the bits and the states that NumPy's path gives.

tests/test_mt19937.py compares that path with torch; here the two are compared with each other, and
large draws of tensors with torch.
"""

import copy
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import suiren
from suiren import random_native
from suiren.compiler import machine_code, target
from suiren.mt19937 import Stream

try:
    import torch
except ImportError:
    torch = None

pytestmark = pytest.mark.skipif(not target.available(), reason="nothing can be compiled here")
needs_torch = pytest.mark.skipif(torch is None, reason="compares with torch")
real_kernel = random_native.kernel
FLOATS = ("float32", "float64", "float16", "bfloat16")
SIZES = (16, 17, 31, 33, 619, 620, 624, 1248, 2496, 3001, 9984, 9989, 20_001)


@pytest.fixture
def native(monkeypatch):
    """A function that turns the kernels on and off; on, they are used from the first draw."""
    if os.environ.get("SUIREN_JIT") == "0":
        pytest.skip("compiling is turned off")
    monkeypatch.setattr(random_native, "_LARGE", 16)
    monkeypatch.setattr(random_native, "_MANY", 0)

    def switch(on: bool) -> None:
        monkeypatch.setattr(random_native, "kernel", real_kernel if on else lambda *_: None)

    return switch


DRAWS = {
    "uniform": lambda s, n, d: s.uniform(n, dtype=d),
    "uniform range": lambda s, n, d: s.uniform(n, -2.5, 7.25, dtype=d),
    "uniform narrow": lambda s, n, d: s.uniform(n, 1.0, 1.0 + 2.0**-20, dtype=d),
    "normal": lambda s, n, d: s.normal(n, 1.5, 0.7, dtype=d),
    "normal one by one": lambda s, n, d: s.normal(n, dtype=d, one_by_one=True),
    "log_normal": lambda s, n, d: s.log_normal(n, 0.5, 1.25, dtype=d),
    "bernoulli": lambda s, n, d: s.bernoulli(n, 0.3, dtype=d),
    "bernoulli each": lambda s, n, d: s.bernoulli(n, np.full(n, 0.3, np.float32), dtype=d),
    "dropout": lambda s, n, d: s.dropout_mask(n, 0.3, d, scaled=True),
    "exponential": lambda s, n, d: s.exponential(n, 1.7, d),
    "geometric": lambda s, n, d: s.geometric(n, 0.1, d),
    "cauchy": lambda s, n, d: s.cauchy(n, 0.5, 2.0, d),
    "random": lambda s, n, d: s.random(n, d),
    "randint": lambda s, n, d: s.randint(n, -5, 100, d),
}
WHOLE = {
    "bernoulli": lambda s, n, d: s.bernoulli(n, 0.3, dtype=d),
    "randint": lambda s, n, d: s.randint(n, 0, 2, d),
    "geometric": lambda s, n, d: s.geometric(n, 0.2, d),
    "randperm": lambda s, n, d: s.randperm(n if np.dtype(d).itemsize > 2 else n % 127, d),
}
ONLY = {
    "wide": lambda s, n: s.randint(n, -(2**40), 2**41),
    "nearly everything": lambda s, n: s.randint(n, -(2**63), 2**63 - 1),
    "everything": lambda s, n: s.random(n, np.int64, -(2**63)),
    "largest narrow": lambda s, n: s.randint(n, -3, 2**28 - 4),
    "unsigned": lambda s, n: s.randint(n, 3, 2**64 - 1, np.uint64),
    "random int32": lambda s, n: s.random(n, np.int32),
    "random int64": lambda s, n: s.random(n, np.int64),
    "randperm float32": lambda s, n: s.randperm(n, np.float32),
    "rrelu": lambda s, n: s.rrelu_noise(np.linspace(-1, 1, n, dtype=np.float32), 0.1, 0.3),
    "multinomial": lambda s, n: s.multinomial(np.arange(1.0, n + 1), min(n, 40)),
    "with replacement": lambda s, n: s.multinomial(np.arange(1.0, n + 1), n, True),
}


def same(native, draw) -> None:
    """Draws with and without kernels, from the middle of a block, and compares bits and states."""
    results = []
    for on in (False, True):
        stream = Stream(7)
        native(on)
        stream.uniform(5)
        drawn = draw(stream)
        results.append((drawn.tobytes(), drawn.dtype, stream.state().tobytes()))
    assert results[0] == results[1]


@pytest.mark.parametrize("name", DRAWS)
def test_floating_draws(native, name):
    for dtype in FLOATS:
        for n in SIZES:
            same(native, lambda s, n=n, dtype=dtype: DRAWS[name](s, n, dtype))


@pytest.mark.parametrize("name", WHOLE)
def test_whole_draws(native, name):
    for dtype in ("int64", "int32", "int16", "int8", "uint8", "uint64"):
        for n in SIZES[::3]:
            same(native, lambda s, n=n, dtype=dtype: WHOLE[name](s, n, dtype))


@pytest.mark.parametrize("name", ONLY)
def test_other_draws(native, name):
    for n in SIZES[::2]:
        same(native, lambda s, n=n: ONLY[name](s, n))


def test_extremes_of_parameters(native):
    same(native, lambda s: s.bernoulli(1000, 0.0))
    same(native, lambda s: s.bernoulli(1000, 1.0))
    same(native, lambda s: s.bernoulli(1000, 2.0**-60, np.bool_))
    same(native, lambda s: s.normal(1000, 3.0, 0.0))
    same(native, lambda s: s.normal(1000, np.inf, 1.0))
    same(native, lambda s: s.exponential(1000, 1e30))
    same(native, lambda s: s.exponential(1000, 1e-30))
    same(native, lambda s: s.geometric(1000, 1e-12))
    same(native, lambda s: s.geometric(1000, 1 - 1e-9, np.int64))
    same(native, lambda s: s.uniform(1000, 5.0, 5.0))
    same(native, lambda s: s.log_normal(1000, 700.0, 30.0, np.float64))


def test_a_million_normals(native):
    """As often as rounding could differ, between the imitated and the real multiply-add."""
    results = []
    for on in (False, True):
        native(on)
        results.append(Stream(11).normal(1_000_003))
    assert np.count_nonzero(results[0] != results[1]) <= 1


def test_alternation(native):
    """Any order of calls, each with or without kernels, is one stream."""
    plain, mixed = Stream(3), Stream(3)
    chance = np.random.default_rng(0)
    calls = (
        lambda s, n: s.uniform(n),
        lambda s, n: s.normal(n),
        lambda s, n: s.normal(n, one_by_one=True),
        lambda s, n: s.uniform(n, dtype=np.float64),
        lambda s, n: s.randint(n, 0, 50),
    )
    for turn in range(200):
        n, call = int(chance.integers(0, 2000)), calls[chance.integers(0, len(calls))]
        native(False)
        expected = call(plain, n)
        native(bool(chance.random() < 0.6))
        np.testing.assert_array_equal(call(mixed, n), expected)
        if turn % 10 == 0:
            np.testing.assert_array_equal(mixed.state(), plain.state())
        if turn % 40 == 0:
            mixed = mixed.clone()
        elif turn % 40 == 20:
            state, mixed = mixed.state(), Stream(1)
            mixed.set_state(state)


def test_seeding_after_native_draws(native):
    native(True)
    stream = Stream(1)
    stream.uniform(10_000)
    stream.seed(2)
    native(False)
    expected = Stream(2).uniform(3000)
    native(True)
    np.testing.assert_array_equal(stream.uniform(3000), expected)


def test_fill_of_given_memory(native):
    for on in (False, True):
        native(on)
        for kind in (np.float32, np.float64, np.float16):
            room = np.full(3000, 7, kind)
            assert Stream(4).uniform(3000, -1.0, 2.0, kind, out=room) is room
            np.testing.assert_array_equal(room, Stream(4).uniform(3000, -1.0, 2.0, kind))
            assert Stream(4).normal(3000, 1.0, 2.0, kind, out=room) is room
            np.testing.assert_array_equal(room, Stream(4).normal(3000, 1.0, 2.0, kind))


# -- tensors ---------------------------------------------------------------------------------

LARGE = {
    "rand": lambda t, g: t.rand(70_001, generator=g),
    "rand double": lambda t, g: t.rand(30_001, dtype=t.float64, generator=g),
    "rand complex": lambda t, g: t.rand(30_001, dtype=t.complex64, generator=g),
    "randn": lambda t, g: t.randn(257, 263, generator=g),
    "randn complex": lambda t, g: t.randn(20_001, dtype=t.complex128, generator=g),
    "randn bfloat16": lambda t, g: t.randn(20_003, dtype=t.bfloat16, generator=g).float(),
    "randn half": lambda t, g: t.randn(20_003, dtype=t.float16, generator=g).float(),
    "randint": lambda t, g: t.randint(3, 50, (200, 333), generator=g),
    "randint wide": lambda t, g: t.randint(-(2**50), 2**50, (20_000,), generator=g),
    "randperm": lambda t, g: t.randperm(70_000, generator=g),
    "randperm int32": lambda t, g: t.randperm(3001, generator=g, dtype=t.int32),
    "normal both": lambda t, g: t.normal(t.arange(4000.0), t.ones(3, 1), generator=g),
    "bernoulli": lambda t, g: t.bernoulli(t.full((150, 55), 0.3), generator=g),
    "uniform_": lambda t, g: t.zeros(70_001).uniform_(-1, 2, generator=g),
    "uniform_ transposed": lambda t, g: t.zeros(100, 101).t().uniform_(-1, 2, generator=g),
    "uniform_ part": lambda t, g: t.zeros(300, 400)[:, 3:300].uniform_(-1, 2, generator=g),
    "uniform_ rows": lambda t, g: t.zeros(300, 400)[7:200].uniform_(-1, 2, generator=g),
    "uniform_ half": lambda t, g: t.zeros(9001, dtype=t.float16).uniform_(generator=g).float(),
    "normal_ part": lambda t, g: t.zeros(120, 100)[::2].normal_(1, 2, generator=g),
    "random_ int16": lambda t, g: t.zeros(9001, dtype=t.int16).random_(-7, 7, generator=g),
    "bernoulli_": lambda t, g: t.zeros(9001, dtype=t.int64).bernoulli_(0.4, generator=g),
    "exponential_": lambda t, g: t.zeros(9001).exponential_(2, generator=g),
    "geometric_": lambda t, g: t.zeros(9001).geometric_(0.2, generator=g),
    "geometric_ int32": lambda t, g: t.zeros(9001, dtype=t.int32).geometric_(0.2, generator=g),
    "multinomial": lambda t, g: t.multinomial(t.arange(1.0, 5001.0), 40, generator=g),
}
CLOSE = {
    "randn double": lambda t, g: t.randn(20_003, dtype=t.float64, generator=g),
    "exponential_ double": lambda t, g: t.zeros(9001, dtype=t.float64).exponential_(generator=g),
    "cauchy_": lambda t, g: t.zeros(9001).cauchy_(1, 2, generator=g),
    "log_normal_": lambda t, g: t.zeros(9001).log_normal_(generator=g),
}


@needs_torch
@pytest.mark.parametrize("name", [*LARGE, *CLOSE])
def test_large_draws_of_tensors(native, name):
    native(True)
    call = LARGE.get(name) or CLOSE[name]
    own, theirs = (t.Generator().manual_seed(9) for t in (suiren, torch))
    for t, g in ((suiren, own), (torch, theirs)):
        t.rand(3, generator=g)  # from the middle of a block
    found, expected = call(suiren, own), call(torch, theirs)
    if name in CLOSE:
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-6)
    else:
        np.testing.assert_array_equal(found.numpy(), expected.numpy())
    np.testing.assert_array_equal(own.get_state().numpy(), theirs.get_state().numpy())


@needs_torch
@pytest.mark.parametrize("p", [0.1, 0.5, 0.75])
def test_dropout(native, p):
    native(True)
    results = []
    for t in (suiren, torch):
        t.manual_seed(2)
        x = t.ones(300, 301)
        two = t.nn.functional.dropout2d(t.ones(64, 50, 2, 2), p)
        results.append([f(x, p).numpy() for f in (t.nn.functional.dropout,)] + [two.numpy()])
        results[-1].append(t.get_rng_state().numpy())
    for found, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_refilled_memory_is_seen_by_nobody_else(native):
    """A large tensor that is filled again keeps its memory, unless something else holds it."""
    native(True)
    shape = (300, 400)
    x = suiren.empty(shape).uniform_()
    first = x.numpy().copy()
    x = suiren.empty(shape).uniform_()
    address = x._storage.value.buffer.ctypes.data
    assert x.normal_()._storage.value.buffer.ctypes.data == address
    before = x.tolist()
    holders = {
        "clone": lambda x: x.clone(),
        "deepcopy": copy.deepcopy,
        "pending result": lambda x: x + 0,
        "computed result": lambda x: (x * 1).tolist() and x * 1,
    }
    for name, hold in holders.items():
        x = suiren.tensor(before)
        x = x.mul_(1)
        x.sum().item()
        other = hold(x)
        x.uniform_()
        assert other.tolist() == before, name
    x = suiren.tensor(before)
    view, shared = x[3:], x.detach()
    x.normal_()  # what shares a tensor's memory sees what is written
    assert view.tolist() == x[3:].tolist() and shared.tolist() == x.tolist()
    array = x.numpy()
    x.uniform_()
    assert array.tolist() == x.tolist()
    assert first.shape == shape
    weight = suiren.empty(shape).uniform_().requires_grad_()
    loss = (weight * weight).sum()
    with suiren.no_grad():
        weight.uniform_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_failed_checks_leave_contents(native):
    native(True)
    x = suiren.empty(300, 400).uniform_()
    before = x.tolist()
    with pytest.raises(RuntimeError):
        x.uniform_(2, 1)
    with pytest.raises(RuntimeError):
        x.normal_(0, -1)
    assert x.tolist() == before


def test_threads_with_generators_of_their_own(native):
    native(True)
    expected = [suiren.rand(50_000, generator=suiren.Generator().manual_seed(k)) for k in range(4)]
    found: list = [None] * 4

    def draw(k: int) -> None:
        generator = suiren.Generator().manual_seed(k)
        parts = [suiren.rand(10_000, generator=generator) for _ in range(5)]
        found[k] = suiren.cat(parts).tolist()

    threads = [threading.Thread(target=draw, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [e.tolist() for e in expected]


def test_threads_that_share_a_generator(native):
    """No number is drawn twice, and none is lost."""
    native(True)
    generator = suiren.Generator().manual_seed(5)
    every = set(suiren.rand(80_000, dtype=suiren.float64, generator=generator).tolist())
    generator.manual_seed(5)
    found: list = []

    def draw() -> None:
        for _ in range(20):
            found.append(suiren.rand(1000, dtype=suiren.float64, generator=generator).tolist())

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {x for part in found for x in part} == every


def test_fork_rng_and_default_generator(native):
    native(True)
    suiren.manual_seed(1)
    suiren.rand(5000)
    with suiren.random.fork_rng():
        inside = suiren.randn(5000).tolist()
    assert suiren.randn(5000).tolist() == inside


# -- when kernels are used -------------------------------------------------------------------

SCRIPT = """
import sys, suiren
from suiren import random_native
suiren.manual_seed(0)
suiren.rand({first})
print("llvmlite" in sys.modules, [k for k, v in random_native._kernels.items() if v])
"""


def output(first: int, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(first=first)],
        capture_output=True, text=True, check=True, env={**os.environ, **environment},
    )  # fmt: skip
    return result.stdout.strip()


def test_small_scripts_do_not_load_llvm():
    assert output(10_000, SUIREN_JIT="") == "False []"
    compiled_anew = output(1_000_000, SUIREN_JIT="", SUIREN_CACHE="0")
    assert compiled_anew == "True ['unit32']"
    assert output(1_000_000, SUIREN_JIT="0") == "False []"


def test_without_llvmlite():
    block = "import sys; sys.modules['llvmlite'] = None\n" + SCRIPT.format(first=1_000_000)
    code = block.replace('print("llvmlite" in sys.modules,', "print(suiren.rand(1).item(),")
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    stream = Stream(0)
    stream.uniform(1_000_000)
    assert found.stdout.strip() == f"{stream.uniform(1)[0].item()} []"


@pytest.mark.parametrize("machine", [target.NEON, target.AVX2, target.SSE2, target.AVX512])
def test_kernels_compile_for_other_machines(machine):
    from suiren.compiler.codegen import random as codegen

    for name in ("normal32", "exponential32", "shuffle"):
        assert machine_code.assembly(codegen.text(name, machine), machine)
